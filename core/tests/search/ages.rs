//! Connections that were made at the same moment, and reach their age.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use plimsoll_core::cluster::{Action, CloseCause, Cluster, Config};
use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::explore;

const AGE: Duration = Duration::from_secs(3_600);
const CONNECTIONS: u32 = 3;

#[derive(Clone)]
struct Ageing {
    cluster: Cluster,
    now: Instant,
    dialing: Vec<ConnId>,
    /// Since when.
    open: BTreeMap<ConnId, Instant>,
    /// When connections came to their age, by when they began.
    ends: Vec<(Instant, Instant)>,
}

#[derive(Clone, Debug)]
enum Move {
    Connected(ConnId),
    Lost(ConnId),
    Pass,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Connected(conn) => write!(f, "connection {conn} stands"),
            Move::Lost(conn) => write!(f, "connection {conn} is lost"),
            Move::Pass => f.write_str("time passes to the deadline"),
        }
    }
}

impl Ageing {
    fn new() -> Self {
        let mut config = Config {
            max_age: Some(AGE),
            min_connections: CONNECTIONS,
            max_connections: limit(CONNECTIONS),
            dial_stagger: Duration::ZERO,
            ..Config::default()
        };
        // So that hardly anything else happens within an hour.
        config.heartbeat.interval = AGE;
        config.heartbeat.timeout = AGE;
        let mut cluster = Cluster::new(config, 5);
        let now = Instant::from_millis(1_000);
        cluster.add_endpoint(now, "users.internal:3001").expect("an address");
        let mut world = Ageing { cluster, now, dialing: Vec::new(), open: BTreeMap::new(), ends: Vec::new() };
        world.act();
        world
    }

    fn act(&mut self) {
        while let Some(action) = self.cluster.poll() {
            match action {
                Action::Dial(conn) => self.dialing.push(conn),
                Action::Close(conn, cause) => {
                    self.dialing.retain(|other| *other != conn);
                    let since = self.open.remove(&conn);
                    if cause == CloseCause::Aged {
                        self.ends.extend(since.map(|since| (since, self.now)));
                    }
                }
                Action::Ping(conn) => self.cluster.received(self.now, conn),
                Action::Probe(_) | Action::Assign { .. } => {}
            }
        }
    }

    fn connected(&mut self, conn: ConnId) {
        self.dialing.retain(|other| *other != conn);
        self.open.insert(conn, self.now);
        self.cluster.connected(self.now, conn);
        self.act();
    }

    fn pass(&mut self) {
        self.now = self.cluster.deadline().map_or(self.now, |(at, _)| at);
        self.cluster.tick(self.now);
        self.act();
    }
}

impl World for Ageing {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let dialled = self.dialing.iter().copied().map(Move::Connected);
        let mut moves: Vec<Move> = dialled.chain(self.open.keys().copied().map(Move::Lost)).collect();
        if self.ends.is_empty() && self.cluster.deadline().is_some() {
            moves.push(Move::Pass);
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Connected(conn) => self.connected(conn),
            Move::Lost(conn) => {
                self.cluster.closed(self.now, conn, Fault::Reset);
                self.act();
            }
            Move::Pass => self.pass(),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.cluster.audit();
        let together = |(at, (since, end)): (usize, &(Instant, Instant))| {
            self.ends[..at].iter().any(|other| other == &(*since, *end))
        };
        if self.ends.iter().enumerate().any(together) {
            return Err(format!("connections that began together end together: {:?}", self.ends));
        }
        Ok(())
    }

    /// All stand, and grow old.
    fn rest(mut self) -> Result<(), String> {
        self.ends.clear();
        let until = self.now + AGE + AGE / 5;
        while self.now < until {
            while let Some(&conn) = self.dialing.first() {
                self.connected(conn);
            }
            self.pass();
            self.check()?;
        }
        let count = self.ends.len();
        if count < CONNECTIONS as usize {
            Err(format!("only {count} have ended: {:?}", self.ends))
        } else {
            Ok(())
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&["config", "states", "missed"]);
        digest.add(&self.cluster).add(&(&self.dialing, &self.open, &self.ends));
    }
}

#[test]
fn connections_that_began_together_do_not_end_together() {
    explore("ages", &Ageing::new(), 6);
}
