//! What a bad server costs, by strategy: a table in Markdown, the same to the byte on every platform.
//!
//! ```sh
//! cargo run --release -p plimsoll-core --features testing --example strategies
//! ```

use core::fmt::Write;
use core::time::Duration;

use plimsoll_core::policy::Ratio;
use plimsoll_core::policy::balance::Strategy;
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

fn trial(strategy: Strategy, condition: Condition) -> Trial {
    let mut config = Config { clients: clients(), ..Config::default() };
    config.client.cluster.strategy = strategy;
    config.client.timeout = Duration::from_secs(1);
    Trial {
        config,
        per_second: 1_300,
        condition,
        begins: Duration::from_secs(10),
        ends: Duration::from_secs(40),
        lasts: Duration::from_secs(130),
    }
}

fn clients() -> u32 {
    std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn main() -> core::fmt::Result {
    let mut out = String::new();
    for (name, condition) in FAULTS {
        writeln!(out, "### {name}\n")?;
        writeln!(
            out,
            "| strategy | goodput | p50 | p99 | p99 of all | share of the bad one | back after | errors | timeouts | lost | refused |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for strategy in Strategy::ALL {
            let report = trial(strategy, condition).run();
            assert_eq!((report.unended, report.doubled), (0, 0), "{report:?}");
            row(&mut out, strategy, &report)?;
        }
        writeln!(out)?;
        print!("{out}");
        out.clear();
    }
    Ok(())
}

fn row(out: &mut String, strategy: Strategy, report: &Report) -> core::fmt::Result {
    let back = report.back_after.map_or_else(|| "> 90 s".into(), |after| format!("{} s", after.as_secs()));
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

fn percent(part: u64, whole: u64) -> String {
    let hundredths = part * 10_000 / whole;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn millis(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.subsec_micros() / 100 % 10)
}
