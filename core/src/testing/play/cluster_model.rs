//! The cluster beside a model that remembers what has happened and counts anew whenever it is asked: what a request is
//! answered, who may be chosen, when an endpoint is dialled, when a connection is pinged and why it ends, how the
//! breakers move, and what the status says. One priority level, without outliers, subsets, ages and slow starts: those
//! are played in [`cluster`](super::cluster).

mod checks;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::breaker::Model as Breaker;
use super::cluster::{Step, pick};
use super::{Op, limit};
use crate::cluster::{Action, CloseCause, Cluster, Config, Duty, EndpointOptions, Place, Unplaced, Want};
use crate::error::{Fault, Rejected};
use crate::id::{ConnId, EndpointId};
use crate::policy::backoff::Jitter;
use crate::policy::balance::Strategy;
use crate::policy::breaker::{self, Outcome};
use crate::policy::fixed::Ratio;
use crate::policy::health_check::Level;
use crate::rng::Pcg;
use crate::time::Instant;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_millis(1_600);

fn config(shape: u32) -> Config {
    let mut draws = Pcg::new(u64::from(shape), 10);
    let mut below = |bound| draws.below(bound);
    let mut config = Config {
        strategy: Strategy::ALL[below(9) as usize],
        in_flight: limit(1 + below(3)),
        max_connections: limit(1 + below(3)),
        min_connections: below(3),
        grow_at: below(2),
        burst: 1,
        waiters: limit(3),
        max_endpoints: limit(6),
        connect_timeout: Duration::from_millis(900),
        idle_close: Duration::from_millis(4_000),
        outliers: None,
        ..Config::default()
    };
    config.heartbeat.interval = Duration::from_millis(3_000);
    config.heartbeat.timeout = Duration::from_millis(500);
    config.backoff.jitter = Jitter::None;
    config.backoff.base = BASE;
    config.backoff.multiplier = Ratio::per_mille(2_000);
    config.backoff.cap = CAP;
    config.breaker.mode = breaker::Mode::Count { failures: limit(1 + below(3)) };
    config.breaker.recovery = Duration::from_millis(3_000);
    config.breaker.recovery_cap = Duration::from_millis(9_000);
    config.breaker.success_threshold = limit(1 + below(2));
    config.breaker.lease = Duration::from_millis(5_000);
    config.slow_start.window = Duration::ZERO;
    config.panic.threshold = Ratio::percent(0);
    config
}

struct Conn {
    id: ConnId,
    endpoint: EndpointId,
    /// Until when it is being dialled.
    dialing: Option<Instant>,
    retiring: bool,
    proven: bool,
    in_flight: u32,
    last_used: Instant,
    received: Instant,
    pinged: Option<Instant>,
    /// Since when it could be closed for being idle.
    spare: Option<Instant>,
}

impl Conn {
    fn takes_requests(&self) -> bool {
        self.dialing.is_none() && !self.retiring
    }
}

struct Endpoint {
    id: EndpointId,
    address: String,
    duty: Duty,
    weight: u32,
    health: Level,
    breaker: Breaker,
    /// Of its breaker, for the owner to look at.
    moves: VecDeque<breaker::State>,
    reachable: bool,
    /// Not before this the next dial.
    dial_at: Instant,
    failures: u32,
    backing_off: bool,
    told_drained: bool,
}

/// A place that was given; the number is that of the call at the breaker of its endpoint.
struct Given {
    place: Place,
    call: usize,
    settled: bool,
    released: bool,
}

struct World {
    config: Config,
    cluster: Cluster,
    now: Instant,
    endpoints: Vec<Endpoint>,
    conns: Vec<Conn>,
    given: Vec<Given>,
    /// By key, in the order in which they came.
    waiting: VecDeque<(u32, Want)>,
    next_key: u32,
    draining: bool,
    answers_pings: bool,
    /// Somebody has asked for a place since the last rest.
    asked: bool,
    /// A dial was given up before it began.
    gave_up: bool,
}

impl World {
    fn endpoint(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.id == id)
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns.iter_mut().find(|conn| conn.id == id).expect("a connection that the model knows")
    }

    fn of(&self, id: EndpointId) -> impl Iterator<Item = &Conn> {
        self.conns.iter().filter(move |conn| conn.endpoint == id)
    }

    fn in_flight(&self, id: EndpointId) -> u32 {
        self.of(id).map(|conn| conn.in_flight).sum()
    }

    fn has_room(&self, id: EndpointId) -> bool {
        self.of(id).any(|conn| conn.takes_requests() && conn.in_flight < self.config.in_flight.get())
    }

    fn admits(&self, endpoint: &Endpoint) -> bool {
        endpoint.breaker.admits(self.now)
    }

    /// Who may be chosen.
    fn candidates(&self) -> impl Iterator<Item = &Endpoint> {
        let by_weight = self.config.strategy.is_weighted();
        self.endpoints.iter().filter(move |endpoint| {
            endpoint.duty == Duty::Serving
                && endpoint.health != Level::Unhealthy
                && self.admits(endpoint)
                && self.has_room(endpoint.id)
                && (endpoint.weight > 0 || !by_weight)
        })
    }

    fn conns(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        self.conns.iter().filter(|conn| wanted(conn)).map(|conn| conn.id).collect()
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        let ids: Vec<EndpointId> = self.endpoints.iter().map(|endpoint| endpoint.id).collect();
        let dialing = self.conns(|conn| conn.dialing.is_some());
        let open = self.conns(|conn| conn.dialing.is_none());
        match step {
            Step::Add { weight, .. } => self.add(u32::from(weight) - 1),
            Step::Remove(n) => _ = pick(&ids, n).map(|id| self.dismiss(id, Duty::Removed)),
            Step::Drain(n) => _ = pick(&ids, n).map(|id| self.dismiss(id, Duty::Draining)),
            Step::Resume(n) => _ = pick(&ids, n).map(|id| self.resume(id)),
            Step::SetWeight(n, weight) => {
                if let Some(id) = pick(&ids, n) {
                    self.endpoint(id).expect("an endpoint").weight = u32::from(weight) - 1;
                    assert!(self.cluster.set_weight(now, id, u32::from(weight) - 1));
                }
            }
            Step::SetHealth(n, health) => {
                let health = [Level::Healthy, Level::Degraded, Level::Unhealthy][usize::from(health % 3)];
                if let Some(id) = pick(&ids, n) {
                    self.endpoint(id).expect("an endpoint").health = health;
                    assert!(self.cluster.set_health(now, id, health));
                }
            }
            Step::Scale(n) => {
                self.config.min_connections = u32::from(n);
                self.cluster.scale(now, u32::from(n));
            }
            Step::Connect(n) => _ = pick(&dialing, n).map(|conn| self.connect(conn)),
            Step::FailDial(n) => {
                _ = pick(&dialing, n).map(|conn| self.cluster.closed(now, conn, Fault::Refused));
            }
            Step::Lose(n) => _ = pick(&open, n).map(|conn| self.cluster.closed(now, conn, Fault::Reset)),
            Step::Request { key, avoid, waits } => self.request(&ids, key, avoid, waits),
            Step::CancelWait(n) => {
                if !self.waiting.is_empty() {
                    let (key, _) =
                        self.waiting.remove(usize::from(n) % self.waiting.len()).expect("one who waits");
                    assert!(self.cluster.cancel_wait(now, key));
                }
            }
            Step::Settle(n, outcome) => self.settle(n, outcome),
            Step::Release(n) => self.release(n),
            Step::ReleaseLate(n) => {
                // An answer has come instead.
                if let Some(conn) = pick(&open, n) {
                    self.prove(conn);
                }
            }
            Step::Retire(n) => {
                if let Some(conn) = pick(&open, n) {
                    self.conn(conn).retiring = true;
                    assert!(self.cluster.retire(now, conn));
                }
            }
            Step::AnswerPings(answers) => self.answers_pings = answers,
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis))),
            Step::TickEarly => self.cluster.tick(now),
            Step::DrainAll => {
                self.draining = true;
                self.cluster.drain(now);
            }
            Step::CloseAll => {
                self.draining = true;
                self.waiting.clear();
                self.cluster.close_all(now);
            }
        }
        self.run();
        if let Step::Scale(n) = step {
            let idle = |conn: &&Conn| conn.dialing.is_none() && conn.in_flight == 0;
            for endpoint in &self.endpoints {
                let lasting = self.of(endpoint.id).filter(|conn| conn.takes_requests()).count() as u32;
                let surplus = lasting > u32::from(n) && self.of(endpoint.id).any(|conn| idle(&conn));
                assert!(!surplus, "more connections to {} than are wanted", endpoint.id);
            }
        }
    }

    fn add(&mut self, weight: u32) {
        let (now, address) = (self.now, format!("users-{}.internal:3001", self.next_key));
        self.next_key += 1;
        let added = self.cluster.add_endpoint_with(now, &address, EndpointOptions { weight, priority: 0 });
        assert_eq!(added.is_ok(), self.endpoints.len() < self.config.max_endpoints.get() as usize);
        self.endpoints.extend(added.map(|id| Endpoint {
            id,
            address,
            duty: Duty::Serving,
            weight,
            health: Level::Healthy,
            breaker: Breaker::new(self.config.breaker, now),
            moves: VecDeque::new(),
            reachable: true,
            dial_at: now,
            failures: 0,
            backing_off: false,
            told_drained: false,
        }));
    }

    fn dismiss(&mut self, id: EndpointId, duty: Duty) {
        let (now, endpoint) = (self.now, self.endpoint(id).expect("an endpoint"));
        let known = endpoint.duty != Duty::Removed;
        if known {
            endpoint.duty = duty;
        }
        let dismissed = match duty {
            Duty::Removed => self.cluster.remove_endpoint(now, id),
            _ => self.cluster.drain_endpoint(now, id),
        };
        assert_eq!(dismissed, known);
    }

    fn resume(&mut self, id: EndpointId) {
        let (now, endpoint) = (self.now, self.endpoint(id).expect("an endpoint"));
        let drained = endpoint.duty == Duty::Draining;
        if drained {
            (endpoint.duty, endpoint.told_drained) = (Duty::Serving, false);
        }
        assert_eq!(self.cluster.resume_endpoint(now, id), drained);
    }

    fn connect(&mut self, id: ConnId) {
        let now = self.now;
        let conn = self.conn(id);
        (conn.dialing, conn.last_used, conn.received) = (None, now, now);
        let endpoint = conn.endpoint;
        self.endpoint(endpoint).expect("an endpoint").reachable = true;
        assert!(self.cluster.connected(now, id));
    }

    fn prove(&mut self, id: ConnId) {
        let now = self.now;
        let conn = self.conn(id);
        (conn.received, conn.pinged) = (now, None);
        let (proven, endpoint) = (core::mem::replace(&mut conn.proven, true), conn.endpoint);
        if !proven {
            self.endpoint(endpoint).expect("an endpoint").failures = 0;
        }
        self.cluster.received(now, id);
        self.cluster.proven(id);
    }

    fn request(&mut self, ids: &[EndpointId], key: u8, avoid: u8, waits: bool) {
        let avoid = avoid.is_multiple_of(2).then(|| pick(ids, avoid / 2)).flatten();
        let want = Want { key: key.is_multiple_of(2).then_some(u64::from(key)), avoid };
        self.asked = true;
        match self.cluster.checkout(self.now, want) {
            Ok(place) => {
                assert!(self.waiting.is_empty(), "those who wait go first");
                self.give(place, want);
            }
            Err(refused) => {
                assert!(!self.waiting.is_empty() || self.candidates().next().is_none(), "{refused:?}");
                let expected = self.refusals();
                assert!(expected.contains(&refused), "{refused:?} instead of {expected:?}");
                if refused == Unplaced::Full && waits {
                    let free = (0..).find(|key| self.waiting.iter().all(|(other, _)| other != key)).unwrap();
                    let room = self.waiting.len() < self.config.waiters.get() as usize;
                    assert_eq!(self.cluster.wait(self.now, free, 1, want), room);
                    self.waiting.extend(room.then_some((free, want)));
                }
            }
        }
    }

    /// What a request may be told that gets no place. An endpoint whose probes are all out counts as out from when somebody
    /// has asked it.
    fn refusals(&self) -> Vec<Unplaced> {
        let serving = || self.endpoints.iter().filter(|endpoint| endpoint.duty == Duty::Serving);
        if serving().next().is_none() {
            return vec![Unplaced::Rejected(Rejected::NoEndpoint)];
        }
        let is_open = |endpoint: &Endpoint| endpoint.breaker.state() == breaker::State::Open;
        let unhealthy = |endpoint: &Endpoint| endpoint.health == Level::Unhealthy;
        if serving().all(is_open) {
            return vec![Unplaced::Rejected(Rejected::CircuitOpen)];
        }
        let mut expected = Vec::new();
        if serving().all(|endpoint| !self.admits(endpoint)) {
            expected.push(Unplaced::Rejected(Rejected::CircuitOpen));
        }
        if serving().all(|endpoint| unhealthy(endpoint) || !self.admits(endpoint)) {
            expected.push(Unplaced::Rejected(Rejected::Unhealthy));
        }
        if serving().any(|endpoint| !unhealthy(endpoint) && !is_open(endpoint)) {
            expected.push(Unplaced::Full);
        }
        expected
    }

    fn give(&mut self, place: Place, want: Want) {
        let chosen = self.candidates().find(|endpoint| endpoint.id == place.endpoint);
        assert!(chosen.is_some(), "{} may not be chosen", place.endpoint);
        let others = || self.candidates().filter(|endpoint| endpoint.id != place.endpoint);
        assert!(want.avoid != Some(place.endpoint) || others().next().is_none(), "another was wanted");
        if self.config.strategy == Strategy::LeastConnections && want.avoid.is_none() {
            let least = others().map(|endpoint| self.in_flight(endpoint.id)).min();
            assert!(least.is_none_or(|least| self.in_flight(place.endpoint) <= least), "not the least");
        }
        let free = self.of(place.endpoint).filter(|conn| conn.takes_requests());
        let least = free.map(|conn| conn.in_flight).min();
        let now = self.now;
        let conn = self.conn(place.conn);
        assert_eq!(Some(conn.in_flight), least, "the least loaded connection");
        assert!(conn.endpoint == place.endpoint && conn.takes_requests());
        conn.in_flight += 1;
        conn.last_used = now;
        let call = self.endpoint(place.endpoint).expect("an endpoint").breaker.call(now);
        self.given.push(Given { place, call, settled: false, released: false });
    }

    fn settle(&mut self, n: u8, outcome: u8) {
        let outcome = [Outcome::Success, Outcome::Failure, Outcome::Ignored, Outcome::Failure]
            [usize::from(outcome % 4)];
        let Some(at) = usize::from(n).checked_rem(self.given.len()) else { return };
        let given = &mut self.given[at];
        if core::mem::replace(&mut given.settled, true) {
            return;
        }
        let (now, place, call) = (self.now, given.place, given.call);
        let mut tripped = false;
        if let Some(endpoint) = self.endpoint(place.endpoint)
            && let Some(change) = endpoint.breaker.settle(now, call, outcome)
        {
            endpoint.moves.push_back(change.to);
            tripped = change.to == breaker::State::Open;
        }
        self.cluster.settle(now, place, outcome);
        if tripped {
            let until = self.cluster.breaker(place.endpoint).and_then(breaker::Breaker::deadline);
            let breaker = &mut self.endpoint(place.endpoint).expect("an endpoint").breaker;
            assert!(breaker.opens_until(now, until.expect("an open breaker has a deadline")), "{until:?}");
        }
    }

    fn release(&mut self, n: u8) {
        let Some(at) = usize::from(n).checked_rem(self.given.len()) else { return };
        let given = &mut self.given[at];
        if core::mem::replace(&mut given.released, true) {
            return;
        }
        let (now, id) = (self.now, given.place.conn);
        if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) {
            conn.in_flight -= 1;
            conn.last_used = now;
        }
        self.cluster.release(now, id);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.cluster.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let now = self.now;
            for endpoint in &mut self.endpoints {
                if endpoint.breaker.now_is(now) {
                    endpoint.moves.push_back(breaker::State::HalfOpen);
                }
            }
            self.cluster.tick(now);
            self.run();
        }
        self.now = end;
    }

    fn run(&mut self) {
        // Asked for before any of it was answered.
        let wanted = self.asked || !self.waiting.is_empty();
        while let Some(action) = self.cluster.poll() {
            match action {
                Action::Dial(id) => self.dialled(id, wanted),
                Action::Close(id, cause) => self.ended(id, cause),
                Action::Probe(_) => panic!("so few are not probed"),
                Action::Ping(id) => self.pinged(id),
                Action::Assign { waiter, place } => {
                    let (first, want) = self.waiting.pop_front().expect("somebody who waits");
                    assert_eq!(waiter, first, "first come, first served");
                    self.give(place, want);
                }
            }
        }
        self.asked = false;
        self.check();
    }

    fn dialled(&mut self, id: ConnId, wanted: bool) {
        let Some(address) = self.cluster.target(id) else {
            // Whoever it was for has found another place. To whom it went, and so when the next one may follow, is unknown.
            assert!(self.draining, "a dial that is given up at once");
            self.gave_up = true;
            return;
        };
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.address == address);
        let endpoint = endpoint.expect("an endpoint that the model knows");
        let (now, of) = (self.now, endpoint.id);
        assert_eq!(endpoint.duty, Duty::Serving);
        assert!(endpoint.dial_at <= now, "{of} is dialled too early");
        assert!(self.of(of).all(|conn| conn.dialing.is_none()), "one dial to {of} at a time");
        let lasting = self.lasting(of);
        assert!(lasting < self.config.max_connections.get(), "too many connections to {of}");
        assert!(wanted || lasting < self.kept(endpoint), "{of} is dialled without need");
        self.conns.push(Conn {
            id,
            endpoint: of,
            dialing: Some(now + self.config.connect_timeout),
            retiring: false,
            proven: false,
            in_flight: 0,
            last_used: now,
            received: now,
            pinged: None,
            spare: None,
        });
        let stagger = self.config.dial_stagger;
        let endpoint = self.endpoint(of).expect("an endpoint");
        (endpoint.dial_at, endpoint.backing_off) = (now + stagger, false);
    }

    /// Connections that stand or are dialled, and take requests.
    fn lasting(&self, id: EndpointId) -> u32 {
        self.of(id).filter(|conn| !conn.retiring).count() as u32
    }

    /// How many connections are kept up without need.
    fn kept(&self, endpoint: &Endpoint) -> u32 {
        let least = self.config.min_connections.max(u32::from(!endpoint.reachable));
        if self.draining { 0 } else { least.min(self.config.max_connections.get()) }
    }

    fn pinged(&mut self, id: ConnId) {
        let (now, config, answers) = (self.now, self.config.heartbeat, self.answers_pings);
        let conn = self.conn(id);
        assert!(now.since(conn.received) > config.interval / 2, "{id} is pinged, and was not silent");
        conn.pinged = (!answers).then_some(now);
        if answers {
            conn.received = now;
            self.cluster.received(now, id);
        }
    }

    fn ended(&mut self, id: ConnId, cause: CloseCause) {
        let Some(at) = self.conns.iter().position(|conn| conn.id == id) else {
            assert!(self.gave_up, "the end of what had not begun");
            return;
        };
        let (now, config) = (self.now, self.config);
        let open = self.of(self.conns[at].endpoint).filter(|conn| conn.takes_requests()).count() as u32;
        let conn = self.conns.remove(at);
        let (dialing, idle) = (conn.dialing.is_some(), conn.in_flight == 0);
        let still_open = open - u32::from(conn.takes_requests());
        let draining = self.draining;
        let endpoint = self.endpoint(conn.endpoint).expect("an endpoint that the model knows");
        let lawful = match cause {
            CloseCause::Dial(_) => dialing,
            CloseCause::DialTimeout => conn.dialing.is_some_and(|until| until <= now),
            CloseCause::Fault(_) => !dialing,
            CloseCause::Silent => conn.pinged.is_some_and(|at| at + config.heartbeat.timeout <= now),
            CloseCause::Idle => {
                idle && !dialing && open > config.min_connections && conn.last_used + config.idle_close <= now
            }
            CloseCause::Removed => idle && endpoint.duty != Duty::Serving,
            CloseCause::Aged => idle && conn.retiring,
            CloseCause::Surplus => idle && !dialing && open > config.min_connections,
            CloseCause::Shutdown => draining,
            _ => false,
        };
        assert!(lawful, "{id} has ended: {cause:?}");
        if cause.is_error() && !core::mem::replace(&mut endpoint.backing_off, true) {
            let delay = CAP.min(BASE * 2_u32.pow(endpoint.failures.min(10)));
            endpoint.failures += 1;
            endpoint.dial_at = endpoint.dial_at.max(now + delay);
        }
        endpoint.reachable &= !(cause.is_error() && dialing && still_open == 0);
    }
}

/// Does it all.
///
/// # Panics
/// If the cluster does another thing than the model.
pub fn agrees(shape: u32, ops: &[Op]) {
    let config = config(shape);
    let mut world = World {
        config,
        cluster: Cluster::new(config, u64::from(shape)),
        now: Instant::from_millis(1_000),
        endpoints: Vec::new(),
        conns: Vec::new(),
        given: Vec::new(),
        waiting: VecDeque::new(),
        next_key: 0,
        draining: false,
        answers_pings: true,
        asked: false,
        gave_up: false,
    };
    ops.iter().for_each(|&op| world.step(Step::of(op)));
}
