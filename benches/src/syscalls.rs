//! System calls, counted by strace.

use std::fs;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::Result;

/// The system calls of one process, once it has ended.
pub(crate) struct Calls {
    summary: NamedTempFile,
}

impl Calls {
    /// An error if there is no strace.
    pub(crate) fn new() -> Result<Self> {
        let found = Command::new("strace").arg("--version").output();
        found
            .map_err(|error| format!("system calls are counted by strace, which does not start: {error}"))?;
        Ok(Calls { summary: NamedTempFile::new()? })
    }

    /// The same, but counted, with all its threads.
    pub(crate) fn of(&self, command: &Command) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(self.summary.path());
        strace.arg(command.get_program()).args(command.get_args());
        strace
    }

    pub(crate) fn count(&self) -> Result<u64> {
        total(&fs::read_to_string(self.summary.path())?)
    }
}

/// The last line of a summary: share of the time, seconds, microseconds a call, calls, perhaps errors, `total`.
fn total(summary: &str) -> Result<u64> {
    let line = summary.lines().find(|line| line.ends_with(" total"));
    let line = line.ok_or("strace has counted nothing; may it trace here?")?;
    Ok(line.split_whitespace().nth(3).ok_or("strace has printed no number of calls")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_summary_is_the_number_of_calls() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.009000           4      2001           read
 10.00    0.001000           1       999        12 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.010000           3      3000        12 total
";
        assert_eq!(total(summary).unwrap(), 3_000);
        assert!(total("").is_err());
    }
}
