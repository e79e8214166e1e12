//! The decisions of a pool by themselves: three endpoints with a connection each, and four callers, who find none free, come
//! to wait a moment later, give up, fail, and are assigned places that they no longer want.

use std::fmt;
use std::time::Duration;

use plimsoll_core::cluster::{Action, Cluster, Config, Place, Unplaced, Want};
use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, EndpointId};
use plimsoll_core::policy::backoff::Jitter;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{Mode, Outcome};
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::{agree, explore};

const TOLD: [&str; 8] = ["config", "stats", "states", "missed", "explainer", "score", "ewma", "rng"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Away,
    /// It was told that there is no place, and does not wait yet.
    Turned,
    Waiting,
    Placed(Place),
    Done,
}

#[derive(Clone)]
struct Callers {
    cluster: Cluster,
    now: Instant,
    callers: [Caller; 4],
    dialing: Vec<ConnId>,
    open: Vec<ConnId>,
    endpoints: Vec<EndpointId>,
    added: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Ask(usize),
    Wait(usize),
    GiveUp(usize),
    End(usize, Outcome),
    Connected(ConnId),
    Refused(ConnId),
    Lost(ConnId),
    Act,
    Pass,
    Remove(EndpointId),
    Add,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Ask(caller) => write!(f, "caller {caller} asks for a place"),
            Move::Wait(caller) => {
                write!(f, "caller {caller}, who was told that there is none, comes to wait")
            }
            Move::GiveUp(caller) => write!(f, "caller {caller} gives up"),
            Move::End(caller, outcome) => write!(f, "the request of caller {caller} ends: {outcome:?}"),
            Move::Connected(conn) => write!(f, "connection {conn} stands"),
            Move::Refused(conn) => write!(f, "connection {conn} is refused"),
            Move::Lost(conn) => write!(f, "connection {conn} is lost"),
            Move::Act => f.write_str("the cluster's next wish is done"),
            Move::Pass => f.write_str("time passes to the deadline"),
            Move::Remove(endpoint) => write!(f, "endpoint {endpoint} is removed"),
            Move::Add => f.write_str("an endpoint is added"),
        }
    }
}

impl Callers {
    fn new(endpoints: u32, connections: u32) -> Self {
        let mut config = Config {
            strategy: Strategy::RoundRobin,
            max_connections: limit(connections),
            in_flight: limit(1),
            grow_at: 0,
            dial_stagger: Duration::ZERO,
            waiters: limit(4),
            outliers: None,
            ..Config::default()
        };
        config.backoff.jitter = Jitter::None;
        config.backoff.base = Duration::from_millis(100);
        config.backoff.cap = Duration::from_millis(200);
        config.breaker.mode = Mode::Count { failures: limit(u32::MAX) };
        let mut world = Callers {
            cluster: Cluster::new(config, 5),
            now: Instant::from_millis(1_000),
            callers: [Caller::Away; 4],
            dialing: Vec::new(),
            open: Vec::new(),
            endpoints: Vec::new(),
            added: 0,
        };
        (0..endpoints).for_each(|_| world.add());
        while world.act().expect("nothing is wrong") {}
        for conn in world.dialing.clone() {
            world.connected(conn);
        }
        world
    }

    fn add(&mut self) {
        let address = format!("users-{}.internal:3001", self.added);
        self.added += 1;
        self.endpoints.push(self.cluster.add_endpoint(self.now, &address).expect("an address"));
    }

    fn connected(&mut self, conn: ConnId) {
        self.dialing.retain(|other| *other != conn);
        self.open.push(conn);
        self.cluster.connected(self.now, conn);
    }

    fn ask(&mut self, caller: usize) -> Result<(), String> {
        match self.cluster.checkout(self.now, Want::default()) {
            Ok(place) => self.place(caller, place)?,
            Err(Unplaced::Full) => self.callers[caller] = Caller::Turned,
            Err(Unplaced::Rejected(_)) if self.endpoints.is_empty() => self.callers[caller] = Caller::Done,
            Err(Unplaced::Rejected(rejected)) => {
                return Err(format!("caller {caller} is rejected: {rejected}"));
            }
        }
        Ok(())
    }

    fn wait(&mut self, caller: usize) -> Result<(), String> {
        self.callers[caller] = Caller::Waiting;
        agree("whether it may wait", self.cluster.wait(self.now, caller as u32, 1, Want::default()), true)
    }

    fn place(&mut self, caller: usize, place: Place) -> Result<(), String> {
        self.callers[caller] = Caller::Placed(place);
        let at = self.cluster.target(place.conn);
        let of = self.cluster.endpoints().find(|(id, _)| *id == place.endpoint).map(|(_, address)| address);
        agree("whose connection was picked", at, of)?;
        let expected = self.endpoints.contains(&place.endpoint);
        agree("whether the endpoint still serves", true, expected)
    }

    fn end(&mut self, caller: usize, outcome: Outcome) {
        if let Caller::Placed(place) = std::mem::replace(&mut self.callers[caller], Caller::Done) {
            self.cluster.settle(self.now, place, outcome);
            self.cluster.release(self.now, place.conn);
        }
    }

    fn give_up(&mut self, caller: usize) {
        match self.callers[caller] {
            Caller::Placed(_) => self.end(caller, Outcome::Ignored),
            // If it is no longer in the queue it has a place, of which it will hear: it gives that back then.
            _ => {
                self.cluster.cancel_wait(self.now, caller as u32);
                self.callers[caller] = Caller::Done;
            }
        }
    }

    /// Does what the cluster wants next, if it wants anything.
    fn act(&mut self) -> Result<bool, String> {
        let Some(action) = self.cluster.poll() else { return Ok(false) };
        match action {
            Action::Dial(conn) => {
                if self.cluster.has_conn(conn) {
                    self.dialing.push(conn);
                }
            }
            Action::Close(conn, _) => {
                self.dialing.retain(|other| *other != conn);
                self.open.retain(|other| *other != conn);
                for caller in &mut self.callers {
                    if matches!(caller, Caller::Placed(place) if place.conn == conn) {
                        *caller = Caller::Done;
                    }
                }
            }
            Action::Ping(conn) => self.cluster.received(self.now, conn),
            Action::Probe(_) => {}
            Action::Assign { waiter, place } if self.callers[waiter as usize] == Caller::Waiting => {
                if self.cluster.has_conn(place.conn) {
                    self.callers[waiter as usize] = Caller::Placed(place);
                } else {
                    self.callers[waiter as usize] = Caller::Away;
                }
            }
            Action::Assign { place, .. } => {
                self.cluster.settle(self.now, place, Outcome::Ignored);
                self.cluster.release(self.now, place.conn);
            }
        }
        Ok(true)
    }

    fn settle(&mut self) -> Result<(), String> {
        loop {
            while self.act()? {}
            match self.dialing.first() {
                Some(&conn) => self.connected(conn),
                None => return Ok(()),
            }
        }
    }
}

impl World for Callers {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut away = true;
        for (number, caller) in self.callers.iter().enumerate() {
            match caller {
                // Callers are as good as each other: they come in turn.
                Caller::Away if away => {
                    away = false;
                    moves.push(Move::Ask(number));
                }
                Caller::Turned => moves.extend([Move::Wait(number), Move::GiveUp(number)]),
                Caller::Waiting => moves.push(Move::GiveUp(number)),
                Caller::Placed(_) => moves.extend([
                    Move::End(number, Outcome::Success),
                    Move::End(number, Outcome::Failure),
                    Move::GiveUp(number),
                ]),
                Caller::Away | Caller::Done => {}
            }
        }
        for &conn in &self.dialing {
            if self.cluster.has_conn(conn) {
                moves.extend([Move::Connected(conn), Move::Refused(conn)]);
            }
        }
        moves.extend(self.open.iter().filter(|conn| self.cluster.has_conn(**conn)).copied().map(Move::Lost));
        if self.cluster.has_actions() {
            moves.push(Move::Act);
        } else if self.cluster.deadline().is_some() {
            moves.push(Move::Pass);
        }
        moves.extend(self.endpoints.iter().copied().map(Move::Remove));
        if self.endpoints.len() < 3 && self.added < 4 {
            moves.push(Move::Add);
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        let now = self.now;
        match *step {
            Move::Ask(caller) => return self.ask(caller),
            Move::Wait(caller) => return self.wait(caller),
            Move::GiveUp(caller) => self.give_up(caller),
            Move::End(caller, outcome) => self.end(caller, outcome),
            Move::Connected(conn) => self.connected(conn),
            Move::Refused(conn) => self.cluster.closed(now, conn, Fault::Refused),
            Move::Lost(conn) => self.cluster.closed(now, conn, Fault::Reset),
            Move::Act => return self.act().map(drop),
            Move::Pass => {
                let (at, reason) = self.cluster.deadline().expect("a deadline");
                self.now = self.now.max(at);
                self.cluster.tick(self.now);
                let next = self.cluster.deadline().map(|(next, _)| next);
                if next.is_some_and(|next| next <= at) {
                    return Err(format!("a tick for {reason} does nothing"));
                }
            }
            Move::Remove(endpoint) => {
                self.endpoints.retain(|other| *other != endpoint);
                self.cluster.remove_endpoint(now, endpoint);
            }
            Move::Add => self.add(),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.cluster.audit();
        let status = self.cluster.status();
        if status.waiting > 0 && status.available > 0 {
            return Err(format!("somebody waits for what can be had: {status:?}"));
        }
        if self.cluster.has_actions() {
            return Ok(());
        }
        let waiting = self.callers.iter().filter(|caller| **caller == Caller::Waiting).count();
        let placed =
            |caller: &&Caller| matches!(caller, Caller::Placed(place) if self.cluster.has_conn(place.conn));
        let in_flight = self.callers.iter().filter(placed).count();
        let found = (status.in_flight as usize, status.waiting as usize);
        agree("in flight, and waiting", found, (in_flight, waiting))
    }

    /// Dials succeed and requests end: whoever waits gets a place within the time of a backoff, and all places come back.
    fn rest(mut self) -> Result<(), String> {
        if self.endpoints.is_empty() {
            self.add();
        }
        let limit = self.now + Duration::from_secs(1);
        loop {
            self.settle()?;
            self.check()?;
            if let Some(turned) = self.callers.iter().position(|caller| *caller == Caller::Turned) {
                self.wait(turned)?;
            } else if let Some(placed) = self.callers.iter().position(|c| matches!(c, Caller::Placed(_))) {
                self.end(placed, Outcome::Success);
            } else if let Some(away) = self.callers.iter().position(|caller| *caller == Caller::Away) {
                self.ask(away)?;
            } else if let Some(waiting) = self.callers.iter().position(|c| *c == Caller::Waiting) {
                match self.cluster.deadline() {
                    Some((at, _)) if at <= limit => {
                        self.now = self.now.max(at);
                        self.cluster.tick(self.now);
                    }
                    _ => return Err(format!("caller {waiting} waits for ever: {:?}", self.cluster.status())),
                }
            } else {
                break;
            }
        }
        self.cluster.drain(self.now);
        self.settle()?;
        let status = self.cluster.status();
        let left = (status.in_flight, status.waiting, status.connections, status.dialing);
        agree("what is left of it", left, (0, 0, 0, 0))?;
        for endpoint in self.endpoints.clone() {
            self.cluster.remove_endpoint(self.now, endpoint);
        }
        agree("its deadline when nothing is there", self.cluster.deadline().map(|(_, what)| what), None)
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&TOLD).add(&self.cluster);
        digest.add(&(&self.callers, &self.dialing, &self.open, &self.endpoints, self.added));
    }
}

#[test]
fn nobody_waits_for_what_can_be_had_and_no_place_is_lost() {
    explore("pool, 1 endpoint, 3 connections", &Callers::new(1, 3), 5);
}

#[test]
fn a_pick_is_of_the_endpoint_that_it_names_whoever_is_removed() {
    explore("pool, 3 endpoints", &Callers::new(3, 1), 4);
}
