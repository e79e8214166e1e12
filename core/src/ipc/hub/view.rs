//! What a hub tells of itself to whoever explains its log.

use alloc::string::{String, ToString};

use super::Hub;
use super::conn::Intake;
use super::state::State;
use crate::id::ConnId;
use crate::time::Instant;
use crate::wire::ipc::Text;

/// A connection among those of its service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) conn: ConnId,
    /// Calls that it was passed and has not answered.
    pub(crate) called: u32,
    pub(crate) has_method: bool,
    /// Whether it reads what it is sent.
    pub(crate) reads: bool,
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The hub answers it then.
    pub(crate) due: Option<Instant>,
    /// Because of the deadline of its context, which comes before the hub's own timeout.
    pub(crate) by_deadline: bool,
}

impl Hub {
    /// The connections of a service, and whether they have a method.
    pub(crate) fn members(&self, service: &str, method: &str) -> impl Iterator<Item = Member> {
        let services = &self.state.services;
        let service = services.find(service).and_then(|slot| services.get(slot));
        service.into_iter().flat_map(|service| &service.members).filter_map(move |&id| {
            let conn = self.state.lines.table.get(id)?;
            Some(Member {
                conn: id,
                called: conn.called.len,
                has_method: conn.registration.as_ref().is_some_and(|registered| registered.has(method)),
                reads: !conn.port.load.is_above(),
            })
        })
    }

    /// How a call waits.
    pub(crate) fn waiting(&mut self, caller: &str, id: &str) -> Option<Waiting> {
        let caller = self.state.services.find(caller)?;
        let slot = self.state.pending.find(caller, Text::from(id))?;
        let by_deadline = self.state.pending.get(slot)?.by_deadline;
        Some(Waiting { due: self.state.pending.deadlines.get(slot), by_deadline })
    }

    /// All calls that wait: of which service, with which id, passed to which connection of which service, and since when.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&str, &str, ConnId, &str, Instant)> {
        let State { pending, services, config, .. } = &self.state;
        (0..config.pending_total.get()).filter_map(move |slot| {
            let (id, call) = pending.get_with_id(slot)?;
            let name = |service| services.name(service).unwrap_or_default();
            Some((name(call.caller_service), id, call.callee, name(call.callee_service), call.taken))
        })
    }

    /// Which connection stands in a slot.
    pub(crate) fn conn_at(&self, slot: u32) -> Option<ConnId> {
        self.state.lines.table.id_at(slot)
    }

    /// Which service a connection is of.
    pub(crate) fn service_of(&self, conn: ConnId) -> Option<&str> {
        let conn = self.state.lines.table.get(conn)?;
        conn.registration.as_ref().and_then(|found| self.state.services.name(found.service))
    }

    /// Whether calls go to a connection.
    pub(crate) fn serves(&self, conn: ConnId) -> bool {
        self.state.lines.table.get(conn).is_some_and(|conn| conn.registration.is_some())
    }

    /// Why a connection has ended, or is about to.
    pub(crate) fn ending(&self, id: ConnId) -> Option<String> {
        let notice = self.state.notices.iter().rfind(|notice| notice.conn == id);
        let intake = || self.state.lines.table.get(id).map(|conn| conn.intake);
        match (notice, intake) {
            (Some(notice), _) => Some(notice.cause.to_string()),
            (None, intake) => match intake()? {
                Intake::Stopped(cause, _) => Some(cause.to_string()),
                Intake::Ended => Some(super::Cause::Peer.to_string()),
                Intake::Open => None,
            },
        }
    }

    /// How many ends of connections wait to be told.
    pub(crate) fn untold_ends(&self) -> usize {
        self.state.notices.len()
    }

    /// Those of them behind the first `n`: which connection, of which service, and why.
    pub(crate) fn ends(&self, n: usize) -> impl Iterator<Item = (ConnId, Option<&str>, String)> {
        let ends = self.state.notices.iter().skip(n);
        ends.map(|end| (end.conn, end.name.as_deref(), end.cause.to_string()))
    }
}
