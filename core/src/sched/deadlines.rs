//! Which requests run out of time, and when.

use alloc::vec::Vec;
use core::time::Duration;

use super::heap::{Due, Heap};
use super::{MAX_KEYS, NONE, load_key, save_key};
use crate::save::{Damaged, Reader, Save, Writer};
use crate::time::Instant;

/// How many distinct timeouts have a queue of their own.
const MAX_CLASSES: usize = 16;

/// Marks, in place of a class, a key that has no deadline.
const ABSENT: u8 = u8::MAX;
/// Marks, in place of a class, a key whose deadline is in the heap.
const IN_HEAP: u8 = u8::MAX - 1;

/// A deadline per request, exact to the nanosecond, with ties in the order of insertion.
///
/// Requests with the same timeout run out in the order in which they came, so each of the first 16 timeouts in
/// use is a plain FIFO, and a request costs O(1) to insert and to remove. Deadlines of any further timeout are
/// kept in a heap, at O(log n). A queue that has run empty is given to the next new timeout.
///
/// ```
/// use core::time::Duration;
/// use plimsoll_core::sched::Deadlines;
/// use plimsoll_core::time::Instant;
///
/// let mut deadlines = Deadlines::new();
/// deadlines.insert(0, Instant::ZERO, Duration::from_secs(5));
/// deadlines.insert(1, Instant::ZERO, Duration::from_secs(1));
/// assert_eq!(deadlines.next(), Some(Instant::from_millis(1_000)));
/// assert!(deadlines.remove(1)); // answered
/// assert_eq!(deadlines.pop_due(Instant::from_millis(5_000)), Some(0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    entries: Vec<Entry>,
    classes: Vec<Class>,
    rest: Heap,
    len: usize,
    sequence: u64,
    /// The latest `now` seen. FIFOs are sorted only because time does not run backwards here.
    now: Instant,
}
crate::saved!(struct Deadlines { entries, classes, rest, len, sequence, now });

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Due,
    previous: u32,
    next: u32,
    class: u8,
}

/// The requests of one timeout, first come first due.
#[derive(Clone, Copy, Debug)]
struct Class {
    timeout: Duration,
    head: u32,
    tail: u32,
    /// When the head is due, so that finding the next deadline stays within this table.
    due: Due,
}
crate::saved!(struct Class { timeout, head, tail, due });

impl Entry {
    const VACANT: Entry =
        Entry { due: Due { at: Instant::MAX, sequence: 0 }, previous: NONE, next: NONE, class: ABSENT };
}

/// Of a key without a deadline, what it was before is of no matter.
impl Save for Entry {
    fn save(&self, out: &mut Writer) {
        let Entry { due, previous, next, class } = *self;
        out.byte(class);
        if class != ABSENT {
            due.save(out);
            save_key(previous, out);
            save_key(next, out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match from.byte()? {
            ABSENT => Entry::VACANT,
            class => {
                let due = Due::load(from)?;
                Entry { due, previous: load_key(from)?, next: load_key(from)?, class }
            }
        })
    }
}

impl Deadlines {
    /// No deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key is due `timeout` after `now`; a deadline that it had is replaced. A `now` before an earlier one
    /// counts as that earlier one.
    ///
    /// # Panics
    /// If the key is not below [`MAX_KEYS`].
    pub fn insert(&mut self, key: u32, now: Instant, timeout: Duration) {
        assert!(key < MAX_KEYS, "deadlines are limited to keys below 2^32 - 2");
        self.remove(key);
        self.now = self.now.max(now);
        let due = Due { at: self.now + timeout, sequence: self.sequence };
        self.sequence += 1;
        self.len += 1;
        if self.entries.len() <= key as usize {
            self.entries.resize(key as usize + 1, Entry::VACANT);
        }
        match self.class_of(timeout) {
            Some(class) => self.append(class, key, due),
            None => {
                self.entries[key as usize] = Entry { due, class: IN_HEAP, ..Entry::VACANT };
                self.rest.set(key, due);
            }
        }
    }

    /// Takes back the key's deadline; `false` if it has none.
    #[inline]
    pub fn remove(&mut self, key: u32) -> bool {
        let Some(entry) = self.entries.get_mut(key as usize).filter(|entry| entry.class != ABSENT) else {
            return false;
        };
        let (taken, class) = (*entry, core::mem::replace(&mut entry.class, ABSENT));
        self.len -= 1;
        if class == IN_HEAP {
            self.rest.remove(key);
        } else {
            self.unlink(usize::from(class), taken);
        }
        true
    }

    /// When the key is due.
    pub fn get(&self, key: u32) -> Option<Instant> {
        self.entries.get(key as usize).filter(|entry| entry.class != ABSENT).map(|entry| entry.due.at)
    }

    /// When the first deadline is due.
    pub fn next(&self) -> Option<Instant> {
        self.first().map(|(due, _)| due.at)
    }

    /// Takes the first deadline if it is due at `now`. A `now` before an earlier one counts as that earlier one.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.now = self.now.max(now);
        let (due, key) = self.first()?;
        (due.at <= self.now && self.remove(key)).then_some(key)
    }

    /// How many deadlines there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no deadline.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn first(&self) -> Option<(Due, u32)> {
        let heads = self.classes.iter().filter(|class| class.head != NONE);
        heads.map(|class| (class.due, class.head)).chain(self.rest.peek()).min()
    }

    /// The queue for a timeout: its own, one that is empty, or a new one; `None` if all are taken.
    fn class_of(&mut self, timeout: Duration) -> Option<usize> {
        if let Some(own) = self.classes.iter().position(|class| class.timeout == timeout) {
            return Some(own);
        }
        let class = Class { timeout, head: NONE, tail: NONE, due: Entry::VACANT.due };
        if let Some(empty) = self.classes.iter().position(|class| class.head == NONE) {
            self.classes[empty] = class;
            return Some(empty);
        }
        (self.classes.len() < MAX_CLASSES).then(|| {
            self.classes.push(class);
            self.classes.len() - 1
        })
    }

    fn append(&mut self, index: usize, key: u32, due: Due) {
        let class = &mut self.classes[index];
        let previous = core::mem::replace(&mut class.tail, key);
        self.entries[key as usize] = Entry { due, previous, next: NONE, class: index as u8 };
        match previous {
            NONE => (class.head, class.due) = (key, due),
            _ => self.entries[previous as usize].next = key,
        }
    }

    fn unlink(&mut self, index: usize, entry: Entry) {
        let class = &mut self.classes[index];
        match entry.next {
            NONE => class.tail = entry.previous,
            next => self.entries[next as usize].previous = entry.previous,
        }
        match (entry.previous, entry.next) {
            (NONE, NONE) => class.head = NONE,
            (NONE, next) => (class.head, class.due) = (next, self.entries[next as usize].due),
            (previous, next) => self.entries[previous as usize].next = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use quickcheck::quickcheck;

    const SECOND: Duration = Duration::from_secs(1);

    quickcheck! {
        /// Each operation is (what, key, number); 24 distinct timeouts, so that some go to the heap. Time may
        /// run backwards. The model keeps all deadlines sorted by (time, turn).
        fn it_is_a_sorted_map_with_one_entry_per_key(ops: Vec<(u8, u8, u8)>) -> bool {
            let mut deadlines = Deadlines::new();
            let mut model: BTreeMap<(u64, usize), u32> = BTreeMap::new();
            let mut latest = 0;
            ops.iter().enumerate().all(|(turn, &(what, key, number))| {
                let key = u32::from(key % 64);
                let now = (turn as u64 / 2 + u64::from(number % 4)).saturating_sub(2);
                let held = model.iter().find(|&(_, &k)| k == key).map(|(&at, _)| at);
                let agrees = match what % 8 {
                    0..=4 => {
                        let timeout = u64::from(number % 24);
                        latest = latest.max(now);
                        held.and_then(|at| model.remove(&at));
                        model.insert((latest + timeout, turn), key);
                        deadlines.insert(key, Instant::from_nanos(now), Duration::from_nanos(timeout));
                        true
                    }
                    5 | 6 => {
                        held.and_then(|at| model.remove(&at));
                        deadlines.remove(key) == held.is_some()
                    }
                    _ => {
                        latest = latest.max(now);
                        let due = model.first_entry().filter(|first| first.key().0 <= latest);
                        deadlines.pop_due(Instant::from_nanos(now)) == due.map(|first| first.remove())
                    }
                };
                agrees
                    && deadlines.next() == model.first_key_value().map(|(at, _)| Instant::from_nanos(at.0))
                    && deadlines.len() == model.len()
                    && model.iter().all(|(&(at, _), &k)| deadlines.get(k) == Some(Instant::from_nanos(at)))
            })
        }

        fn deadlines_come_out_sorted_and_ties_in_the_order_of_insertion(timeouts: Vec<u8>) -> bool {
            let mut deadlines = Deadlines::new();
            let mut expected: Vec<(u8, u32)> = (0u32..).zip(&timeouts).map(|(key, &at)| (at % 32, key)).collect();
            for &(timeout, key) in &expected {
                deadlines.insert(key, Instant::ZERO, Duration::from_nanos(u64::from(timeout)));
            }
            expected.sort();
            expected.iter().all(|&(_, key)| deadlines.pop_due(Instant::MAX) == Some(key)) && deadlines.is_empty()
        }
    }

    #[test]
    fn a_queue_that_ran_empty_serves_another_timeout() {
        let mut deadlines = Deadlines::new();
        for key in 0..MAX_CLASSES as u32 {
            deadlines.insert(key, Instant::ZERO, SECOND * (key + 1));
        }
        deadlines.insert(100, Instant::ZERO, SECOND * 100);
        assert_eq!(deadlines.rest.len(), 1, "the 17th timeout goes to the heap");
        assert!(deadlines.remove(3));
        deadlines.insert(101, Instant::ZERO, SECOND * 101);
        assert_eq!(deadlines.rest.len(), 1, "the queue of the fourth timeout is free again");
        assert_eq!(deadlines.classes.len(), MAX_CLASSES);
    }

    #[test]
    fn a_timeout_of_forever_is_the_last_one_due() {
        let mut deadlines = Deadlines::new();
        deadlines.insert(0, Instant::from_millis(1), Duration::MAX);
        deadlines.insert(1, Instant::from_millis(1), SECOND);
        assert_eq!(deadlines.next(), Some(Instant::from_millis(1_001)));
        assert_eq!(deadlines.pop_due(Instant::from_millis(9_999)), Some(1));
        assert_eq!(deadlines.next(), Some(Instant::MAX));
    }
}
