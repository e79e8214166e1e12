//! What became of calls, by when they came.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_core::time::{Instant, nanos};

use super::histogram::Histogram;

/// Stretches that a run is cut into, at most.
const SLOTS: u64 = 300;

/// How a run is cut: into 120 to 300 stretches, whose width is 1, 2 or 5 times a power of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    width: u64,
    pub(super) slots: usize,
}

impl Cut {
    pub(super) fn of(length: Duration) -> Cut {
        let length = nanos(length).max(1);
        let least = length.div_ceil(SLOTS);
        let power = 10u64.pow(least.ilog10());
        let width =
            [1, 2, 5, 10].map(|n| n * power).into_iter().find(|&width| width >= least).unwrap_or(least);
        Cut { width, slots: length.div_ceil(width) as usize }
    }

    /// The stretch that a time is in; what comes after the end belongs to the last.
    pub(super) fn slot(self, at: Instant) -> usize {
        ((at.as_nanos() / self.width) as usize).min(self.slots - 1)
    }

    /// The same, and what comes after the end is in none of them, but behind the last.
    fn slot_or_after(self, at: Instant) -> usize {
        ((at.as_nanos() / self.width) as usize).min(self.slots)
    }

    pub(super) fn begin(self, slot: usize) -> Duration {
        Duration::from_nanos(self.width * slot as u64)
    }

    /// The stretches that begin within a window.
    pub(super) fn slots(self, from: Duration, until: Option<Duration>) -> std::ops::Range<usize> {
        let first = |at: Duration| (nanos(at).div_ceil(self.width) as usize).min(self.slots);
        let (from, until) = (first(from), until.map_or(self.slots, first));
        from..until.max(from)
    }
}

/// The calls that came in one stretch.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) offered: u64,
    pub(super) good: u64,
    pub(super) failed: u64,
    pub(super) times: Histogram,
}

impl Slot {
    pub(super) fn merge(&mut self, other: &Slot) {
        self.offered += other.offered;
        self.good += other.good;
        self.failed += other.failed;
        self.times.merge(&other.times);
    }
}

/// What one kind of clients has seen.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    cut: Cut,
    pub(super) slots: Vec<Slot>,
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Calls that have no end yet.
    pub(super) open: u64,
    pub(super) retries: u64,
    pub(super) hedges: u64,
    pub(super) ejections: u64,
    pub(super) breaker_trips: u64,
    pub(super) dials: u64,
}

impl Tally {
    pub(super) fn new(cut: Cut) -> Tally {
        Tally {
            cut,
            slots: vec![Slot::default(); cut.slots],
            errors: BTreeMap::new(),
            open: 0,
            retries: 0,
            hedges: 0,
            ejections: 0,
            breaker_trips: 0,
            dials: 0,
        }
    }

    pub(super) fn came(&mut self, now: Instant) {
        self.slots[self.cut.slot(now)].offered += 1;
        self.open += 1;
    }

    pub(super) fn good(&mut self, came: Instant, now: Instant) {
        let slot = &mut self.slots[self.cut.slot(came)];
        slot.good += 1;
        slot.times.record(now.since(came));
        self.open -= 1;
    }

    pub(super) fn failed(&mut self, came: Instant, how: &'static str) {
        self.slots[self.cut.slot(came)].failed += 1;
        *self.errors.entry(how).or_default() += 1;
        self.open -= 1;
    }
}

/// What servers have seen.
#[derive(Debug)]
pub(super) struct Traffic {
    cut: Cut,
    /// Requests, by when they arrived; in the last place those that did so after the end.
    slots: Vec<AtomicU64>,
    /// The most bytes of answers that any server has held.
    unsent: Vec<AtomicU64>,
}

impl Traffic {
    pub(super) fn new(cut: Cut) -> Traffic {
        let slots = || (0..=cut.slots).map(|_| AtomicU64::new(0)).collect();
        Traffic { cut, slots: slots(), unsent: slots() }
    }

    /// A server that looked `before` sees now that it holds so many bytes of answers: as in between, for all that is known.
    pub(super) fn note_unsent(&self, before: Instant, now: Instant, bytes: u64) {
        let now = self.cut.slot_or_after(now);
        for slot in now.min(self.cut.slot_or_after(before) + 1)..=now {
            self.unsent[slot].fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// The most that any server has held in a stretch.
    pub(super) fn unsent(&self, slot: usize) -> u64 {
        self.unsent[slot].load(Ordering::Relaxed)
    }

    pub(super) fn arrived(&self, now: Instant) {
        self.slots[self.cut.slot_or_after(now)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn in_slot(&self, slot: usize) -> u64 {
        self.slots[slot].load(Ordering::Relaxed)
    }

    /// Requests that arrived within a window; without an end, those after the run among them.
    pub(super) fn within(&self, from: Duration, until: Option<Duration>) -> u64 {
        let slots = self.cut.slots(from, until);
        let after = if until.is_none() { self.in_slot(self.cut.slots) } else { 0 };
        slots.map(|slot| self.in_slot(slot)).sum::<u64>() + after
    }

    /// The most that any server has ever held.
    pub(super) fn most_unsent(&self) -> u64 {
        (0..=self.cut.slots).map(|slot| self.unsent(slot)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_into_at_least_120_stretches_of_a_round_width() {
        for (seconds, width, slots) in
            [(1, 5, 200), (30, 100, 300), (60, 200, 300), (90, 500, 180), (3_600, 20_000, 180)]
        {
            let cut = Cut::of(Duration::from_secs(seconds));
            assert_eq!((cut.begin(1), cut.slots), (Duration::from_millis(width), slots), "{seconds}");
        }
        let slots = |seconds| Cut::of(Duration::from_secs(seconds)).slots;
        assert!((1..5_000).all(|seconds| (120..=300).contains(&slots(seconds))));
    }

    #[test]
    fn what_is_seen_of_unsent_bytes_holds_since_the_last_look() {
        let traffic = Traffic::new(Cut::of(Duration::from_secs(60)));
        traffic.note_unsent(Instant::ZERO, Instant::from_millis(100), 5);
        traffic.note_unsent(Instant::from_millis(100), Instant::from_millis(700), 9);
        traffic.note_unsent(Instant::from_millis(700), Instant::from_millis(750), 7);
        let seen: Vec<u64> = (0..5).map(|slot| traffic.unsent(slot)).collect();
        assert_eq!(seen, [5, 9, 9, 9, 0]);
    }

    #[test]
    fn requests_that_arrive_after_the_end_count_and_are_in_no_stretch() {
        let traffic = Traffic::new(Cut::of(Duration::from_secs(60)));
        for ms in [1_000, 59_900, 60_000, 90_000] {
            traffic.arrived(Instant::from_millis(ms));
        }
        let last = Duration::from_secs(59);
        assert_eq!((traffic.in_slot(299), traffic.within(Duration::ZERO, None)), (1, 4));
        assert_eq!((traffic.within(last, None), traffic.within(last, Some(Duration::from_secs(60)))), (3, 1));
    }

    #[test]
    fn a_window_holds_the_stretches_that_begin_in_it() {
        let cut = Cut::of(Duration::from_secs(60));
        let (one, two) = (Duration::from_millis(250), Duration::from_secs(1));
        assert_eq!(cut.slots(one, Some(two)), 2..5);
        assert_eq!(cut.slots(two, Some(one)), 5..5);
        assert_eq!(cut.slots(two, None), 5..300);
        assert_eq!(cut.slot(Instant::from_millis(61_000)), 299);
    }
}
