//! What a bad server costs, by strategy: a table in Markdown, the same to the byte on every platform.
//!
//! ```sh
//! cargo run --release -p plimsoll-core --features testing --example strategies
//! ```

use core::fmt::Write;
use core::num::NonZeroU32;
use core::time::Duration;

use plimsoll_core::policy::Ratio;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Mode;
use plimsoll_core::testing::fleet::trial::{Report, Trial};
use plimsoll_core::testing::fleet::{Condition, Config};

const FAULTS: [(&str, Condition); 6] = [
    ("healthy", Condition::Healthy),
    ("50× slower", Condition::Slow(50)),
    ("fails 20 %", Condition::Failing(Ratio::percent(20))),
    ("fails fast", Condition::FailsFast),
    ("answers cut off", Condition::Mute),
    ("requests cut off", Condition::Deaf),
];

/// What else looks after the endpoints, beside the strategy.
const GUARDS: [(&str, bool); 2] = [
    ("With the circuit breaker and outlier ejection, as by default", true),
    ("By the strategy alone", false),
];

fn trial(strategy: Strategy, condition: Condition, guarded: bool) -> Trial {
    let mut config = Config { clients: 8, ..Config::default() };
    config.client.cluster.strategy = strategy;
    config.client.timeout = Duration::from_secs(1);
    if !guarded {
        config.client.cluster.outliers = None;
        config.client.cluster.breaker.mode = Mode::Count { failures: NonZeroU32::MAX };
    }
    Trial {
        config,
        per_second: 1_300,
        condition,
        begins: Duration::from_secs(10),
        ends: Duration::from_secs(40),
        lasts: Duration::from_secs(130),
    }
}

fn main() -> core::fmt::Result {
    for (title, guarded) in GUARDS {
        let (mut short, mut long) = (String::new(), String::new());
        let rows = Strategy::ALL
            .map(|strategy| FAULTS.map(|(_, condition)| trial(strategy, condition, guarded).run()));
        summary(&mut short, &rows)?;
        for (n, (name, _)) in FAULTS.iter().enumerate() {
            writeln!(long, "### {name}\n")?;
            writeln!(
                long,
                "| strategy | goodput | p50 | p99 | p99 of all ends | to the bad one | back after | errors \
                 | timeouts | lost | refused |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
            )?;
            for (strategy, reports) in Strategy::ALL.iter().zip(&rows) {
                row(&mut long, *strategy, &reports[n])?;
            }
            writeln!(long)?;
        }
        print!("## {title}\n\n{short}\n{long}");
    }
    Ok(())
}

/// Goodput, and the p99 of all ends in milliseconds, by strategy and fault; and the longest way back after any of them.
fn summary(out: &mut String, rows: &[[Report; FAULTS.len()]]) -> core::fmt::Result {
    write!(out, "| goodput, p99 in ms |")?;
    FAULTS.iter().try_for_each(|(name, _)| write!(out, " {name} |"))?;
    writeln!(out, " well again, back after |\n|---|{}", "--:|".repeat(FAULTS.len() + 1))?;
    for (strategy, reports) in Strategy::ALL.iter().zip(rows) {
        write!(out, "| `{strategy}` |")?;
        for report in reports {
            let goodput = percent(report.good, report.offered);
            write!(out, " {goodput}, {} |", report.p99_of_all.as_millis())?;
        }
        // Never is later than any time.
        let slowest = reports.iter().max_by_key(|report| report.back_after.unwrap_or(Duration::MAX));
        let slowest = slowest.map(back_after).unwrap_or_default();
        writeln!(out, " {slowest} |")?;
    }
    Ok(())
}

fn row(out: &mut String, strategy: Strategy, report: &Report) -> core::fmt::Result {
    let back = back_after(report);
    writeln!(
        out,
        "| `{strategy}` | {} | {} | {} | {} | {} | {back} | {} | {} | {} | {} |",
        percent(report.good, report.offered),
        millis(report.p50),
        millis(report.p99),
        millis(report.p99_of_all),
        percent(report.to_bad, report.offered),
        report.failed,
        report.timed_out,
        report.lost,
        report.refused,
    )
}

/// How long after its recovery the server had its share again.
fn back_after(report: &Report) -> String {
    report.back_after.map_or_else(|| "> 90 s".into(), |after| format!("{} s", after.as_secs()))
}

fn percent(part: u64, whole: u64) -> String {
    let hundredths = part * 10_000 / whole;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn millis(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.subsec_micros() / 100 % 10)
}
