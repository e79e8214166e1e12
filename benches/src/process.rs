//! Children: on a core of their own, ended in order, and never left behind.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_benches::usage;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Where those run that answer.
pub(crate) const SERVER_CORE: usize = 0;
/// Where those run that ask.
pub(crate) const CLIENT_CORE: usize = 1;

/// How long a child may take to say something, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a child that wait to be read; one that says more than anybody wants is held up.
const LINES: usize = 64;

/// A process that was started here. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a program on one core; `name` is for messages. What it says on stderr goes to ours.
    pub(crate) fn start(name: &str, core: usize, mut command: Command) -> Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = on_core(core, || command.spawn()).map_err(|error| format!("{name}: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        let (sender, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(io::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { name: name.to_owned(), child, stdin, lines })
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        self.line_within(PATIENCE)
    }

    /// The next line that it prints, if it does within so long.
    pub(crate) fn line_within(&mut self, patience: Duration) -> Result<String> {
        self.lines.recv_timeout(patience).map_err(|error| {
            let what = match error {
                RecvTimeoutError::Timeout => format!("has said nothing for {patience:?}"),
                RecvTimeoutError::Disconnected => "has ended".into(),
            };
            format!("{} {what}", self.name).into()
        })
    }

    /// Writes a line to its stdin.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("its stdin is closed")?;
        writeln!(stdin, "{line}").map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// What all its threads have spent, in the kernel too. A thread that runs at this moment may have spent up to a
    /// tick of the kernel more.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.schedstat(0)
    }

    /// How long its threads could have run, but their core was taken: by others of its own, or by strangers.
    pub(crate) fn waited(&self) -> Result<Duration> {
        self.schedstat(1)
    }

    fn schedstat(&self, column: usize) -> Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may have ended since.
            let Ok(stat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += stat.split(' ').nth(column).ok_or("schedstat is short of a column")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        Ok(usage::resident(self.child.id())?)
    }

    /// Ends it: by the end of its stdin, then by a signal if it does not listen to that. It is an error if it takes
    /// more than that, or says that it has failed.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stdin = None;
        let mut status = self.wait(Duration::from_secs(1))?;
        if status.is_none() {
            kill_process(self.pid(), Signal::TERM)?;
            status = self.wait(PATIENCE)?;
        }
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{} has ended with {status}", self.name).into()),
            None => Err(format!("{} does not end", self.name).into()),
        }
    }

    fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                status => return Ok(status),
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or has had its chance.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child stays where its parent stood when it was started, with all its threads.
fn on_core<T>(core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let everywhere = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    // On a machine with one core all share it.
    if !everywhere.is_set(core) {
        return start();
    }
    sched_setaffinity(None, &only)?;
    let started = start();
    sched_setaffinity(None, &everywhere)?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("the shell", CLIENT_CORE, command).unwrap()
    }

    fn proc(process: &Process) -> String {
        format!("/proc/{}", process.child.id())
    }

    #[test]
    fn a_child_is_told_lines_says_lines_and_ends_with_its_stdin() {
        let mut echo = shell("while read line; do echo got $line; done");
        echo.say("one").unwrap();
        assert_eq!(echo.line().unwrap(), "got one");
        echo.end().unwrap();
    }

    #[test]
    fn a_child_that_fails_says_so_at_its_end() {
        let mut failing = shell("echo ready; exit 3");
        assert_eq!(failing.line().unwrap(), "ready");
        assert_eq!(failing.line().unwrap_err().to_string(), "the shell has ended");
        assert!(failing.end().unwrap_err().to_string().contains("exit status: 3"));
    }

    #[test]
    fn a_child_that_does_not_watch_its_stdin_gets_a_signal() {
        let mut deaf = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        deaf.line().unwrap();
        deaf.end().unwrap();
    }

    #[test]
    fn a_child_that_is_dropped_is_gone() {
        let mut stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        stubborn.line().unwrap();
        let proc = proc(&stubborn);
        assert!(Path::new(&proc).exists());
        drop(stubborn);
        assert!(!Path::new(&proc).exists());
    }

    #[test]
    fn a_child_stays_on_its_core_and_its_parent_does_not() {
        let before = sched_getaffinity(None).unwrap();
        let mut child = shell("grep Cpus_allowed_list /proc/self/status");
        let everywhere = !before.is_set(CLIENT_CORE);
        assert!(everywhere || child.line().unwrap().ends_with(&format!("\t{CLIENT_CORE}")));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn cpu_time_and_memory_of_a_child_are_known() {
        let mut busy = shell("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo done; read line");
        busy.line().unwrap();
        assert!(busy.cpu().unwrap() > Duration::ZERO);
        assert!(busy.resident().unwrap() > 100_000);
    }
}
