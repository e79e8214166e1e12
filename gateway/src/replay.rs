//! `plimsoll replay`: the same machine is told the same, and does it do the same?

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use plimsoll_core::replay::{self, Replayed};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::{figure, micros, thousands, time};
use crate::recorded::{self, LogFile};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let before = cpu_time();
        let replayed = replay::replay(&log.bytes)?;
        let took = cpu_time().saturating_sub(before);
        Ok((told(log, &replayed, took), 0))
    })
}

/// What this process has had of the processors: a busy machine does not make a replay look slow.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    Duration::from_secs(part(spent.tv_sec)) + Duration::from_nanos(part(spent.tv_nsec))
}

fn told(log: &LogFile, replayed: &Replayed, took: Duration) -> String {
    let mut text = String::new();
    let length = time(micros(replayed.time()));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}, {length}", log.title());
    let compared = match log.is_whole {
        true => "every action, event and byte",
        false => "every action and event, and how many bytes it has,",
    };
    let Replayed { calls, inputs, actions, events, findings, .. } = replayed;
    let [calls, inputs, actions, events, findings] =
        [calls, inputs, actions, events, findings].map(|n| thousands(*n));
    let _ = writeln!(
        text,
        "{calls} calls of the machine ({inputs} inputs; {actions} actions and {events} events came of them), \
         {findings} findings in bodies: {compared} is the same"
    );
    let _ = writeln!(text, "replayed in {} of CPU time{}", time(micros(took)), pace(replayed.time(), took));
    text
}

/// How much faster it went than when it was recorded.
fn pace(recorded: Duration, took: Duration) -> String {
    if recorded.is_zero() || took.is_zero() {
        return String::new();
    }
    format!(", {} times as fast as it happened", figure(recorded.as_secs_f64() / took.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_the_recorded_time_by_the_time_that_it_took() {
        let millis = Duration::from_millis;
        assert_eq!(pace(millis(60_000), millis(40)), ", 1,500 times as fast as it happened");
        assert_eq!(pace(millis(30), millis(40)), ", 0.75 times as fast as it happened");
        assert_eq!(pace(millis(0), millis(40)) + &pace(millis(40), millis(0)), "");
    }
}
