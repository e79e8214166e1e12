//! What a child tells its parent.

use std::fmt;
use std::io::{self, Write};
use std::process;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Requests of this process that were answered as they should be.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Counts answers. By one thread alone, so that it costs no more than the addition.
pub(super) fn answered(more: u64) {
    ANSWERED.store(ANSWERED.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// What a process has done since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Of all its threads, in the kernel too.
    pub(super) cpu: Duration,
    pub(super) requests: u64,
}

impl Report {
    fn now() -> Report {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32);
        Report { cpu, requests: ANSWERED.load(Ordering::Relaxed) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cpu.as_nanos(), self.requests)
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(line: &str) -> Result<Report, String> {
        let numbers = line.split_once(' ').and_then(|(cpu, n)| Some((cpu.parse().ok()?, n.parse().ok()?)));
        let (cpu, requests) = numbers.ok_or_else(|| format!("{line:?} is no report"))?;
        Ok(Report { cpu: Duration::from_nanos(cpu), requests })
    }
}

/// Says that everything stands, and what the parent has to know; from now on another thread answers its lines, and
/// ends the process when it closes stdin, or is gone.
pub(super) fn ready(what: impl fmt::Display) {
    say(format_args!("ready {what}"));
    thread::spawn(|| {
        for _ in io::stdin().lines().map_while(io::Result::ok) {
            say(Report::now());
        }
        process::exit(0);
    });
}

/// Says that so many requests were made and answered, and all is done.
pub(super) fn done(requests: u64) {
    say(format_args!("done {requests}"));
}

fn say(what: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "{what}").and_then(|()| stdout.flush()).is_err() {
        // Nobody listens any more.
        process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report { cpu: Duration::new(3, 17), requests: 1 << 40 };
        assert_eq!(report.to_string().parse(), Ok(report));
        assert!("17".parse::<Report>().is_err());
    }
}
