//! Whom to dial, where the next request goes, when a connection is dead: everything a client decides about its
//! connections, without a byte in it.
//!
//! A cluster is a set of endpoints, each with a pool of connections. Whoever owns it (a service client, or a machine
//! of your own) tells it what happened, asks it for a [`Place`] per request, and does its [`Action`]s:
//!
//! ```
//! use plimsoll_core::cluster::{Action, Cluster, Config, Unplaced};
//! use plimsoll_core::policy::breaker::Outcome;
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::ZERO;
//! let mut cluster = Cluster::new(Config::default(), 7);
//! cluster.add_endpoint(now, "users.internal:3001").unwrap();
//!
//! // One connection is kept up: it is to be dialled.
//! let Some(Action::Dial(conn)) = cluster.poll() else { panic!() };
//! assert_eq!(cluster.checkout(now), Err(Unplaced::Full));
//! assert!(cluster.wait(1, 100));
//!
//! // It stands, and takes the request that waits.
//! cluster.connected(now, conn);
//! let Some(Action::Assign { waiter: 1, place }) = cluster.poll() else { panic!() };
//! assert_eq!(place.conn, conn);
//!
//! // The answer came: what it tells about the endpoint, and its place, go back.
//! cluster.settle(now, place, Outcome::Success);
//! cluster.release(now, place.conn);
//! assert!(cluster.checkout(now).is_ok());
//! ```

mod config;
mod endpoint;
mod liveness;
mod select;
mod state;
mod waiters;

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;

pub use config::Config;
pub use select::{Place, Unplaced};
pub use state::{CloseCause, StateEvent, Status};

use crate::error::Misuse;
use crate::id::{ConnId, EndpointId, Table, kind};
use crate::policy::breaker::{self, Outcome};
use crate::policy::{Backoff, Balancer, Breaker, HealthScore, PeakEwma};
use crate::rng::Pcg;
use crate::sched::{ReadyList, Timers};
use crate::time::Instant;
use endpoint::{Conns, Endpoint};
use waiters::Waiters;

/// State events that wait for somebody to look, at most; more are counted as missed.
const STATE_EVENTS: usize = 256;

/// What a cluster wants its owner to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial the connection's [`target`](Cluster::target).
    Dial(ConnId),
    /// Close the connection; it is forgotten here already. What was on it is lost.
    Close(ConnId, CloseCause),
    /// Ask the peer for a sign of life.
    Ping(ConnId),
    /// A request that waited has a place.
    Assign {
        /// The key it waited under.
        waiter: u32,
        /// Its place.
        place: Place,
    },
}

/// Endpoints, their connections, and the requests that wait for one.
#[derive(Clone, Debug)]
pub struct Cluster {
    config: Config,
    rng: Pcg,
    endpoints: Table<kind::Endpoint, Endpoint>,
    conns: Conns,
    /// Endpoints that can take a request: room on a connection, and a breaker that lets it through.
    listed: Vec<EndpointId>,
    /// Counts the changes of the list, and of the weights in it.
    version: u64,
    /// Endpoints that are not removed, and whose breaker lets nothing through.
    out: u32,
    /// Endpoints that are removed, and stay until their last connection has ended.
    removed: u32,
    /// Dials under way.
    dialing: u32,
    /// Endpoints (by slot) that may be dialled for more room.
    dialable: ReadyList,
    balancer: Balancer,
    waiters: Waiters,
    endpoint_timers: Timers,
    conn_timers: Timers,
    actions: VecDeque<Action>,
    states: VecDeque<StateEvent>,
    missed: u64,
    draining: bool,
}

impl Cluster {
    /// A cluster without endpoints; all its chance comes from `seed`.
    pub fn new(config: Config, seed: u64) -> Self {
        let mut rng = Pcg::new(seed, 1);
        Cluster {
            balancer: Balancer::new(config.strategy, &mut rng),
            waiters: Waiters::new(config.waiters.get(), config.waiting_bytes.get()),
            config,
            rng,
            endpoints: Table::new(),
            conns: Table::new(),
            listed: Vec::new(),
            version: 0,
            out: 0,
            removed: 0,
            dialing: 0,
            dialable: ReadyList::new(),
            endpoint_timers: Timers::new(),
            conn_timers: Timers::new(),
            actions: VecDeque::new(),
            states: VecDeque::new(),
            missed: 0,
            draining: false,
        }
    }

    /// Adds an address (`host:port`), and dials it if connections are to be kept up.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`]; [`Misuse::TooManyEndpoints`] at the configured limit.
    pub fn add_endpoint(&mut self, now: Instant, address: &str) -> Result<EndpointId, Misuse> {
        let (host, port) = address.rsplit_once(':').ok_or(Misuse::BadAddress)?;
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_v6 || port.parse::<u16>().is_err() {
            return Err(Misuse::BadAddress);
        }
        let limit = self.config.max_endpoints.get();
        if self.endpoints.len() as u64 >= u64::from(limit) {
            return Err(Misuse::TooManyEndpoints { limit });
        }
        let breaker_seed = Pcg::new(self.rng.next_u64(), 2);
        let id = self.endpoints.insert(Endpoint {
            address: address.to_string(),
            conns: Vec::new(),
            open: 0,
            dialing: None,
            dial_at: now,
            backing_off: false,
            in_flight: 0,
            burst: None,
            breaker: Breaker::new(self.config.breaker, breaker_seed),
            out: false,
            ewma: PeakEwma::new(self.config.ewma, now),
            health: HealthScore::default(),
            weight: 1,
            backoff: Backoff::new(self.config.backoff),
            listed: None,
            removed: false,
        });
        self.review(now, id);
        self.dial_for_room(now, self.waiters.len());
        Ok(id)
    }

    /// How many requests an endpoint gets in proportion to the others, by the strategies that go by weight: 1 at first,
    /// 0 for none. `false` if there is no such endpoint.
    pub fn set_weight(&mut self, id: EndpointId, weight: u32) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return false };
        endpoint.weight = weight;
        self.version += 1;
        true
    }

    /// Sends no more requests to an endpoint. Its idle connections close now, the others when their last request has
    /// ended. `false` if there is no such endpoint.
    pub fn remove_endpoint(&mut self, now: Instant, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| !endpoint.removed) else {
            return false;
        };
        endpoint.removed = true;
        let conns = endpoint.conns.clone();
        self.removed += 1;
        self.set_out(id, false);
        for conn in conns {
            if self.conns.get(conn).is_some_and(|conn| conn.in_flight == 0) {
                self.end(now, conn, CloseCause::Removed);
            }
        }
        self.review(now, id);
        true
    }

    /// Closes every connection as soon as it is idle and nothing waits; nothing is dialled that no waiter needs.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.close_drained(now);
    }

    /// Closes every connection now; waiters are forgotten.
    pub fn close_all(&mut self, now: Instant) {
        self.draining = true;
        while self.waiters.pop().is_some() {}
        for slot in 0..self.conns.slots() as u32 {
            if let Some(id) = self.conns.id_at(slot) {
                self.end(now, id, CloseCause::Shutdown);
            }
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether [`poll`](Self::poll) has something.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The next change that an operator would want to know.
    pub fn state_event(&mut self) -> Option<StateEvent> {
        let missed = (self.missed > 0).then_some(StateEvent::Missed(self.missed));
        self.states.pop_front().or_else(|| {
            self.missed = 0;
            missed
        })
    }

    /// Whether [`state_event`](Self::state_event) has something.
    pub fn has_state_event(&self) -> bool {
        !self.states.is_empty() || self.missed > 0
    }

    /// The address that a connection goes to.
    pub fn target(&self, conn: ConnId) -> Option<&str> {
        let endpoint = self.endpoints.get(self.conns.get(conn)?.endpoint)?;
        Some(&endpoint.address)
    }

    /// The connection that lives in `slot`.
    pub fn conn_at(&self, slot: u32) -> Option<ConnId> {
        self.conns.id_at(slot)
    }

    /// Whether `conn` still names a connection.
    pub fn has_conn(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// The breaker of an endpoint.
    pub fn breaker(&self, endpoint: EndpointId) -> Option<&Breaker> {
        Some(&self.endpoints.get(endpoint)?.breaker)
    }

    /// The endpoints and their addresses, in the order of their slots.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &str)> {
        self.endpoints.iter().map(|(id, endpoint)| (id, endpoint.address.as_str()))
    }

    /// How things stand; walks over all connections.
    pub fn status(&self) -> Status {
        let limit = self.config.in_flight.get();
        let mut status = Status {
            waiting: self.waiters.len() as u32,
            endpoints: self.endpoints.len() as u32,
            endpoints_out: self.out,
            ..Status::default()
        };
        for (_, conn) in self.conns.iter() {
            let usable = self.endpoints.get(conn.endpoint).is_some_and(|e| !e.out && !e.removed);
            status.in_flight += conn.in_flight;
            status.connections += u32::from(conn.is_open());
            status.dialing += u32::from(!conn.is_open());
            status.available += u32::from(conn.is_open() && usable && conn.in_flight < limit);
        }
        status
    }

    /// When to call [`tick`](Self::tick), and what for.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let endpoint = self.endpoint_timers.next().map(|at| (at, "a dial or a breaker"));
        let conn = self.conn_timers.next().map(|at| (at, "a connection's dial, ping or idle time"));
        match (endpoint, conn) {
            (Some(endpoint), Some(conn)) => Some(if conn.0 < endpoint.0 { conn } else { endpoint }),
            (endpoint, conn) => endpoint.or(conn),
        }
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Instant) {
        let mut due = false;
        while let Some(slot) = self.conn_timers.pop_due(now) {
            due = true;
            if let Some(id) = self.conns.id_at(slot) {
                self.check_conn(now, id);
            }
        }
        while let Some(slot) = self.endpoint_timers.pop_due(now) {
            due = true;
            if let Some(id) = self.endpoints.id_at(slot) {
                self.check_breaker(now, id);
                self.review(now, id);
            }
        }
        if due {
            self.hand_off(now);
        }
    }

    /// Brings everything that depends on an endpoint's state up to date: whether it is listed, whether it is dialled,
    /// when to look again.
    fn review(&mut self, now: Instant, id: EndpointId) {
        self.review_listing(id);
        self.review_dialing(now, id);
        let Some(endpoint) = self.endpoints.get(id) else { return };
        if endpoint.removed && endpoint.conns.is_empty() {
            self.forget(id);
            return;
        }
        let wanted = self.wants_dial(endpoint) || (!self.waiters.is_empty() && self.may_dial(endpoint));
        let later = endpoint.dialing.is_none() && endpoint.dial_at > now;
        let dial = (wanted && later).then_some(endpoint.dial_at);
        let at = [dial, endpoint.breaker.deadline()].into_iter().flatten().min();
        self.endpoint_timers.set(id.slot(), at);
    }

    fn forget(&mut self, id: EndpointId) {
        self.endpoint_timers.set(id.slot(), None);
        self.dialable.remove(id.slot());
        self.endpoints.remove(id);
        self.removed -= 1;
    }

    fn check_breaker(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        if endpoint.breaker.deadline().is_none_or(|at| at > now) {
            return;
        }
        let transition = endpoint.breaker.tick(now);
        self.breaker_moved(id, transition);
        self.set_out(id, false);
    }

    fn breaker_moved(&mut self, endpoint: EndpointId, transition: Option<breaker::Transition>) {
        if let Some(transition) = transition {
            self.tell(StateEvent::Breaker { endpoint, to: transition.to });
        }
    }

    fn set_out(&mut self, id: EndpointId, out: bool) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let out = out && !endpoint.removed;
        match (core::mem::replace(&mut endpoint.out, out), out) {
            (false, true) => self.out += 1,
            (true, false) => self.out -= 1,
            _ => {}
        }
    }

    fn tell(&mut self, event: StateEvent) {
        // After a gap, nothing more is queued until somebody was told of the gap, in its place.
        if self.states.len() < STATE_EVENTS && self.missed == 0 {
            self.states.push_back(event);
        } else {
            self.missed += 1;
        }
    }

    /// What a request on `place` tells about its endpoint. Its place is given back apart from this, by
    /// [`release`](Self::release): on a wire without ids, a request that was given up still holds one.
    pub fn settle(&mut self, now: Instant, place: Place, outcome: Outcome) {
        let Some(endpoint) = self.endpoints.get_mut(place.endpoint) else { return };
        let rtt = now.since(place.since);
        match outcome {
            Outcome::Success => {
                endpoint.ewma.succeeded(now, rtt);
                endpoint.health.record(rtt, true);
            }
            Outcome::Failure => {
                endpoint.ewma.failed(now, rtt);
                endpoint.health.record(rtt, false);
            }
            Outcome::Ignored => {}
        }
        let transition = endpoint.breaker.settle(now, place.permit, outcome);
        if transition.is_some() || endpoint.out || place.permit.is_probe() {
            let open = endpoint.breaker.state(now) == breaker::State::Open;
            self.breaker_moved(place.endpoint, transition);
            self.set_out(place.endpoint, open);
            self.review(now, place.endpoint);
            if !self.waiters.is_empty() {
                self.hand_off(now);
            }
        }
    }
}

#[cfg(feature = "testing")]
impl Cluster {
    /// Recounts everything that is counted as it changes.
    ///
    /// # Panics
    /// If a count is wrong.
    pub fn audit(&self) {
        let limit = self.config.in_flight.get();
        let (mut out, mut removed, mut dialing) = (0, 0, 0);
        for (id, endpoint) in self.endpoints.iter() {
            let conns = || {
                endpoint.conns.iter().map(|&conn| self.conns.get(conn).expect("a connection of an endpoint"))
            };
            let open = conns().filter(|conn| conn.is_open()).count();
            assert!(
                conns().all(|conn| conn.endpoint == id && conn.in_flight <= limit),
                "a connection of {id}"
            );
            assert_eq!(endpoint.open as usize, open, "connections of {id} that stand");
            assert_eq!(
                endpoint.in_flight,
                conns().map(|conn| conn.in_flight).sum::<u32>(),
                "in flight at {id}"
            );
            assert_eq!(endpoint.conns.len() - open, usize::from(endpoint.dialing.is_some()), "dials to {id}");
            let fit = !endpoint.removed && !endpoint.out && endpoint.room(limit) > 0;
            assert_eq!(endpoint.listed.is_some(), fit, "whether {id} is listed");
            assert!(endpoint.listed.is_none_or(|at| self.listed[at] == id), "where {id} is listed");
            let dialable = self.dialable.contains(id.slot());
            assert_eq!(dialable, self.may_dial(endpoint), "whether {id} is dialable");
            out += u32::from(endpoint.out);
            removed += u32::from(endpoint.removed);
            dialing += u32::from(endpoint.dialing.is_some());
        }
        let listed = self.endpoints.iter().filter(|(_, endpoint)| endpoint.listed.is_some()).count();
        assert_eq!(
            (out, removed, dialing, listed),
            (self.out, self.removed, self.dialing, self.listed.len())
        );
        let conns: usize = self.endpoints.iter().map(|(_, endpoint)| endpoint.conns.len()).sum();
        assert_eq!((conns, self.conn_timers.len()), (self.conns.len(), self.conns.len()));
    }
}
