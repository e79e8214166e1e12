//! How often something may happen: a rate with a burst, in one 64-bit number per key.
//!
//! The generic cell rate algorithm (ITU-T I.371, 2004, "virtual scheduling") keeps the *theoretical arrival time*: when the
//! next request would come if all came evenly. A request may be early by as much as the burst allows, and moves that time
//! on by one interval. No timer refills anything.
//!
//! ```
//! use core::num::NonZeroU32;
//! use core::time::Duration;
//! use plimsoll_core::map::Seed;
//! use plimsoll_core::policy::gcra::{Limiter, Quota};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let per_minute = |n| Quota::new(NonZeroU32::new(n).unwrap(), Duration::from_secs(60));
//! let mut limiter = Limiter::new(per_minute(100), 10_000, Seed::new(&mut Pcg::new(1, 1)));
//! let now = Instant::from_millis(1);
//! for _ in 0..100 {
//!     limiter.admit(now, &"10.0.0.1").unwrap();
//! }
//! let refused = limiter.admit(now, &"10.0.0.1").unwrap_err();
//! assert_eq!(refused.retry_after(), Duration::from_millis(600));
//! limiter.admit(now, &"10.0.0.2").unwrap(); // somebody else
//! ```
//!
//! The number of keys is bounded without forgetting anybody's debt: a key that has its whole burst again is like one that
//! was never seen, so that dropping it changes nothing. Only such a key makes room. If every key owes something, a new one
//! is refused ([`Limited::TooManyKeys`]) and told when the first of them is clear.

use core::hash::Hash;
use core::num::NonZeroU32;
use core::time::Duration;

use thiserror::Error;

use crate::map::{Map, Seed};
use crate::sched::Timers;
use crate::time::{Instant, nanos};

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds from one request to the next.
    interval: u64,
    burst: NonZeroU32,
}
crate::saved!(struct Quota { interval, burst });

impl Quota {
    /// `count` requests in each `period`, and as many at once. The interval between two is rounded down to whole
    /// nanoseconds, at least one.
    pub const fn new(count: NonZeroU32, period: Duration) -> Self {
        let interval = nanos(period) / count.get() as u64;
        Quota { interval: if interval == 0 { 1 } else { interval }, burst: count }
    }

    /// The same rate with so many at once.
    pub const fn with_burst(self, burst: NonZeroU32) -> Self {
        Quota { burst, ..self }
    }

    /// The part of one of `of` (at least 1) who share this quota, the first of whom is number 0: each may come once in `of`
    /// intervals. The burst is divided, but nobody's is less than one.
    pub const fn share(self, at: u32, of: u32) -> Self {
        let of = if of == 0 { 1 } else { of };
        let burst = self.burst.get() / of + (at < self.burst.get() % of) as u32;
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Quota { interval: self.interval.saturating_mul(of as u64), burst }
    }

    /// The time in which one request is given back.
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many may come at once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How early a request may come.
    const fn tolerance(self) -> u64 {
        self.interval.saturating_mul(self.burst.get() as u64 - 1)
    }
}

/// The state of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// The theoretical arrival time; the default, long ago, owes nothing.
    arrival: Instant,
}
crate::saved!(struct Gcra { arrival });

impl Gcra {
    /// A request: counted if it may come now.
    ///
    /// # Errors
    /// [`Limited::TooSoon`]; a request that is refused is not counted.
    #[inline]
    pub fn admit(&mut self, now: Instant, quota: Quota) -> Result<(), Limited> {
        let earliest = Instant::from_nanos(self.arrival.as_nanos().saturating_sub(quota.tolerance()));
        if now < earliest {
            return Err(Limited::TooSoon { retry_after: earliest.since(now) });
        }
        self.arrival = Instant::from_nanos(self.arrival.max(now).as_nanos().saturating_add(quota.interval));
        Ok(())
    }

    /// A request that was counted was not made after all.
    pub fn give_back(&mut self, quota: Quota) {
        self.arrival = Instant::from_nanos(self.arrival.as_nanos().saturating_sub(quota.interval));
    }

    /// How many could come now.
    pub fn available(&self, now: Instant, quota: Quota) -> u32 {
        let ahead = nanos(self.arrival.since(now));
        let all = quota.tolerance().saturating_add(quota.interval);
        u32::try_from(all.saturating_sub(ahead) / quota.interval).unwrap_or(u32::MAX)
    }

    /// From when on the whole burst is there, as if there had been no request.
    pub fn clear_at(&self) -> Instant {
        self.arrival
    }
}

/// A request that may not come now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Limited {
    /// This key has used what it may.
    #[error("rate limit exceeded; try again in {retry_after:?}")]
    TooSoon {
        /// The next request may come then, if none comes before.
        retry_after: Duration,
    },
    /// As many keys as are kept owe something.
    #[error("too many clients at once for the rate limit; try again in {retry_after:?}")]
    TooManyKeys {
        /// The first of them is clear then.
        retry_after: Duration,
    },
}

impl Limited {
    /// How long to wait.
    pub const fn retry_after(self) -> Duration {
        match self {
            Limited::TooSoon { retry_after } | Limited::TooManyKeys { retry_after } => retry_after,
        }
    }
}

/// One quota for each of many keys. A request costs a look-up and O(log keys).
#[derive(Clone, Debug)]
pub struct Limiter<K> {
    quota: Quota,
    states: Map<K, Gcra>,
    /// When each slot is clear.
    clear: Timers,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// At most `keys` (at least one) are kept; the memory for their states is taken now.
    pub fn new(quota: Quota, keys: u32, seed: Seed) -> Self {
        Limiter { quota, states: Map::new(keys.max(1), seed), clear: Timers::new() }
    }

    /// A request of `key`: counted if it may come now.
    ///
    /// # Errors
    /// [`Limited`]; a request that is refused is not counted.
    pub fn admit(&mut self, now: Instant, key: &K) -> Result<(), Limited> {
        let slot = match self.states.find(key) {
            Some(slot) => slot,
            None => self.make_room(now, key)?,
        };
        if let Some(state) = self.states.get_mut(slot) {
            state.admit(now, self.quota)?;
            self.clear.set(slot, Some(state.clear_at()));
        }
        Ok(())
    }

    /// How many requests of `key` could come now.
    pub fn available(&self, now: Instant, key: &K) -> u32 {
        let state = self.states.find(key).and_then(|slot| self.states.get(slot)).map(|(_, state)| *state);
        state.unwrap_or_default().available(now, self.quota)
    }

    /// How many keys are kept.
    pub fn keys(&self) -> usize {
        self.states.len()
    }

    fn make_room(&mut self, now: Instant, key: &K) -> Result<u32, Limited> {
        if self.states.is_full() {
            match self.clear.pop_due(now) {
                Some(slot) => drop(self.states.remove(slot)),
                None => {
                    let first = self.clear.next().unwrap_or(now);
                    return Err(Limited::TooManyKeys { retry_after: first.since(now) });
                }
            }
        }
        let refused = Limited::TooManyKeys { retry_after: self.quota.interval() };
        self.states.insert(key.clone(), Gcra::default()).map_err(|_| refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Pcg;
    use alloc::vec::Vec;
    use governor::clock::{Clock, FakeRelativeClock};
    use quickcheck::quickcheck;

    const PER_SECOND: Quota = Quota::new(count(10), Duration::from_secs(1));

    const fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn limiter(quota: Quota, keys: u32) -> Limiter<u32> {
        Limiter::new(quota, keys, Seed::new(&mut Pcg::new(1, 1)))
    }

    quickcheck! {
        fn it_agrees_with_governor_to_the_nanosecond(interval: u32, burst: u8, gaps: Vec<(u16, u8)>) -> bool {
            let interval = u64::from(interval) + 1;
            let burst = count(u32::from(burst) + 1);
            let quota = Quota { interval, burst };
            let clock = FakeRelativeClock::default();
            let theirs = governor::Quota::with_period(Duration::from_nanos(interval)).unwrap().allow_burst(burst);
            let theirs = governor::RateLimiter::direct_with_clock(theirs, clock.clone());
            let (mut ours, mut now) = (Gcra::default(), Instant::ZERO);
            gaps.into_iter().all(|(gap, calls)| {
                // Up to two intervals later.
                let gap = Duration::from_nanos(interval * u64::from(gap) / 32_768);
                clock.advance(gap);
                now = now + gap;
                (0..calls % 16).all(|_| {
                    let theirs = theirs.check().map_err(|until| until.wait_time_from(clock.now()));
                    theirs.map(drop) == ours.admit(now, quota).map_err(Limited::retry_after)
                })
            })
        }

        fn a_bounded_limiter_answers_as_an_unbounded_one_or_says_that_it_is_full(
            steps: Vec<(u8, u16)>, keys: u8
        ) -> bool {
            let keys = u32::from(keys) % 12 + 1;
            let (mut bounded, mut unbounded) = (limiter(PER_SECOND, keys), limiter(PER_SECOND, 64));
            let mut now = Instant::ZERO;
            steps.into_iter().all(|(key, gap)| {
                now = now + Duration::from_micros(u64::from(gap) * 2);
                let key = u32::from(key) % 32;
                let before = unbounded.clone();
                let answer = bounded.admit(now, &key);
                let expected = unbounded.admit(now, &key);
                if matches!(answer, Err(Limited::TooManyKeys { .. })) {
                    unbounded = before;
                    return bounded.keys() == keys as usize;
                }
                answer == expected && bounded.keys() <= keys as usize
            })
        }

        fn waiting_as_told_is_enough_and_less_is_not(gaps: Vec<u16>) -> bool {
            let (mut state, mut now) = (Gcra::default(), Instant::ZERO);
            gaps.into_iter().all(|gap| {
                now = now + Duration::from_micros(u64::from(gap));
                let could = state.available(now, PER_SECOND);
                match state.admit(now, PER_SECOND) {
                    Ok(()) => could > 0 && state.available(now, PER_SECOND) == could - 1,
                    Err(refused) => {
                        let then = now + refused.retry_after();
                        could == 0
                            && { state }.admit(then, PER_SECOND).is_ok()
                            && { state }.admit(Instant::from_nanos(then.as_nanos() - 1), PER_SECOND).is_err()
                    }
                }
            })
        }

        fn over_any_time_no_more_than_the_burst_and_the_rate(gaps: Vec<u32>) -> bool {
            let (mut state, mut now, mut admitted) = (Gcra::default(), Instant::from_millis(77), 0u64);
            let start = now;
            gaps.into_iter().all(|gap| {
                now = now + Duration::from_nanos(u64::from(gap));
                admitted += u64::from(state.admit(now, PER_SECOND).is_ok());
                admitted <= 10 + nanos(now.since(start)) / PER_SECOND.interval
            })
        }
    }

    quickcheck! {
        fn what_is_given_back_is_as_if_it_had_not_been_asked_for(gaps: Vec<(u16, bool)>) -> bool {
            let (mut state, mut model, mut now) = (Gcra::default(), Gcra::default(), Instant::from_millis(5));
            gaps.into_iter().all(|(gap, keep)| {
                now = now + Duration::from_micros(u64::from(gap));
                let admitted = state.admit(now, PER_SECOND);
                if keep {
                    return admitted == model.admit(now, PER_SECOND);
                }
                if admitted.is_ok() {
                    state.give_back(PER_SECOND);
                }
                state.available(now, PER_SECOND) == model.available(now, PER_SECOND)
            })
        }

        fn shares_of_a_quota_add_up_to_it(burst: u8, of: u8) -> bool {
            let of = u32::from(of) % 16 + 1;
            let whole = PER_SECOND.with_burst(NonZeroU32::new(u32::from(burst).max(of)).unwrap());
            let shares = || (0..of).map(|at| whole.share(at, of));
            shares().map(Quota::burst).sum::<u32>() == whole.burst()
                && shares().all(|share| share.interval() == whole.interval() * of)
        }
    }

    #[test]
    fn a_key_in_debt_is_never_dropped_for_a_new_one() {
        let mut limiter = limiter(PER_SECOND, 2);
        let now = Instant::from_millis(5_000);
        (0..10).for_each(|_| limiter.admit(now, &1).unwrap());
        limiter.admit(now, &2).unwrap();
        let full = Limited::TooManyKeys { retry_after: Duration::from_millis(100) };
        assert_eq!(limiter.admit(now, &3), Err(full));
        let later = now + Duration::from_millis(100);
        assert_eq!(limiter.admit(later, &3), Ok(()), "2 is clear by now, and makes room");
        assert_eq!(limiter.available(later, &1), 1, "1 is remembered");
        assert_eq!((limiter.available(later, &2), limiter.keys()), (10, 2));
    }

    #[test]
    fn a_quota_says_what_it_is() {
        let quota = PER_SECOND.with_burst(count(3));
        assert_eq!((quota.interval(), quota.burst()), (Duration::from_millis(100), 3));
        assert_eq!(PER_SECOND.burst(), 10);
    }

    #[test]
    fn a_request_that_is_refused_is_not_counted() {
        let (mut state, now) = (Gcra::default(), Instant::from_millis(9));
        (0..10).for_each(|_| state.admit(now, PER_SECOND).unwrap());
        let before = state;
        (0..100).for_each(|_| assert!(state.admit(now, PER_SECOND).is_err()));
        assert_eq!(state, before);
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let (mut state, now) = (Gcra::default(), Instant::from_millis(9_000));
        (0..10).for_each(|_| state.admit(now, PER_SECOND).unwrap());
        assert!(state.admit(Instant::ZERO, PER_SECOND).is_err());
        assert_eq!(state.available(now, PER_SECOND), 0);
    }

    #[test]
    fn a_quota_at_the_ends_of_its_range_does_not_overflow() {
        let slow = Quota::new(count(1), Duration::MAX).with_burst(NonZeroU32::MAX);
        let mut state = Gcra::default();
        (0..3).for_each(|_| state.admit(Instant::from_millis(1), slow).unwrap());
        assert_eq!(Quota::new(NonZeroU32::MAX, Duration::from_nanos(1)).interval(), Duration::from_nanos(1));
    }
}
