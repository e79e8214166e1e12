//! The requests that wait for a place: first come, first served, bounded in number and bytes.

use alloc::vec::Vec;

use crate::sched::ReadyList;

#[derive(Clone, Debug)]
pub(super) struct Waiters {
    queue: ReadyList,
    /// The size of each waiter, by key.
    sizes: Vec<u32>,
    bytes: u64,
    max_items: u32,
    max_bytes: u64,
}

impl Waiters {
    pub(super) fn new(max_items: u32, max_bytes: u64) -> Self {
        Waiters { queue: ReadyList::new(), sizes: Vec::new(), bytes: 0, max_items, max_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// `false`: the queue is full.
    pub(super) fn push(&mut self, key: u32, size: u32) -> bool {
        if self.queue.len() as u64 >= u64::from(self.max_items)
            || self.bytes + u64::from(size) > self.max_bytes
        {
            return false;
        }
        if self.sizes.len() <= key as usize {
            self.sizes.resize(key as usize + 1, 0);
        }
        self.sizes[key as usize] = size;
        self.bytes += u64::from(size);
        self.queue.push(key)
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        let key = self.queue.pop()?;
        self.bytes -= u64::from(self.sizes[key as usize]);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: u32) -> bool {
        let found = self.queue.remove(key);
        if found {
            self.bytes -= u64::from(self.sizes[key as usize]);
        }
        found
    }
}
