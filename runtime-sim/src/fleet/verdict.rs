//! Whether what a scenario says of a policy was so.

use std::time::Duration;

use super::report::{Check, Report, Totals};
use super::scenario::units::show;
use super::scenario::{Counted, Scenario};
use super::stage::Stage;
use super::tally::{Cut, Slot};
use super::timeline::{decimal, window};
use plimsoll_core::policy::Ratio;
use toml::Spanned;

/// What was seen, by kind of clients and in all.
pub(super) struct Evidence<'a> {
    cut: Cut,
    stage: &'a Stage<'a>,
    scenario: &'a Scenario,
}

impl<'a> Evidence<'a> {
    pub(super) fn of(scenario: &'a Scenario, stage: &'a Stage<'a>) -> Self {
        Evidence { cut: Cut::of(scenario.length()), stage, scenario }
    }

    /// The calls that came within a window, of one kind of clients or of all.
    pub(super) fn calls(&self, from: Duration, until: Option<Duration>, kind: Option<&str>) -> Slot {
        let mut sum = Slot::default();
        for (clients, demand) in self.scenario.clients.iter().zip(&self.stage.demands) {
            if kind.is_none_or(|kind| kind == clients.name.get_ref()) {
                demand.tally().slots[self.cut.slots(from, until)].iter().for_each(|slot| sum.merge(slot));
            }
        }
        sum
    }

    fn attempts(&self, from: Duration, until: Option<Duration>) -> u64 {
        self.stage.traffic.within(from, until)
    }
}

/// Checks all that is said of the policy of `report`.
pub(super) fn checks(evidence: &Evidence<'_>, report: &Report) -> Vec<Check> {
    let policy = &report.policy;
    let expectations = &evidence.scenario.expectations;
    let mut checks = Vec::new();
    for e in &expectations.goodput {
        let (from, until) = (e.from.0, e.until.map(|until| until.0));
        let clients = e.clients.as_ref().map(|clients| clients.get_ref().as_str());
        let of = clients.map(|clients| format!(" of {clients}")).unwrap_or_default();
        let what = format!("goodput{of} at least {}{}", percent(e.at_least.0), window(from, until));
        let calls = evidence.calls(from, until, clients);
        let held = calls.good * 1_000 >= calls.offered * u64::from(e.at_least.0.as_per_mille());
        checks.extend(check(policy, &e.policies, &e.missed_by, what, held, share(calls.good, calls.offered)));
    }
    for e in &expectations.latency {
        let (from, until) = (e.from.0, e.until.map(|until| until.0));
        let clients = e.clients.as_ref().map(|clients| clients.get_ref().as_str());
        let of = clients.map(|clients| format!(" of {clients}")).unwrap_or_default();
        let calls = evidence.calls(from, until, clients);
        for (name, per_mille, most) in e.quantiles() {
            let what = format!("{name}{of} at most {}{}", show(most), window(from, until));
            let seen = calls.times.quantile(per_mille);
            checks.extend(check(policy, &e.policies, &e.missed_by, what, seen <= most, show(seen)));
        }
    }
    for e in &expectations.attempts {
        let (from, until) = (e.from.0, e.until.map(|until| until.0));
        let what = format!("at most {} requests per call{}", decimal(e.per_call.0), window(from, until));
        let (attempts, calls) = (evidence.attempts(from, until), evidence.calls(from, until, None).offered);
        let held = attempts * 1_000 <= calls * u64::from(e.per_call.0.as_per_mille());
        let seen = decimal(Ratio::per_mille((attempts * 1_000).checked_div(calls).unwrap_or(0) as u32));
        checks.extend(check(policy, &e.policies, &e.missed_by, what, held, seen));
    }
    for e in &expectations.recovery {
        let what = format!(
            "goodput at least {} again within {} of {}, and from then on",
            percent(e.goodput.0),
            show(e.within.0),
            show(e.after.0)
        );
        let back = recovered(report, e.after.0, e.goodput.0);
        let held = back.is_some_and(|back| back <= e.within.0);
        let seen = back.map_or("never".to_owned(), |back| format!("after {}", show(back)));
        checks.extend(check(policy, &e.policies, &e.missed_by, what, held, seen));
    }
    for e in &expectations.count {
        let (name, seen) = counted(e.of, &report.totals);
        let at_least = e.at_least.map(|n| format!("at least {}", thousands(n)));
        let at_most = e.at_most.map(|n| format!("at most {}", thousands(n)));
        let bounds: Vec<String> = at_least.into_iter().chain(at_most).collect();
        let held = e.at_least.is_none_or(|n| seen >= n) && e.at_most.is_none_or(|n| seen <= n);
        let what = format!("{name}: {}", bounds.join(", "));
        checks.extend(check(policy, &e.policies, &e.missed_by, what, held, thousands(seen)));
    }
    checks
}

/// What is said of all policies holds for those, too, that are not said to miss it.
fn check(
    policy: &str,
    policies: &Option<Spanned<Vec<String>>>,
    missed_by: &Option<Spanned<Vec<String>>>,
    what: String,
    held: bool,
    seen: String,
) -> Option<Check> {
    let names = |list: &Option<Spanned<Vec<String>>>| {
        list.as_ref().map(|list| list.get_ref().iter().any(|name| name == policy))
    };
    let is_missed = names(missed_by) == Some(true);
    let is_about = is_missed || names(policies).unwrap_or(true);
    is_about.then_some(Check { what, held, should_hold: !is_missed, seen })
}

/// How long after a time the goodput is enough and stays so; `None` if it never does. A second is looked at as a whole:
/// in less of a quiet one a single failure would be too many.
fn recovered(report: &Report, after: Duration, goodput: Ratio) -> Option<Duration> {
    const WINDOW: Duration = Duration::from_secs(1);
    let buckets: Vec<_> = report.series.iter().filter(|bucket| bucket.at >= after).collect();
    let mut back = Some(Duration::ZERO);
    let mut rest = &buckets[..];
    while let Some(first) = rest.first() {
        let end = first.at + WINDOW;
        let len = rest.partition_point(|bucket| bucket.at < end).max(1);
        let (window, others) = rest.split_at(len);
        let (good, offered) =
            window.iter().fold((0, 0), |(good, offered), b| (good + b.good, offered + b.offered));
        let is_enough = good * 1_000 >= offered * u64::from(goodput.as_per_mille());
        back = match is_enough {
            true => back.or(Some(first.at - after)),
            false => None,
        };
        rest = others;
    }
    back
}

fn counted(of: Counted, totals: &Totals) -> (&'static str, u64) {
    match of {
        Counted::Failed => ("failed calls", totals.failed()),
        Counted::Retries => ("retries", totals.retries),
        Counted::Hedges => ("hedges", totals.hedges),
        Counted::Ejections => ("ejections", totals.ejections),
        Counted::BreakerTrips => ("breaker trips", totals.breaker_trips),
        Counted::Dials => ("dials", totals.dials),
        Counted::UnsentBytes => ("bytes of answers that one server held", totals.unsent_bytes),
    }
}

/// `1234567` as `1,234,567`.
fn thousands(n: u64) -> String {
    match n {
        ..1_000 => n.to_string(),
        _ => format!("{},{:03}", thousands(n / 1_000), n % 1_000),
    }
}

fn percent(share: Ratio) -> String {
    format!("{} %", decimal(Ratio::per_mille(share.as_per_mille() * 100)))
}

fn share(part: u64, whole: u64) -> String {
    // Rounded down, or 99.96 % would be shown as all.
    let hundred_thousandths = (part * 100_000).checked_div(whole).unwrap_or(0);
    format!("{} %", decimal(Ratio::per_mille(hundred_thousandths as u32)))
}
