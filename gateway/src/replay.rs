//! `plimsoll replay`: the same machine is told the same, and does it do the same?

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use plimsoll_core::record::{self, Replayed};

use crate::figures::{thousands, time};
use crate::recorded::{self, Failure, LogFile};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let replayed = record::replay(&log.bytes)?;
        Ok((told(log, &replayed)?, 0))
    })
}

fn told(log: &LogFile, replayed: &Replayed) -> Result<String, Failure> {
    let mut text = String::new();
    let Replayed { calls, findings, .. } = replayed;
    let length = time(replayed.time().as_nanos() as f64 / 1e3);
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}, {length}", log.title());
    let _ = writeln!(
        text,
        "{} calls of the machine, with {} findings: every action, event and byte count is the same",
        thousands(*calls),
        thousands(*findings)
    );
    Ok(text)
}
