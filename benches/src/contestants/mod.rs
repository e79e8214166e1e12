//! Who is measured: clients and servers, each a process of this same program, and what the parent makes of them.
//!
//! A child says `ready` on stdout once it listens (with its address) or stands connected; then it answers every line on
//! stdin with how many requests were answered so far, and ends when stdin does.

mod callers;
pub(crate) mod edge;
#[cfg(feature = "peers")]
mod haproxy;
pub(crate) mod hub;
mod hub_ipc;
#[cfg(feature = "peers")]
mod hub_nats;
#[cfg(feature = "peers")]
mod hyper_edge;
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

use std::net::SocketAddr;

use clap::{Subcommand, ValueEnum};
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
    /// gRPC by tonic.
    Tonic,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Raw, Kind::PlainTokio, Kind::Plimsoll, Kind::Tonic];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::PlainTokio => "plain-tokio",
            Kind::Plimsoll => "plimsoll",
            Kind::Tonic => "tonic",
        }
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
}

impl Load {
    pub(crate) fn new(connections: u32, in_flight: u32, size: u32) -> Self {
        Load { connections, in_flight, size, apart: false, idle: 0, requests: None }
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
    raise_descriptor_limit()?;
    match (args.kind, &args.side) {
        (Kind::Raw, Side::Server) => raw::server(),
        (Kind::Raw, Side::Client { address, load }) => raw::client(*address, load),
        (_, Side::Client { load, .. }) if load.idle > 0 => Err("only the raw client stands idle".into()),
        (Kind::PlainTokio, Side::Server) => plain_tokio::server(),
        (Kind::PlainTokio, Side::Client { address, load }) => plain_tokio::client(*address, load),
        (Kind::Plimsoll, Side::Server) => ours_tokio::server(),
        (Kind::Plimsoll, Side::Client { address, load }) => ours_tokio::client(*address, load),
        #[cfg(feature = "peers")]
        (Kind::Tonic, Side::Server) => tonic::server(),
        #[cfg(feature = "peers")]
        (Kind::Tonic, Side::Client { address, load }) => tonic::client(*address, load),
        #[cfg(not(feature = "peers"))]
        (Kind::Tonic, _) => Err("tonic is not compiled in".into()),
    }
}

/// Most shells allow 1,024 at first.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
