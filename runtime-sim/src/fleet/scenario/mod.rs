//! A scenario, as its file says it.

mod expect;
mod fault;
mod load;
mod policy;
mod topology;
pub(super) mod units;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

pub(super) use expect::{Counted, Expectations};
pub(super) use fault::Faults;
pub(super) use load::{Callers, Load, Profile};
pub(super) use policy::CallerRetries;
pub use policy::Policy;
pub(super) use topology::{Clients, Cold, Group, Way};

use super::timeline::Timeline;
use units::Length;

/// Who is there, what they are asked, what goes wrong, under which policies, and what must hold: all but the seed.
///
/// A file in TOML, with a `name`, a `description` and a `length`, and these tables. Lengths of time are `"250us"`, `"20ms"`,
/// `"1.5s"`, `"2m"`; shares are from 0 to 1. An unknown key is answered with the known ones.
///
/// | table | what it says |
/// |---|---|
/// | `[[servers]]` | `name`, `count`, `zone` (`"a"`), `priority` (0), `weight` (1); `service`: `{ constant = "10ms" }`, `{ exponential = "10ms" }` (the mean), `{ log_normal = "10ms", sigma = 0.8 }` (the median) or `{ quantiles = [[0, "1ms"], [0.99, "40ms"], [1, "1s"]] }`; `workers` (1), `queue` (64), `backlog` (4,096); `cold = { factor, requests }`: how slow it begins after a start; `spells = { every, lasts, factor }`: all of them slow at the same times |
/// | `[[clients]]` | `name`, `count`, `zone`, `share` of the load (1), which nobody takes over while a client is away |
/// | `[[link]]` | `between = ["a", "b"]`, or within one zone `["a", "a"]`, to and fro: `latency` (500 µs), `jitter`, `late_share`, `tail`, `bandwidth` in bytes per second |
/// | `[load]` | `rate` of calls per second, and `step = [{ at, rate, ramp }]`; or `callers = { count, think }`, who wait for their answers; `idempotent` share (1), `request_bytes`, `answer_bytes` (64) |
/// | `[[fault.KIND]]` | `at`, `for` (to the end), `hosts`; of `slow`: `factor`; `fail_fast`; `fail_share`: `share`; `grey`: `factor`, `share`; `leak`: `per_thousand`; `flap`: `share` of the health checks; `busy`: `turn`; `crash` (silence), `kill` (resets), `restart`: `down`; `deploy`: `batch`, `every`, `down`, `kill`; `pause`; `partition`: `from`, each over by itself where several overlap; `one_way`: `from`, `to`; `link`: `way = { between, … }`; `slow_reader`: `bytes_per_second`; `resolve`: `to`; `skew`: `by_ms` |
/// | `[policy.NAME]` | what differs from the defaults of a [client](plimsoll_core::service::client::Config): `strategy`, `timeout`, `attempts`, `retry_budget`, `breaker`, `ejection`, `hedging`, `throttle`, `concurrency`, `rate_limit`, `slow_start`, `panic`, `priorities`, `subset`, `prefer_own_zone`, `connections`, `heartbeat`, `backoff`, `waiters`; of a server: `server = { in_flight, unsent_bytes }`; around them: `health_checks`, `caller_retries = { times, backoff, budget }`. What can be turned off takes `false`, `true`, or a table |
/// | `[[expect.KIND]]` | `goodput`: `at_least`; `latency`: `p50`, `p90`, `p99`, `p999`; `attempts`: `per_call`; each with `from`, `until`, the first two with `clients`; `recovery`: `after`, `within`, `goodput`; `count`: `of`, `at_least`, `at_most`; `policies` that it is about (all), and those that it is `missed_by` |
///
/// Hosts are `"users"`, `"users/3"`, `"users/1-5"`, `"zone b"`, or several with commas between them: servers or clients, but for
/// what only servers do (`slow`, `fail_fast`, `fail_share`, `grey`, `leak`, `flap`, `resolve`) or only clients (`slow_reader`).
/// The calls that a client had when it crashed or was killed are errors, `client_gone`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    name: String,
    description: String,
    length: Spanned<Length>,
    #[serde(rename = "servers")]
    pub(super) groups: Vec<Group>,
    pub(super) clients: Vec<Clients>,
    #[serde(default, rename = "link")]
    pub(super) ways: Vec<Way>,
    load: Spanned<Load>,
    #[serde(default, rename = "fault")]
    pub(super) faults: Faults,
    #[serde(default, rename = "policy")]
    policies: BTreeMap<String, Spanned<Policy>>,
    #[serde(default, rename = "expect")]
    pub(super) expectations: Expectations,
}

/// A file that is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ScenarioError {
    /// Where it is wrong, from 1; `None` if it is wrong as a whole.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What is wrong, and where in the text.
pub(super) type Problem = (Range<usize>, String);

/// Something is wrong there.
pub(super) fn at<T, U>(place: &Spanned<T>, message: impl Into<String>) -> Result<U, Problem> {
    Err((place.span(), message.into()))
}

/// What is wrong at a place of a text.
fn in_line(text: &str, span: Option<Range<usize>>, message: String) -> ScenarioError {
    let before = span.filter(|span| span.end > 0).and_then(|span| text.get(..span.start));
    ScenarioError { line: before.map(|before| before.matches('\n').count() + 1), message }
}

/// The longest scenario.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`]: whatever is not as it should be, with its line, and what is allowed there.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let mut scenario: Scenario =
            toml::from_str(text).map_err(|error| in_line(text, error.span(), error.message().to_owned()))?;
        if scenario.policies.is_empty() {
            scenario.policies.insert("default".into(), Spanned::new(0..0, Policy::default()));
        }
        scenario.check().map_err(|(span, message)| in_line(text, Some(span), message))?;
        Ok(scenario)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it shows, for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How long calls come, in virtual time.
    pub fn length(&self) -> Duration {
        self.length.get_ref().0
    }

    /// The names of its policies, in the order of its file.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        let mut policies: Vec<_> = self.policies.iter().collect();
        policies.sort_by_key(|(_, policy)| policy.span().start);
        policies.into_iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.get(name).map(Spanned::get_ref)
    }

    pub(super) fn load(&self) -> &Load {
        self.load.get_ref()
    }

    fn check(&self) -> Result<(), Problem> {
        if self.length() < Duration::from_secs(1) || self.length() > LONGEST {
            return at(&self.length, "a scenario lasts from 1 s to 24 h");
        }
        topology::check(&self.groups, &self.clients)?;
        self.load().check(&self.load)?;
        let zones: Vec<&str> = self.zones().collect();
        let changes = self.faults.link.iter().map(|change| &change.way);
        for way in self.ways.iter().chain(changes) {
            if let Some(unknown) = way.between.get_ref().iter().find(|zone| !zones.contains(&zone.as_str())) {
                return at(
                    &way.between,
                    format!("nobody is in the zone {unknown:?}; there are {}", zones.join(", ")),
                );
            }
        }
        self.check_policies()?;
        Timeline::of(self).map(drop)
    }

    fn check_policies(&self) -> Result<(), Problem> {
        let expectations = &self.expectations;
        let named = (expectations.goodput.iter().map(|e| (&e.policies, &e.missed_by)))
            .chain(expectations.latency.iter().map(|e| (&e.policies, &e.missed_by)))
            .chain(expectations.attempts.iter().map(|e| (&e.policies, &e.missed_by)))
            .chain(expectations.recovery.iter().map(|e| (&e.policies, &e.missed_by)))
            .chain(expectations.count.iter().map(|e| (&e.policies, &e.missed_by)));
        for names in named.flat_map(|(hold, missed)| [hold, missed]).flatten() {
            if let Some(unknown) = names.get_ref().iter().find(|name| !self.policies.contains_key(*name)) {
                let known: Vec<&str> = self.policies().collect();
                return at(names, format!("there is no policy {unknown:?}; there are {}", known.join(", ")));
            }
        }
        let of = expectations.goodput.iter().map(|e| &e.clients);
        for clients in of.chain(expectations.latency.iter().map(|e| &e.clients)).flatten() {
            let mut kinds = self.clients.iter().map(|kind| kind.name.get_ref());
            if !kinds.any(|name| name == clients.get_ref()) {
                return at(clients, format!("there are no clients of the name {:?}", clients.get_ref()));
            }
        }
        Ok(())
    }

    fn zones(&self) -> impl Iterator<Item = &str> {
        let mut zones: Vec<&str> = self.groups.iter().map(|group| group.zone.as_str()).collect();
        zones.extend(self.clients.iter().map(|clients| clients.zone.as_str()));
        zones.sort_unstable();
        zones.dedup();
        zones.into_iter()
    }
}
