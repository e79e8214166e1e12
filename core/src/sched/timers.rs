//! Who wants to be woken when.

use super::heap::{Due, Heap};
use crate::time::Instant;

/// One timer per key, exact to the nanosecond. What is due at the same time comes in the order in which it was
/// set. `next` is O(1), the rest O(log n).
///
/// ```
/// use plimsoll_core::sched::Timers;
/// use plimsoll_core::time::Instant;
///
/// let mut timers = Timers::new();
/// timers.set(1, Some(Instant::from_millis(20)));
/// timers.set(2, Some(Instant::from_millis(10)));
/// timers.set(1, Some(Instant::from_millis(5))); // moved
/// assert_eq!(timers.next(), Some(Instant::from_millis(5)));
/// assert_eq!(timers.pop_due(Instant::from_millis(7)), Some(1));
/// assert_eq!(timers.pop_due(Instant::from_millis(7)), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Timers {
    heap: Heap,
    sequence: u64,
}
crate::saved!(struct Timers { heap, sequence });

impl Timers {
    /// No timer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets, moves or (`None`) clears the timer of a key. Setting it to the time it has changes nothing, so that
    /// it keeps its place among those due at the same time.
    ///
    /// # Panics
    /// If the key is not below [`MAX_KEYS`](super::MAX_KEYS).
    pub fn set(&mut self, key: u32, at: Option<Instant>) {
        match at {
            None => {
                self.heap.remove(key);
            }
            at if at == self.get(key) => {}
            Some(at) => {
                self.heap.set(key, Due { at, sequence: self.sequence });
                self.sequence += 1;
            }
        }
    }

    /// When the key's timer is due.
    pub fn get(&self, key: u32) -> Option<Instant> {
        self.heap.get(key).map(|due| due.at)
    }

    /// When the first timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.peek().map(|(at, _)| at)
    }

    /// The first timer: when, and whose.
    pub fn peek(&self) -> Option<(Instant, u32)> {
        self.heap.peek().map(|(due, key)| (due.at, key))
    }

    /// Takes the first timer if it is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (at, key) = self.peek()?;
        (at <= now && self.heap.remove(key)).then_some(key)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        /// Each operation is (what, key, time); the model keeps all timers sorted by (time, turn).
        fn it_is_a_sorted_map_with_one_entry_per_key(ops: Vec<(u8, u8, u8)>) -> bool {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, usize), u32> = BTreeMap::new();
            ops.iter().enumerate().all(|(turn, &(what, key, time))| {
                // Few distinct times, so that ties are common.
                let (key, time) = (u32::from(key % 64), u64::from(time % 32));
                let held = model.iter().find(|&(_, &k)| k == key).map(|(&at, _)| at);
                let agrees = match what % 5 {
                    0..=2 => {
                        timers.set(key, Some(Instant::from_nanos(time)));
                        if held.is_none_or(|(at, _)| at != time) {
                            held.and_then(|at| model.remove(&at));
                            model.insert((time, turn), key);
                        }
                        true
                    }
                    3 => {
                        timers.set(key, None);
                        held.and_then(|at| model.remove(&at));
                        true
                    }
                    _ => {
                        let due = model.first_entry().filter(|first| first.key().0 <= time);
                        timers.pop_due(Instant::from_nanos(time)) == due.map(|first| first.remove())
                    }
                };
                let first = model.first_key_value().map(|(&(at, _), &key)| (Instant::from_nanos(at), key));
                agrees
                    && timers.peek() == first
                    && timers.next() == first.map(|(at, _)| at)
                    && timers.len() == model.len()
                    && model.iter().all(|(&(at, _), &k)| timers.get(k) == Some(Instant::from_nanos(at)))
            })
        }

        fn timers_come_out_sorted_and_ties_in_the_order_of_insertion(times: Vec<u8>, cleared: Vec<u8>) -> bool {
            let mut timers = Timers::new();
            let mut expected: Vec<(u8, u32)> = (0u32..).zip(&times).map(|(key, &at)| (at % 4, key)).collect();
            for &(at, key) in &expected {
                timers.set(key, Some(Instant::from_nanos(u64::from(at))));
            }
            for key in cleared {
                timers.set(u32::from(key), None);
                expected.retain(|&(_, held)| held != u32::from(key));
            }
            expected.sort();
            expected.iter().all(|&(_, key)| timers.pop_due(Instant::MAX) == Some(key)) && timers.is_empty()
        }
    }
}
