//! Three endpoints, one of which may be dead: it refuses at once, which is the shortest round trip of all.

use std::fmt;
use std::time::Duration;

use plimsoll_core::cluster::{Action, Cluster, Config, Want};
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{Mode, Outcome};
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::{agree, explore};

/// Calls of which a fair share were a third.
const CALLS: usize = 60;
const ROUND_TRIP: Duration = Duration::from_millis(10);

#[derive(Clone)]
struct Fleet {
    cluster: Cluster,
    now: Instant,
    endpoints: [EndpointId; 3],
    dead: Option<usize>,
}

#[derive(Clone, Debug)]
enum Move {
    Call,
    Die(usize),
    Recover,
    Pass,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Call => f.write_str("a call is made and ends"),
            Move::Die(endpoint) => write!(f, "endpoint {endpoint} refuses from now on"),
            Move::Recover => f.write_str("all endpoints serve from now on"),
            Move::Pass => f.write_str("a second passes"),
        }
    }
}

impl Fleet {
    /// No breaker and no ejection helps here: the strategy is to see through it by itself.
    fn new(strategy: Strategy) -> Self {
        let mut config = Config { strategy, outliers: None, ..Config::default() };
        config.breaker.mode = Mode::Count { failures: limit(u32::MAX) };
        let mut cluster = Cluster::new(config, 5);
        let now = Instant::from_millis(1_000);
        let endpoints = [0, 1, 2]
            .map(|n| cluster.add_endpoint(now, &format!("users-{n}.internal:3001")).expect("an address"));
        while let Some(action) = cluster.poll() {
            if let Action::Dial(conn) = action {
                cluster.connected(now, conn);
            }
        }
        let mut fleet = Fleet { cluster, now, endpoints, dead: None };
        fleet.pass(Duration::from_secs(60));
        fleet
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.cluster.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.cluster.tick(self.now);
            while let Some(action) = self.cluster.poll() {
                if let Action::Ping(conn) = action {
                    self.cluster.received(self.now, conn);
                }
            }
        }
        self.now = end;
    }

    /// Whether the call was to one that is dead.
    fn call(&mut self) -> Result<bool, String> {
        let Ok(place) = self.cluster.checkout(self.now, Want::default()) else {
            return Err("a call finds no place".into());
        };
        let dead = self.dead.is_some_and(|dead| self.endpoints[dead] == place.endpoint);
        if !dead {
            self.pass(ROUND_TRIP);
        }
        let outcome = if dead { Outcome::Failure } else { Outcome::Success };
        self.cluster.settle(self.now, place, outcome);
        self.cluster.release(self.now, place.conn);
        Ok(dead)
    }
}

impl World for Fleet {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let change = match self.dead {
            Some(_) => vec![Move::Recover],
            None => (0..3).map(Move::Die).collect(),
        };
        [Move::Call, Move::Pass].into_iter().chain(change).collect()
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Call => return self.call().map(drop),
            Move::Die(endpoint) => self.dead = Some(endpoint),
            Move::Recover => self.dead = None,
            Move::Pass => self.pass(Duration::from_secs(1)),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        agree("calls under way", self.cluster.status().in_flight, 0)
    }

    /// Who is dead gets far less than its share.
    fn rest(mut self) -> Result<(), String> {
        let mut failed = 0;
        for _ in 0..CALLS {
            failed += usize::from(self.call()?);
        }
        let most = CALLS / 6;
        if failed > most { Err(format!("{failed} of {CALLS} calls go to the dead endpoint")) } else { Ok(()) }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&["config", "stats", "states", "missed"]);
        digest.add(&self.cluster).add(&self.dead);
    }
}

#[test]
fn an_endpoint_that_fails_fast_does_not_attract_calls() {
    for strategy in [Strategy::P2cEwma, Strategy::HealthBased] {
        explore(&format!("fast failures, {strategy}"), &Fleet::new(strategy), 4);
    }
}
