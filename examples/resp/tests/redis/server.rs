//! A `redis-server` of one's own, on a Unix socket and, if a test asks for it, on a port.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs until it is dropped.
pub(crate) struct Redis {
    dir: TempDir,
    port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// With more arguments than every one has.
    pub(crate) fn start(args: &[&str]) -> Redis {
        Redis::on(0, args)
    }

    /// On a port of 127.0.0.1, too.
    pub(crate) fn on_a_port() -> Redis {
        Redis::on(free_port(), &[])
    }

    fn on(port: u16, args: &[&str]) -> Redis {
        let dir = tempfile::tempdir().unwrap();
        let args = args.iter().map(|&arg| arg.into()).collect();
        let mut redis = Redis { dir, port, args, child: None };
        redis.start_again();
        redis
    }

    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]);
        command.args(["--enable-debug-command", "yes", "--bind", "127.0.0.1"]);
        command.arg("--port").arg(self.port.to_string());
        command.arg("--dir").arg(self.dir.path()).arg("--unixsocket").arg(self.path()).args(&self.args);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.child = Some(started.expect("redis-server must be installed (Debian: redis-server)"));
        let give_up = Instant::now() + PATIENCE;
        while !is_there(&self.path()) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "redis-server has ended: {ended:?}");
            assert!(Instant::now() < give_up, "redis-server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// Its Unix socket, as clients name it.
    pub(crate) fn socket(&self) -> String {
        self.path().to_str().expect("a path that is text").into()
    }

    /// Its port, as clients name it.
    pub(crate) fn address(&self) -> String {
        assert_ne!(self.port, 0, "it has no port");
        format!("127.0.0.1:{}", self.port)
    }

    /// At once, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
    }

    /// It stands still, and its connections stand.
    pub(crate) fn fall_silent(&self) {
        kill_process(self.pid(), Signal::STOP).expect("it runs");
    }

    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it runs");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether somebody answers, with whatever.
fn is_there(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PING\r\n").is_ok() && stream.read(&mut [0; 64]).is_ok_and(|n| n > 0)
}

/// Below those that the system gives to connections, so that it is still free after a restart.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + ((process::id() * 41 + next) % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
