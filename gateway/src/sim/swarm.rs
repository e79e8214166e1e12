//! `plimsoll sim --swarm`: random worlds on all cores, until a law is broken; then a small world that breaks the same.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use plimsoll_sim::swarm::{Effort, Finding, Plan, Quest, Stats, seek, shrink};

/// A law was broken.
const BROKEN: u8 = 1;
/// Worlds, if neither a number nor a time is asked for.
const SEEDS: u64 = 1_000;

#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Instead of a scenario, play random worlds, and look after every step whether a law is broken
    ///
    /// Seeds are fresh, and printed, unless --seed says the first. --seed alone plays that one world again. What breaks a
    /// law is made as small as can be, and told as a story; the exit code is 1 then.
    #[arg(long, conflicts_with_all = ["scenario", "policy", "plot", "html", "json"])]
    pub(super) swarm: bool,
    /// So many worlds [default: 1000, or as many as fit into --minutes]
    #[arg(long, value_name = "N", requires = "swarm")]
    seeds: Option<u64>,
    /// For so long, at most
    #[arg(long, value_name = "M", requires = "swarm")]
    minutes: Option<u64>,
}

pub(super) fn run(args: &Args, seed: Option<u64>) -> ExitCode {
    let began = Instant::now();
    let quest = args.quest(seed);
    if quest.seeds > 1 {
        anstream::println!("seeds from {}", quest.first);
    }
    let is_shown = io::stderr().is_terminal();
    let (stats, found) = seek(quest, |stats| {
        if is_shown && stats.worlds.is_multiple_of(64) {
            let _ = write!(io::stderr(), "\r{} worlds ", stats.worlds);
        }
    });
    if is_shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let seconds = began.elapsed().as_secs_f64();
    match found {
        Some(found) => {
            tell(&found, &stats);
            BROKEN.into()
        }
        None => {
            anstream::println!("all laws hold: {stats}, in {seconds:.1} s");
            ExitCode::SUCCESS
        }
    }
}

impl Args {
    fn quest(&self, seed: Option<u64>) -> Quest {
        let is_one = seed.is_some() && self.seeds.is_none() && self.minutes.is_none();
        let many = if self.minutes.is_some() { u64::MAX } else { SEEDS };
        Quest {
            first: seed.unwrap_or_else(fresh),
            seeds: if is_one { 1 } else { self.seeds.unwrap_or(many) },
            time: self.minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        }
    }
}

/// A seed from the system's randomness, short enough to be typed.
fn fresh() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000
}

fn tell(found: &Finding, stats: &Stats) {
    let Finding { seed, violation } = found;
    anstream::println!("seed {seed}, after {} worlds: {violation}", stats.worlds);
    let plan = Plan::of_seed(*seed);
    let (small, violation) = shrink(&plan, violation, Effort::default());
    anstream::println!("of {} events {} are enough:\n", plan.events.len(), small.events.len());
    anstream::println!("{small}{violation}\n\nplay it again: plimsoll sim --swarm --seed {seed}");
}
