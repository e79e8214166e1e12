//! Anything may happen in any order, with everything switched on: after each step the cluster's counts agree with what
//! is there, its places with those that were given, and nobody waits for what can be had.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Op, limit};
use crate::cluster::{
    Action, Cluster, Config, Duty, EndpointOptions, EndpointStatus, Place, StateEvent, Unplaced, Want,
};
use crate::error::Fault;
use crate::id::{ConnId, EndpointId};
use crate::policy::backoff::Jitter;
use crate::policy::balance::Strategy;
use crate::policy::breaker::{self, Outcome};
use crate::policy::fixed::Ratio;
use crate::policy::health_check::Level;
use crate::policy::panic::Mode;
use crate::rng::Pcg;
use crate::time::Instant;

/// The numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Add {
        priority: u8,
        weight: u8,
    },
    Remove(u8),
    Drain(u8),
    Resume(u8),
    SetWeight(u8, u8),
    SetHealth(u8, u8),
    Scale(u8),
    Connect(u8),
    FailDial(u8),
    Lose(u8),
    Request {
        key: u8,
        avoid: u8,
        waits: bool,
    },
    CancelWait(u8),
    Settle(u8, u8),
    Release(u8),
    /// For a connection that is gone.
    ReleaseLate(u8),
    Retire(u8),
    AnswerPings(bool),
    Pass {
        millis: u16,
    },
    TickEarly,
    DrainAll,
    CloseAll,
}

impl Step {
    pub(super) fn of((kind, one, two): Op) -> Step {
        match kind % 100 {
            0..10 => Step::Add { priority: one % 3, weight: 1 + two % 5 },
            10..12 => Step::Remove(one),
            12..15 => Step::Drain(one),
            15..19 => Step::Resume(one),
            19 => Step::SetWeight(one, 1 + two % 5),
            20..24 => Step::SetHealth(one, two),
            24 => Step::Scale(one % 4),
            25..38 => Step::Connect(one),
            38..42 => Step::FailDial(one),
            42..45 => Step::Lose(one),
            45..63 => Step::Request { key: one, avoid: two, waits: one % 2 == 0 || two % 2 == 0 },
            63 => Step::CancelWait(one),
            64..73 => Step::Settle(one, two),
            73..82 => Step::Release(one),
            82 => Step::ReleaseLate(one),
            83..85 => Step::Retire(one),
            85 => Step::AnswerPings(two % 4 != 0),
            86..=96 => Step::Pass { millis: u16::from_le_bytes([one, two]) % 8_000 },
            98 if two < 32 => Step::DrainAll,
            99 if two < 32 => Step::CloseAll,
            _ => Step::TickEarly,
        }
    }
}

/// Small limits, short times, and every feature.
fn config(shape: u32) -> Config {
    let mut draws = Pcg::new(u64::from(shape), 9);
    let mut below = |bound| draws.below(bound);
    let mut config = Config::default();
    config.backoff.jitter = Jitter::None;
    config.strategy = Strategy::ALL[below(9) as usize];
    config.in_flight = limit(1 + below(3));
    config.max_connections = limit(1 + below(3));
    config.min_connections = below(3);
    config.grow_at = below(2);
    config.waiters = limit(4);
    config.max_endpoints = limit(12);
    config.connect_timeout = Duration::from_millis(900);
    config.idle_close = Duration::from_millis(4_000);
    config.heartbeat.interval = Duration::from_millis(3_000);
    config.heartbeat.timeout = Duration::from_millis(500);
    config.backoff.base = Duration::from_millis(100);
    config.backoff.cap = Duration::from_millis(2_000);
    config.breaker.mode = breaker::Mode::Count { failures: limit(2 + below(3)) };
    config.breaker.recovery = Duration::from_millis(3_000);
    config.breaker.recovery_cap = Duration::from_millis(9_000);
    config.breaker.success_threshold = limit(1 + below(2));
    config.breaker.lease = Duration::from_millis(5_000);
    config.max_age = (below(2) == 0).then_some(Duration::from_millis(5_000));
    config.subset = (below(2) == 0).then(|| limit(1 + below(3)));
    config.priorities.hold = Duration::from_millis(2_000);
    config.slow_start.window = Duration::from_millis(u64::from(below(2)) * 6_000);
    config.panic.threshold = Ratio::percent(below(3) * 50);
    config.panic.mode = if below(2) == 0 { Mode::All } else { Mode::None };
    if let Some(outliers) = &mut config.outliers {
        outliers.consecutive = limit(2);
        outliers.sweep = Duration::from_millis(1_500);
        outliers.base = Duration::from_millis(2_000);
        outliers.most = Ratio::percent(10 + below(80));
    }
    if below(8) == 0 {
        config.outliers = None;
    }
    config
}

/// A place that was given, and what has become of it.
struct Given {
    place: Place,
    settled: bool,
}

struct World {
    cluster: Cluster,
    config: Config,
    now: Instant,
    endpoints: Vec<EndpointId>,
    dialing: Vec<ConnId>,
    open: Vec<ConnId>,
    /// Given, and neither released nor lost.
    given: Vec<Given>,
    lost: Vec<Given>,
    waiting: BTreeSet<u32>,
    next_key: u32,
    answers_pings: bool,
    closing: bool,
    /// It settles for as long as it may.
    is_patient: bool,
    /// How often each endpoint that is drained was told to have no connection any more.
    drained: BTreeMap<EndpointId, u32>,
    actions: Vec<(Instant, Action)>,
}

impl World {
    fn new(shape: u32) -> World {
        World {
            cluster: Cluster::new(config(shape), u64::from(shape)),
            config: config(shape),
            now: Instant::from_millis(1_000),
            endpoints: Vec::new(),
            dialing: Vec::new(),
            open: Vec::new(),
            given: Vec::new(),
            lost: Vec::new(),
            waiting: BTreeSet::new(),
            next_key: 0,
            answers_pings: true,
            closing: false,
            is_patient: shape.is_multiple_of(8),
            drained: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        let endpoint = |n: u8| pick(&self.endpoints, n);
        match step {
            Step::Add { priority, weight } => {
                // Some share an address, as with a name that stands for many.
                let address = format!("users-{}.internal:3001", self.next_key % 40);
                self.next_key += 1;
                let options = EndpointOptions { priority, weight: u32::from(weight) };
                self.endpoints.extend(self.cluster.add_endpoint_with(now, &address, options));
            }
            Step::Remove(n) => {
                if let Some(id) = endpoint(n) {
                    self.cluster.remove_endpoint(now, id);
                    self.drained.remove(&id);
                }
            }
            Step::Drain(n) => {
                if let Some(id) = endpoint(n)
                    && self.cluster.drain_endpoint(now, id)
                {
                    self.drained.entry(id).or_default();
                }
            }
            Step::Resume(n) => {
                if let Some(id) = endpoint(n)
                    && self.cluster.resume_endpoint(now, id)
                {
                    // What was told of this drain is told before what is told of the next.
                    self.run();
                    self.drained.remove(&id);
                }
            }
            Step::SetWeight(n, weight) => {
                _ = endpoint(n).map(|id| self.cluster.set_weight(now, id, u32::from(weight)));
            }
            Step::SetHealth(n, health) => {
                let health = [Level::Healthy, Level::Degraded, Level::Unhealthy][usize::from(health % 3)];
                _ = endpoint(n).map(|id| self.cluster.set_health(now, id, health));
            }
            Step::Scale(n) => self.cluster.scale(now, u32::from(n)),
            Step::Connect(n) => {
                if let Some(conn) = take(&mut self.dialing, n) {
                    assert!(self.cluster.connected(now, conn));
                    assert!(!self.cluster.connected(now, conn), "it stands already");
                    self.open.push(conn);
                }
            }
            Step::FailDial(n) => {
                _ = pick(&self.dialing, n).map(|conn| self.cluster.closed(now, conn, Fault::Refused));
            }
            Step::Lose(n) => _ = pick(&self.open, n).map(|conn| self.cluster.closed(now, conn, Fault::Reset)),
            Step::Request { key, avoid, waits } => self.request(key, avoid, waits),
            Step::CancelWait(n) => {
                let waiting: Vec<u32> = self.waiting.iter().copied().collect();
                if let Some(key) = pick(&waiting, n) {
                    assert!(self.cluster.cancel_wait(now, key));
                    assert!(!self.cluster.cancel_wait(now, key), "it waits no longer");
                    self.waiting.remove(&key);
                }
            }
            Step::Settle(n, outcome) => self.settle(n, outcome),
            Step::Release(n) => {
                if !self.given.is_empty() {
                    let given = self.given.swap_remove(usize::from(n) % self.given.len());
                    self.cluster.release(now, given.place.conn);
                    // What it tells may come after its place was given back.
                    self.lost.push(given);
                }
            }
            Step::ReleaseLate(n) => {
                if let Some(given) = self.lost.get(usize::from(n) % self.lost.len().max(1))
                    && !self.cluster.has_conn(given.place.conn)
                {
                    self.cluster.release(now, given.place.conn);
                }
            }
            Step::Retire(n) => {
                _ = pick(&self.open, n).map(|conn| assert!(self.cluster.retire(now, conn)));
                _ = pick(&self.dialing, n).map(|conn| assert!(!self.cluster.retire(now, conn)));
            }
            Step::AnswerPings(answers) => self.answers_pings = answers,
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis))),
            Step::TickEarly => {
                if self.cluster.deadline().is_none_or(|(at, _)| at > now) {
                    let before = format!("{:?}", self.cluster);
                    self.cluster.tick(now);
                    assert!(format!("{:?}", self.cluster) == before, "an early tick changes something");
                }
            }
            Step::DrainAll => {
                self.closing = true;
                self.cluster.drain(now);
            }
            Step::CloseAll => {
                self.closing = true;
                self.cluster.close_all(now);
                self.waiting.clear();
            }
        }
        self.run();
    }

    fn request(&mut self, key: u8, avoid: u8, waits: bool) {
        let avoid = avoid.is_multiple_of(2).then(|| pick(&self.endpoints, avoid / 2)).flatten();
        let want = Want { key: key.is_multiple_of(2).then_some(u64::from(key) << 56), avoid };
        match self.cluster.checkout(self.now, want) {
            Ok(place) => {
                assert!(self.waiting.is_empty(), "those who wait go first");
                self.give(place);
                let mut all = self.cluster.endpoint_status(self.now);
                let status = all.find(|status| status.id == place.endpoint).expect("an endpoint");
                assert_eq!(status.duty, Duty::Serving);
                assert_ne!(status.breaker, breaker::State::Open);
            }
            Err(Unplaced::Full) if waits => {
                self.next_key += 1;
                let free = (0..).find(|key| !self.waiting.contains(key)).unwrap();
                if self.cluster.wait(self.now, free, 100, want) {
                    self.waiting.insert(free);
                } else {
                    assert_eq!(self.waiting.len(), 4, "the queue is full");
                }
            }
            Err(_) => {}
        }
    }

    fn give(&mut self, place: Place) {
        let stands = self.open.contains(&place.conn) && self.cluster.has_conn(place.conn);
        assert!(stands, "a place on a connection that stands");
        self.given.push(Given { place, settled: false });
    }

    fn settle(&mut self, n: u8, outcome: u8) {
        let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Ignored, Outcome::Failure];
        let all = self.given.len() + self.lost.len();
        let given = self.given.iter_mut().chain(&mut self.lost).nth(usize::from(n) % all.max(1));
        if let Some(given) = given.filter(|given| !given.settled) {
            given.settled = true;
            self.cluster.settle(self.now, given.place, outcomes[usize::from(outcome % 4)]);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some((at, what)) = self.cluster.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.cluster.tick(self.now);
            let next = self.cluster.deadline();
            assert!(next.is_none_or(|(next, _)| next > at), "a tick for {what} does nothing");
            self.run();
            ticks += 1;
            assert!(ticks < 10_000, "time stands still: {what}");
        }
        self.now = end;
    }

    fn run(&mut self) {
        while let Some(action) = self.cluster.poll() {
            self.actions.push((self.now, action));
            match action {
                Action::Dial(conn) => {
                    if self.cluster.has_conn(conn) {
                        self.dialing.push(conn);
                    }
                }
                Action::Close(conn, _) => {
                    assert!(!self.cluster.has_conn(conn));
                    self.dialing.retain(|other| *other != conn);
                    self.open.retain(|other| *other != conn);
                    let (lost, kept) = self.given.drain(..).partition(|given| given.place.conn == conn);
                    self.given = kept;
                    self.lost.extend::<Vec<Given>>(lost);
                }
                Action::Probe(_) => {}
                Action::Ping(conn) => {
                    if self.answers_pings {
                        self.cluster.received(self.now, conn);
                    }
                }
                Action::Assign { waiter, place } => {
                    assert!(self.waiting.remove(&waiter), "{waiter} waits");
                    self.give(place);
                }
            }
        }
        self.check();
    }

    fn check(&mut self) {
        self.cluster.audit();
        let status = self.cluster.status();
        assert_eq!(status.in_flight as usize, self.given.len(), "places");
        assert_eq!(status.waiting as usize, self.waiting.len(), "waiters");
        assert_eq!((status.connections, status.dialing), (self.open.len() as u32, self.dialing.len() as u32));
        while let Some(state) = self.cluster.state_event() {
            if let StateEvent::Drained { endpoint } = state
                && let Some(told) = self.drained.get_mut(&endpoint)
            {
                *told += 1;
            }
        }
        let mut in_use = [0; 3];
        for status in self.cluster.endpoint_status(self.now) {
            match status.duty {
                Duty::Serving => in_use[usize::from(status.priority)] += 1,
                Duty::Draining => {
                    let told = self.drained.get(&status.id).copied().unwrap_or_default();
                    let busy = status.connections > 0;
                    assert_eq!(told, u32::from(!busy), "how often {} was told to be drained", status.id);
                }
                Duty::Spare | Duty::Removed => {}
            }
        }
        if let Some(size) = self.config.subset {
            assert!(in_use.iter().all(|&in_use| in_use <= size.get()), "more than the subset");
        }
        if !self.waiting.is_empty() {
            assert!(self.without_waiters().is_err(), "somebody waits for what can be had");
        }
    }

    /// What a request would get if nobody waited.
    fn without_waiters(&self) -> Result<Place, Unplaced> {
        let mut cluster = self.cluster.clone();
        self.waiting.iter().for_each(|key| _ = cluster.cancel_wait(self.now, *key));
        cluster.checkout(self.now, Want::default())
    }

    /// What is not as it should be once nothing bad happens any more.
    fn unrest(&self) -> Option<String> {
        if self.closing {
            return None;
        }
        let unreachable = |status: &EndpointStatus<'_>| status.duty == Duty::Serving && !status.reachable;
        if let Some(status) = self.cluster.endpoint_status(self.now).find(unreachable) {
            return Some(format!("not dialled again: {status:?}"));
        }
        if self.waiting.is_empty() {
            return None;
        }
        let alone = self.without_waiters();
        (!matches!(alone, Err(Unplaced::Rejected(_)))).then(|| format!("somebody waits: {alone:?}"))
    }

    /// Nothing bad happens any more: within half a minute everybody is served and everything reachable. It need not take
    /// that long, but one in eight goes on to the end, to see that it stays so.
    fn settle_down(&mut self) {
        self.answers_pings = true;
        for _ in 0..60 {
            while !self.dialing.is_empty() {
                self.step(Step::Connect(0));
            }
            while !self.given.is_empty() {
                self.step(Step::Settle(0, 0));
                self.step(Step::Release(0));
            }
            if !self.is_patient && self.unrest().is_none() {
                break;
            }
            self.pass(Duration::from_millis(500));
        }
        assert_eq!(self.unrest(), None);
        self.cluster.drain(self.now);
        for key in core::mem::take(&mut self.waiting) {
            self.cluster.cancel_wait(self.now, key);
        }
        self.run();
        self.pass(Duration::from_secs(1_000));
        assert!(self.cluster.is_empty() && self.given.is_empty());
        assert_eq!(self.cluster.deadline(), None, "everything is at rest");
        let duties = self.cluster.endpoint_status(self.now).map(|status| status.duty);
        assert!(duties.into_iter().all(|duty| duty != Duty::Removed), "those that were removed are gone");
    }
}

pub(super) fn pick<T: Copy>(from: &[T], n: u8) -> Option<T> {
    from.get(usize::from(n) % from.len().max(1)).copied()
}

fn take<T>(from: &mut Vec<T>, n: u8) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(usize::from(n) % from.len()))
}

/// Does it all, then lets everything come to rest. What the cluster wanted, and when.
///
/// # Panics
/// If a count is wrong, somebody is forgotten, or something does not come to rest.
pub fn play(shape: u32, ops: &[Op]) -> Vec<(Instant, Action)> {
    let mut world = World::new(shape);
    for &op in ops {
        world.step(Step::of(op));
    }
    world.settle_down();
    world.actions
}
