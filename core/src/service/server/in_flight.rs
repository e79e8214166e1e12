//! Requests that were deferred: one table for all, and a list through it for each connection.

use crate::id::{ConnId, RequestId, Table, kind};
use crate::time::Instant;
use crate::wire::WireId;

/// A deferred request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    pub(super) conn: ConnId,
    pub(super) wire: WireId,
    pub(super) taken: Instant,
    previous: Option<RequestId>,
    next: Option<RequestId>,
}

/// All deferred requests.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    table: Table<kind::Request, Deferred>,
}

impl InFlight {
    /// Adds a request to the list of its connection, which starts at `first`.
    pub(super) fn insert(
        &mut self,
        first: &mut Option<RequestId>,
        conn: ConnId,
        wire: WireId,
        taken: Instant,
    ) -> RequestId {
        let id = self.table.insert(Deferred { conn, wire, taken, previous: None, next: *first });
        if let Some(next) = first.and_then(|next| self.table.get_mut(next)) {
            next.previous = Some(id);
        }
        *first = Some(id);
        id
    }

    pub(super) fn get(&self, id: RequestId) -> Option<Deferred> {
        self.table.get(id).copied()
    }

    /// Takes a request out of the list of its connection, which starts at `first`.
    pub(super) fn remove(&mut self, first: &mut Option<RequestId>, id: RequestId) -> Option<Deferred> {
        let removed = self.table.remove(id)?;
        if let Some(next) = removed.next.and_then(|next| self.table.get_mut(next)) {
            next.previous = removed.previous;
        }
        match removed.previous.and_then(|previous| self.table.get_mut(previous)) {
            Some(previous) => previous.next = removed.next,
            None => *first = removed.next,
        }
        Some(removed)
    }

    /// Drops the whole list that starts at `first`; how many that were.
    pub(super) fn clear(&mut self, first: &mut Option<RequestId>) -> u32 {
        let mut dropped = 0;
        while let Some(removed) = first.and_then(|id| self.table.remove(id)) {
            *first = removed.next;
            dropped += 1;
        }
        dropped
    }
}
