//! What connections have received and nobody has decoded yet.
//!
//! All connections of a machine read into one shared block. A connection that is left with part of a frame when
//! another one wants to read takes that part with it, into a buffer of its own; so an idle connection costs
//! nothing, and a busy one is never copied. A frame that is longer than the block gathers in a buffer of its own,
//! which grows with the bytes that have arrived (at most four times as large), never by what a header claims.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::save::{Damaged, Reader, Save, Writer};

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
    /// Bytes of all own buffers that are longer than `CARRY`.
    held: usize,
    budget: usize,
    /// Slots that could not read on, because the budget was spent.
    starved: VecDeque<u32>,
    /// Slots whose long buffer has been emptied: freed later, since it may still be lent.
    emptied: Vec<u32>,
}

impl Receiver {
    /// Parts of long frames hold at most `budget` bytes on all connections together (two blocks at least). Apart from it
    /// are the block, and up to 4 KiB that a connection may carry.
    pub fn new(budget: usize) -> Self {
        Receiver {
            block: Vec::new(),
            owner: None,
            inboxes: Vec::new(),
            held: 0,
            budget: budget.max(2 * BLOCK),
            starved: VecDeque::new(),
            emptied: Vec::new(),
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
            } else if inbox.own.len() > CARRY {
                self.emptied.push(slot);
            }
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
        while let Some(slot) = self.emptied.pop() {
            if self.inboxes[slot as usize].len() == 0 {
                self.resize_own(slot, 0);
            }
        }
    }

    /// Whether neither [`reclaim`](Self::reclaim) nor [`relieved`](Self::relieved) has anything to do.
    pub fn is_settled(&self) -> bool {
        self.emptied.is_empty() && self.starved.is_empty()
    }

    /// Whether `slot` waits for the budget to allow more.
    pub fn is_starved(&self, slot: u32) -> bool {
        self.inboxes[slot as usize].starved
    }

    /// A slot that waited for the budget and may read again: when half of the budget is free.
    pub fn relieved(&mut self) -> Option<u32> {
        while self.is_relaxed() {
            let slot = self.starved.pop_front()?;
            if core::mem::take(&mut self.inboxes[slot as usize].starved) {
                return Some(slot);
            }
        }
        None
    }

    /// Whether [`reclaim`](Self::reclaim) and [`relieved`](Self::relieved) may have something to say.
    pub fn may_relieve(&self) -> bool {
        !self.starved.is_empty() && (!self.emptied.is_empty() || self.is_relaxed())
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
        self.held
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
        &mut inbox.own[inbox.end..]
    }

    /// The free end of the block, for its owner.
    fn block_tail(&mut self, slot: u32) -> &mut [u8] {
        let spent = self.is_spent();
        let inbox = &mut self.inboxes[slot as usize];
        let block = self.block.len();
        let room = block - inbox.end;
        if inbox.start > 0 && (room == 0 || (room < block / 4 && inbox.len() < inbox.start)) {
            self.block.copy_within(inbox.start..inbox.end, 0);
            inbox.end -= inbox.start;
            inbox.start = 0;
        }
        // With the budget spent, an owner may have no more than it can always carry away: the block belongs to all.
        let end = if spent { block.min(inbox.start + CARRY).max(inbox.end) } else { block };
        if end == inbox.end && inbox.want > inbox.len() {
            self.starve(slot);
            return &mut [];
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
        let wanted = inbox.want.max(least).min(GROWTH * inbox.len().max(CARRY)).next_multiple_of(STEP);
        let others = self.held - weight(inbox.own.len());
        let size = wanted.min((self.budget - BLOCK).saturating_sub(others));
        let grows = size > inbox.own.len();
        if grows {
            self.resize_own(slot, size);
        }
        grows
    }

    fn resize_own(&mut self, slot: u32, size: usize) {
        let inbox = &mut self.inboxes[slot as usize];
        self.held = self.held - weight(inbox.own.len()) + weight(size);
        if size == 0 {
            inbox.own = Vec::new();
        } else {
            inbox.own.reserve_exact(size.saturating_sub(inbox.own.len()));
            inbox.own.resize(size, 0);
        }
    }

    /// Whether half of what long frames may grow to is free: less than any slot was starved at.
    fn is_relaxed(&self) -> bool {
        self.held <= (self.budget - BLOCK) / 2
    }

    /// Whether there is no room in the budget for what an owner of the block might leave behind.
    fn is_spent(&self) -> bool {
        self.held + BLOCK > self.budget
    }

    fn starve(&mut self, slot: u32) {
        let inbox = &mut self.inboxes[slot as usize];
        if !core::mem::replace(&mut inbox.starved, true) {
            self.starved.push_back(slot);
        }
    }
}

/// What an own buffer of so many bytes counts in the budget.
fn weight(size: usize) -> usize {
    if size > CARRY { size } else { 0 }
}

/// Of the buffers, what nobody has consumed; what else is in them is never read.
impl Save for Receiver {
    fn save(&self, out: &mut Writer) {
        // What is held follows from the sizes of the buffers.
        let Receiver { block, owner, inboxes, held: _, budget, starved, emptied } = self;
        budget.save(out);
        // How large it has grown decides into which pieces the next bytes are cut.
        block.len().save(out);
        out.length(inboxes.len());
        for Inbox { in_block, own, start, end, want, open_ended, starved } in inboxes {
            in_block.save(out);
            own.len().save(out);
            start.save(out);
            out.bytes(&if *in_block { block } else { own }[*start..*end]);
            want.save(out);
            open_ended.save(out);
            starved.save(out);
        }
        owner.save(out);
        starved.save(out);
        emptied.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut receiver = Receiver::new(Save::load(from)?);
        let block: usize = Save::load(from)?;
        if block > BLOCK {
            return Err(from.invalid(0));
        }
        receiver.block = vec![0; block];
        for _ in 0..from.length()? {
            let inbox = receiver.load_inbox(from)?;
            receiver.inboxes.push(inbox);
        }
        receiver.owner = Save::load(from)?;
        receiver.starved = Save::load(from)?;
        receiver.emptied = Save::load(from)?;
        Ok(receiver)
    }
}

impl Receiver {
    fn load_inbox(&mut self, from: &mut Reader<'_>) -> Result<Inbox, Damaged> {
        let (in_block, size): (bool, usize) = Save::load(from)?;
        let start: usize = Save::load(from)?;
        let bytes = from.bytes()?;
        let end = start.saturating_add(bytes.len());
        self.held = self.held.saturating_add(weight(size));
        if self.held > self.budget || end > if in_block { self.block.len() } else { size } {
            return Err(from.invalid(bytes.len()));
        }
        let mut own = vec![0; size];
        let storage = if in_block { &mut self.block } else { &mut own };
        storage[start..end].copy_from_slice(bytes);
        let (want, open_ended, starved) = Save::load(from)?;
        Ok(Inbox { in_block, own, start, end, want, open_ended, starved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{TestResult, quickcheck};

    /// A toy wire: a frame is its length as four bytes, then so many copies of one byte.
    const HEAD: usize = 4;

    fn frame(len: u32) -> Vec<u8> {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.resize(HEAD + len as usize, len as u8);
        bytes
    }

    /// Decodes one frame of `slot`, as a machine would: its length if it was whole and right.
    fn decode(receiver: &mut Receiver, slot: u32) -> Option<u32> {
        let bytes = receiver.bytes(slot);
        let Some(head) = bytes.first_chunk::<HEAD>() else {
            receiver.need(slot, HEAD);
            return None;
        };
        let len = u32::from_le_bytes(*head);
        let total = HEAD + len as usize;
        if bytes.len() < total {
            receiver.need(slot, total);
            return None;
        }
        let lent = receiver.consume(slot, total);
        let content = receiver.lent(&lent, HEAD..total);
        assert!(content.iter().all(|&byte| byte == len as u8), "the bytes of another frame");
        Some(len)
    }

    quickcheck! {
        /// Three connections, frames of many sizes, reads of any length in any order, decoded at once or later:
        /// every connection gets its own frames, whole and in order.
        fn frames_arrive_whole_on_any_schedule(lens: Vec<(u8, u32)>, reads: Vec<(u8, u16, bool)>) -> TestResult {
            if reads.is_empty() {
                return TestResult::discard();
            }
            let mut receiver = Receiver::new(8 << 20);
            let mut wires = [Vec::new(), Vec::new(), Vec::new()];
            let mut expected = [Vec::new(), Vec::new(), Vec::new()];
            for (conn, len) in lens.into_iter().take(12) {
                let len = if len % 5 == 0 { len % 600_000 } else { len % 9_000 };
                wires[usize::from(conn % 3)].extend(frame(len));
                expected[usize::from(conn % 3)].push(len);
            }
            let mut got = [Vec::new(), Vec::new(), Vec::new()];
            (0..3).for_each(|slot| receiver.open(slot));
            for (conn, n, decode_now) in reads.iter().cycle().take(100_000).copied() {
                let slot = u32::from(conn % 3);
                let wire = &mut wires[slot as usize];
                let buf = receiver.buf(slot);
                let n = buf.len().min(wire.len()).min(1 + usize::from(n) * 4);
                buf[..n].copy_from_slice(&wire[..n]);
                wire.drain(..n);
                receiver.filled(slot, n);
                if decode_now || n == 0 {
                    while let Some(len) = decode(&mut receiver, slot) {
                        got[slot as usize].push(len);
                    }
                }
            }
            for slot in 0..3u32 {
                loop {
                    let wire = &mut wires[slot as usize];
                    let n = receiver.feed_all(slot, wire);
                    wire.drain(..n);
                    let mut progress = n > 0;
                    while let Some(len) = decode(&mut receiver, slot) {
                        got[slot as usize].push(len);
                        progress = true;
                    }
                    if !progress {
                        break;
                    }
                }
            }
            let held_is_true = receiver.held == receiver.inboxes.iter().map(|inbox| weight(inbox.own.len())).sum::<usize>();
            TestResult::from_bool(got == expected && held_is_true)
        }
    }

    impl Receiver {
        fn feed_all(&mut self, slot: u32, bytes: &[u8]) -> usize {
            let buf = self.buf(slot);
            let n = buf.len().min(bytes.len());
            buf[..n].copy_from_slice(&bytes[..n]);
            self.filled(slot, n);
            n
        }
    }

    #[test]
    fn a_claimed_length_allocates_at_most_four_times_what_arrived() {
        let mut receiver = Receiver::new(64 << 20);
        receiver.open(0);
        receiver.feed_all(0, &(50_000_000u32).to_le_bytes());
        assert_eq!(decode(&mut receiver, 0), None);
        let mut arrived = HEAD;
        while arrived < 3_000_000 {
            arrived += receiver.feed_all(0, &[0; 1000]);
            assert!(receiver.held() <= 4 * arrived.max(CARRY) + STEP, "{} for {arrived}", receiver.held());
        }
    }

    #[test]
    fn a_long_frame_whose_length_is_found_out_step_by_step_is_moved_only_a_few_times() {
        let mut receiver = Receiver::new(64 << 20);
        receiver.open(0);
        let (mut moves, mut before) = (0, 0);
        for need in (BLOCK + 1..8 << 20).step_by(1_000) {
            receiver.need(0, need);
            while !receiver.is_due(0) {
                receiver.feed_all(0, &[0; 1_000]);
                let size = receiver.inboxes[0].own.len();
                moves += u32::from(core::mem::replace(&mut before, size) != size);
            }
        }
        assert!(moves <= 16, "{moves}");
    }

    /// Announces a long frame on `slot`, and sends of it until no more is taken.
    fn fill_up(receiver: &mut Receiver, slot: u32) {
        receiver.feed_all(slot, &(50_000_000u32).to_le_bytes());
        assert_eq!(decode(receiver, slot), None);
        while receiver.feed_all(slot, &[0x80; 1000]) > 0 {}
    }

    #[test]
    fn a_spent_budget_starves_and_a_freed_one_relieves() {
        let mut receiver = Receiver::new(1 << 20);
        receiver.open(0);
        receiver.open(1);
        fill_up(&mut receiver, 0);
        assert!(receiver.is_starved(0));
        assert!(receiver.held() <= 1 << 20);
        assert_eq!(receiver.relieved(), None);
        receiver.close(0);
        fill_up(&mut receiver, 1);
        assert!(receiver.is_starved(1));
        receiver.close(1);
        assert_eq!(receiver.relieved(), None, "a closed connection is not relieved");
        assert_eq!(receiver.held(), 0);
    }

    #[test]
    fn greedy_connections_do_not_stop_the_others() {
        let mut receiver = Receiver::new(1 << 20);
        (0..40).for_each(|slot| receiver.open(slot));
        for slot in 0..20 {
            fill_up(&mut receiver, slot);
            assert!(receiver.held() <= 1 << 20);
        }
        for slot in (20..40).chain(20..40) {
            let mut bytes = &[frame(900), frame(2_000)].concat()[..];
            while !bytes.is_empty() {
                let n = receiver.feed_all(slot, &bytes[..bytes.len().min(700)]);
                assert!(n > 0, "slot {slot} is stopped by others");
                bytes = &bytes[n..];
                while decode(&mut receiver, slot).is_some() {}
                receiver.feed_all(slot % 20, &[0x80; 1000]);
            }
            assert!(receiver.bytes(slot).is_empty());
        }
    }

    #[test]
    fn an_idle_connection_holds_nothing() {
        let mut receiver = Receiver::new(1 << 20);
        for slot in 0..100 {
            receiver.open(slot);
            receiver.feed_all(slot, &frame(500));
            assert_eq!(decode(&mut receiver, slot), Some(500));
        }
        assert_eq!(receiver.held(), 0);
    }

    #[test]
    fn a_block_full_of_undrained_frames_is_backpressure_not_loss() {
        let mut receiver = Receiver::new(1 << 20);
        receiver.open(0);
        let one = frame(996);
        let mut sent = 0;
        loop {
            let n = receiver.feed_all(0, &one[sent % 1000..]);
            sent += n;
            if n == 0 {
                break;
            }
        }
        assert_eq!(sent, BLOCK);
        assert!(!receiver.is_starved(0));
        assert_eq!(decode(&mut receiver, 0), Some(996));
        assert!(!receiver.buf(0).is_empty());
    }
}
