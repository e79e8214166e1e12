//! How far the runs are, in virtual time: one line that is written over again, and only to a terminal.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll_sim::fleet;

use super::span;
use crate::figures::{figure, thousands};

const CELLS: u64 = 24;

/// How far one run is. Written by the thread that makes it, read by the one that tells of it.
#[derive(Default)]
pub(super) struct Far {
    nanos: AtomicU64,
    events: AtomicU64,
}

impl Far {
    pub(super) fn set(&self, progress: fleet::Progress) {
        let now = progress.now.min(progress.length).as_nanos();
        self.nanos.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.events.store(progress.events, Ordering::Relaxed);
    }
}

/// The line. Dropped, it is gone.
pub(super) struct Bar {
    is_shown: bool,
    began: Instant,
    /// Of all runs together.
    length: Duration,
}

impl Bar {
    /// Nothing is said if standard error is no terminal.
    pub(super) fn on_terminal(length: Duration) -> Bar {
        Bar { is_shown: io::stderr().is_terminal(), began: Instant::now(), length }
    }

    pub(super) fn show(&self, runs: &[Far]) {
        if self.is_shown {
            // Back to the first column, and erase what stood there.
            anstream::eprint!("\r\x1b[K{}", self.line(runs, self.began.elapsed()));
        }
    }

    /// What it came to.
    pub(super) fn finish(self, runs: &[Far]) {
        if self.is_shown {
            let elapsed = self.began.elapsed();
            let took = span(Duration::from_millis(elapsed.as_millis().try_into().unwrap_or(u64::MAX)));
            let speed = speed(runs, elapsed);
            anstream::eprintln!("\r\x1b[K{} of virtual time in {took}: {speed}", span(self.length));
        }
    }

    fn line(&self, runs: &[Far], elapsed: Duration) -> String {
        let length = self.length.as_nanos().max(1);
        let done = virtual_time(runs);
        let cells = u64::try_from(u128::from(CELLS) * done.as_nanos() / length).unwrap_or(CELLS).min(CELLS);
        let bar: String = (0..CELLS).map(|cell| if cell < cells { '█' } else { '░' }).collect();
        let percent = done.as_nanos() * 100 / length;
        let speed = speed(runs, elapsed);
        format!("{bar} {percent:>3} %  {} of {}, {speed}", span(whole_seconds(done)), span(self.length))
    }
}

fn speed(runs: &[Far], elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let events: u64 = runs.iter().map(|far| far.events.load(Ordering::Relaxed)).sum();
    let times = figure(virtual_time(runs).as_secs_f64() / seconds);
    let rate = thousands((events as f64 / seconds) as u64);
    format!("{times} x real time, {rate} events/s")
}

/// Of all runs together.
fn virtual_time(runs: &[Far]) -> Duration {
    Duration::from_nanos(runs.iter().map(|far| far.nanos.load(Ordering::Relaxed)).sum())
}

fn whole_seconds(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_all_runs_are_together_and_fits_a_terminal() {
        let bar = Bar { is_shown: true, began: Instant::now(), length: Duration::from_secs(7_200) };
        let runs = [Far::default(), Far::default()];
        let now = Duration::from_secs(1_800);
        runs[0].set(fleet::Progress { now, length: Duration::from_secs(3_600), events: 3_000_000_000 });
        let line = bar.line(&runs, Duration::from_secs(2));
        let (filled, empty) = ("█".repeat(6), "░".repeat(18));
        assert_eq!(
            line,
            format!("{filled}{empty}  25 %  30 min of 2 h, 900 x real time, 1,500,000,000 events/s")
        );
        assert!(line.chars().count() < 90, "{line}");
    }
}
