//! Worlds of one service: clients with pools of connections, and servers that answer, late, wrongly, or never. They speak UW,
//! whose answers bear the ids of their requests, or RESP, where only the order of the answers says whose they are.

mod book;
mod callee;
mod caller;
mod clerk;
mod draw;
mod options;
mod rogue;
mod scripted;
mod turns;
mod watch;
mod wire;
mod world;

use std::fmt;
use std::time::Duration;

pub use options::Feature;

pub(super) use draw::{draw, link};
pub(super) use world::run;

use super::plan::{Cast, Who};

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// A client makes requests, one after the other.
    Ask(Ask),
    /// A client gives requests up: so many of those that have waited longest.
    Cancel {
        /// Whose place, among the clients.
        client: u32,
        /// How many.
        count: u32,
    },
    /// A client is told something about a server.
    Tell {
        /// Whose place, among the clients.
        client: u32,
        /// Which server, by its place.
        server: u32,
        /// What.
        news: News,
    },
    /// A server answers in another manner for a while.
    Manner {
        /// Its place, among the servers.
        server: u32,
        /// How.
        manner: Manner,
        /// For how long.
        lasts: Duration,
    },
}

/// A row of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// Whose place, among the clients.
    pub client: u32,
    /// How many.
    pub count: u32,
    /// How long after each other.
    pub gap: Duration,
    /// Bytes of content, about.
    pub size: u32,
    /// Whether they may be repeated.
    pub idempotent: bool,
    /// How long each may take; `None` for the client's default.
    pub timeout: Option<Duration>,
    /// What they are about, where the strategy goes by it.
    pub key: Option<u64>,
}

/// What a client is told about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It serves.
    Add,
    /// It serves no more.
    Remove,
    /// It is to get no more requests for now.
    Drain,
    /// It may get requests again.
    Resume,
    /// A health check fails.
    Unhealthy,
    /// A health check succeeds.
    Healthy,
    /// So many connections are to be kept up, to each.
    Scale(u32),
}

/// How a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once, and well.
    Well,
    /// After so long.
    Late(Duration),
    /// Not before this manner ends.
    Never,
    /// At once, that it has failed.
    FailsFast,
    /// So many of a thousand have failed.
    Fails(u32),
    /// At once, that it has too much to do.
    Overloaded,
    /// So many of a thousand are dropped without an answer.
    Drops(u32),
    /// At once, with the answer to another request. No client can see through that: in no drawn plan, and there to show
    /// that somebody looks.
    Mistakes,
}

/// An act, told.
pub(super) struct Told<'a>(pub(super) &'a Act, pub(super) Cast);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cast::Services { clients, servers } = self.1 else { return write!(f, "{:?}", self.0) };
        let client = |place: &u32| Who(place % clients, self.1);
        let server = |place: &u32| Who(clients + place % servers, self.1);
        match self.0 {
            Act::Ask(ask) => {
                write!(f, "{} makes {} requests of {} B", client(&ask.client), ask.count, ask.size)?;
                if ask.count > 1 {
                    write!(f, ", {:?} apart", ask.gap)?;
                }
                if ask.idempotent {
                    f.write_str(", which may be repeated")?;
                }
                if let Some(timeout) = ask.timeout {
                    write!(f, ", within {timeout:?} each")?;
                }
                if let Some(key) = ask.key {
                    write!(f, ", about {key}")?;
                }
                Ok(())
            }
            Act::Cancel { client: who, count } => write!(f, "{} gives {count} requests up", client(who)),
            Act::Tell { client: who, server: whom, news } => {
                write!(f, "{} hears of {}: {news:?}", client(who), server(whom))
            }
            Act::Manner { server: who, manner, lasts } => {
                write!(f, "{} answers so: {manner:?}, for {lasts:?}", server(who))
            }
        }
    }
}
