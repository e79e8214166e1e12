//! The requests a client has taken and not yet ended: a slot each, a line of them per connection, a deadline.

use alloc::vec::Vec;

use super::admission::Leave;
use crate::cluster::{Place, Want};
use crate::id::{ConnId, Id, RequestId};
use crate::sched::Deadlines;
use crate::time::Instant;
use crate::wire::{Ids, WireId};

/// "No slot" in the lines.
const NONE: u32 = u32::MAX;

/// Where a request stands.
///
/// With a tag as wide as what follows it: a place is written by its parts, and were it copied together with the bytes
/// between a narrow tag and itself, the copy would wait for all of them.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum State {
    Free,
    /// For a place, with its frame kept.
    Waiting,
    /// On a connection.
    Placed(Place),
    /// Its own connection is lost; its second copy goes on.
    Carried,
    /// Nobody cares any more, but its answer will come: a ping, or a request that was given up on a wire without
    /// ids. The latter still holds its place.
    Ghost {
        conn: ConnId,
        holds_place: bool,
    },
}
crate::saved!(enum State {
    0 = Free, 1 = Waiting, 2 = Placed(value), 3 = Carried, 4 = Ghost { conn, holds_place }
});

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The generation that the caller's id carries.
    first: u32,
    /// The generation that the wire's id carries: another for every attempt.
    generation: u32,
    pub(super) state: State,
    prev: u32,
    next: u32,
    /// Where its frame lies in the stream of its connection.
    pub(super) start: u64,
    pub(super) len: u32,
    pub(super) tag: u64,
    pub(super) taken: Instant,
    pub(super) attempts: u8,
    pub(super) idempotent: bool,
    /// How often a second copy was sent.
    pub(super) hedges: u8,
    /// Of a request, its second copy; of a second copy, its request.
    partner: u32,
    is_copy: bool,
    /// Whether any byte of an earlier attempt has left.
    pub(super) sent: bool,
    /// There is more to say of it in the table of extras.
    has_extra: bool,
    /// The encoded frame: while it waits, and until the end if it is idempotent.
    pub(super) frame: Vec<u8>,
}
crate::saved!(struct Request {
    first, generation, state, prev, next, start, len, tag, taken, attempts, idempotent, hedges, partner,
    is_copy, sent, has_extra, frame
});

/// What few requests have: apart, so that the others stay small enough for two lines of a cache.
#[derive(Clone, Debug, Default)]
struct Extra {
    want: Want,
    /// What it owes to the guards that let it in.
    leave: Option<Leave>,
}
crate::saved!(struct Extra { want, leave });

/// The requests on one connection, in the order of their frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    head: u32,
    tail: u32,
}
crate::saved!(struct Line { head, tail });

impl Default for Line {
    fn default() -> Self {
        Line { head: NONE, tail: NONE }
    }
}

impl Line {
    pub(super) fn first(self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

/// All requests of a client, by slot.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    slots: Vec<Request>,
    /// By slot, up to the highest that ever had one.
    extras: Vec<Extra>,
    free: Vec<u32>,
    pub(super) deadlines: Deadlines,
    /// When each of those that may have a second copy has waited for long.
    pub(super) slow_at: Deadlines,
    ids: Ids,
}
crate::saved!(struct Requests { slots, extras, free, deadlines, slow_at, ids });

impl Requests {
    pub(super) fn new(salt: u64) -> Self {
        let (deadlines, slow_at) = (Deadlines::new(), Deadlines::new());
        let ids = Ids::new(salt);
        Requests { slots: Vec::new(), extras: Vec::new(), free: Vec::new(), deadlines, slow_at, ids }
    }

    /// How many slots are taken.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a slot; it waits, without a deadline, until it is said otherwise.
    #[inline]
    pub(super) fn open(&mut self, now: Instant) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.grow(now),
        };
        let request = &mut self.slots[slot as usize];
        request.first = request.generation;
        request.state = State::Waiting;
        request.taken = now;
        request.attempts = 1;
        request.idempotent = false;
        request.hedges = 0;
        request.partner = NONE;
        request.is_copy = false;
        request.sent = false;
        slot
    }

    #[cold]
    fn grow(&mut self, now: Instant) -> u32 {
        self.slots.push(Request {
            first: 0,
            generation: 0,
            state: State::Free,
            prev: NONE,
            next: NONE,
            start: 0,
            len: 0,
            tag: 0,
            taken: now,
            attempts: 1,
            idempotent: false,
            hedges: 0,
            partner: NONE,
            is_copy: false,
            sent: false,
            has_extra: false,
            frame: Vec::new(),
        });
        // Giving all of them back at once never allocates.
        self.free.reserve(self.slots.len());
        self.slots.len() as u32 - 1
    }

    /// What it wants of its place.
    pub(super) fn want(&self, slot: u32) -> Want {
        let extra = self.extras.get(slot as usize).filter(|_| self.get(slot).has_extra);
        extra.map_or_else(Want::default, |extra| extra.want)
    }

    pub(super) fn set_want(&mut self, slot: u32, want: Want) {
        if want != Want::default() || self.get(slot).has_extra {
            self.extra(slot).want = want;
        }
    }

    /// What it owes to the guards that let it in, as long as it was not settled.
    pub(super) fn leave_of(&mut self, slot: u32) -> Option<&mut Leave> {
        if self.get(slot).has_extra { self.extra(slot).leave.as_mut() } else { None }
    }

    pub(super) fn set_leave(&mut self, slot: u32, leave: Option<Leave>) {
        if leave.is_some() {
            self.extra(slot).leave = leave;
        }
    }

    pub(super) fn take_leave(&mut self, slot: u32) -> Option<Leave> {
        if self.get(slot).has_extra { self.extra(slot).leave.take() } else { None }
    }

    fn extra(&mut self, slot: u32) -> &mut Extra {
        let at = slot as usize;
        if self.extras.len() <= at {
            self.extras.resize_with(at + 1, Extra::default);
        }
        let extra = &mut self.extras[at];
        // What the last tenant of the slot has left.
        if !core::mem::replace(&mut self.slots[at].has_extra, true) {
            *extra = Extra::default();
        }
        extra
    }

    /// Gives the slot back, and its kept frame to the caller.
    pub(super) fn close(&mut self, slot: u32) -> Vec<u8> {
        self.deadlines.remove(slot);
        if !self.slow_at.is_empty() {
            self.slow_at.remove(slot);
        }
        let request = &mut self.slots[slot as usize];
        request.state = State::Free;
        request.has_extra = false;
        request.generation = request.generation.wrapping_add(1);
        self.free.push(slot);
        core::mem::take(&mut request.frame)
    }

    pub(super) fn get(&self, slot: u32) -> &Request {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Request {
        &mut self.slots[slot as usize]
    }

    pub(super) fn id(&self, slot: u32) -> RequestId {
        Id::new(slot, self.slots[slot as usize].first)
    }

    /// The slot of a request that the caller still waits for.
    pub(super) fn find(&self, id: RequestId) -> Option<u32> {
        let request = self.slots.get(id.index())?;
        let awaited = matches!(request.state, State::Waiting | State::Placed(_) | State::Carried);
        (awaited && !request.is_copy && request.first == id.generation()).then_some(id.slot())
    }

    /// Which connection a request has just been put on, if it does not wait, and the length of its frame.
    #[inline]
    pub(super) fn frame_of(&self, slot: u32) -> (Option<ConnId>, usize) {
        let request = self.get(slot);
        match request.state {
            State::Placed(place) => (Some(place.conn), request.len as usize),
            _ => (None, request.frame.len()),
        }
    }

    /// Zeros in place of the bytes of frames.
    pub(super) fn mask(&mut self) {
        for request in &mut self.slots {
            request.frame.fill(0);
            request.tag = 0;
        }
    }

    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    /// Whether an id is of the form that only this client writes.
    pub(super) fn is_ours(&self, id: WireId) -> bool {
        self.ids.id(id.slot(), id.generation()) == id
    }

    pub(super) fn wire_id(&self, slot: u32) -> WireId {
        self.ids.id(slot, self.slots[slot as usize].generation)
    }

    /// The slot that an answer with this id on this connection is for: all 128 bits must match.
    pub(super) fn find_wire(&self, id: WireId, conn: ConnId) -> Option<u32> {
        let slot = id.slot();
        let request = self.slots.get(slot as usize)?;
        let on = match &request.state {
            State::Placed(place) => place.conn,
            State::Ghost { conn, .. } => *conn,
            State::Free | State::Waiting | State::Carried => return None,
        };
        (on == conn && self.wire_id(slot) == id).then_some(slot)
    }

    /// Draws a new wire id for another attempt.
    pub(super) fn renew(&mut self, slot: u32) -> WireId {
        let request = &mut self.slots[slot as usize];
        request.generation = request.generation.wrapping_add(1);
        request.attempts += 1;
        request.state = State::Waiting;
        self.wire_id(slot)
    }

    /// `copy` is the second copy of `slot` from now on.
    pub(super) fn pair(&mut self, slot: u32, copy: u32) {
        self.slots[slot as usize].partner = copy;
        self.slots[copy as usize].partner = slot;
        self.slots[copy as usize].is_copy = true;
    }

    /// The second copy of a request, which is nobody's from now on.
    pub(super) fn unpair(&mut self, slot: u32) -> Option<u32> {
        let copy = self.copy_of(slot)?;
        self.slots[slot as usize].partner = NONE;
        self.slots[copy as usize].partner = NONE;
        Some(copy)
    }

    /// The second copy of a request.
    pub(super) fn copy_of(&self, slot: u32) -> Option<u32> {
        let Request { partner, is_copy, .. } = self.slots[slot as usize];
        (!is_copy && partner != NONE).then_some(partner)
    }

    /// The request that a slot is for: itself, or that of which it is the second copy.
    pub(super) fn owner(&self, slot: u32) -> u32 {
        let Request { partner, is_copy, .. } = self.slots[slot as usize];
        if is_copy && partner != NONE { partner } else { slot }
    }

    /// All slots that are taken, in order.
    pub(super) fn taken(&self) -> impl Iterator<Item = u32> {
        let taken = |request: &Request| !matches!(request.state, State::Free);
        (0u32..).zip(&self.slots).filter(move |(_, request)| taken(request)).map(|(slot, _)| slot)
    }

    pub(super) fn join(&mut self, line: &mut Line, slot: u32) {
        self.slots[slot as usize].prev = line.tail;
        self.slots[slot as usize].next = NONE;
        match line.tail {
            NONE => line.head = slot,
            tail => self.slots[tail as usize].next = slot,
        }
        line.tail = slot;
    }

    pub(super) fn leave(&mut self, line: &mut Line, slot: u32) {
        let Request { prev, next, .. } = self.slots[slot as usize];
        match prev {
            NONE => line.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NONE => line.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }

    /// Who stands behind `slot` in its line.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        let next = self.slots[slot as usize].next;
        (next != NONE).then_some(next)
    }
}
