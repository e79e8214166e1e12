//! Dialling a name that has many addresses: which of them is tried when, and who has won ("happy eyeballs").
//!
//! Trying one address after the other takes as long as the slowest way to fail: with two addresses, the first of them
//! silent, every dial waits for a timeout, and a failover as long (brettwooldridge/HikariCP#1674). Here each attempt has
//! a head start of 250 ms, then the next joins in; one that fails lets the next begin at once; the first connection wins.
//! So it is in RFC 8305 ("Happy Eyeballs Version 2", 2017), sections 4 and 5, and in gRFC A61.
//!
//! ```
//! use plimsoll_core::error::Fault;
//! use plimsoll_core::policy::dial::{Config, Dial, Outcome};
//! use plimsoll_core::time::Instant;
//!
//! let resolved = ["[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80"].map(|text| text.parse().unwrap());
//! let at = Instant::from_millis;
//! let mut dial = Dial::new(Config::default(), at(0), &resolved);
//!
//! let first = dial.tick(at(0)).unwrap();
//! assert_eq!(first.address, resolved[0]);
//! assert_eq!(dial.deadline(), Some(at(250))); // it is silent until then
//! let second = dial.tick(at(250)).unwrap();
//! assert_eq!(second.address, resolved[2]); // the other family
//!
//! dial.failed(at(260), first.number, Fault::Refused);
//! let third = dial.tick(at(260)).unwrap(); // no need to wait any longer
//! assert!(dial.connected(second.number));
//! assert_eq!(dial.outcome(), Outcome::Connected(second));
//! assert!(dial.running().eq([third])); // to be dropped
//! ```
//!
//! A [`Memory`] makes the next dial of the same name better than the last. It is an own machine, because a dial is over
//! within seconds, and what it has learnt is good for minutes.

mod memory;

use core::net::SocketAddr;
use core::time::Duration;

use crate::error::Fault;
use crate::time::Instant;

pub use self::memory::{Memory, MemoryConfig};

/// Addresses of one name that are tried; what a resolver says beyond that is left out.
pub const MAX_ADDRESSES: usize = 16;

/// What a [`Dial`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long an attempt has for itself before the next joins in; at least 10 ms (RFC 8305, section 5, wants
    /// no less, since servers are to be spared needless connections). Default 250 ms.
    pub head_start: Duration,
}

impl Config {
    const SHORTEST: Duration = Duration::from_millis(10);
}

impl Default for Config {
    fn default() -> Self {
        Config { head_start: Duration::from_millis(250) }
    }
}

/// One address that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Names it within its dial.
    pub number: u8,
    /// Where to.
    pub address: SocketAddr,
}

/// How a dial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Attempts are under way, or about to begin.
    Racing,
    /// This attempt has won.
    Connected(Attempt),
    /// All have failed, the last of them so; [`Fault::Unresolved`] if there was no address.
    Failed(Fault),
}

/// One dial.
///
/// It has no end of its own: an attempt may be silent for as long as the operating system lets it. Whoever dials
/// limits the whole and drops it.
#[derive(Clone, Debug)]
pub struct Dial {
    head_start: Duration,
    /// In the order in which they are tried.
    lanes: [Option<Lane>; MAX_ADDRESSES],
    /// How many of them there are, and how many were started.
    len: u8,
    started: u8,
    /// When to start the next one.
    next_at: Instant,
    last_fault: Fault,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    address: SocketAddr,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running { since: Instant },
    Failed(Fault),
    Won,
}

impl Dial {
    /// A dial of what a name was resolved to: families take turns, beginning with that of the first address, and no
    /// address is tried twice.
    pub fn new(config: Config, now: Instant, resolved: &[SocketAddr]) -> Self {
        let mut dial = Dial::empty(config, now);
        dial.add(resolved.iter().copied());
        dial
    }

    fn empty(config: Config, now: Instant) -> Self {
        Dial {
            head_start: config.head_start.max(Config::SHORTEST),
            lanes: [None; MAX_ADDRESSES],
            len: 0,
            started: 0,
            next_at: now,
            last_fault: Fault::Unresolved,
        }
    }

    /// Appends addresses in their order, but so that families take turns.
    fn add(&mut self, addresses: impl Iterator<Item = SocketAddr> + Clone) {
        let Some(first) = addresses.clone().next() else { return };
        let mut six = addresses.clone().filter(SocketAddr::is_ipv6);
        let mut four = addresses.filter(SocketAddr::is_ipv4);
        let last = self.len.checked_sub(1).and_then(|last| self.lanes[usize::from(last)]);
        let mut is_sixs_turn = last.map_or(first.is_ipv6(), |last| last.address.is_ipv4());
        while let Some(address) =
            if is_sixs_turn { six.next() } else { four.next() }.or_else(|| six.next()).or_else(|| four.next())
        {
            if self.push(address) {
                is_sixs_turn = address.is_ipv4();
            }
        }
    }

    /// `false`: it is there already, or there is no room.
    fn push(&mut self, address: SocketAddr) -> bool {
        let is_known = self.lanes().any(|lane| lane.address == address);
        let Some(place) = self.lanes.get_mut(usize::from(self.len)).filter(|_| !is_known) else {
            return false;
        };
        *place = Some(Lane { address, state: State::Waiting });
        self.len += 1;
        true
    }

    /// The next attempt, if it is time to start it. One call starts one; early and repeated calls change nothing.
    pub fn tick(&mut self, now: Instant) -> Option<Attempt> {
        if self.deadline()? > now {
            return None;
        }
        let number = self.started;
        let lane = self.lanes[usize::from(number)].as_mut()?;
        lane.state = State::Running { since: now };
        self.started += 1;
        self.next_at = now + self.head_start;
        Some(Attempt { number, address: lane.address })
    }

    /// When the next attempt starts. `None` once all were started, and when the dial is over: then only results are
    /// waited for.
    pub fn deadline(&self) -> Option<Instant> {
        (self.started < self.len && self.winner().is_none()).then_some(self.next_at)
    }

    /// An attempt has connected. `true`: it has won, and those still [running](Self::running) are to be dropped.
    /// `false`: it came too late, and is to be dropped itself.
    pub fn connected(&mut self, number: u8) -> bool {
        self.end(number, State::Won)
    }

    /// An attempt has failed: the next may start at once. Does nothing when the dial is over.
    pub fn failed(&mut self, now: Instant, number: u8, fault: Fault) {
        if self.end(number, State::Failed(fault)) {
            self.last_fault = fault;
            self.next_at = self.next_at.min(now);
        }
    }

    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        if let Some(winner) = self.winner() {
            return Outcome::Connected(winner);
        }
        if self.started == self.len && self.running().next().is_none() {
            return Outcome::Failed(self.last_fault);
        }
        Outcome::Racing
    }

    /// The attempts that are under way.
    pub fn running(&self) -> impl Iterator<Item = Attempt> {
        self.attempts(|state| matches!(state, State::Running { .. }))
    }

    fn winner(&self) -> Option<Attempt> {
        self.attempts(|state| state == State::Won).next()
    }

    fn attempts(&self, which: impl Fn(State) -> bool) -> impl Iterator<Item = Attempt> {
        let lanes = (0..).zip(self.lanes());
        lanes
            .filter(move |(_, lane)| which(lane.state))
            .map(|(number, lane)| Attempt { number, address: lane.address })
    }

    fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.lanes.iter().copied().flatten()
    }

    /// Whether the attempt was running in a race that is not over, and so has come to this end.
    fn end(&mut self, number: u8, state: State) -> bool {
        if self.winner().is_some() {
            return false;
        }
        match self.lanes.get_mut(usize::from(number)) {
            Some(Some(lane)) if matches!(lane.state, State::Running { .. }) => {
                lane.state = state;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
