//! The figures, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use plimsoll_core::metrics::Histogram;
use serde::Serialize;

use super::load::Tally;
use crate::figures::{figure, micros, thousands, time};

/// The figures. As JSON, one object with exactly these keys.
#[derive(Serialize)]
pub(super) struct Report {
    /// All that ended.
    requests: u64,
    /// Those of them that failed.
    errors: BTreeMap<String, u64>,
    seconds: f64,
    /// Requests that were answered, errors of the service included.
    rate_per_s: f64,
    /// Params and their answers together, in 10^6 bytes.
    mb_per_s: f64,
    latency_us: Latency,
    /// Of this process, in all its threads, for each that ended.
    cpu_us_per_request: f64,
}

/// Microseconds. Quantiles are at most 12.5 % too high, the maximum is exact; all are `None` if there was no answer.
#[derive(Serialize)]
struct Latency {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

impl Report {
    pub(super) fn new(tally: Tally, elapsed: Duration, cpu: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let requests = tally.requests();
        Report {
            requests,
            seconds,
            rate_per_s: tally.answered() as f64 / seconds,
            mb_per_s: tally.bytes as f64 / 1e6 / seconds,
            latency_us: Latency::of(&tally.latencies),
            cpu_us_per_request: micros(cpu) / requests as f64,
            errors: tally.errors,
        }
    }
}

impl Latency {
    fn of(latencies: &Histogram) -> Self {
        let quantile = |per_mille| latencies.quantile(per_mille).map(micros);
        Latency {
            p50: quantile(500),
            p90: quantile(900),
            p99: quantile(990),
            p999: quantile(999),
            max: latencies.max().map(micros),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p99, p999, max } = self.latency_us;
        writeln!(f, "requests  {} in {}", thousands(self.requests), time(self.seconds * 1e6))?;
        writeln!(f, "errors    {}", errors(&self.errors))?;
        writeln!(f, "rate      {} answers a second", thousands(self.rate_per_s.round() as u64))?;
        writeln!(f, "content   {} MB a second, params and answers together", figure(self.mb_per_s))?;
        writeln!(f, "CPU       {} a request, in this process", time(self.cpu_us_per_request))?;
        writeln!(f)?;
        writeln!(f, "latency        p50        p90        p99      p99.9        max")?;
        write!(f, "       ")?;
        for latency in [p50, p90, p99, p999, max] {
            write!(f, " {:>10}", latency.map_or("-".into(), time))?;
        }
        writeln!(f, "\n          (max is exact; the others may be read up to 12.5 % too high)")
    }
}

/// How many of each code, one below the other, most first.
pub(super) fn errors(errors: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = errors.iter().collect();
    sorted.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    // A code comes from the service: it must not speak to the terminal.
    let lines: Vec<_> =
        sorted.into_iter().map(|(code, &n)| format!("{} {}", thousands(n), code.escape_debug())).collect();
    if lines.is_empty() { "none".into() } else { lines.join("\n          ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widest that there can be: a day of the fastest requests with the slowest among them, and a hostile code.
    #[test]
    fn no_line_is_longer_than_80_columns_and_no_code_speaks_to_the_terminal() {
        let mut tally = Tally { succeeded: 1 << 40, bytes: u64::MAX >> 8, ..Tally::default() };
        tally.errors.insert("\u{1b}[2J".into(), 1 << 40);
        tally.errors.insert("METHOD_NOT_FOUND".into(), 2);
        tally.latencies.record(Duration::from_millis(999_400));
        let report = Report::new(tally, Duration::from_secs(86_400), Duration::from_secs(86_400)).to_string();
        assert!(report.lines().all(|line| line.chars().count() <= 80), "{report}");
        assert!(report.lines().count() > 8 && !report.contains('\u{1b}'), "{report}");
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[1].starts_with("errors    1,099,511,627,776 \\u{1b}[2J"), "{report}");
        assert_eq!(lines[2].trim_start(), "2 METHOD_NOT_FOUND");
    }
}
