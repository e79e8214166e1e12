//! Who has something to do, in the order in which they got it.

use alloc::vec::Vec;

use super::{MAX_KEYS, NONE, load_key, save_key};
use crate::save::{Damaged, Reader, Save, Writer};

/// Marks a key that is not in the list.
const ABSENT: u32 = MAX_KEYS;

/// A FIFO of keys that holds each of them at most once: a doubly linked list through a table indexed by key.
/// Everything is O(1).
///
/// ```
/// use plimsoll_core::sched::ReadyList;
///
/// let mut ready = ReadyList::new();
/// assert!(ready.push(7) && ready.push(3));
/// assert!(!ready.push(7), "already waits, and keeps its place");
/// assert_eq!(ready.pop(), Some(7));
/// ```
#[derive(Clone, Debug)]
pub struct ReadyList {
    links: Vec<Link>,
    head: u32,
    tail: u32,
    len: usize,
}
crate::saved!(struct ReadyList { links, head, tail, len });

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// Of a key that is not in the list, what was before it is of no matter.
impl Save for Link {
    fn save(&self, out: &mut Writer) {
        let Link { previous, next } = *self;
        save_key(next, out);
        if next != ABSENT {
            save_key(previous, out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(match load_key(from)? {
            ABSENT => Link { previous: NONE, next: ABSENT },
            next => Link { previous: load_key(from)?, next },
        })
    }
}

impl Default for ReadyList {
    fn default() -> Self {
        ReadyList { links: Vec::new(), head: NONE, tail: NONE, len: 0 }
    }
}

impl ReadyList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the key at the end; `false` if it is in the list already, where it keeps its place.
    ///
    /// # Panics
    /// If the key is not below [`MAX_KEYS`].
    pub fn push(&mut self, key: u32) -> bool {
        if self.contains(key) {
            return false;
        }
        self.make_room(key);
        let previous = core::mem::replace(&mut self.tail, key);
        self.links[key as usize] = Link { previous, next: NONE };
        match previous {
            NONE => self.head = key,
            _ => self.links[previous as usize].next = key,
        }
        self.len += 1;
        true
    }

    /// Puts the key in, or takes it out.
    ///
    /// # Panics
    /// If the key is not below [`MAX_KEYS`].
    pub fn set(&mut self, key: u32, member: bool) {
        if member {
            self.push(key);
        } else {
            self.remove(key);
        }
    }

    /// Takes the key that has waited longest.
    pub fn pop(&mut self) -> Option<u32> {
        let key = self.peek()?;
        self.remove(key);
        Some(key)
    }

    /// The key that has waited longest.
    pub fn peek(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Takes the key out, wherever it stands; `false` if it is not in the list.
    pub fn remove(&mut self, key: u32) -> bool {
        if !self.contains(key) {
            return false;
        }
        let Link { previous, next } = self.links[key as usize];
        match previous {
            NONE => self.head = next,
            _ => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            _ => self.links[next as usize].previous = previous,
        }
        self.links[key as usize].next = ABSENT;
        self.len -= 1;
        true
    }

    /// Whether the key is in the list.
    pub fn contains(&self, key: u32) -> bool {
        self.links.get(key as usize).is_some_and(|link| link.next != ABSENT)
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.len
    }

    fn make_room(&mut self, key: u32) {
        assert!(key < MAX_KEYS, "a ready list is limited to keys below 2^32 - 2");
        if self.links.len() <= key as usize {
            self.links.resize(key as usize + 1, Link { previous: NONE, next: ABSENT });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use quickcheck::quickcheck;

    quickcheck! {
        /// Each operation is (what, key); the model is a plain queue that is searched.
        fn it_is_a_queue_without_duplicates(ops: Vec<(u8, u8)>) -> bool {
            let mut list = ReadyList::new();
            let mut model: VecDeque<u32> = VecDeque::new();
            ops.iter().all(|&(what, key)| {
                let key = u32::from(key % 16);
                let waits = model.contains(&key);
                let agrees = match what % 4 {
                    0 | 1 => {
                        if !waits {
                            model.push_back(key);
                        }
                        list.push(key) != waits
                    }
                    2 => list.pop() == model.pop_front(),
                    _ => {
                        model.retain(|&k| k != key);
                        list.remove(key) == waits
                    }
                };
                agrees
                    && list.peek() == model.front().copied()
                    && list.len() == model.len()
                    && list.is_empty() == model.is_empty()
                    && (0..20).all(|k| list.contains(k) == model.contains(&k))
            })
        }
    }

    #[test]
    #[should_panic(expected = "limited to keys")]
    fn a_key_that_cannot_be_told_from_a_mark_is_refused() {
        ReadyList::new().push(MAX_KEYS);
    }
}
