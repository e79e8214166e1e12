//! What was handed to a machine and has not ended yet.

use alloc::vec::Vec;

use super::Key;

/// By the slots of their keys, at most as many as the mailbox lets in.
pub(super) struct InFlight<T> {
    slots: Vec<Option<(Key, T)>>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        InFlight { slots: Vec::new() }
    }
}

impl<T> InFlight<T> {
    pub(super) fn insert(&mut self, key: Key, call: T) {
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        self.slots[key.index()] = Some((key, call));
    }

    /// `None`: it was given up, and somebody else may have its slot.
    pub(super) fn take(&mut self, key: Key) -> Option<T> {
        let (_, call) = self.slots.get_mut(key.index())?.take_if(|(of, _)| *of == key)?;
        Some(call)
    }
}
