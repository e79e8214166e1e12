//! Clients of one real `redis-server`, which are measured alone.

use std::env;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::process::Command as Program;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use plimsoll_core::cluster::StateEvent;
use plimsoll_resp::{Args as Arguments, Resp, Value};
use plimsoll_tokio::{Client, Service, ServiceConfig};
use tempfile::TempDir;

use super::callers::{Echo, call, runtime};
use super::edge::{start, until_it_accepts};
#[cfg(feature = "peers")]
use super::redis;
use super::{Load, NOT_WHAT_WAS_SENT};
use crate::Result;
use crate::process::{CLIENT_CORE, Process, SERVER_CORE};

/// What every command is about.
pub(super) const KEY: &str = "a-key";
/// How long pools, tables and estimates get to grow to their size.
const WARM_UP: Duration = Duration::from_millis(200);
/// Requests that a check makes.
const CHECKED: u64 = 1_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The multiplexed connection of the crate `redis`.
    Redis,
    /// Plimsoll on tokio, with all that it does by default.
    Plimsoll,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Redis, Kind::Plimsoll];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Plimsoll => "plimsoll",
        }
    }

    fn is_compiled_in(self) -> bool {
        self != Kind::Redis || cfg!(feature = "peers")
    }
}

/// What is asked. What comes back is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Command {
    /// Answered with what it is given.
    Ping,
    Get,
    Set,
}

impl Command {
    pub(crate) const ALL: [Command; 3] = [Command::Ping, Command::Get, Command::Set];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Command::Ping => "ping",
            Command::Get => "get",
            Command::Set => "set",
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    kind: Kind,
    command: Command,
    #[arg(long)]
    address: SocketAddr,
    #[command(flatten)]
    load: Load,
}

/// One client; returns only to say what went wrong, or after the requests that were asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { kind, command, address, load } = args;
    runtime()?.block_on(async {
        match kind {
            Kind::Plimsoll => call(vec![ours(*address, *command, load).await?], load).await,
            #[cfg(feature = "peers")]
            Kind::Redis => call(vec![redis::connect(*address, *command, &load.content()).await?], load).await,
            #[cfg(not(feature = "peers"))]
            Kind::Redis => Err("redis is not compiled in: add --features peers".into()),
        }
    })
}

/// A handle of ours, and what it asks.
#[derive(Clone)]
struct Ours {
    cache: Service<Resp>,
    command: Command,
    /// The memory of the last answer, which carries the next command.
    memory: Arguments,
}

async fn ours(address: SocketAddr, command: Command, load: &Load) -> Result<Ours> {
    let client = Client::builder().protocol::<Resp>().build();
    let mut events = client.events();
    let config = ServiceConfig::over(Resp::default(), address.to_string())
        .max_connections(load.connections)
        .in_flight(load.in_flight);
    let cache = client.configure_service("cache", config)?;
    match events.next().await.ok_or("the client has ended")?.event {
        StateEvent::Connected { .. } => {}
        other => return Err(format!("no connection: {other:?}").into()),
    }
    cache.call("SET").send(Arguments::from([KEY.as_bytes(), &load.content()])).await?;
    Ok(Ours { cache, command, memory: Arguments::new() })
}

impl Echo for Ours {
    type Content = Vec<u8>;

    async fn echo(&mut self, content: Vec<u8>) -> Result<Vec<u8>> {
        let arguments = mem::take(&mut self.memory);
        let (name, arguments, expected) = match self.command {
            Command::Ping => ("PING", arguments.arg(&content), Value::Bulk(&content)),
            Command::Get => ("GET", arguments.arg(KEY), Value::Bulk(&content)),
            Command::Set => ("SET", arguments.arg(KEY).arg(&content), Value::Simple(b"OK")),
        };
        let answer = self.cache.call(name).send(arguments).await?;
        if answer.value() != expected {
            return Err(NOT_WHAT_WAS_SENT.into());
        }
        self.memory = answer.into_args();
        Ok(content)
    }
}

/// A server, for many clients one after the other.
pub(crate) struct Server {
    _process: Process,
    address: SocketAddr,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Result<Server> {
        let dir = tempfile::tempdir()?;
        // It cannot say which one the system has chosen for it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut program = Program::new("redis-server");
        program.args(["--save", "", "--appendonly", "no", "--loglevel", "warning", "--bind", "127.0.0.1"]);
        program.arg("--port").arg(address.port().to_string()).arg("--dir").arg(dir.path());
        let process = start("redis-server", "redis-server", SERVER_CORE, program)?;
        until_it_accepts(address.port())?;
        Ok(Server { _process: process, address, _dir: dir })
    }

    fn client(&self, kind: Kind, command: Command, load: &Load) -> Result<Process> {
        let mut program = Program::new(env::current_exe()?);
        program.args(["resp", kind.name(), command.name()]);
        let program = super::pair::with_load(program, self.address, load);
        let mut client =
            Process::start(&format!("the RESP client of {}", kind.name()), CLIENT_CORE, program)?;
        client.line()?;
        Ok(client)
    }

    /// Microseconds of CPU that a client spends on a request, and how long it has waited for its core, in percent of what
    /// it ran.
    pub(crate) fn measure(
        &self,
        kind: Kind,
        command: Command,
        load: &Load,
        time: Duration,
    ) -> Result<[f64; 2]> {
        let mut client = self.client(kind, command, load)?;
        let mut sample = || -> Result<(u64, Duration, Duration)> {
            client.say("report")?;
            Ok((client.line()?.parse()?, client.cpu()?, client.waited()?))
        };
        thread::sleep(WARM_UP);
        let (before, cpu_before, waited_before) = sample()?;
        thread::sleep(time);
        let (after, cpu, waited) = sample()?;
        client.end()?;
        if after == before {
            return Err("no request was answered".into());
        }
        let spent = cpu - cpu_before;
        let per_request = spent.as_secs_f64() * 1e6 / (after - before) as f64;
        Ok([per_request, (waited - waited_before).div_duration_f64(spent) * 100.0])
    }

    fn check(&self, kind: Kind, command: Command, load: &Load) -> Result<()> {
        let mut client = self.client(kind, command, load)?;
        let done = client.line()?;
        if done != format!("done {CHECKED}") {
            return Err(format!("{done:?} after {CHECKED} requests").into());
        }
        client.end()
    }
}

/// Lets every client make some requests.
pub(crate) fn check(only: &str) -> Result<()> {
    let name = |kind: Kind, command: Command| format!("resp: {}, {}", kind.name(), command.name());
    let pairs = Kind::ALL.into_iter().flat_map(|kind| Command::ALL.map(|command| (kind, command)));
    let pairs: Vec<_> = pairs.filter(|&(kind, command)| name(kind, command).contains(only)).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let server = Server::start()?;
    for (kind, command) in pairs {
        let name = name(kind, command);
        if !kind.is_compiled_in() {
            println!("{name}: not compiled in");
            continue;
        }
        for in_flight in [1, 256] {
            let load = Load { requests: Some(CHECKED), ..Load::new(1, in_flight, 64) };
            let began = Instant::now();
            let checked = server.check(kind, command, &load);
            checked.map_err(|error| format!("{name}, 1 x {in_flight}: {error}"))?;
            println!("{name}, 1 x {in_flight}: {CHECKED} answers, {} ms", began.elapsed().as_millis());
        }
    }
    Ok(())
}
