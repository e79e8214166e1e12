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
crate::saved!(struct Deferred { conn, wire, taken, previous, next });

/// All deferred requests.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    table: Table<kind::Request, Deferred>,
}
crate::saved!(struct InFlight { table });

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

    /// All of them, with their connections, their ids on the wire, and since when they are in hand.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, ConnId, WireId, Instant)> {
        self.table.iter().map(|(id, deferred)| (id, deferred.conn, deferred.wire, deferred.taken))
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        /// Two connections add and remove requests, and are cleared now and then; the model is a list each.
        fn every_list_holds_what_was_added_and_not_removed(ops: Vec<(u8, u8)>) -> bool {
            let conns = [ConnId::new(0, 0), ConnId::new(1, 0)];
            let mut in_flight = InFlight::default();
            let mut firsts = [None, None];
            let mut model = [Vec::new(), Vec::new()];
            ops.iter().all(|&(what, number)| {
                let at = usize::from(number) % 2;
                let (first, list) = (&mut firsts[at], &mut model[at]);
                let picked = usize::from(number).checked_rem(list.len());
                match (what % 8, picked) {
                    (0, _) => in_flight.clear(first) as usize == core::mem::take(list).len(),
                    (1..=3, Some(picked)) => {
                        let id = list.swap_remove(picked);
                        in_flight.remove(first, id).is_some_and(|removed| removed.conn == conns[at])
                            && in_flight.get(id).is_none()
                            && in_flight.remove(first, id).is_none()
                    }
                    _ => {
                        let wire = WireId::new(u32::from(number), 0, 0);
                        list.push(in_flight.insert(first, conns[at], wire, Instant::ZERO));
                        true
                    }
                }
            }) && in_flight.table.len() == model[0].len() + model[1].len()
        }
    }
}
