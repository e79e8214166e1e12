//! The table: policies side by side, and what the scenario says of them.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use plimsoll_sim::fleet::{Check, Latency, Report, Totals};

use super::Outcome;
use crate::figures::{bytes, figure, micros, thousands, time};
use crate::recorded::plain;

/// How far the figures may be off, and what does not say itself.
pub(super) const PRECISION: &str = "max is exact; the quantiles may be read up to 3.2 % too high; unsent: the answers that one \
                                    server held because their clients did not take them";

/// What stands at the left of a row, and a cell for each policy.
pub(super) struct Row {
    pub(super) name: String,
    /// A part of the row above.
    pub(super) is_part: bool,
    pub(super) cells: Vec<String>,
}

/// All rows, in the order in which people ask.
pub(super) fn rows(reports: &[Report]) -> Vec<Row> {
    let row = |name: &str, is_part, cell: &dyn Fn(&Report) -> String| Row {
        name: name.into(),
        is_part,
        cells: reports.iter().map(cell).collect(),
    };
    let count =
        |name, value: fn(&Totals) -> u64| row(name, false, &|report| thousands(value(&report.totals)));
    let latency = |name, is_part, value: fn(&Latency) -> std::time::Duration| {
        row(name, is_part, &|report| match report.totals.good {
            0 => "-".into(),
            _ => time(micros(value(&report.totals.latency))),
        })
    };
    let mut rows = vec![
        count("calls", |totals| totals.offered),
        row("goodput", false, &|report| percent(report.totals.good, report.totals.offered)),
        row("a second", true, &|report| {
            figure(report.totals.good as f64 / report.length.as_secs_f64().max(1e-9))
        }),
        count("errors", Totals::failed),
    ];
    let kinds: BTreeSet<_> = reports.iter().flat_map(|report| report.totals.errors.keys()).collect();
    for kind in kinds {
        let errors = |report: &Report| thousands(report.totals.errors.get(kind).copied().unwrap_or(0));
        rows.push(row(kind, true, &errors));
    }
    rows.extend([
        latency("latency p50", false, |latency| latency.p50),
        latency("p90", true, |latency| latency.p90),
        latency("p99", true, |latency| latency.p99),
        latency("p99.9", true, |latency| latency.p999),
        latency("max", true, |latency| latency.max),
        row("requests a call", false, &|report| ratio(report.totals.attempts, report.totals.offered)),
        count("retries", |totals| totals.retries),
        count("hedges", |totals| totals.hedges),
        count("ejections", |totals| totals.ejections),
        count("breaker trips", |totals| totals.breaker_trips),
        count("dials", |totals| totals.dials),
        row("unsent, at most", false, &|report| bytes(report.totals.unsent_bytes)),
    ]);
    rows
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".into(),
        // What is not all never reads as all.
        _ if part < whole => format!("{:.2} %", (part as f64 * 1e4 / whole as f64).floor() / 100.0),
        _ => "100 %".into(),
    }
}

fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.3}", part as f64 / whole as f64) }
}

/// How a check came out, in a word or a few.
pub(super) fn verdict(check: &Check) -> &'static str {
    match (check.held, check.should_hold) {
        (true, true) => "holds",
        (false, true) => "FAILS",
        (false, false) => "fails, as stated",
        (true, false) => "HOLDS, and should not",
    }
}

/// The last line.
pub(super) fn summary(reports: &[Report]) -> String {
    let checks = || reports.iter().flat_map(|report| &report.checks);
    let all = checks().count();
    match checks().filter(|check| !check.is_as_stated()).count() {
        _ if all == 0 => "The scenario states no expectation.".into(),
        0 => format!("All is as the scenario states: {all} of {all}."),
        failed => format!("NOT as the scenario states: {failed} of {all}."),
    }
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", plain(self.name), plain(self.description))?;
        writeln!(f, "{}\n", self.subtitle())?;
        let rows = rows(self.reports);
        let names: Vec<_> = self.reports.iter().map(|report| plain(&report.policy)).collect();
        let name = |row: &Row| format!("{}{}", if row.is_part { "  " } else { "" }, plain(&row.name));
        let first = rows.iter().map(|row| len(&name(row))).max().unwrap_or(0);
        let column = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.cells.get(at));
            cells.chain([&names[at]]).map(|cell| len(cell)).max().unwrap_or(0)
        };
        let columns: Vec<_> = (0..names.len()).map(column).collect();
        let line = |f: &mut Formatter<'_>, name: &str, cells: &[String]| {
            write!(f, "{name:first$}")?;
            cells.iter().zip(&columns).try_for_each(|(cell, wide)| write!(f, "   {cell:>wide$}"))?;
            writeln!(f)
        };
        line(f, "", &names)?;
        rows.iter().try_for_each(|row| line(f, &name(row), &row.cells))?;
        writeln!(f, "({PRECISION})\n")?;
        for report in self.reports.iter().filter(|report| !report.checks.is_empty()) {
            writeln!(f, "{}", plain(&report.policy))?;
            for check in &report.checks {
                writeln!(f, "  {}: {} ({})", verdict(check), plain(&check.what), plain(&check.seen))?;
            }
        }
        writeln!(f, "{}", summary(self.reports))
    }
}

fn len(text: &str) -> usize {
    text.chars().count()
}
