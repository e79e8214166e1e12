//! The same for programs.

use std::collections::BTreeMap;

use plimsoll_sim::fleet::{self, Check, Mark, Report};
use serde::Serialize;

use super::curves::{self, Point};
use crate::figures::micros;

/// One object with exactly these keys. Nothing in it depends on the machine, or on how fast it was.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    scenario: &'a str,
    description: &'a str,
    seed: u64,
    seconds: f64,
    version: &'static str,
    is_as_stated: bool,
    faults: Vec<Fault<'a>>,
    policies: Vec<Policy<'a>>,
}

#[derive(Serialize)]
struct Fault<'a> {
    from_s: f64,
    /// `None` if it lasted to the end.
    until_s: Option<f64>,
    label: &'a str,
}

#[derive(Serialize)]
struct Policy<'a> {
    policy: &'a str,
    events: u64,
    offered: u64,
    good: u64,
    errors: &'a BTreeMap<&'static str, u64>,
    latency_us: Latency,
    attempts: u64,
    retries: u64,
    hedges: u64,
    ejections: u64,
    breaker_trips: u64,
    dials: u64,
    /// The most that one server held.
    unsent_bytes: u64,
    expectations: Vec<Expectation<'a>>,
    series: Vec<Point>,
}

/// Microseconds of what was answered well; all are `None` if nothing was.
#[derive(Serialize)]
struct Latency {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct Expectation<'a> {
    what: &'a str,
    held: bool,
    should_hold: bool,
    seen: &'a str,
}

impl<'a> Outcome<'a> {
    pub(super) fn of(outcome: &super::Outcome<'a>) -> Self {
        let first = outcome.reports.first();
        Outcome {
            scenario: outcome.name,
            description: outcome.description,
            seed: first.map_or(0, |report| report.seed),
            seconds: first.map_or(0.0, |report| report.length.as_secs_f64()),
            version: env!("CARGO_PKG_VERSION"),
            is_as_stated: outcome.is_as_stated(),
            faults: first.map(|report| report.marks.iter().map(Fault::of).collect()).unwrap_or_default(),
            policies: outcome.reports.iter().map(Policy::of).collect(),
        }
    }
}

impl<'a> Fault<'a> {
    fn of(mark: &'a Mark) -> Self {
        Fault {
            from_s: mark.from.as_secs_f64(),
            until_s: mark.until.map(|until| until.as_secs_f64()),
            label: &mark.label,
        }
    }
}

impl<'a> Policy<'a> {
    fn of(report: &'a Report) -> Self {
        let totals = &report.totals;
        Policy {
            policy: &report.policy,
            events: report.events,
            offered: totals.offered,
            good: totals.good,
            errors: &totals.errors,
            latency_us: Latency::of(&totals.latency, totals.good > 0),
            attempts: totals.attempts,
            retries: totals.retries,
            hedges: totals.hedges,
            ejections: totals.ejections,
            breaker_trips: totals.breaker_trips,
            dials: totals.dials,
            unsent_bytes: totals.unsent_bytes,
            expectations: report.checks.iter().map(Expectation::of).collect(),
            series: curves::points(report),
        }
    }
}

impl Latency {
    fn of(latency: &fleet::Latency, is_known: bool) -> Self {
        let known = |value| is_known.then(|| micros(value));
        Latency {
            p50: known(latency.p50),
            p90: known(latency.p90),
            p99: known(latency.p99),
            p999: known(latency.p999),
            max: known(latency.max),
        }
    }
}

impl<'a> Expectation<'a> {
    fn of(check: &'a Check) -> Self {
        let Check { what, held, should_hold, seen } = check;
        Expectation { what, held: *held, should_hold: *should_hold, seen }
    }
}
