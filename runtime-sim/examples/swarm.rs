//! A swarm for so many seconds from a seed on: `cargo run -p plimsoll-sim --example swarm -- FIRST SECONDS`. What breaks a
//! law ends it with 1; `plimsoll sim --swarm --seed N` makes that small.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use plimsoll_sim::swarm::{Quest, seek};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let first = numbers.next().transpose()?.unwrap_or(0);
    let seconds = numbers.next().transpose()?.unwrap_or(10);
    let (began, time) = (Instant::now(), Some(Duration::from_secs(seconds)));
    let (stats, found) = seek(Quest { first, seeds: u64::MAX, time }, |_| {});
    let took = began.elapsed().as_secs_f64();
    let Some(found) = found else {
        println!("all laws hold: {stats}, in {took:.1} s");
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "found by seed {} after {took:.1} s and {} worlds: {}",
        found.seed, stats.worlds, found.violation
    );
    Ok(ExitCode::FAILURE)
}
