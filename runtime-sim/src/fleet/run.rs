//! One run of a scenario, from its beginning to the end of its last call.

use std::time::Duration;

use plimsoll_core::rng::Pcg;
use plimsoll_core::time::Instant;
use thiserror::Error;

use super::report::{Bucket, Latency, Progress, Report, Totals};
use super::scenario::Scenario;
use super::stage::{PATIENCE, Stage};
use super::tally::{Cut, Slot};
use super::timeline::Timeline;
use super::verdict::{Evidence, checks};

/// Why there was no run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The scenario has no policy of this name.
    #[error("the scenario has no policy {asked:?}; it has {}", known.join(", "))]
    UnknownPolicy {
        /// The name.
        asked: String,
        /// Those that it has.
        known: Vec<String>,
    },
}

/// Runs a scenario under one of its policies. All chance comes from `seed`; `progress` is told of 120 to 300 times.
///
/// # Errors
/// [`RunError::UnknownPolicy`].
pub fn run(
    scenario: &Scenario,
    policy: &str,
    seed: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, RunError> {
    let Some(config) = scenario.policy(policy) else {
        let known = scenario.policies().map(str::to_owned).collect();
        return Err(RunError::UnknownPolicy { asked: policy.to_owned(), known });
    };
    let timeline = Timeline::of(scenario).expect("it was checked when the scenario was read");
    let timeline = timeline.with_spells(scenario, &mut Pcg::new(seed, 5));
    let (cut, length) = (Cut::of(scenario.length()), scenario.length());
    let mut stage = Stage::new(scenario, config, seed);
    let mut deeds = timeline.deeds.iter().peekable();
    for slot in 1..=cut.slots {
        let end = cut.begin(slot).min(length);
        while let Some((at, deed)) = deeds.next_if(|(at, _)| *at <= Instant::ZERO + end) {
            stage.sim.run_until(*at);
            stage.perform(deed);
        }
        stage.sim.run_until(Instant::ZERO + end);
        progress(Progress { now: end, length, events: stage.sim.events() });
    }
    see_to_the_end(&mut stage);
    let mut report = Report {
        scenario: scenario.name().to_owned(),
        policy: policy.to_owned(),
        seed,
        length,
        events: stage.sim.events(),
        totals: totals(&stage),
        series: series(&stage, cut),
        marks: timeline.marks,
        checks: Vec::new(),
    };
    report.checks = checks(&Evidence::of(scenario, &stage), &report);
    Ok(report)
}

/// Calls have their time limits, so that this is soon.
fn see_to_the_end(stage: &mut Stage<'_>) {
    let end = stage.sim.now() + PATIENCE;
    while stage.open() > 0 && stage.sim.now() < end {
        stage.sim.run_for(Duration::from_millis(100));
    }
}

fn totals(stage: &Stage<'_>) -> Totals {
    let mut totals = Totals::default();
    let mut all = Slot::default();
    for demand in &stage.demands {
        let tally = demand.tally();
        tally.slots.iter().for_each(|slot| all.merge(slot));
        for (how, count) in &tally.errors {
            *totals.errors.entry(how).or_default() += count;
        }
        if tally.open > 0 {
            *totals.errors.entry("never_ended").or_default() += tally.open;
        }
        totals.retries += tally.retries;
        totals.hedges += tally.hedges;
        totals.ejections += tally.ejections;
        totals.breaker_trips += tally.breaker_trips;
        totals.dials += tally.dials;
    }
    (totals.offered, totals.good) = (all.offered, all.good);
    totals.attempts = stage.traffic.within(Duration::ZERO, None);
    totals.unsent_bytes = stage.traffic.most_unsent();
    totals.latency = Latency {
        p50: all.times.quantile(500),
        p90: all.times.quantile(900),
        p99: all.times.quantile(990),
        p999: all.times.quantile(999),
        max: all.times.max(),
    };
    totals
}

fn series(stage: &Stage<'_>, cut: Cut) -> Vec<Bucket> {
    let bucket = |at: usize| {
        let mut sum = Slot::default();
        stage.demands.iter().for_each(|demand| sum.merge(&demand.tally().slots[at]));
        Bucket {
            at: cut.begin(at),
            offered: sum.offered,
            good: sum.good,
            failed: sum.failed,
            attempts: stage.traffic.in_slot(at),
            unsent_bytes: stage.traffic.unsent(at),
            p50: sum.times.quantile(500),
            p99: sum.times.quantile(990),
        }
    };
    (0..cut.slots).map(bucket).collect()
}
