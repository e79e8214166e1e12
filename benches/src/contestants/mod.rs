//! Who is measured: clients and servers, each a process of this same program, and what the parent makes of them.
//!
//! A child says `ready` on stdout once it listens (with its address) or stands connected; then it answers every line on
//! stdin with how many requests were answered so far, and ends when stdin does.

mod blocking;
mod callers;
pub(crate) mod edge;
mod embedded;
#[cfg(feature = "peers")]
mod haproxy;
pub(crate) mod hub;
mod hub_ipc;
#[cfg(feature = "peers")]
mod hub_nats;
mod hub_plain;
#[cfg(feature = "peers")]
mod hyper_edge;
mod ours_mio;
mod ours_smol;
mod ours_tokio;
mod pair;
mod plain_tokio;
mod raw;
#[cfg(feature = "peers")]
mod redis;
mod report;
pub(crate) mod resp;
#[cfg(feature = "peers")]
mod tonic;

use clap::{Subcommand, ValueEnum};
use plimsoll_tokio::Recording;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use pair::{Pair, calls_per_request, check};

use crate::Result;

/// The method that everybody calls; it answers with what it was given.
const METHOD: &str = "echo";
const NOT_WHAT_WAS_SENT: &str = "an answer is not what was sent";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The plainest read, parse, write loop.
    Raw,
    /// Tasks, channels and a map, without any policy.
    PlainTokio,
    /// Plimsoll on tokio, with all that it does by default.
    Plimsoll,
    /// The same, with everything recorded on both sides.
    Recorded,
    /// gRPC by tonic.
    Tonic,
    /// Plimsoll without handles, on mio.
    MioEmbedded,
    /// Plimsoll without handles, on tokio.
    TokioEmbedded,
    /// Plimsoll without handles, on smol.
    SmolEmbedded,
    /// Plimsoll on smol, with all that it does by default.
    Smol,
    /// Plimsoll's handle that blocks, on mio; as many threads as requests are in flight.
    Mio,
    /// The plainest client that blocks: a connection for each thread.
    Blocking,
    /// A client that blocks, by hand: one connection for all threads, and a thread that reads from it.
    BlockingShared,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::PlainTokio => "plain-tokio",
            Kind::Plimsoll => "plimsoll",
            Kind::Recorded => "recorded",
            Kind::Tonic => "tonic",
            Kind::MioEmbedded => "mio-embedded",
            Kind::TokioEmbedded => "tokio-embedded",
            Kind::SmolEmbedded => "smol-embedded",
            Kind::Smol => "smol",
            Kind::Mio => "mio",
            Kind::Blocking => "blocking",
            Kind::BlockingShared => "blocking-shared",
        }
    }

    /// Whether it is a client whose callers have a thread each. It has no server of its own, and asks the raw one.
    pub(crate) fn blocks(self) -> bool {
        matches!(self, Kind::Mio | Kind::Blocking | Kind::BlockingShared)
    }

    /// Whether it can be asked to use a Unix socket.
    pub(crate) fn speaks_unix(self) -> bool {
        !self.blocks() && !matches!(self, Kind::PlainTokio | Kind::Tonic)
    }

    pub(crate) fn is_compiled_in(self) -> bool {
        self != Kind::Tonic || cfg!(feature = "peers")
    }
}

/// What a client does, until it is told to end.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) connections: u32,
    /// Of each connection
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) in_flight: u32,
    /// Bytes of what is sent, and comes back
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub(crate) size: u32,
    /// Ask from another thread than that of the connections, if there is a difference
    #[arg(long)]
    pub(crate) apart: bool,
    /// Connections that stand besides, without ever a request
    #[arg(long, default_value_t = 0)]
    pub(crate) idle: u32,
    /// Make exactly so many requests, say so, and end
    #[arg(long)]
    pub(crate) requests: Option<u64>,
    /// Over a Unix socket instead of TCP; known to the parent alone
    #[arg(skip)]
    pub(crate) unix: bool,
}

impl Load {
    pub(crate) fn new(connections: u32, in_flight: u32, size: u32) -> Self {
        Load { connections, in_flight, size, apart: false, idle: 0, requests: None, unix: false }
    }

    /// What is sent: JSON, as UW has it.
    fn content(&self) -> Vec<u8> {
        let mut content = vec![b'x'; self.size as usize];
        content[0] = b'"';
        content[self.size as usize - 1] = b'"';
        content
    }

    fn requests(&self) -> u64 {
        self.requests.unwrap_or(u64::MAX)
    }

    /// What number `at` of so many makes of the requests.
    fn share(&self, at: u64, of: u64) -> u64 {
        self.requests() / of + u64::from(at < self.requests() % of)
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
    Server {
        /// A port, or the path of a Unix socket
        #[arg(long)]
        listen: String,
    },
    Client {
        #[arg(long)]
        address: String,
        #[command(flatten)]
        load: Load,
    },
}

/// One process of one contestant; returns only to say what went wrong, or after the requests that were asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    raise_descriptor_limit()?;
    match &args.side {
        Side::Server { listen } => serve(args.kind, listen),
        Side::Client { load, .. } if load.idle > 0 && args.kind != Kind::Raw => {
            Err("only the raw client stands idle".into())
        }
        Side::Client { address, load } => ask(args.kind, address, load),
    }
}

fn serve(kind: Kind, listen: &str) -> Result<()> {
    match kind {
        Kind::Raw => raw::server(listen),
        Kind::PlainTokio => plain_tokio::server(),
        Kind::Plimsoll => ours_tokio::server(listen, None),
        Kind::Recorded => ours_tokio::server(listen, Some(&Recording::memory())),
        Kind::MioEmbedded => embedded::server(embedded::On::Mio, listen),
        Kind::TokioEmbedded => embedded::server(embedded::On::Tokio, listen),
        Kind::SmolEmbedded => embedded::server(embedded::On::Smol, listen),
        Kind::Smol => ours_smol::server(listen),
        Kind::Mio | Kind::Blocking | Kind::BlockingShared => Err("it is a client alone".into()),
        #[cfg(feature = "peers")]
        Kind::Tonic => tonic::server(),
        #[cfg(not(feature = "peers"))]
        Kind::Tonic => Err("tonic is not compiled in".into()),
    }
}

fn ask(kind: Kind, address: &str, load: &Load) -> Result<()> {
    match kind {
        Kind::Raw => raw::client(address, load),
        Kind::PlainTokio => plain_tokio::client(address, load),
        Kind::Plimsoll => ours_tokio::client(address, load, None),
        Kind::Recorded => ours_tokio::client(address, load, Some(&Recording::memory())),
        Kind::MioEmbedded => embedded::client(embedded::On::Mio, address, load),
        Kind::TokioEmbedded => embedded::client(embedded::On::Tokio, address, load),
        Kind::SmolEmbedded => embedded::client(embedded::On::Smol, address, load),
        Kind::Smol => ours_smol::client(address, load),
        Kind::Mio => ours_mio::client(address, load),
        Kind::Blocking => blocking::client(address, load),
        Kind::BlockingShared => blocking::shared_client(address, load),
        #[cfg(feature = "peers")]
        Kind::Tonic => tonic::client(address, load),
        #[cfg(not(feature = "peers"))]
        Kind::Tonic => Err("tonic is not compiled in".into()),
    }
}

/// Whether an address is the path of a Unix socket.
fn is_path(address: &str) -> bool {
    address.starts_with('/')
}

/// Most shells allow 1,024 at first.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
