//! What a run has shown, as plain data: whoever draws it needs nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

/// One run of a scenario, under one of its policies. The same scenario, policy and seed give the same report, to the last
/// figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// The name of the policy.
    pub policy: String,
    /// Where all chance came from.
    pub seed: u64,
    /// How long calls came, in virtual time. Those that had come by then were seen to their ends.
    pub length: Duration,
    /// What has happened: arrivals of packets, alarms.
    pub events: u64,
    /// The figures of the whole run.
    pub totals: Totals,
    /// The same in time, from the beginning to `length`: 100 to 300 of equal width.
    pub series: Vec<Bucket>,
    /// What went wrong when, in the order of its beginning.
    pub marks: Vec<Mark>,
    /// What the scenario says of this policy.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether all is as the scenario says: what shall hold did, and what shall not did not.
    pub fn is_as_stated(&self) -> bool {
        self.checks.iter().all(Check::is_as_stated)
    }
}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that came. One that its caller makes again, because it failed, is still the same call.
    pub offered: u64,
    /// Of these, the ones that were answered well in the end.
    pub good: u64,
    /// The others, by how they ended, in snake case: `timeout`, `lost`, `circuit_open`, `client_gone` (its client's process ended
    /// first), or the code that a server answered (`overloaded`, `internal_error`).
    pub errors: BTreeMap<&'static str, u64>,
    /// How long the good ones took, from the call to the answer.
    pub latency: Latency,
    /// Requests that went out to servers, retries and second copies among them: the load that servers saw.
    pub attempts: u64,
    /// Times that a client sent a request again, or a caller made a call again.
    pub retries: u64,
    /// Second copies that clients sent because the first was slow.
    pub hedges: u64,
    /// Times that a client left an endpoint out because it served worse than the others.
    pub ejections: u64,
    /// Times that the breaker of an endpoint opened.
    pub breaker_trips: u64,
    /// Dials that were begun.
    pub dials: u64,
    /// The most bytes of answers that one server held because their clients did not take them, as looked at ten times a second.
    pub unsent_bytes: u64,
}

impl Totals {
    /// Calls that were not answered well.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// How long good calls took. Each quantile is at most 3.2 % above the true one; zero if there was no good call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of half of them.
    pub p50: Duration,
    /// Of 90 %.
    pub p90: Duration,
    /// Of 99 %.
    pub p99: Duration,
    /// Of 99.9 %.
    pub p999: Duration,
    /// Of the slowest.
    pub max: Duration,
}

/// The calls that came within one stretch of the run, however long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins; it lasts until the next one does.
    pub at: Duration,
    /// Calls that came.
    pub offered: u64,
    /// Of these, answered well.
    pub good: u64,
    /// Of these, not answered well.
    pub failed: u64,
    /// Requests that reached a server within it.
    pub attempts: u64,
    /// The most bytes of answers that one server held within it because their clients did not take them.
    pub unsent_bytes: u64,
    /// How long half of the good ones took; zero if there was none.
    pub p50: Duration,
    /// How long 99 % of them took.
    pub p99: Duration,
}

/// Something went wrong, or was done, on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it began.
    pub from: Duration,
    /// When it ended; `None` if it had no length, or lasted to the end.
    pub until: Option<Duration>,
    /// What it was, for people: `slow ×50: users/3`.
    pub label: String,
}

/// Something that the scenario says of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it says: `p99 at most 50 ms, from 10 s to 40 s`.
    pub what: String,
    /// Whether that was so.
    pub held: bool,
    /// Whether it is to be so. Of a naive policy a scenario may say that it fails, and how.
    pub should_hold: bool,
    /// What was seen: `p99 412 ms`.
    pub seen: String,
}

impl Check {
    /// Whether it came out as the scenario says.
    pub fn is_as_stated(&self) -> bool {
        self.held == self.should_hold
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The virtual time.
    pub now: Duration,
    /// When it will be over; the ends of the last calls come after it.
    pub length: Duration,
    /// What has happened so far.
    pub events: u64,
}
