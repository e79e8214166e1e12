//! One endpoint, and its connections as far as choosing among them goes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::{ConnId, EndpointId, Table, kind};
use crate::policy::{Backoff, Breaker, HealthScore, Heartbeat, PeakEwma};
use crate::time::Instant;

/// An address that serves.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) conns: Vec<ConnId>,
    /// Of the connections, how many stand.
    pub(super) open: u32,
    /// The one dial that is under way.
    pub(super) dialing: Option<ConnId>,
    /// Not before this the next dial.
    pub(super) dial_at: Instant,
    /// A failure put `dial_at` off, and nothing was dialled since: connections that are lost together count once.
    pub(super) backing_off: bool,
    pub(super) in_flight: u32,
    /// The connection of the burst, and how many more requests go to it.
    pub(super) burst: Option<(ConnId, u32)>,
    pub(super) breaker: Breaker,
    /// Its breaker has let nothing through when last asked.
    pub(super) out: bool,
    pub(super) ewma: PeakEwma,
    pub(super) health: HealthScore,
    /// Its share of the requests, in proportion to the others.
    pub(super) weight: u32,
    pub(super) backoff: Backoff,
    /// Where it stands in the list of endpoints that can take a request.
    pub(super) listed: Option<usize>,
    /// It gets no more requests, and ends with its last connection.
    pub(super) removed: bool,
}

/// A connection, or the attempt at one.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) endpoint: EndpointId,
    pub(super) state: ConnState,
    pub(super) in_flight: u32,
    pub(super) last_used: Instant,
    /// Nobody reads from it, for want of room: its silence says nothing.
    pub(super) unread: bool,
}

#[derive(Clone, Debug)]
pub(super) enum ConnState {
    Dialing { until: Instant },
    Open { heartbeat: Heartbeat, proven: bool },
}

impl Conn {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open { .. })
    }
}

pub(super) type Conns = Table<kind::Conn, Conn>;

impl Endpoint {
    /// The requests that its connections still have room for.
    pub(super) fn room(&self, limit: u32) -> u32 {
        self.open.saturating_mul(limit).saturating_sub(self.in_flight)
    }

    /// The connection that the next request goes to: that of the burst, or the least loaded; of equals the one
    /// used last, so that the others can grow idle and close.
    pub(super) fn choose(&mut self, conns: &Conns, limit: u32, burst: u32) -> Option<ConnId> {
        if let Some((id, left)) = self.burst
            && left > 0
            && conns.get(id).is_some_and(|conn| conn.in_flight < limit)
        {
            self.burst = Some((id, left - 1));
            return Some(id);
        }
        let candidates = self.conns.iter().filter_map(|&id| conns.get(id).map(|conn| (id, conn)));
        let (id, _) = candidates
            .filter(|(_, conn)| conn.is_open() && conn.in_flight < limit)
            .min_by_key(|(_, conn)| (conn.in_flight, core::cmp::Reverse(conn.last_used)))?;
        self.burst = Some((id, burst.saturating_sub(1)));
        Some(id)
    }

    /// Ends the burst if it is on this connection.
    pub(super) fn end_burst(&mut self, conn: ConnId) {
        if self.burst.is_some_and(|(id, _)| id == conn) {
            self.burst = None;
        }
    }
}
