//! What must hold, and what was seen.

use std::fmt;
use std::time::Duration;

use plimsoll_core::time::Instant;

/// What must hold in every world, after every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Every request that was taken ends exactly once, and in time.
    EndsOnce,
    /// A request that may not be repeated is seen by at most one server, once; and by none if it "was not sent".
    SentOnce,
    /// No request is tried more often than configured, and all retries together keep to their budget.
    RetryBudget,
    /// Nothing is delivered to another.
    Delivery,
    /// The context of a call is that of its caller.
    Context,
    /// What goes over one connection keeps its order.
    Order,
    /// No queue, table or pool grows beyond its limit.
    Limits,
    /// No more endpoints are ejected than the cap allows.
    EjectionCap,
    /// A breaker changes its state as it should, lets no more probes through than it may, and shuts nobody out for longer
    /// than it may.
    Breaker,
    /// An endpoint that is removed or drained gets no more requests.
    Removed,
    /// An endpoint that fails fast does not take the traffic.
    FailFast,
    /// Connections do not all expire in the same instant.
    Expiry,
    /// Who cannot be served is told so at once.
    Promptness,
    /// Once the faults have stopped, new requests succeed within a stated time.
    Recovery,
    /// At rest all permits, places and timers have been returned.
    Rest,
    /// What machines count agrees with what was seen.
    Books,
    /// Nothing panics.
    Panic,
    /// Something gets done: no loop without an end.
    Progress,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::EndsOnce => "every request ends exactly once, in time",
            Law::SentOnce => "nothing is sent twice that may not be",
            Law::RetryBudget => "retries keep to their budget",
            Law::Delivery => "nothing is delivered to another",
            Law::Context => "a call's context is its caller's",
            Law::Order => "a connection keeps its order",
            Law::Limits => "no limit is passed",
            Law::EjectionCap => "ejections keep to their cap",
            Law::Breaker => "breakers change as they should",
            Law::Removed => "who is removed gets no requests",
            Law::FailFast => "who fails fast does not take the traffic",
            Law::Expiry => "connections do not expire together",
            Law::Promptness => "who cannot be served is told at once",
            Law::Recovery => "everything recovers",
            Law::Rest => "at rest everything is returned",
            Law::Books => "the books agree",
            Law::Panic => "nothing panics",
            Law::Progress => "everything comes to an end",
        })
    }
}

/// A law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// When, in the time of the world.
    pub at: Instant,
    /// By whom: a host.
    pub who: String,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_nanos() / 1_000_000;
        write!(
            f,
            "at {}.{:03} s, {}: {} (law: {})",
            seconds / 1_000,
            seconds % 1_000,
            self.who,
            self.what,
            self.law
        )
    }
}

/// How much a swarm has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Worlds.
    pub worlds: u64,
    /// Arrivals and alarms in them.
    pub events: u64,
    /// Requests and calls that were taken.
    pub requests: u64,
    /// Of these, answered well.
    pub answered: u64,
    /// Requests that were sent again, or twice.
    pub retries: u64,
    /// Breakers that opened.
    pub trips: u64,
    /// Endpoints that were ejected.
    pub ejections: u64,
    /// Things that went wrong on purpose.
    pub faults: u64,
    /// Virtual time.
    pub time: Duration,
    /// A hash of all that happened; of several worlds, of all of them in whatever order.
    pub hash: u64,
}

impl Stats {
    /// Adds what another world has seen.
    pub fn merge(&mut self, other: &Stats) {
        self.worlds += other.worlds;
        self.events += other.events;
        self.requests += other.requests;
        self.answered += other.answered;
        self.retries += other.retries;
        self.trips += other.trips;
        self.ejections += other.ejections;
        self.faults += other.faults;
        self.time += other.time;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { worlds, events, requests, answered, retries, trips, ejections, faults, time, .. } = self;
        write!(
            f,
            "{worlds} worlds, {} virtual hours, {events} events, {requests} requests ({answered} answered, {retries} sent \
             again), {faults} faults, {trips} trips, {ejections} ejections",
            time.as_secs() / 3_600
        )
    }
}
