//! A sliding window as a ring of ten time buckets: what is older than the span falls out, a tenth at a time.

use core::time::Duration;

use crate::time::{Instant, nanos};

const COUNT: usize = 10;

/// Ten buckets, the current one last. What is put in stays for at least nine tenths of the span, and at most
/// for the whole of it.
#[derive(Clone, Debug)]
pub(crate) struct Buckets<T> {
    slots: [T; COUNT],
    current: usize,
    /// Where the current bucket ends. Time that runs backwards stays in it.
    end: Instant,
    /// In nanoseconds.
    width: u64,
}
crate::saved!(impl[T: crate::save::Save] struct Buckets<T> { slots, current, end, width });

impl<T: Copy + Default> Buckets<T> {
    /// An empty window of `span`, at least 10 ns.
    pub(crate) fn new(span: Duration) -> Self {
        let width = (nanos(span) / COUNT as u64).max(1);
        Buckets { slots: [T::default(); COUNT], current: 0, end: Instant::ZERO, width }
    }

    /// The bucket of `now`. Those that have fallen out until then are handed to `expired`.
    #[inline]
    pub(crate) fn at(&mut self, now: Instant, expired: impl FnMut(T)) -> &mut T {
        if now >= self.end {
            self.turn(now, expired);
        }
        &mut self.slots[self.current]
    }

    /// When the current bucket ends, which names it.
    pub(crate) fn current(&self) -> Instant {
        self.end
    }

    /// The bucket that was [`current`](Self::current) under this name, unless it has fallen out.
    pub(crate) fn named(&mut self, end: Instant) -> Option<&mut T> {
        let age = nanos(self.end.since(end)) / self.width;
        let at = (self.current + COUNT).checked_sub(usize::try_from(age).ok()?)?;
        (age < COUNT as u64).then(|| &mut self.slots[at % COUNT])
    }

    /// All buckets, the oldest first.
    pub(crate) fn oldest_first(&mut self) -> impl Iterator<Item = &mut T> {
        let (new, old) = self.slots.split_at_mut(self.current + 1);
        old.iter_mut().chain(new)
    }

    /// The buckets that have not fallen out by `now`, in no order that matters.
    pub(crate) fn alive(&self, now: Instant) -> impl Iterator<Item = &T> {
        let passed =
            if now >= self.end { now.since(self.end).as_nanos() / u128::from(self.width) + 1 } else { 0 };
        let gone = passed.min(COUNT as u128) as usize;
        (0..COUNT - gone).map(move |age| &self.slots[(self.current + COUNT - age) % COUNT])
    }

    #[cold]
    fn turn(&mut self, now: Instant, mut expired: impl FnMut(T)) {
        let passed = nanos(now.since(self.end)) / self.width + 1;
        for _ in 0..passed.min(COUNT as u64) {
            self.current = (self.current + 1) % COUNT;
            expired(core::mem::take(&mut self.slots[self.current]));
        }
        self.end = self.end + Duration::from_nanos(passed.saturating_mul(self.width));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn what_was_put_in_falls_out_once_between_nine_and_ten_tenths(steps: Vec<(u8, u8)>, start: u32) -> bool {
            let mut buckets = Buckets::<u64>::new(Duration::from_nanos(100));
            let mut now = u64::from(start);
            let (mut put, mut fell) = (Vec::new(), 0);
            steps.into_iter().all(|(gap, amount)| {
                now += u64::from(gap) % 64;
                let at = Instant::from_nanos(now);
                *buckets.at(at, |amount| fell += amount) += u64::from(amount);
                put.push((now, u64::from(amount)));
                let sum = |from: u64| put.iter().filter(|&&(at, _)| at >= from).map(|&(_, amount)| amount).sum::<u64>();
                let held = buckets.oldest_first().map(|held| *held).sum::<u64>();
                held == sum((now / 10 * 10).saturating_sub(90))
                    && held == buckets.alive(at).sum::<u64>()
                    && held + fell == sum(0)
            })
        }

        fn looking_ahead_sees_what_will_be_left(gaps: Vec<u8>, ahead: u8) -> bool {
            let mut buckets = Buckets::<u64>::new(Duration::from_nanos(100));
            let mut now = Instant::ZERO;
            for gap in gaps {
                now = now + Duration::from_nanos(u64::from(gap % 32));
                *buckets.at(now, drop) += 1;
            }
            let then = now + Duration::from_nanos(u64::from(ahead));
            let seen = buckets.alive(then).sum::<u64>();
            buckets.at(then, drop);
            seen == buckets.oldest_first().map(|held| *held).sum::<u64>()
        }
    }

    #[test]
    fn the_oldest_come_first() {
        let mut buckets = Buckets::<u64>::new(Duration::from_nanos(100));
        for tenth in 0..27 {
            *buckets.at(Instant::from_nanos(tenth * 10), drop) = tenth;
        }
        let order: Vec<u64> = buckets.oldest_first().map(|held| *held).collect();
        assert_eq!(order, (17..27).collect::<Vec<_>>());
    }

    #[test]
    fn time_that_runs_backwards_stays_in_the_current_bucket() {
        let mut buckets = Buckets::<u64>::new(Duration::from_nanos(100));
        *buckets.at(Instant::from_nanos(1_000), drop) += 1;
        *buckets.at(Instant::from_nanos(10), drop) += 1;
        assert_eq!(*buckets.at(Instant::from_nanos(1_000), drop), 2);
    }
}
