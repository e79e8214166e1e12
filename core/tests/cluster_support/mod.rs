//! A cluster in virtual time, and a network that does what a test says.
//!
//! Time passes from deadline to deadline, and after every step the cluster recounts what it has counted.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::cluster::{
    Action, CloseCause, Cluster, Config, EndpointOptions, EndpointStatus, Place, StateEvent, Unplaced, Want,
};
use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, EndpointId};
use plimsoll_core::policy::backoff::Jitter;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::time::Instant;

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dial {
    #[default]
    Succeeds,
    Fails,
    Hangs,
}

pub struct Fleet {
    pub cluster: Cluster,
    pub now: Instant,
    /// In the order in which they came.
    pub endpoints: Vec<EndpointId>,
    /// What becomes of the dials to an address; they succeed if nothing is said.
    pub dials: BTreeMap<String, Dial>,
    /// When each dial was begun, and to whom.
    pub dialled: Vec<(Instant, EndpointId, ConnId)>,
    /// The connections that stand, and whose they are.
    pub open: BTreeMap<ConnId, EndpointId>,
    /// The places that those who waited were given.
    pub assigned: Vec<(u32, Place)>,
    pub states: Vec<StateEvent>,
    pub answers_pings: bool,
    /// How often time stood still to look at a deadline.
    pub wakeups: u32,
}

impl Fleet {
    /// So many endpoints, which are connected as far as connections are kept up.
    pub fn new(config: Config, endpoints: u32) -> Fleet {
        let mut fleet = Fleet {
            cluster: Cluster::new(config, 5),
            now: Instant::from_millis(1_000),
            endpoints: Vec::new(),
            dials: BTreeMap::new(),
            dialled: Vec::new(),
            open: BTreeMap::new(),
            assigned: Vec::new(),
            states: Vec::new(),
            answers_pings: true,
            wakeups: 0,
        };
        for _ in 0..endpoints {
            fleet.add();
        }
        fleet
    }

    pub fn of(strategy: Strategy, endpoints: u32) -> Fleet {
        Fleet::new(Config { strategy, ..calm() }, endpoints)
    }

    pub fn add(&mut self) -> EndpointId {
        self.add_with(EndpointOptions::default())
    }

    pub fn add_at(&mut self, priority: u8) -> EndpointId {
        self.add_with(EndpointOptions { priority, ..EndpointOptions::default() })
    }

    pub fn add_with(&mut self, options: EndpointOptions) -> EndpointId {
        let address = self.next_address();
        let id = self.cluster.add_endpoint_with(self.now, &address, options).expect("room for an endpoint");
        self.endpoints.push(id);
        self.run();
        id
    }

    /// Adds one whose dials end so.
    pub fn add_that(&mut self, dial: Dial, priority: u8) -> EndpointId {
        self.dials.insert(self.next_address(), dial);
        self.add_at(priority)
    }

    fn next_address(&self) -> String {
        address(self.endpoints.len())
    }

    pub fn address_of(&self, id: EndpointId) -> String {
        address(self.endpoints.iter().position(|other| *other == id).expect("an endpoint of the test"))
    }

    /// From now on the dials to an endpoint end so.
    pub fn dials_to(&mut self, id: EndpointId, dial: Dial) {
        self.dials.insert(self.address_of(id), dial);
    }

    /// All connections to an endpoint are lost, and from now on it cannot be dialled.
    pub fn cut_off(&mut self, id: EndpointId) {
        self.dials_to(id, Dial::Fails);
        for conn in self.conns(id) {
            self.lose(conn);
        }
        // The next dial is put off by the backoff.
        for _ in 0..100 {
            if !self.status(id).reachable {
                return;
            }
            self.pass_ms(100);
        }
        panic!("{id} is reachable");
    }

    pub fn lose(&mut self, conn: ConnId) {
        self.cluster.closed(self.now, conn, Fault::Reset);
        self.run();
    }

    /// A dial that hung has succeeded.
    pub fn connect(&mut self, conn: ConnId) {
        assert!(self.cluster.connected(self.now, conn), "{conn} is dialled");
        self.run();
    }

    pub fn drain(&mut self, id: EndpointId) -> bool {
        let done = self.cluster.drain_endpoint(self.now, id);
        self.run();
        done
    }

    pub fn resume(&mut self, id: EndpointId) -> bool {
        let done = self.cluster.resume_endpoint(self.now, id);
        self.run();
        done
    }

    pub fn remove(&mut self, id: EndpointId) -> bool {
        let done = self.cluster.remove_endpoint(self.now, id);
        self.run();
        done
    }

    pub fn scale(&mut self, connections: u32) {
        self.cluster.scale(self.now, connections);
        self.run();
    }

    pub fn retire(&mut self, conn: ConnId) -> bool {
        let done = self.cluster.retire(self.now, conn);
        self.run();
        done
    }

    pub fn set_health(&mut self, id: EndpointId, health: plimsoll_core::policy::health_check::Level) {
        assert!(self.cluster.set_health(self.now, id, health));
        self.run();
    }

    /// The connections of an endpoint that stand.
    pub fn conns(&self, id: EndpointId) -> Vec<ConnId> {
        self.open.iter().filter(|(_, endpoint)| **endpoint == id).map(|(conn, _)| *conn).collect()
    }

    pub fn status(&self, id: EndpointId) -> EndpointStatus<'_> {
        let mut all = self.cluster.endpoint_status(self.now);
        all.find(|status| status.id == id).expect("an endpoint")
    }

    pub fn checkout(&mut self, want: Want) -> Result<Place, Unplaced> {
        let place = self.cluster.checkout(self.now, want);
        self.run();
        if let Ok(place) = place {
            assert!(self.open.contains_key(&place.conn), "a place on a connection that stands");
        }
        place
    }

    #[track_caller]
    pub fn take(&mut self) -> Place {
        self.checkout(Want::default()).expect("a place")
    }

    /// A request that has to wait does so, under `key`.
    #[track_caller]
    pub fn wait(&mut self, key: u32, want: Want) {
        assert_eq!(self.cluster.checkout(self.now, want), Err(Unplaced::Full));
        assert!(self.cluster.wait(self.now, key, 100, want));
        self.run();
    }

    /// Where one that waited was put.
    pub fn place_of(&self, waiter: u32) -> Option<Place> {
        self.assigned.iter().find(|(key, _)| *key == waiter).map(|(_, place)| *place)
    }

    pub fn give_back(&mut self, place: Place, outcome: Outcome) {
        self.cluster.settle(self.now, place, outcome);
        self.cluster.release(self.now, place.conn);
        self.run();
    }

    /// How many of `calls` go where, if each is answered before the next, after a time that its endpoint decides.
    pub fn calls(&mut self, calls: u32, millis: impl Fn(EndpointId) -> u64) -> BTreeMap<EndpointId, u32> {
        self.calls_that(calls, |id| (millis(id), Outcome::Success))
    }

    /// The same, with an outcome that the endpoint decides.
    pub fn calls_that(
        &mut self,
        calls: u32,
        answer: impl Fn(EndpointId) -> (u64, Outcome),
    ) -> BTreeMap<EndpointId, u32> {
        let mut shares = BTreeMap::new();
        for _ in 0..calls {
            let place = self.take();
            *shares.entry(place.endpoint).or_default() += 1;
            let (millis, outcome) = answer(place.endpoint);
            self.pass_ms(millis);
            self.give_back(place, outcome);
        }
        shares
    }

    /// Has one endpoint answer so many calls in a row, while all others are asked and give back nothing that counts.
    pub fn answers(&mut self, id: EndpointId, calls: u32, outcome: Outcome) {
        for _ in 0..calls {
            let mut others = Vec::new();
            let place = loop {
                let place = self.take();
                if place.endpoint == id {
                    break place;
                }
                others.push(place);
                assert!(others.len() < 10_000, "{id} gets no requests");
            };
            self.give_back(place, outcome);
            for place in others {
                self.give_back(place, Outcome::Ignored);
            }
        }
    }

    /// Time passes, from deadline to deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, what)) = self.cluster.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.wakeups += 1;
            self.cluster.tick(self.now);
            assert_ne!(
                self.cluster.deadline().map(|(next, _)| next),
                Some(at),
                "a tick for {what} does nothing"
            );
            self.run();
        }
        self.now = end;
    }

    pub fn pass_ms(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    pub fn pass_secs(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Does what the cluster wants.
    pub fn run(&mut self) {
        self.cluster.audit();
        if self.cluster.deadline().is_some_and(|(_, what)| what == "a choice among new endpoints") {
            self.cluster.tick(self.now);
        }
        while let Some(action) = self.cluster.poll() {
            match action {
                Action::Dial(conn) => self.dial(conn),
                Action::Close(conn, _) => _ = self.open.remove(&conn),
                Action::Ping(conn) if self.answers_pings => self.cluster.received(self.now, conn),
                Action::Ping(_) | Action::Probe(_) => {}
                Action::Assign { waiter, place } => self.assigned.push((waiter, place)),
            }
            self.cluster.audit();
        }
        while let Some(state) = self.cluster.state_event() {
            if let StateEvent::Connected { endpoint, conn } = state
                && self.cluster.has_conn(conn)
            {
                self.open.insert(conn, endpoint);
            }
            self.states.push(state);
        }
    }

    fn dial(&mut self, conn: ConnId) {
        // It may be closed again before anybody has begun to dial it.
        let Some(target) = self.cluster.target(conn).map(str::to_owned) else { return };
        let at = (0..self.endpoints.len() + 1).find(|at| address(*at) == target).expect("a known address");
        let status = self.cluster.endpoints().find(|(_, address)| *address == target);
        let id = self.endpoints.get(at).copied().or(status.map(|(id, _)| id)).expect("an endpoint");
        self.dialled.push((self.now, id, conn));
        match self.dials.get(&target).copied().unwrap_or_default() {
            Dial::Succeeds => assert!(self.cluster.connected(self.now, conn)),
            Dial::Fails => self.cluster.closed(self.now, conn, Fault::Refused),
            Dial::Hangs => {}
        }
    }

    /// Why the connections of an endpoint have ended, in order.
    pub fn closes(&self, id: EndpointId) -> Vec<CloseCause> {
        let cause = |state: &StateEvent| match state {
            StateEvent::Closed { endpoint, cause, .. } if *endpoint == id => Some(*cause),
            _ => None,
        };
        self.states.iter().filter_map(cause).collect()
    }

    pub fn dials_begun(&self, id: EndpointId) -> usize {
        self.dialled.iter().filter(|(_, endpoint, _)| *endpoint == id).count()
    }
}

fn address(n: usize) -> String {
    format!("users-{n}.internal:3001")
}

/// The defaults without chance in the reconnect delay.
pub fn calm() -> Config {
    let mut config = Config::default();
    config.backoff.jitter = Jitter::None;
    config
}

/// A limit above zero.
pub fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a limit above zero")
}
