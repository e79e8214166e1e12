//! Whom to dial, where the next request goes, when a connection is dead: everything a client decides about its
//! connections, without a byte in it.
//!
//! A cluster is a set of endpoints, each with a pool of connections. Whoever owns it (a service client, or a machine
//! of your own) tells it what happened, asks it for a [`Place`] per request, and does its [`Action`]s:
//!
//! ```
//! use plimsoll_core::cluster::{Action, Cluster, Config, Unplaced, Want};
//! use plimsoll_core::policy::breaker::Outcome;
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::ZERO;
//! let mut cluster = Cluster::new(Config::default(), 7);
//! cluster.add_endpoint(now, "users.internal:3001").unwrap();
//!
//! // One connection is kept up: it is to be dialled.
//! let Some(Action::Dial(conn)) = cluster.poll() else { panic!() };
//! assert_eq!(cluster.checkout(now, Want::default()), Err(Unplaced::Full));
//! assert!(cluster.wait(now, 1, 100, Want::default()));
//!
//! // It stands, and takes the request that waits.
//! cluster.connected(now, conn);
//! let Some(Action::Assign { waiter: 1, place }) = cluster.poll() else { panic!() };
//! assert_eq!(place.conn, conn);
//!
//! // The answer came: what it tells about the endpoint, and its place, go back.
//! cluster.settle(now, place, Outcome::Success);
//! cluster.release(now, place.conn);
//! assert!(cluster.checkout(now, Want::default()).is_ok());
//! ```

mod config;
mod endpoint;
pub mod explain;
mod explaining;
mod health;
mod level;
mod liveness;
mod members;
mod select;
mod state;
mod view;
mod waiters;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

pub use config::Config;
pub use endpoint::Duty;
pub use members::EndpointOptions;
pub use select::{Place, Unplaced, Want};
pub use state::{CloseCause, EndpointStatus, StateEvent, Status};

use crate::id::{ConnId, EndpointId, Table, kind};
use crate::policy::{Balancer, Breaker, Outliers, Priorities, Subset, outlier};
use crate::rng::Pcg;
use crate::sched::{ReadyList, Timers};
use crate::time::Instant;
use endpoint::{Conns, Endpoint};
use explaining::Explainer;
use level::Level;
use waiters::Waiters;

/// State events that wait for somebody to look, at most; more are counted as missed.
const STATE_EVENTS: usize = 256;

/// Shorter times than this count as this: a time of zero would be due again at once, for ever.
const LEAST: Duration = Duration::from_millis(1);

/// What a cluster wants its owner to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial the connection's [`target`](Cluster::target).
    Dial(ConnId),
    /// Close the connection; it is forgotten here already. What was on it is lost.
    Close(ConnId, CloseCause),
    /// Ask the peer for a sign of life.
    Ping(ConnId),
    /// Ask the peer how busy it is; the answer goes to [`told_load`](Cluster::told_load). Only with
    /// [`Strategy::Prequal`](crate::policy::balance::Strategy::Prequal).
    Probe(ConnId),
    /// A request that waited has a place.
    Assign {
        /// The key it waited under.
        waiter: u32,
        /// Its place.
        place: Place,
    },
}
crate::saved!(enum Action {
    0 = Dial(value), 1 = Close(first, second), 2 = Ping(value), 3 = Probe(value), 4 = Assign { waiter, place }
});

/// Endpoints, their connections, and the requests that wait for one.
#[derive(Clone, Debug)]
pub struct Cluster {
    config: Config,
    rng: Pcg,
    endpoints: Table<kind::Endpoint, Endpoint>,
    conns: Conns,
    /// By priority, up to the highest that any endpoint had.
    levels: Vec<Level>,
    /// Of each level.
    balancers: Vec<Balancer>,
    priorities: Priorities,
    /// The levels that take requests, as bits.
    taking: u8,
    outliers: Option<Outliers>,
    /// Endpoints that are not ejected, but behind an open breaker.
    open_beside_ejected: u32,
    /// Used within a sweep only; kept for its memory.
    changes: Vec<outlier::Change>,
    /// `None` while it is used, or if all endpoints are.
    subset: Option<Subset>,
    /// When it is to be chosen anew.
    choose_at: Option<Instant>,
    /// Dials under way.
    dialing: u32,
    /// Endpoints (by slot) that may be dialled for more room.
    dialable: ReadyList,
    waiters: Waiters,
    endpoint_timers: Timers,
    conn_timers: Timers,
    actions: VecDeque<Action>,
    states: VecDeque<StateEvent>,
    missed: u64,
    explainer: Option<Box<Explainer>>,
    draining: bool,
}
// The changes are empty between sweeps.
crate::saved!(struct Cluster {
    config, rng, endpoints, conns, levels, balancers, priorities, taking, outliers, open_beside_ejected,
    subset, choose_at, dialing, dialable, waiters, endpoint_timers, conn_timers, actions, states, missed, explainer,
    draining;
    rebuilt changes = Vec::new()
});

impl Cluster {
    /// A cluster without endpoints; all its chance comes from `seed`.
    pub fn new(config: Config, seed: u64) -> Self {
        let mut rng = Pcg::new(seed, 1);
        let balancer = Balancer::new(config.strategy, &mut rng);
        let salt = Pcg::new(seed, 3).next_u64();
        Cluster {
            waiters: Waiters::new(config.waiters.get(), config.waiting_bytes.get()),
            config,
            rng,
            endpoints: Table::new(),
            conns: Table::new(),
            levels: [Level::new()].into(),
            balancers: [balancer].into(),
            priorities: Priorities::new(config.priorities),
            taking: 1,
            outliers: config.outliers.map(|outliers| Outliers::new(outliers, Instant::ZERO)),
            open_beside_ejected: 0,
            changes: Vec::new(),
            subset: config.subset.map(|size| Subset::new(salt, size.get())),
            choose_at: None,
            dialing: 0,
            dialable: ReadyList::new(),
            endpoint_timers: Timers::new(),
            conn_timers: Timers::new(),
            actions: VecDeque::new(),
            states: VecDeque::new(),
            missed: 0,
            explainer: None,
            draining: false,
        }
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

    /// How each endpoint stands, in the order of their slots.
    pub fn endpoint_status(&self, now: Instant) -> impl Iterator<Item = EndpointStatus<'_>> {
        self.endpoints.iter().map(move |(id, endpoint)| endpoint.status(now, id))
    }

    /// How things stand; walks over all connections.
    pub fn status(&self) -> Status {
        let limit = self.config.in_flight.get();
        let mut status = Status {
            waiting: self.waiters.len() as u32,
            endpoints: self.endpoints.len() as u32,
            endpoints_out: self.levels.iter().map(|level| level.out).sum(),
            endpoints_ejected: self.outliers.as_ref().map_or(0, Outliers::ejected),
            endpoints_available: self.levels.iter().map(|level| level.available).sum(),
            ..Status::default()
        };
        for (_, conn) in self.conns.iter() {
            let usable = self.endpoints.get(conn.endpoint).is_some_and(|e| !e.out && e.serves());
            status.in_flight += conn.in_flight;
            status.connections += u32::from(conn.is_open());
            status.dialing += u32::from(!conn.is_open());
            status.available += u32::from(conn.is_open() && usable && conn.in_flight < limit);
        }
        status
    }

    /// When to call [`tick`](Self::tick), and what for.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let endpoint = self.endpoint_timers.next().map(|at| (at, "a dial, a breaker or a fresh endpoint"));
        let conn = self.conn_timers.next().map(|at| (at, "a connection's dial, ping, age or idle time"));
        let sweep = self.sweep_at().map(|at| (at, "a comparison of the endpoints"));
        let failback = self.priorities.deadline().map(|at| (at, "a priority level that has recovered"));
        let choice = self.choose_at.map(|at| (at, "a choice among new endpoints"));
        [conn, endpoint, sweep, failback, choice].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Instant) {
        let mut due = self.choose(now);
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
                self.season(now, id);
                self.review(now, id);
            }
        }
        due |= self.sweep(now);
        if self.priorities.deadline().is_some_and(|at| at <= now) {
            due = true;
            self.priorities.tick(now);
            self.review_shares();
        }
        if due {
            self.hand_off(now);
        }
    }

    /// Brings everything that depends on an endpoint's state up to date: whether it is listed, whether it is dialled,
    /// when to look again.
    fn review(&mut self, now: Instant, id: EndpointId) {
        self.recount(now, id);
        self.review_listing(id);
        self.review_dialing(now, id);
        if self.review_duty(id) {
            return;
        }
        let Some(endpoint) = self.endpoints.get(id) else { return };
        let wanted = self.wants_dial(endpoint) || (!self.waiters.is_empty() && self.may_dial(endpoint));
        let later = endpoint.dialing.is_none() && endpoint.dial_at > now;
        let dial = (wanted && later).then_some(endpoint.dial_at);
        let at = [dial, endpoint.breaker.deadline(), endpoint.ramp_at].into_iter().flatten().min();
        self.endpoint_timers.set(id.slot(), at);
    }

    fn tell(&mut self, event: StateEvent) {
        // After a gap, nothing more is queued until somebody was told of the gap, in its place.
        if self.states.len() < STATE_EVENTS && self.missed == 0 {
            self.states.push_back(event);
        } else {
            self.missed += 1;
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
        for (id, endpoint) in self.endpoints.iter() {
            let conns = || {
                endpoint.conns.iter().map(|&conn| self.conns.get(conn).expect("a connection of an endpoint"))
            };
            let of_age = |age| conns().filter(|conn| conn.age == age).count() as u32;
            let open = conns().filter(|conn| conn.is_open() && conn.age != endpoint::Age::Retiring).count();
            let dialing = conns().filter(|conn| !conn.is_open()).count();
            assert!(
                conns().all(|conn| conn.endpoint == id && conn.in_flight <= limit),
                "a connection of {id}"
            );
            assert_eq!(endpoint.open as usize, open, "connections of {id} that take requests");
            assert_eq!(endpoint.aged, of_age(endpoint::Age::Aged), "connections of {id} past their age");
            assert_eq!(endpoint.retiring, of_age(endpoint::Age::Retiring), "connections of {id} that retire");
            let in_flight = |retiring: bool| {
                conns()
                    .filter(move |conn| (conn.age == endpoint::Age::Retiring) == retiring)
                    .map(|conn| conn.in_flight)
            };
            assert_eq!(
                endpoint.retiring_in_flight,
                in_flight(true).sum::<u32>(),
                "in flight, retiring, at {id}"
            );
            let all = in_flight(true).chain(in_flight(false)).sum::<u32>();
            assert_eq!(endpoint.in_flight, all, "in flight at {id}");
            assert_eq!(dialing, usize::from(endpoint.dialing.is_some()), "dials to {id}");
            let level = &self.levels[usize::from(endpoint.priority)];
            assert_eq!(endpoint.counted, endpoint.count(), "how {id} counts");
            assert_eq!(
                endpoint.listed.is_some(),
                endpoint.is_fit(limit, level.spread),
                "whether {id} is listed"
            );
            assert!(endpoint.listed.is_none_or(|at| level.listed[at] == id), "where {id} is listed");
            let dialable = self.dialable.contains(id.slot());
            assert_eq!(dialable, self.may_dial(endpoint), "whether {id} is dialable");
            let barred = endpoint.counted.barred || !endpoint.counted.serving;
            assert!(!barred || !endpoint.seasoned, "{id} does not serve, and is seasoned");
            let ejected = self.outliers.as_ref().is_some_and(|outliers| outliers.is_ejected(id));
            assert_eq!(endpoint.ejected, ejected, "whether {id} is ejected");
        }
        let count = |wanted: &dyn Fn(&Endpoint) -> bool| {
            self.endpoints.iter().filter(|(_, endpoint)| wanted(endpoint)).count() as u32
        };
        assert_eq!(self.dialing, count(&|endpoint| endpoint.dialing.is_some()), "dials");
        assert_eq!(self.open_beside_ejected, count(&|endpoint| endpoint.out && !endpoint.ejected));
        for (at, level) in (0..).zip(&self.levels) {
            let count = |wanted: &dyn Fn(&Endpoint) -> bool| {
                count(&|endpoint| endpoint.priority == at && wanted(endpoint))
            };
            assert_eq!(level.listed.len() as u32, count(&|endpoint| endpoint.listed.is_some()));
            assert_eq!(level.serving, count(&|endpoint| endpoint.counted.serving), "serving at {at}");
            assert_eq!(level.out, count(&|endpoint| endpoint.counted.out), "out at {at}");
            assert_eq!(level.available, count(&|endpoint| endpoint.counted.available), "available at {at}");
            assert_eq!(level.barred, count(&|endpoint| endpoint.counted.barred), "barred at {at}");
            assert_eq!(level.seasoned, count(&|endpoint| endpoint.seasoned), "seasoned at {at}");
            assert_eq!(level.ramping, count(&|endpoint| endpoint.ramping), "ramping at {at}");
            let of_level = self.endpoints.iter().filter(|(_, endpoint)| endpoint.priority == at);
            let in_flight: u64 = of_level.map(|(_, endpoint)| u64::from(endpoint.in_flight)).sum();
            assert_eq!(level.in_flight, in_flight, "in flight at {at}");
        }
        let conns: usize = self.endpoints.iter().map(|(_, endpoint)| endpoint.conns.len()).sum();
        assert_eq!((conns, self.conn_timers.len()), (self.conns.len(), self.conns.len()));
    }
}
