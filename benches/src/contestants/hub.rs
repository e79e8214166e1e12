//! Hubs: what one process spends on passing a call on to a service, and the answer back. The callers and the service are
//! processes beside it, and each hub has such as are usual for it: tasks, channels and a map of who waits.

use std::env;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use tempfile::TempDir;

#[cfg(feature = "peers")]
use super::hub_nats;
use super::{Load, hub_ipc, hub_plain};
use crate::Result;
use crate::process::{CLIENT_CORE, Process, SERVER_CORE};

/// How long pools, tables and estimates get to grow to their size.
const WARM_UP: Duration = Duration::from_millis(300);
/// Calls that a check makes.
const CHECKED: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hub {
    /// `nats-server`, with request and reply by `async-nats`.
    Nats,
    /// Bro IPC on tokio without any policy.
    Plain,
    /// Plimsoll's hub of Bro IPC on tokio, over TCP.
    Plimsoll,
    /// The same over a Unix socket.
    PlimsollUnix,
}

/// A process at or beside a hub; see [`run`].
#[derive(Subcommand)]
pub(crate) enum Role {
    /// The hub of Bro IPC
    Hub { address: String },
    /// One without policy
    PlainHub { address: String },
    /// A service of Bro IPC
    Service { address: String },
    /// Those who call it
    Callers {
        address: String,
        #[command(flatten)]
        load: Load,
    },
    /// A service at NATS
    #[cfg(feature = "peers")]
    NatsService { address: String },
    /// Those who call it
    #[cfg(feature = "peers")]
    NatsCallers {
        address: String,
        #[command(flatten)]
        load: Load,
    },
}

/// One of these processes; returns only to say what went wrong, or after the calls that were asked for.
pub(crate) fn run(role: &Role) -> Result<()> {
    match role {
        Role::Hub { address } => hub_ipc::hub(address),
        Role::PlainHub { address } => hub_plain::hub(address),
        Role::Service { address } => hub_ipc::service(address),
        Role::Callers { address, load } => hub_ipc::callers(address, load),
        #[cfg(feature = "peers")]
        Role::NatsService { address } => hub_nats::service(address),
        #[cfg(feature = "peers")]
        Role::NatsCallers { address, load } => hub_nats::callers(address, load),
    }
}

impl Hub {
    pub(crate) const ALL: [Hub; 4] = [Hub::Nats, Hub::Plain, Hub::Plimsoll, Hub::PlimsollUnix];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Hub::Nats => "nats-server",
            Hub::Plain => "plain tokio, no policy",
            Hub::Plimsoll => "plimsoll",
            Hub::PlimsollUnix => "plimsoll, Unix",
        }
    }

    fn roles(self) -> [&'static str; 2] {
        if self == Hub::Nats { ["nats-service", "nats-callers"] } else { ["service", "callers"] }
    }

    pub(crate) fn is_compiled_in(self) -> bool {
        self != Hub::Nats || cfg!(feature = "peers")
    }
}

/// A hub, a service, and those who call it.
pub(crate) struct Trio {
    hub: Process,
    service: Process,
    callers: Process,
    _dir: TempDir,
}

/// Microseconds of CPU for a call that was answered.
pub(crate) struct Spent {
    pub(crate) hub: f64,
    pub(crate) service: f64,
    pub(crate) callers: f64,
    /// How long the hub waited for its core, in percent of what it spent.
    pub(crate) waited: f64,
}

impl Trio {
    pub(crate) fn start(kind: Hub, load: &Load) -> Result<Trio> {
        let dir = tempfile::tempdir()?;
        let (hub, address) = match kind {
            #[cfg(feature = "peers")]
            Hub::Nats => hub_nats::server(dir.path())?,
            #[cfg(not(feature = "peers"))]
            Hub::Nats => return Err("nats-server is not compiled in: add --features peers".into()),
            Hub::Plain => hub("plain-hub", "127.0.0.1:0")?,
            Hub::Plimsoll => hub("hub", "127.0.0.1:0")?,
            Hub::PlimsollUnix => hub("hub", dir.path().join("hub.sock").to_str().ok_or("a strange path")?)?,
        };
        let [service, callers] = kind.roles();
        let mut service = role(service, CLIENT_CORE, &address, None)?;
        service.line()?;
        let mut callers = role(callers, CLIENT_CORE, &address, Some(load))?;
        callers.line()?;
        Ok(Trio { hub, service, callers, _dir: dir })
    }

    /// Warms up, and measures for so long.
    pub(crate) fn measure(mut self, time: Duration) -> Result<Spent> {
        thread::sleep(WARM_UP);
        let before = self.sample()?;
        thread::sleep(time);
        let after = self.sample()?;
        let calls = after.calls - before.calls;
        if calls == 0 {
            return Err("no call was answered".into());
        }
        let micros = |at: usize| (after.cpu[at] - before.cpu[at]).as_secs_f64() * 1e6 / calls as f64;
        let waited = (after.waited - before.waited).div_duration_f64(after.cpu[0] - before.cpu[0]) * 100.0;
        self.callers.end()?;
        self.service.end()?;
        Ok(Spent { hub: micros(0), service: micros(1), callers: micros(2), waited })
    }

    fn sample(&mut self) -> Result<Sample> {
        self.callers.say("report")?;
        let calls = self.callers.line()?.parse()?;
        let cpu = [self.hub.cpu()?, self.service.cpu()?, self.callers.cpu()?];
        Ok(Sample { calls, cpu, waited: self.hub.waited()? })
    }

    fn finish(mut self, calls: u64) -> Result<()> {
        let done = self.callers.line()?;
        if done != format!("done {calls}") {
            return Err(format!("{done:?} after {calls} calls").into());
        }
        self.callers.end()?;
        self.service.end()
    }
}

/// What had happened at some time.
struct Sample {
    calls: u64,
    /// Of the hub, the service, the callers.
    cpu: [Duration; 3],
    waited: Duration,
}

/// One of Bro IPC; what it listens at.
fn hub(name: &str, address: &str) -> Result<(Process, String)> {
    let mut process = role(name, SERVER_CORE, address, None)?;
    let ready = process.line()?;
    Ok((process, ready.strip_prefix("ready ").ok_or("a hub says where it listens")?.to_owned()))
}

fn role(name: &str, core: usize, address: &str, load: Option<&Load>) -> Result<Process> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["hub", name, address]);
    if let Some(Load { connections, in_flight, size, requests, .. }) = load {
        command.arg(format!("--connections={connections}"));
        command.arg(format!("--in-flight={in_flight}"));
        command.arg(format!("--size={size}"));
        command.args(requests.map(|requests| format!("--requests={requests}")));
    }
    Process::start(&format!("the {name} process"), core, command)
}

/// Lets every hub pass on some calls; the callers see to it that every one is answered, and with what was sent.
pub(crate) fn check(only: &str) -> Result<()> {
    let loads = [Load::new(1, 1, 64), Load::new(1, 256, 64), Load::new(16, 256, 4_096)];
    for hub in Hub::ALL.into_iter().filter(|hub| format!("hub: {}", hub.name()).contains(only)) {
        let name = hub.name();
        if !hub.is_compiled_in() {
            println!("hub: {name}: not compiled in");
            continue;
        }
        for load in &loads {
            let Load { connections, in_flight, size, .. } = *load;
            let what = format!("hub: {name}: {connections} x {in_flight}, {size} bytes");
            let load = Load { requests: Some(CHECKED), ..load.clone() };
            let began = Instant::now();
            let ended = Trio::start(hub, &load).and_then(|trio| trio.finish(CHECKED));
            ended.map_err(|error| format!("{what}: {error}"))?;
            println!("{what}: {CHECKED} answers, {} ms", began.elapsed().as_millis());
        }
    }
    Ok(())
}
