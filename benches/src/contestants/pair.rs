//! A client and a server that talk to each other, as their parent sees them.

use std::env;
use std::fmt::Display;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::TempDir;

use super::{Kind, Load};
use crate::Result;
use crate::process::{CLIENT_CORE, Process, SERVER_CORE};
use crate::syscalls::Calls;

/// How long pools, tables and estimates get to grow to their size.
const WARM_UP: Duration = Duration::from_millis(200);
/// Requests that a check makes.
const CHECKED: u64 = 1_000;
/// Requests of the shorter run of which system calls are counted; pools and tables have grown by then.
const TRACED: u64 = 200;
/// How many more the longer run makes.
const MORE_TRACED: u64 = 1_000;

/// A client and a server.
pub(crate) struct Pair {
    server: Process,
    client: Process,
    /// Of the server before anybody came, in bytes.
    resident: u64,
    /// Where the file of its socket is, if it has one.
    _dir: TempDir,
}

/// What the two sides spent.
pub(crate) struct Spent {
    /// Microseconds of CPU for a request.
    pub(crate) client: f64,
    pub(crate) server: f64,
    /// How long the two waited for their cores, in percent of what they spent: how much others were in the way.
    pub(crate) waited: f64,
    /// By how many bytes the server has grown since it listens.
    pub(crate) grown: u64,
}

/// System calls for a request.
pub(crate) struct CallsPerRequest {
    pub(crate) client: f64,
    pub(crate) server: f64,
}

impl Pair {
    /// Of the same kind; who has no server has the raw one.
    pub(crate) fn start(kind: Kind, load: &Load) -> Result<Pair> {
        let server = if kind.blocks() { Kind::Raw } else { kind };
        Pair::of([server, kind], load, |command, _| command)
    }

    /// A server with the raw client.
    pub(crate) fn with_raw_client(kind: Kind, load: &Load) -> Result<Pair> {
        Pair::of([kind, Kind::Raw], load, |command, _| command)
    }

    /// The server comes first; `dress` may change the commands.
    fn of(kinds: [Kind; 2], load: &Load, dress: impl Fn(Command, usize) -> Command) -> Result<Pair> {
        if let Some(missing) = kinds.iter().find(|kind| !kind.is_compiled_in()) {
            return Err(format!("{} is not compiled in: add --features peers", missing.name()).into());
        }
        let [server, client] = kinds.map(Kind::name);
        let dir = TempDir::new()?;
        let path = dir.path().join("uw.sock");
        let listen = if load.unix { path.to_str().ok_or("a path that is no text")? } else { "127.0.0.1:0" };
        let mut command = contestant(server, "server")?;
        command.arg(format!("--listen={listen}"));
        let command = dress(command, 0);
        let mut server = Process::start(&format!("the server of {server}"), SERVER_CORE, command)?;
        let ready = server.line()?;
        let address = ready.strip_prefix("ready ").ok_or("a server says where it listens")?;
        let resident = server.resident()?;
        let command = dress(with_load(contestant(client, "client")?, address, load), 1);
        let mut client = Process::start(&format!("the client of {client}"), CLIENT_CORE, command)?;
        client.line()?;
        Ok(Pair { server, client, resident, _dir: dir })
    }

    /// Warms up, measures for so long, and ends both.
    pub(crate) fn measure(mut self, time: Duration) -> Result<Spent> {
        thread::sleep(WARM_UP);
        let before = self.sample()?;
        thread::sleep(time);
        let after = self.sample()?;
        let grown = self.server.resident()?.saturating_sub(self.resident);
        self.client.end()?;
        self.server.end()?;
        let requests = after.requests - before.requests;
        if requests == 0 {
            return Err("no request was answered".into());
        }
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests as f64;
        let (client, server) = (after.client - before.client, after.server - before.server);
        let waited = (after.waited - before.waited).div_duration_f64(client + server) * 100.0;
        Ok(Spent { client: micros(client), server: micros(server), waited, grown })
    }

    fn sample(&mut self) -> Result<Sample> {
        self.client.say("report")?;
        let requests = self.client.line()?.parse()?;
        let waited = self.client.waited()? + self.server.waited()?;
        Ok(Sample { requests, client: self.client.cpu()?, server: self.server.cpu()?, waited })
    }

    /// Waits until the client has made the requests of its load, and ends both.
    fn finish(mut self, requests: u64) -> Result<()> {
        let done = self.client.line()?;
        if done != format!("done {requests}") {
            return Err(format!("{done:?} after {requests} requests").into());
        }
        self.client.end()?;
        self.server.end()
    }
}

/// What had happened at some time.
struct Sample {
    requests: u64,
    client: Duration,
    server: Duration,
    waited: Duration,
}

/// What a longer run makes more than a shorter one: whatever a start and an end cost is in both.
pub(crate) fn calls_per_request(kind: Kind, load: &Load) -> Result<CallsPerRequest> {
    let (shorter, longer) = (calls(kind, load, TRACED)?, calls(kind, load, TRACED + MORE_TRACED)?);
    let per_request = |side: usize| (longer[side] as f64 - shorter[side] as f64) / MORE_TRACED as f64;
    Ok(CallsPerRequest { server: per_request(0), client: per_request(1) })
}

fn calls(kind: Kind, load: &Load, requests: u64) -> Result<[u64; 2]> {
    let load = Load { requests: Some(requests), ..load.clone() };
    let calls = [Calls::new()?, Calls::new()?];
    Pair::of([kind; 2], &load, |command, side| calls[side].of(&command))?.finish(requests)?;
    Ok([calls[0].count()?, calls[1].count()?])
}

fn contestant(kind: &str, side: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["contestant", kind, side]);
    Ok(command)
}

pub(super) fn with_load(mut command: Command, address: impl Display, load: &Load) -> Command {
    let Load { connections, in_flight, size, apart, idle, requests, unix: _ } = load;
    command.arg(format!("--address={address}"));
    command.arg(format!("--connections={connections}"));
    command.arg(format!("--in-flight={in_flight}"));
    command.arg(format!("--size={size}"));
    command.arg(format!("--idle={idle}"));
    command.args(apart.then_some("--apart"));
    command.args(requests.map(|requests| format!("--requests={requests}")));
    command
}

/// Lets every pair make some requests in different ways; clients see to it that every one is answered, and with what
/// was sent.
pub(crate) fn check(only: &str) -> Result<()> {
    for &kind in Kind::value_variants().iter().filter(|kind| kind.name().contains(only)) {
        if !kind.is_compiled_in() {
            println!("{}: not compiled in", kind.name());
            continue;
        }
        for load in loads(kind) {
            let what = format!("{}: {}", kind.name(), what(&load));
            let load = Load { requests: Some(CHECKED), ..load };
            let began = Instant::now();
            let ended = Pair::start(kind, &load).and_then(|pair| pair.finish(CHECKED));
            ended.map_err(|error| format!("{what}: {error}"))?;
            println!("{what}: {CHECKED} answers, {} ms", began.elapsed().as_millis());
        }
    }
    Ok(())
}

/// What a contestant is asked to carry.
fn loads(kind: Kind) -> Vec<Load> {
    if kind.blocks() {
        return vec![Load::new(1, 1, 64), Load::new(1, 8, 64), Load::new(1, 8, 4_096)];
    }
    let mut loads = vec![
        Load::new(1, 1, 64),
        Load::new(1, 256, 64),
        Load { apart: true, ..Load::new(1, 256, 64) },
        Load::new(4, 16, 64),
        Load::new(1, 64, 4_096),
    ];
    if kind.speaks_unix() {
        loads.push(Load { unix: true, ..Load::new(1, 256, 64) });
    }
    loads
}

fn what(load: &Load) -> String {
    let Load { connections, in_flight, size, apart, unix, .. } = load;
    let apart = if *apart { ", callers apart" } else { "" };
    let unix = if *unix { ", Unix socket" } else { "" };
    format!("{connections} x {in_flight}, {size} bytes{apart}{unix}")
}
