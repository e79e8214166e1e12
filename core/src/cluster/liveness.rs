//! Connections that begin, live and end.

use alloc::vec::Vec;
use core::cmp::min;
use core::time::Duration;

use super::endpoint::{Age, Conn, ConnState, Endpoint};
use super::{Action, CloseCause, Cluster, LEAST, StateEvent};
use crate::error::Fault;
use crate::id::{ConnId, EndpointId};
use crate::policy::Heartbeat;
use crate::policy::heartbeat::Beat;
use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// Endpoints looked at for one that may be dialled: a request must not cost more because all of a large fleet is
/// down.
const DIAL_TRIES: usize = 8;

impl Cluster {
    /// A dial has succeeded. `false`, and ignored, for a connection that is not being dialled.
    pub fn connected(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(state) = self.conns.get_mut(conn).filter(|state| !state.is_open()) else { return false };
        let heartbeat = Heartbeat::new(self.config.heartbeat, now, &mut self.rng);
        let lifetime = self.config.max_age.map(|age| jittered(age, &mut self.rng));
        state.state = ConnState::Open { heartbeat, proven: false };
        state.last_used = now;
        state.expires = lifetime.map(|lifetime| now + lifetime);
        let id = state.endpoint;
        self.dialing -= 1;
        let mut fresh = false;
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.dialing = None;
            endpoint.open += 1;
            endpoint.reachable = true;
            fresh = endpoint.ramp.is_none() && !endpoint.seasoned;
        }
        self.tell(StateEvent::Connected { endpoint: id, conn });
        if fresh {
            self.join(now, id);
        }
        self.retire_aged(now, id);
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
        if !self.has_conn(conn) {
            return;
        }
        if self.drop_conn(now, conn, cause) {
            self.hand_off(now);
        }
        self.dial_for_room(now, self.waiters.len());
    }

    /// The same, for whoever hands places off by itself. Whether another level may take over.
    fn drop_conn(&mut self, now: Instant, conn: ConnId, cause: CloseCause) -> bool {
        let Some(state) = self.conns.remove(conn) else { return false };
        self.conn_timers.set(conn.slot(), None);
        let id = state.endpoint;
        self.dialing -= u32::from(!state.is_open());
        let mut lost_sight = false;
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.conns.retain(|&other| other != conn);
            endpoint.in_flight -= state.in_flight;
            self.levels[usize::from(endpoint.priority)].in_flight -= u64::from(state.in_flight);
            endpoint.end_burst(conn);
            match state.age {
                Age::Retiring => {
                    endpoint.retiring -= 1;
                    endpoint.retiring_in_flight -= state.in_flight;
                }
                _ if state.is_open() => endpoint.open -= 1,
                _ => endpoint.dialing = None,
            }
            endpoint.aged -= u32::from(state.age == Age::Aged);
            if cause.is_error() && !core::mem::replace(&mut endpoint.backing_off, true) {
                let retry_at = now + endpoint.backoff.next(&mut self.rng);
                endpoint.dial_at = endpoint.dial_at.max(retry_at);
            }
            let failed_dial = cause.is_error() && !state.is_open();
            lost_sight = failed_dial && endpoint.open == 0 && endpoint.reachable;
        }
        if lost_sight {
            self.change(id, |endpoint| endpoint.reachable = false);
            self.unseason(id);
        }
        self.tell(StateEvent::Closed { endpoint: id, conn, cause });
        self.actions.push_back(Action::Close(conn, cause));
        self.review(now, id);
        lost_sight
    }

    /// Sends no more requests to a connection, and closes it when its last one has ended; another is dialled in its place
    /// as it is needed. `false` if there is no such connection, or it is not standing.
    pub fn retire(&mut self, now: Instant, conn: ConnId) -> bool {
        let stands = self.let_retire(now, conn);
        if stands && self.has_conn(conn) {
            // Those who wait need not do so until its last request has ended.
            self.dial_for_room(now, self.waiters.len());
        }
        stands
    }

    fn let_retire(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(state) = self.conns.get_mut(conn).filter(|state| state.is_open()) else { return false };
        let before = core::mem::replace(&mut state.age, Age::Retiring);
        state.expires = None;
        let (id, in_flight) = (state.endpoint, state.in_flight);
        if before == Age::Retiring {
            return true;
        }
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            endpoint.aged -= u32::from(before == Age::Aged);
            endpoint.open -= 1;
            endpoint.retiring += 1;
            endpoint.retiring_in_flight += in_flight;
            endpoint.end_burst(conn);
        }
        if in_flight == 0 {
            self.end(now, conn, CloseCause::Aged);
        } else {
            self.review(now, id);
        }
        true
    }

    /// Connections past their age retire as soon as a younger one stands: a dial that fails must not cost the last one.
    fn retire_aged(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        if endpoint.aged == 0 || endpoint.open <= endpoint.aged {
            return;
        }
        let is_aged = |conn: &ConnId| self.conns.get(*conn).is_some_and(|conn| conn.age == Age::Aged);
        let aged: Vec<ConnId> = endpoint.conns.iter().copied().filter(is_aged).collect();
        for conn in aged {
            self.let_retire(now, conn);
        }
    }

    /// A connection has reached its age.
    fn expire(&mut self, now: Instant, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        (state.age, state.expires) = (Age::Aged, None);
        let (id, idle) = (state.endpoint, state.in_flight == 0);
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        endpoint.aged += 1;
        if idle && self.config.min_connections == 0 {
            self.end(now, conn, CloseCause::Aged);
            return;
        }
        self.schedule(conn);
        self.retire_aged(now, id);
        self.review(now, id);
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
        self.note_dialable(id);
    }

    pub(super) fn note_dialable(&mut self, id: EndpointId) {
        if self.endpoints.get(id).is_some_and(|endpoint| self.may_dial(endpoint)) {
            self.dialable.push(id.slot());
        } else {
            self.dialable.remove(id.slot());
        }
    }

    /// Whether connections are to be kept up that are not there.
    pub(super) fn wants_dial(&self, endpoint: &Endpoint) -> bool {
        if self.draining {
            return false;
        }
        // What is too old is replaced, unless it has nothing to do. And an endpoint that could not be reached counts against
        // its level, which may get no requests for it: without need, nobody would ever find that it can be.
        let one = endpoint.aged > 0 || !endpoint.reachable;
        let kept = self.config.min_connections.max(u32::from(one));
        endpoint.serves() && endpoint.lasting() < min(kept, self.config.max_connections.get())
    }

    /// Whether another connection would help those who wait, and is allowed.
    pub(super) fn may_dial(&self, endpoint: &Endpoint) -> bool {
        endpoint.serves()
            && !endpoint.out
            && endpoint.dialing.is_none()
            && endpoint.lasting() < self.config.max_connections.get()
            && self.taking & (1 << endpoint.priority) != 0
    }

    /// Dials one more connection to an endpoint whose connections are all busy; while draining, no load comes that would
    /// need it.
    pub(super) fn grow(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        // First what costs little: this is asked for most requests.
        if self.draining || !self.may_dial(endpoint) || endpoint.dial_at > now {
            return;
        }
        let in_flight = |conn: &ConnId| self.conns.get(*conn).map(|conn| conn.in_flight);
        let least = endpoint.conns.iter().filter_map(in_flight).min();
        if least.is_none_or(|least| least > self.config.grow_at) {
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
            expires: None,
            age: Age::Young,
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
        let expired = self.conns.get(id).and_then(|conn| conn.expires).is_some_and(|at| at <= now);
        match end {
            Some(cause) => {
                // Nobody is handed over to a connection that may be the next to end.
                self.drop_conn(now, id, cause);
                self.dial_for_room(now, self.waiters.len());
            }
            None if expired => self.expire(now, id),
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
                [heartbeat.deadline(), conn.expires, Some(idle_at)].into_iter().flatten().min()
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

/// A tenth more or less (gRFC A9): connections that were dialled together do not all end together.
fn jittered(age: Duration, rng: &mut Pcg) -> Duration {
    let tenth = nanos(age) / 10;
    let drawn = rng.up_to(2 * tenth);
    Duration::from_nanos(nanos(age) - tenth + drawn).max(LEAST)
}
