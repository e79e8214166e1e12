//! What connections have received and nobody has decoded yet.
//!
//! All connections of a machine read into one shared block. A connection that is left with part of a frame when
//! another one wants to read takes that part with it, into a buffer of its own; so an idle connection costs
//! nothing, and a busy one is never copied. A frame that is longer than the block gathers in a buffer of its own,
//! which grows with the bytes that have arrived (at most four times as large), never by what a header claims.

mod budget;
mod saved;
#[cfg(test)]
mod tests;

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use budget::Budget;

/// The shared block, in bytes.
pub const BLOCK: usize = 256 * 1024;
/// What it begins with, and by how much it grows when a read fills it: a machine to which little is said at a time (one of
/// ten thousand in a simulation) never takes more. It is larger than what is carried back into it.
const FIRST_BLOCK: usize = 2 * CARRY;
const BLOCK_GROWTH: usize = 8;

/// Up to so many bytes are carried back into the block to read on. Above, a connection reads on into its own
/// buffer until its frame is whole: otherwise a peer that dribbles a long frame makes us copy it over and over.
const CARRY: usize = 4 * 1024;
/// How much larger than its content a growing buffer may be.
const GROWTH: usize = 4;
/// Own buffers are sized in steps of this many bytes.
const STEP: usize = 512;

/// The receive side of one connection.
#[derive(Clone, Debug, Default)]
struct Inbox {
    /// Whether the bytes lie in the shared block, or in `own`.
    in_block: bool,
    own: Vec<u8>,
    start: usize,
    end: usize,
    /// The length that the first frame needs to be whole, as far as its decoder knows; 0 if it has not said.
    want: usize,
    /// The first frame has turned out longer than its decoder could know when it was long already.
    open_ended: bool,
    /// Waits for the budget.
    starved: bool,
}

impl Inbox {
    fn len(&self) -> usize {
        self.end - self.start
    }
}

/// A stretch of received bytes that has been consumed and is still in place, until the receiver is next changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    slot: u32,
    in_block: bool,
    start: usize,
    len: usize,
}

/// The receive buffers of all connections of a machine, by slot.
#[derive(Clone, Debug)]
pub struct Receiver {
    block: Vec<u8>,
    /// The slot whose bytes lie in the block.
    owner: Option<u32>,
    inboxes: Vec<Inbox>,
    budget: Budget,
    /// Slots whose long frame has been consumed: what it held is freed later, since it may still be lent.
    done: Vec<u32>,
}

impl Receiver {
    /// Parts of long frames hold at most `budget` bytes on all connections together (two blocks at least), and once that is
    /// spent, one frame at a time may grow to its end beyond it. Apart from it are the block, and up to 4 KiB that a
    /// connection may carry.
    pub fn new(budget: usize) -> Self {
        Receiver {
            block: Vec::new(),
            owner: None,
            inboxes: Vec::new(),
            budget: Budget::new(budget),
            done: Vec::new(),
        }
    }

    /// A new connection lives in `slot`; nothing of the one before it remains.
    pub fn open(&mut self, slot: u32) {
        if self.inboxes.len() <= slot as usize {
            self.inboxes.resize_with(slot as usize + 1, Inbox::default);
        }
        self.close(slot);
    }

    /// Forgets what `slot` has received.
    pub fn close(&mut self, slot: u32) {
        self.resize_own(slot, 0);
        self.budget.ends_turn(slot);
        self.inboxes[slot as usize] = Inbox::default();
        if self.owner == Some(slot) {
            self.owner = None;
        }
    }

    /// Where `slot` reads next. Empty while whole frames fill the room, and while the budget is spent (then
    /// [`is_starved`](Self::is_starved)).
    pub fn buf(&mut self, slot: u32) -> &mut [u8] {
        self.reclaim();
        let inbox = &self.inboxes[slot as usize];
        let partial = inbox.want > inbox.len();
        let long = inbox.want > BLOCK || (!inbox.in_block && inbox.len() > CARRY);
        if partial && long {
            return self.own_tail(slot);
        }
        if !inbox.in_block && inbox.len() > 0 && !partial {
            return &mut [];
        }
        if !inbox.in_block {
            self.take_block(slot);
        }
        self.block_tail(slot)
    }

    /// `n` bytes were written to the front of the last [`buf`](Self::buf) of `slot`.
    pub fn filled(&mut self, slot: u32, n: usize) {
        let inbox = &mut self.inboxes[slot as usize];
        let room = if inbox.in_block { self.block.len() } else { inbox.own.len() };
        inbox.end = (inbox.end + n).min(room);
        if inbox.in_block && inbox.end == room && room < BLOCK {
            self.block.resize((room * BLOCK_GROWTH).min(BLOCK), 0);
        }
    }

    /// What `slot` has received and not consumed.
    pub fn bytes(&self, slot: u32) -> &[u8] {
        let inbox = &self.inboxes[slot as usize];
        let storage = if inbox.in_block { &self.block } else { &inbox.own };
        &storage[inbox.start..inbox.end]
    }

    /// The same, to be changed: a replay puts back what it knows of them.
    pub(crate) fn bytes_mut(&mut self, slot: u32) -> &mut [u8] {
        let inbox = &mut self.inboxes[slot as usize];
        let storage = if inbox.in_block { &mut self.block } else { &mut inbox.own };
        &mut storage[inbox.start..inbox.end]
    }

    /// The first frame of `slot` is whole when `total` bytes are there.
    pub fn need(&mut self, slot: u32, total: usize) {
        let inbox = &mut self.inboxes[slot as usize];
        inbox.open_ended |= inbox.want > BLOCK && total > inbox.want;
        inbox.want = total;
    }

    /// Whether there is as much of the first frame of `slot` as it [needs](Self::need), as far as is known.
    pub fn is_due(&self, slot: u32) -> bool {
        let inbox = &self.inboxes[slot as usize];
        inbox.len() >= inbox.want
    }

    /// Consumes the first `n` bytes of `slot`. They stay in place until the receiver is next changed by another
    /// call than this one and [`need`](Self::need).
    pub fn consume(&mut self, slot: u32, n: usize) -> Lent {
        let inbox = &mut self.inboxes[slot as usize];
        let len = n.min(inbox.len());
        let lent = Lent { slot, in_block: inbox.in_block, start: inbox.start, len };
        inbox.start += len;
        inbox.want = 0;
        inbox.open_ended = false;
        if inbox.len() == 0 {
            inbox.start = 0;
            inbox.end = 0;
            if inbox.in_block {
                inbox.in_block = false;
                self.owner = None;
            }
        }
        if self.budget.has_turn(slot) || (inbox.len() == 0 && inbox.own.len() > CARRY) {
            self.done.push(slot);
        }
        lent
    }

    /// Lends a part of what was consumed last; the range counts from the start of what was consumed.
    pub fn lent(&self, lent: &Lent, range: Range<usize>) -> &[u8] {
        let storage = if lent.in_block { &self.block } else { &self.inboxes[lent.slot as usize].own };
        &storage[lent.start..lent.start + lent.len][range]
    }

    /// The same, to be changed: a replay puts back what it knows of it.
    pub(crate) fn lent_mut(&mut self, lent: &Lent) -> &mut [u8] {
        let storage = if lent.in_block { &mut self.block } else { &mut self.inboxes[lent.slot as usize].own };
        &mut storage[lent.start..lent.start + lent.len]
    }

    /// Frees the long buffers that were lent no longer than until now.
    pub fn reclaim(&mut self) {
        while let Some(slot) = self.done.pop() {
            let inbox = &self.inboxes[slot as usize];
            if inbox.in_block || inbox.len() == 0 {
                self.resize_own(slot, 0);
            } else if self.budget.has_turn(slot) {
                self.compact_own(slot);
                self.resize_own(slot, self.inboxes[slot as usize].len().next_multiple_of(STEP));
            }
            self.budget.ends_turn(slot);
        }
    }

    /// Whether neither [`reclaim`](Self::reclaim) nor [`relieved`](Self::relieved) has anything to do.
    pub fn is_settled(&self) -> bool {
        self.done.is_empty() && self.budget.starved.is_empty()
    }

    /// Whether `slot` waits for the budget to allow more.
    pub fn is_starved(&self, slot: u32) -> bool {
        self.inboxes[slot as usize].starved
    }

    /// A slot that waited for the budget and may read again: since half of the budget is free, or it has the turn.
    pub fn relieved(&mut self) -> Option<u32> {
        while self.budget.may_relieve() {
            let slot = self.budget.starved.pop_front()?;
            if core::mem::take(&mut self.inboxes[slot as usize].starved) {
                if !self.budget.is_relaxed() {
                    self.budget.takes_turn(slot);
                }
                return Some(slot);
            }
        }
        None
    }

    /// Whether [`reclaim`](Self::reclaim) and [`relieved`](Self::relieved) may have something to say.
    pub fn may_relieve(&self) -> bool {
        self.budget.may_relieve() || (!self.done.is_empty() && !self.budget.starved.is_empty())
    }

    /// The same with zeros in place of what waits; of each slot, the first `kept` bytes are left as they came.
    pub(crate) fn masked(&self, kept: impl Fn(u32) -> usize) -> Self {
        let mut masked = self.clone();
        for (slot, inbox) in (0..).zip(&mut masked.inboxes) {
            let storage = if inbox.in_block { &mut masked.block } else { &mut inbox.own };
            let from = inbox.start + kept(slot).min(inbox.end - inbox.start);
            storage[from..inbox.end].fill(0);
        }
        masked
    }

    /// Bytes that parts of long frames hold now, in all.
    pub fn held(&self) -> usize {
        self.budget.held
    }

    /// The free end of the own buffer of a slot that gathers a long frame.
    fn own_tail(&mut self, slot: u32) -> &mut [u8] {
        if self.inboxes[slot as usize].in_block {
            self.move_out(slot);
        }
        let inbox = &self.inboxes[slot as usize];
        if inbox.end == inbox.own.len() && !self.compact_own(slot) && !self.grow_own(slot) {
            self.starve(slot);
            return &mut [];
        }
        let inbox = &mut self.inboxes[slot as usize];
        // Who has the turn reads nothing beyond its frame, so that nothing is left of it afterwards.
        let end = if self.budget.has_turn(slot) {
            inbox.own.len().min(inbox.start + inbox.want)
        } else {
            inbox.own.len()
        };
        &mut inbox.own[inbox.end..end]
    }

    /// The free end of the block, for its owner.
    fn block_tail(&mut self, slot: u32) -> &mut [u8] {
        let spent = self.budget.is_spent();
        let inbox = &mut self.inboxes[slot as usize];
        let block = self.block.len();
        let room = block - inbox.end;
        if inbox.start > 0 && (room == 0 || (room < block / 4 && inbox.len() < inbox.start)) {
            self.block.copy_within(inbox.start..inbox.end, 0);
            inbox.end -= inbox.start;
            inbox.start = 0;
        }
        // With the budget spent, an owner may have no more than it can always carry away: the block belongs to all.
        let mut end = if spent { block.min(inbox.start + CARRY).max(inbox.end) } else { block };
        if end == inbox.end && inbox.want > inbox.len() {
            if !self.budget.takes_turn(slot) {
                self.starve(slot);
                return &mut [];
            }
            end = block.min(inbox.start + inbox.want);
        }
        &mut self.block[inbox.end..end]
    }

    /// Makes `slot` the owner of the block, with the few bytes it carries.
    fn take_block(&mut self, slot: u32) {
        if let Some(owner) = self.owner {
            self.move_out(owner);
        }
        if self.block.is_empty() {
            self.block = vec![0; FIRST_BLOCK];
        }
        let inbox = &mut self.inboxes[slot as usize];
        let len = inbox.len();
        self.block[..len].copy_from_slice(&inbox.own[inbox.start..inbox.end]);
        inbox.in_block = true;
        inbox.start = 0;
        inbox.end = len;
        self.owner = Some(slot);
        if inbox.own.len() > CARRY {
            self.resize_own(slot, 0);
        }
    }

    /// Moves what the block's owner has left into a buffer of its own. There is always room: while the budget is spent,
    /// no owner has more than it may carry; before, a block of the budget is kept free for this.
    fn move_out(&mut self, owner: u32) {
        let len = self.inboxes[owner as usize].len();
        if self.inboxes[owner as usize].own.len() < len {
            self.resize_own(owner, len.next_multiple_of(STEP));
        }
        let inbox = &mut self.inboxes[owner as usize];
        inbox.own[..len].copy_from_slice(&self.block[inbox.start..inbox.end]);
        inbox.in_block = false;
        inbox.start = 0;
        inbox.end = len;
        self.owner = None;
    }

    /// Makes room by moving the bytes of an own buffer to its front, if there is room to win.
    fn compact_own(&mut self, slot: u32) -> bool {
        let inbox = &mut self.inboxes[slot as usize];
        if inbox.start == 0 {
            return false;
        }
        inbox.own.copy_within(inbox.start..inbox.end, 0);
        inbox.end -= inbox.start;
        inbox.start = 0;
        true
    }

    /// Makes room for more of a long frame, as far as the budget allows.
    fn grow_own(&mut self, slot: u32) -> bool {
        let inbox = &self.inboxes[slot as usize];
        // Of a frame whose length nobody knows, every step is a part of the whole: otherwise each few bytes would move it.
        let least = if inbox.open_ended { inbox.len() + inbox.len() / 2 } else { 0 };
        let wanted = inbox.want.max(least).next_multiple_of(STEP).min(largest(inbox.len()));
        let size = wanted.min(self.budget.room(inbox.own.len()));
        let size = if size <= inbox.own.len() && self.budget.takes_turn(slot) { wanted } else { size };
        let grows = size > inbox.own.len();
        if grows {
            self.resize_own(slot, size);
        }
        grows
    }

    fn resize_own(&mut self, slot: u32, size: usize) {
        let inbox = &mut self.inboxes[slot as usize];
        self.budget.resized(inbox.own.len(), size);
        if size == 0 {
            inbox.own = Vec::new();
        } else {
            inbox.own.reserve_exact(size.saturating_sub(inbox.own.len()));
            inbox.own.resize(size, 0);
        }
    }

    fn starve(&mut self, slot: u32) {
        let inbox = &mut self.inboxes[slot as usize];
        if !core::mem::replace(&mut inbox.starved, true) {
            self.budget.starved.push_back(slot);
        }
    }
}

/// How large a buffer may grow that holds `len` bytes.
fn largest(len: usize) -> usize {
    (GROWTH * len.max(CARRY)).next_multiple_of(STEP)
}
