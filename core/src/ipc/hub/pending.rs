//! Calls that wait for their answer: found by who called and the id, and listed by who called and who was called.

use alloc::vec::Vec;

use crate::buf::pool::ObjectPool;
use crate::id::ConnId;
use crate::map::{Map, Seed, Vacant};
use crate::sched::Deadlines;
use crate::time::Instant;
use crate::wire::ipc::{Format, Text, Value};

/// What ids and contexts of all pending calls may take up, in bytes.
const BYTES: usize = 64 << 20;
/// Buffers that are kept for reuse, and how large each may be.
const SPARE: usize = 4_096;
const SPARE_BYTES: usize = 1_024;

/// Marks the end of a list.
const NONE: u32 = u32::MAX;

/// By whom a call is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Callee,
}

/// The first of a list of pending calls, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    first: u32,
    pub(super) len: u32,
}
crate::saved!(struct Calls { first, len });

impl Default for Calls {
    fn default() -> Self {
        Calls { first: NONE, len: 0 }
    }
}

impl Calls {
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}
crate::saved!(struct Link { previous, next });

/// A call that was passed on.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The connection that it came over.
    pub(super) caller: ConnId,
    /// The connection that it was passed to.
    pub(super) callee: ConnId,
    /// The slots of their services.
    pub(super) caller_service: u32,
    pub(super) callee_service: u32,
    /// Since when.
    pub(super) taken: Instant,
    /// Whether the deadline of its context comes before the hub's own timeout.
    pub(super) by_deadline: bool,
    format: Format,
    context: Vec<u8>,
    links: [Link; 2],
}
crate::saved!(struct Call {
    caller, callee, caller_service, callee_service, taken, by_deadline, format, context, links
});

impl Call {
    pub(super) fn context(&self) -> Value<'_> {
        match self.format {
            Format::Json => Value::checked_json(core::str::from_utf8(&self.context).unwrap_or("null")),
            Format::MessagePack => Value::checked_message_pack(&self.context),
        }
    }
}

/// Who calls whom, when a call is passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) caller: ConnId,
    pub(super) callee: ConnId,
    pub(super) caller_service: u32,
    pub(super) callee_service: u32,
}

/// All pending calls.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// By the slot of the caller's service, and the id.
    calls: Map<Vec<u8>, Call>,
    pub(super) deadlines: Deadlines,
    spare: ObjectPool<Vec<u8>>,
    /// The key that is looked for.
    key: Vec<u8>,
    /// That it was not there.
    vacant: Option<Vacant>,
    bytes: usize,
}
// Spare memory is not saved; a key is looked for anew in every call.
crate::saved!(struct Pending {
    calls, deadlines, bytes;
    rebuilt spare = spare_buffers(), key = Vec::new(), vacant = None
});

fn spare_buffers() -> ObjectPool<Vec<u8>> {
    let reset = |buffer: &mut Vec<u8>| {
        buffer.clear();
        buffer.shrink_to(SPARE_BYTES);
    };
    ObjectPool::new(|| Vec::with_capacity(SPARE_BYTES / 4), reset, 0, SPARE)
}

impl Pending {
    pub(super) fn new(limit: u32, seed: Seed) -> Self {
        Pending {
            calls: Map::growing(limit, seed),
            deadlines: Deadlines::new(),
            spare: spare_buffers(),
            key: Vec::new(),
            vacant: None,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is no room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.calls.is_full() || self.bytes >= BYTES
    }

    /// The call of this service with this id.
    pub(super) fn find(&mut self, caller_service: u32, id: Text<'_>) -> Option<u32> {
        self.key.clear();
        self.key.extend_from_slice(&caller_service.to_le_bytes());
        id.append_to(&mut self.key);
        let found = self.calls.look(&self.key[..]);
        self.vacant = found.err();
        found.ok()
    }

    /// Adds the call that was not [found](Self::find) just now.
    pub(super) fn insert(
        &mut self,
        route: Route,
        context: Value<'_>,
        now: Instant,
        by_deadline: bool,
    ) -> Option<u32> {
        let (mut key, mut kept) = (self.spare.get(), self.spare.get());
        key.extend_from_slice(&self.key);
        kept.extend_from_slice(context.bytes());
        let bytes = key.len() + kept.len();
        let Route { caller, callee, caller_service, callee_service } = route;
        let links = [Link { previous: NONE, next: NONE }; 2];
        let (format, context, taken) = (context.format(), kept, now);
        let call = Call {
            caller,
            callee,
            caller_service,
            callee_service,
            taken,
            by_deadline,
            format,
            context,
            links,
        };
        let slot = self.calls.fill(self.vacant.take()?, key, call).ok()?;
        self.bytes += bytes;
        Some(slot)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Call> {
        self.calls.get(slot).map(|(_, call)| call)
    }

    /// A call, and its id.
    pub(super) fn get_with_id(&self, slot: u32) -> Option<(&str, &Call)> {
        let (key, call) = self.calls.get(slot)?;
        Some((core::str::from_utf8(&key[size_of::<u32>()..]).unwrap_or(""), call))
    }

    /// Adds a call to a list.
    pub(super) fn link(&mut self, side: Side, calls: &mut Calls, slot: u32) {
        let next = core::mem::replace(&mut calls.first, slot);
        calls.len += 1;
        self.set(slot, side, |link| *link = Link { previous: NONE, next });
        self.set(next, side, |link| link.previous = slot);
    }

    /// Takes a call out of a list.
    pub(super) fn unlink(&mut self, side: Side, calls: &mut Calls, slot: u32) {
        let Some(Link { previous, next }) = self.get(slot).map(|call| call.links[side as usize]) else {
            return;
        };
        calls.len -= 1;
        if previous == NONE {
            calls.first = next;
        }
        self.set(previous, side, |link| link.next = next);
        self.set(next, side, |link| link.previous = previous);
    }

    /// Forgets a call that was taken out of both lists.
    pub(super) fn remove(&mut self, slot: u32) {
        self.deadlines.remove(slot);
        if let Some((key, call)) = self.calls.remove(slot) {
            self.bytes -= key.len() + call.context.len();
            self.spare.release(key);
            self.spare.release(call.context);
        }
    }

    fn set(&mut self, slot: u32, side: Side, change: impl FnOnce(&mut Link)) {
        if slot != NONE
            && let Some(call) = self.calls.get_mut(slot)
        {
            change(&mut call.links[side as usize]);
        }
    }
}
