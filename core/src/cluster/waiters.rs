//! The requests that wait for a place: first come, first served, bounded in number and bytes.

use alloc::vec::Vec;

use super::Want;
use crate::sched::ReadyList;

#[derive(Clone, Debug)]
pub(super) struct Waiters {
    queue: ReadyList,
    /// By key.
    waiters: Vec<Waiter>,
    bytes: u64,
    max_items: u32,
    max_bytes: u64,
}
crate::saved!(struct Waiters { queue, waiters, bytes, max_items, max_bytes });

#[derive(Clone, Copy, Debug, Default)]
struct Waiter {
    size: u32,
    want: Want,
}
crate::saved!(struct Waiter { size, want });

impl Waiters {
    pub(super) fn new(max_items: u32, max_bytes: u64) -> Self {
        Waiters { queue: ReadyList::new(), waiters: Vec::new(), bytes: 0, max_items, max_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// `false`: the queue is full.
    pub(super) fn push(&mut self, key: u32, size: u32, want: Want) -> bool {
        if self.queue.len() as u64 >= u64::from(self.max_items)
            || self.bytes + u64::from(size) > self.max_bytes
        {
            return false;
        }
        if self.waiters.len() <= key as usize {
            self.waiters.resize(key as usize + 1, Waiter::default());
        }
        self.waiters[key as usize] = Waiter { size, want };
        self.bytes += u64::from(size);
        self.queue.push(key)
    }

    /// What the first one wants.
    pub(super) fn peek(&self) -> Option<Want> {
        Some(self.waiters[self.queue.peek()? as usize].want)
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        let key = self.queue.pop()?;
        self.bytes -= u64::from(self.waiters[key as usize].size);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: u32) -> bool {
        let found = self.queue.remove(key);
        if found {
            self.bytes -= u64::from(self.waiters[key as usize].size);
        }
        found
    }
}
