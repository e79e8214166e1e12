//! `plimsoll replay`: the same machine is told the same, and does it do the same?

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use plimsoll_core::record::{self, Replayed};

use crate::figures::{thousands, time};
use crate::recorded::{self, LogFile};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let replayed = record::replay(&log.bytes)?;
        Ok((told(log, &replayed), 0))
    })
}

fn told(log: &LogFile, replayed: &Replayed) -> String {
    let mut text = String::new();
    let Replayed { calls, findings, .. } = replayed;
    let length = time(replayed.time().as_nanos() as f64 / 1e3);
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}, {length}", log.title());
    let compared = match log.has_content {
        true => "every action, event and byte",
        false => "every action and event, and how many bytes it has,",
    };
    let (calls, findings) = (thousands(*calls), thousands(*findings));
    let _ =
        writeln!(text, "{calls} calls of the machine, {findings} findings in bodies: {compared} is the same");
    text
}
