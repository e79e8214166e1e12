//! A scenario from a program: each of its policies in turn, and what came of it.
//!
//! ```sh
//! cargo run --release -p plimsoll-sim --example scenario scenarios/one_slow_host.toml
//! ```

use std::error::Error;
use std::{env, fs};

use plimsoll_sim::fleet::{self, Scenario};

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).ok_or("say which file")?;
    let seed = env::args().nth(2).map_or(Ok(1), |seed| seed.parse())?;
    let scenario = Scenario::parse(&fs::read_to_string(file)?)?;
    for policy in scenario.policies() {
        let report = fleet::run(&scenario, policy, seed, &mut |_| {})?;
        let totals = &report.totals;
        println!("{} under {policy}: {} events", report.scenario, report.events);
        println!(
            "  {} of {} calls good, {} requests; p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
            totals.good,
            totals.offered,
            totals.attempts,
            totals.latency.p50,
            totals.latency.p99,
            totals.latency.p999,
            totals.latency.max
        );
        println!(
            "  {} retries, {} hedges, {} ejections, {} breaker trips, {} dials; errors {:?}",
            totals.retries,
            totals.hedges,
            totals.ejections,
            totals.breaker_trips,
            totals.dials,
            totals.errors
        );
        for check in &report.checks {
            let mark = if check.is_as_stated() { " " } else { "!" };
            let held = if check.held { "held" } else { "missed" };
            println!("{mark} {held}: {}: {}", check.what, check.seen);
        }
    }
    Ok(())
}
