//! How much long frames may hold together, and who waits for it.
//!
//! Connections that share a scarce budget could hold the very bytes that the others wait for. So one frame at a time has the
//! turn: it may grow to its end, whatever the others hold.

use alloc::collections::VecDeque;

use super::{BLOCK, CARRY};

/// What the own buffers of all connections hold, and may.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) limit: usize,
    /// Bytes of all own buffers that are longer than `CARRY`.
    pub(super) held: usize,
    /// The slot whose frame may go beyond the limit.
    pub(super) turn: Option<u32>,
    /// Slots that could not read on. Those that were closed meanwhile are still among them.
    pub(super) starved: VecDeque<u32>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget { limit: limit.max(2 * BLOCK), held: 0, turn: None, starved: VecDeque::new() }
    }

    /// An own buffer of `from` bytes has `to` now.
    pub(super) fn resized(&mut self, from: usize, to: usize) {
        self.held = self.held - weight(from) + weight(to);
    }

    /// How large an own buffer of `size` bytes may become. A block is kept free for what its owner leaves behind.
    pub(super) fn room(&self, size: usize) -> usize {
        (self.limit - BLOCK).saturating_sub(self.held - weight(size))
    }

    /// Whether there is no room for what an owner of the block might leave behind.
    pub(super) fn is_spent(&self) -> bool {
        self.held + BLOCK > self.limit
    }

    /// Whether half of what long frames may grow to is free: less than any slot was starved at.
    pub(super) fn is_relaxed(&self) -> bool {
        self.held <= (self.limit - BLOCK) / 2
    }

    pub(super) fn has_turn(&self, slot: u32) -> bool {
        self.turn == Some(slot)
    }

    /// `slot` cannot go on within the limit: whether it may go beyond.
    pub(super) fn takes_turn(&mut self, slot: u32) -> bool {
        *self.turn.get_or_insert(slot) == slot
    }

    /// The frame of `slot` has come to its end, and what it held beyond the limit is freed.
    pub(super) fn ends_turn(&mut self, slot: u32) {
        self.turn.take_if(|turn| *turn == slot);
    }

    /// Whether one that waits may read again.
    pub(super) fn may_relieve(&self) -> bool {
        !self.starved.is_empty() && (self.turn.is_none() || self.is_relaxed())
    }
}

/// What an own buffer of so many bytes counts.
pub(super) fn weight(size: usize) -> usize {
    if size > CARRY { size } else { 0 }
}
