//! Connections that begin, live and end.

use alloc::vec::Vec;
use core::cmp::min;
use core::time::Duration;

use super::endpoint::{Conn, ConnState, Endpoint};
use super::{Action, CloseCause, Cluster, StateEvent};
use crate::error::Fault;
use crate::id::{ConnId, EndpointId};
use crate::policy::Heartbeat;
use crate::policy::heartbeat::Beat;
use crate::time::Instant;

/// Endpoints looked at for one that may be dialled: a request must not cost more because all of a large fleet is
/// down.
const DIAL_TRIES: usize = 8;

/// Shorter times than this count as this: a time of zero would be due again at once, for ever.
const LEAST: Duration = Duration::from_millis(1);

impl Cluster {
    /// A dial has succeeded. `false`, and ignored, for a connection that is not being dialled.
    pub fn connected(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(state) = self.conns.get_mut(conn).filter(|state| !state.is_open()) else { return false };
        let heartbeat = Heartbeat::new(self.config.heartbeat, now, &mut self.rng);
        state.state = ConnState::Open { heartbeat, proven: false };
        state.last_used = now;
        let id = state.endpoint;
        self.dialing -= 1;
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.dialing = None;
            endpoint.open += 1;
        }
        self.tell(StateEvent::Connected { endpoint: id, conn });
        self.schedule(conn);
        self.review(now, id);
        self.hand_off(now);
        self.close_drained(now);
        true
    }

    /// The transport says that a connection is gone, or its dial has failed.
    pub fn closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        let dialing = self.conns.get(conn).is_some_and(|state| !state.is_open());
        self.end(now, conn, if dialing { CloseCause::Dial(fault) } else { CloseCause::Fault(fault) });
    }

    /// Bytes came in: the peer lives.
    pub fn received(&mut self, now: Instant, conn: ConnId) {
        if let Some(Conn { state: ConnState::Open { heartbeat, .. }, .. }) = self.conns.get_mut(conn) {
            heartbeat.received(now);
        }
    }

    /// Whether somebody reads from the connection. While nobody does, its silence is our own doing.
    pub fn listen(&mut self, now: Instant, conn: ConnId, listening: bool) {
        if let Some(state) = self.conns.get_mut(conn) {
            state.unread = !listening;
        }
        self.received(now, conn);
    }

    /// An answer came in: dialling this endpoint is worth while, so the next delay is a short one again.
    pub fn proven(&mut self, conn: ConnId) {
        if let Some(Conn { state: ConnState::Open { proven, .. }, endpoint, .. }) = self.conns.get_mut(conn)
            && !core::mem::replace(proven, true)
            && let Some(endpoint) = self.endpoints.get_mut(*endpoint)
        {
            endpoint.backoff.reset();
        }
    }

    /// Ends a connection, for a reason that its owner has found (the wire) or that is found here, and has it closed.
    pub fn end(&mut self, now: Instant, conn: ConnId, cause: CloseCause) {
        let Some(state) = self.conns.remove(conn) else { return };
        self.conn_timers.set(conn.slot(), None);
        let id = state.endpoint;
        self.dialing -= u32::from(!state.is_open());
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.conns.retain(|&other| other != conn);
            endpoint.in_flight -= state.in_flight;
            endpoint.end_burst(conn);
            if state.is_open() {
                endpoint.open -= 1;
            } else {
                endpoint.dialing = None;
            }
            if cause.is_error() && !core::mem::replace(&mut endpoint.backing_off, true) {
                let retry_at = now + endpoint.backoff.next(&mut self.rng);
                endpoint.dial_at = endpoint.dial_at.max(retry_at);
            }
        }
        self.tell(StateEvent::Closed { endpoint: id, conn, cause });
        self.actions.push_back(Action::Close(conn, cause));
        self.review(now, id);
        self.dial_for_room(now, self.waiters.len());
    }

    /// Dials the endpoint if connections are missing and it is time; otherwise notes whether it may be dialled on
    /// demand.
    pub(super) fn review_dialing(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        let missing = self.wants_dial(endpoint);
        if missing && endpoint.dialing.is_none() && endpoint.dial_at <= now {
            self.dial(now, id);
            return;
        }
        if self.may_dial(endpoint) {
            self.dialable.push(id.slot());
        } else {
            self.dialable.remove(id.slot());
        }
    }

    /// Whether connections are to be kept up that are not there.
    pub(super) fn wants_dial(&self, endpoint: &Endpoint) -> bool {
        let kept = if self.draining { 0 } else { self.config.min_connections };
        let kept = min(kept, self.config.max_connections.get()) as usize;
        !endpoint.removed && endpoint.conns.len() < kept
    }

    /// Whether another connection would help those who wait, and is allowed.
    pub(super) fn may_dial(&self, endpoint: &Endpoint) -> bool {
        !endpoint.removed
            && !endpoint.out
            && endpoint.dialing.is_none()
            && endpoint.conns.len() < self.config.max_connections.get() as usize
    }

    /// Dials one more connection to an endpoint whose connections are all busy.
    pub(super) fn grow(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        let least =
            endpoint.conns.iter().filter_map(|&conn| self.conns.get(conn)).map(|conn| conn.in_flight).min();
        let busy = least.is_none_or(|least| least > self.config.grow_at);
        if busy && self.may_dial(endpoint) && endpoint.dial_at <= now {
            self.dial(now, id);
            self.review(now, id);
        }
    }

    /// Dials one endpoint that has room for another connection, each in turn, unless as many dials are under way as
    /// there are requests that wait.
    pub(super) fn dial_for_room(&mut self, now: Instant, waiting: usize) {
        if u64::from(self.dialing) >= waiting as u64 {
            return;
        }
        let mut left = self.dialable.len().min(DIAL_TRIES);
        while left > 0
            && let Some(slot) = self.dialable.pop()
        {
            left -= 1;
            let Some(id) = self.endpoints.id_at(slot) else { continue };
            let Some(endpoint) = self.endpoints.get(id) else { continue };
            if endpoint.dial_at <= now {
                self.dial(now, id);
                self.review(now, id);
                return;
            }
            // Its backoff runs: the timer brings it back, and it keeps its turn.
            self.dialable.push(slot);
            let at = self.endpoint_timers.get(slot).map_or(endpoint.dial_at, |at| at.min(endpoint.dial_at));
            self.endpoint_timers.set(slot, Some(at));
        }
    }

    fn dial(&mut self, now: Instant, id: EndpointId) {
        let until = now + self.config.connect_timeout.max(LEAST);
        let conn = self.conns.insert(Conn {
            endpoint: id,
            state: ConnState::Dialing { until },
            in_flight: 0,
            last_used: now,
            unread: false,
        });
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        endpoint.conns.push(conn);
        endpoint.dialing = Some(conn);
        endpoint.dial_at = now + self.config.dial_stagger;
        endpoint.backing_off = false;
        self.dialing += 1;
        self.dialable.remove(id.slot());
        self.actions.push_back(Action::Dial(conn));
        self.schedule(conn);
    }

    /// Looks after a connection whose timer has fired.
    pub(super) fn check_conn(&mut self, now: Instant, id: ConnId) {
        let idle_close = self.config.idle_close.max(LEAST);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.unread
            && let ConnState::Open { heartbeat, .. } = &mut conn.state
        {
            heartbeat.received(now);
        }
        let unused = conn.last_used + idle_close <= now;
        let idle = unused && conn.in_flight == 0;
        let end = match &mut conn.state {
            ConnState::Dialing { until } => (*until <= now).then_some(CloseCause::DialTimeout),
            ConnState::Open { heartbeat, .. } => match heartbeat.tick(now) {
                Some(Beat::Dead) => Some(CloseCause::Silent),
                Some(Beat::Ping) => {
                    self.actions.push_back(Action::Ping(id));
                    None
                }
                None => (idle && self.is_spare(id)).then_some(CloseCause::Idle),
            },
        };
        match end {
            Some(cause) => self.end(now, id, cause),
            None => {
                if unused && let Some(conn) = self.conns.get_mut(id) {
                    // Busy, or needed for the minimum: looked at again after another idle time.
                    conn.last_used = now;
                }
                self.schedule(id);
            }
        }
    }

    fn is_spare(&self, id: ConnId) -> bool {
        let endpoint = self.conns.get(id).and_then(|conn| self.endpoints.get(conn.endpoint));
        endpoint.is_some_and(|endpoint| endpoint.open > self.config.min_connections)
    }

    /// Sets the timer of a connection to whatever is due first. Traffic does not move it: a timer that fires early finds
    /// nothing to do and is set anew.
    fn schedule(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else { return };
        let at = match &conn.state {
            ConnState::Dialing { until } => Some(*until),
            ConnState::Open { heartbeat, .. } => {
                let idle_at = conn.last_used + self.config.idle_close.max(LEAST);
                Some(heartbeat.deadline().map_or(idle_at, |beat| beat.min(idle_at)))
            }
        };
        self.conn_timers.set(id.slot(), at);
    }

    /// While draining: closes what is idle, once nothing waits. To be called when the requests of a lost connection
    /// have found another place or ended; everything else that makes a connection idle does it by itself.
    pub fn close_drained(&mut self, now: Instant) {
        if !self.draining || !self.waiters.is_empty() {
            return;
        }
        let idle: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.in_flight == 0).map(|(id, _)| id).collect();
        for id in idle {
            self.end(now, id, CloseCause::Shutdown);
        }
    }
}
