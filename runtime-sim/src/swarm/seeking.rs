//! Many worlds, on all cores.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Plan, Stats, Violation, run};

/// How many worlds, and for how long; the first seed that breaks a law ends it.
#[derive(Clone, Copy, Debug)]
pub struct Quest {
    /// The first seed.
    pub first: u64,
    /// How many seeds, one after the other.
    pub seeds: u64,
    /// How long on the clock of this machine, at most.
    pub time: Option<Duration>,
}

/// A seed whose world breaks a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub seed: u64,
    /// How.
    pub violation: Violation,
}

/// Plays the worlds of a quest on all cores. How much was seen, and the first that broke a law; `progress` hears the former
/// every now and then.
pub fn seek(quest: Quest, progress: impl Fn(&Stats) + Sync) -> (Stats, Option<Finding>) {
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let found: Mutex<(Stats, Option<Finding>)> = Mutex::default();
    let until = quest.time.map(|time| Instant::now() + time);
    let work = || {
        while !is_over.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= quest.seeds {
                return;
            }
            let seed = quest.first.wrapping_add(n);
            let result = run(&Plan::of_seed(seed));
            let (stats, finding) = &mut *found.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(world) => {
                    stats.merge(&world);
                    progress(stats);
                }
                Err(violation) => {
                    is_over.store(true, Ordering::Relaxed);
                    // Another thread may find one with a higher seed first.
                    if finding.as_ref().is_none_or(|other| seed < other.seed) {
                        *finding = Some(Finding { seed, violation });
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
