//! Who is measured: pairs of a client and a server, each a process of this same program.
//!
//! A child says `ready` on stdout once it listens (with its address) or stands connected; then it answers every line on
//! stdin with what it has counted (see [`report`]), and ends when stdin does.

mod ours_tokio;
mod raw;
mod report;

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};

use crate::Result;
use crate::process::{CLIENT_CORE, Process, SERVER_CORE};
use report::Report;

/// How long pools, tables and estimates get to grow to their size.
const WARM_UP: Duration = Duration::from_millis(200);
/// Requests that a check makes.
const CHECKED: u64 = 1_000;

/// The method that everybody calls; it answers with what it was given.
const METHOD: &str = "echo";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The plainest read, parse, write loop.
    Raw,
    /// Plimsoll on tokio, with all that it does by default.
    Plimsoll,
}

impl Kind {
    pub(crate) const ALL: &[Kind] = &[Kind::Raw, Kind::Plimsoll];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Plimsoll => "plimsoll",
        }
    }
}

/// What a client does, until it is told to end.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    #[arg(long)]
    pub(crate) connections: u32,
    /// Of each connection
    #[arg(long)]
    pub(crate) in_flight: u32,
    /// Bytes of what is sent, and comes back
    #[arg(long)]
    pub(crate) size: usize,
    /// Ask from another thread than that of the connections, if there is a difference
    #[arg(long)]
    pub(crate) apart: bool,
    /// Make exactly so many requests, say so, and end
    #[arg(long)]
    pub(crate) requests: Option<u64>,
}

impl Load {
    pub(crate) fn new(connections: u32, in_flight: u32, size: usize) -> Self {
        Load { connections, in_flight, size, apart: false, requests: None }
    }

    /// What is sent: JSON, as this wire has it.
    fn content(&self) -> Vec<u8> {
        let mut content = vec![b'x'; self.size.max(2)];
        content[0] = b'"';
        content[self.size - 1] = b'"';
        content
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    kind: Kind,
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand)]
enum Side {
    Server,
    Client {
        #[arg(long)]
        address: SocketAddr,
        #[command(flatten)]
        load: Load,
    },
}

/// One process of one contestant; returns only to say what went wrong, or after the requests that were asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    match (args.kind, &args.side) {
        (Kind::Raw, Side::Server) => raw::server(),
        (Kind::Raw, Side::Client { address, load }) => raw::client(*address, load),
        (Kind::Plimsoll, Side::Server) => ours_tokio::server(),
        (Kind::Plimsoll, Side::Client { address, load }) => ours_tokio::client(*address, load),
    }
}

/// A client and a server that talk to each other.
pub(crate) struct Pair {
    server: Process,
    client: Process,
}

/// What each side spent for a request, in microseconds of CPU.
pub(crate) struct Cpu {
    pub(crate) client: f64,
    pub(crate) server: f64,
}

impl Pair {
    pub(crate) fn start(kind: Kind, load: &Load) -> Result<Pair> {
        let mut server =
            Process::start(&format!("the server of {}", kind.name()), SERVER_CORE, server(kind)?)?;
        let ready = server.line()?;
        let address = ready.strip_prefix("ready ").ok_or("a server says where it listens")?.parse()?;
        let command = client(kind, address, load)?;
        let mut client = Process::start(&format!("the client of {}", kind.name()), CLIENT_CORE, command)?;
        client.line()?;
        Ok(Pair { server, client })
    }

    /// Warms up, measures for so long, and ends both.
    pub(crate) fn measure(mut self, time: Duration) -> Result<Cpu> {
        thread::sleep(WARM_UP);
        let (client, server) = self.report()?;
        thread::sleep(time);
        let (client_after, server_after) = self.report()?;
        let requests = client_after.requests - client.requests;
        if requests == 0 {
            return Err("no request was answered".into());
        }
        self.client.end()?;
        self.server.end()?;
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests as f64;
        Ok(Cpu {
            client: micros(client_after.cpu - client.cpu),
            server: micros(server_after.cpu - server.cpu),
        })
    }

    /// Both at once, as nearly as can be.
    fn report(&mut self) -> Result<(Report, Report)> {
        self.client.say("report")?;
        self.server.say("report")?;
        Ok((self.client.line()?.parse()?, self.server.line()?.parse()?))
    }
}

fn server(kind: Kind) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["contestant", kind.name(), "server"]);
    Ok(command)
}

fn client(kind: Kind, address: SocketAddr, load: &Load) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["contestant", kind.name(), "client"]);
    command.arg(format!("--address={address}"));
    command.arg(format!("--connections={}", load.connections));
    command.arg(format!("--in-flight={}", load.in_flight));
    command.arg(format!("--size={}", load.size));
    if load.apart {
        command.arg("--apart");
    }
    command.args(load.requests.map(|requests| format!("--requests={requests}")));
    Ok(command)
}

/// Lets every pair make some requests in different ways; clients see to it that every one is answered, and with what
/// was sent.
pub(crate) fn check(only: &str) -> Result<()> {
    let shapes = [(1, 1, 64), (1, 256, 64), (4, 16, 64), (1, 64, 4096)];
    for &kind in Kind::ALL.iter().filter(|kind| kind.name().contains(only)) {
        for (connections, in_flight, size) in shapes {
            for apart in [false, true] {
                let load = Load { apart, requests: Some(CHECKED), ..Load::new(connections, in_flight, size) };
                let began = Instant::now();
                let mut pair = Pair::start(kind, &load)?;
                let done = pair.client.line()?;
                if done != format!("done {CHECKED}") {
                    return Err(format!("{} says {done:?} after {CHECKED} requests", kind.name()).into());
                }
                pair.client.end()?;
                pair.server.end()?;
                let apart = if apart { ", callers apart" } else { "" };
                let took = began.elapsed().as_millis();
                println!(
                    "{}: {connections} x {in_flight}, {size} bytes{apart}: {CHECKED} answers, {took} ms",
                    kind.name()
                );
            }
        }
    }
    Ok(())
}
