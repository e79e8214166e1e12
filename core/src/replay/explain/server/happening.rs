//! What can happen to a server, and how it is said.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::super::told::{At, Count, Stand, happenings};
use crate::id::ConnId;

happenings! {
    /// What can happen to a server. Requests are numbered in the order in which the log has them.
    Happening::Server(ServerHappening) {
        /// Somebody has connected.
        Accepted = "accepted" {
            /// Which connection it is.
            connection: ConnId,
            /// Who.
            peer: Option<String>,
            /// How many stand with it.
            connections: u32,
        },
        /// A connection was turned away.
        TurnedAway = "turned_away" {
            /// Whose.
            peer: Option<String>,
            /// Why.
            why: String,
        },
        /// A request is there as a whole.
        Arrived = "arrived" {
            /// Its number.
            request: u64,
            /// Its id on the wire.
            wire: String,
            /// What it asks for.
            name: String,
            /// The length of its content.
            bytes: u64,
            /// Over which connection it came.
            connection: ConnId,
            /// From whom.
            peer: Option<String>,
        },
        /// A request was handed to the application.
        Lent = "lent" {
            /// Its number.
            request: u64,
            /// How long it has waited since its last byte came, if that is in the log.
            waited: Option<Duration>,
            /// What it has waited for, if it was a limit.
            held: Option<String>,
            /// Other requests that the application has in hand.
            in_hand: u32,
        },
        /// A request was answered.
        Answered = "answered" {
            /// Its number.
            request: u64,
            /// What it asks for; nothing if that was before the log begins.
            name: String,
            /// Over which connection it came.
            connection: ConnId,
            /// From whom.
            peer: Option<String>,
            /// How.
            how: &'static str,
            /// The code of the error, if it is one.
            code: Option<String>,
            /// How long it has waited.
            waited: Option<Duration>,
            /// How long the application has worked on it; `None`: it was answered on the spot.
            worked: Option<Duration>,
        },
        /// A request has nobody any more who waits for its answer.
        Abandoned = "abandoned" {
            /// Its number.
            request: u64,
            /// What it asks for; nothing if that was before the log begins.
            name: String,
            /// Over which connection it came.
            connection: ConnId,
            /// From whom.
            peer: Option<String>,
            /// Who has ended that.
            by: &'static str,
            /// How.
            why: String,
            /// For how long the application has worked on it; `None`: it was never handed out.
            worked: Option<Duration>,
        },
        /// A request was answered whose connection had ended.
        Late = "late" {
            /// Its number.
            request: u64,
            /// How long after.
            after: Duration,
        },
        /// A connection is read no more for now.
        Paused = "paused" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// Why.
            why: String,
        },
        /// A connection is read again.
        Resumed = "resumed" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// After how long, if its pause has begun in the log.
            after: Option<Duration>,
        },
        /// A peer has said that it sends no more.
        HalfClosed = "half_closed" {
            /// Over which connection.
            connection: ConnId,
            /// Who.
            peer: Option<String>,
        },
        /// A connection has ended.
        Closed = "closed" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// Who has ended it.
            by: &'static str,
            /// Why.
            why: String,
            /// Requests that were abandoned with it.
            abandoned: u64,
            /// Bytes of answers that were dropped with all that have ended at once.
            unsent: u64,
        },
        /// The server shuts down.
        Draining = "draining" {
            /// How long it has for that.
            left: Duration,
            /// Requests that it has in hand.
            in_flight: u32,
        },
        /// How the server stands.
        Stands = "server" {
            /// Connections.
            connections: u32,
            /// Those of them that are not read.
            paused: u32,
            /// Requests that it has in hand.
            in_flight: u32,
            /// Requests that are there and were not handed out.
            waiting: u32,
            /// Bytes of answers that wait to be sent.
            unsent: u64,
            /// Whether it shuts down.
            draining: bool,
        },
        /// How a connection stands.
        Connection = "connection" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// Requests of it that the server has in hand.
            in_flight: u64,
            /// Bytes of answers that wait to be sent.
            unsent: u64,
            /// Why nothing more is taken from it.
            held: Option<String>,
            /// For how long it was not read.
            paused: Option<Duration>,
        },
        /// A request that the application has in hand.
        InHand = "in_hand" {
            /// Its number.
            request: u64,
            /// What it asks for; nothing if that was before the log begins.
            name: String,
            /// Over which connection it came.
            connection: ConnId,
            /// From whom.
            peer: Option<String>,
            /// For how long.
            worked: Duration,
        },
        /// What is not told one by one.
        More = "more" {
            /// How many connections.
            connections: u64,
            /// How many requests in hand.
            requests: u64,
        },
    }
}

impl fmt::Display for ServerHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ServerHappening as It;
        match self {
            It::Accepted { connection, peer, connections } => {
                write!(f, "{} is accepted; {} now", At(connection, peer), Stand(*connections))
            }
            It::TurnedAway { peer, why } => {
                write!(f, "{} is turned away: {why}", peer.as_deref().unwrap_or("a connection"))
            }
            It::Arrived { request, wire, name, bytes, connection, peer } => write!(
                f,
                "request {request} {name:?} with {bytes} bytes has come over {}; on the wire it is {wire}",
                At(connection, peer)
            ),
            It::Lent { request, waited, held, in_hand } => {
                write!(f, "request {request} is handed to the application")?;
                match (waited, held) {
                    (None, _) => {}
                    (Some(Duration::ZERO), _) => f.write_str(" at once")?,
                    (Some(waited), None) => write!(f, " after {waited:?}, when that asked for one")?,
                    (Some(waited), Some(held)) => write!(f, " after {waited:?}; it was held back: {held}")?,
                }
                if *in_hand > 0 {
                    write!(f, "; {} in hand besides", Count((*in_hand).into(), "request"))
                } else {
                    Ok(())
                }
            }
            It::Answered { request, name, connection, peer, how, code, waited, worked } => {
                write!(f, "request {request} {} of {} is answered: {how}", Name(name), At(connection, peer))?;
                code.as_ref().map_or(Ok(()), |code| write!(f, " {code}"))?;
                Times(*waited, *worked).fmt(f)
            }
            It::Abandoned { request, name, connection, peer, by, why, worked } => {
                write!(
                    f,
                    "request {request} {} of {} is given up by {by} ({why})",
                    Name(name),
                    At(connection, peer)
                )?;
                match worked {
                    Some(worked) => write!(f, "; the application has had it for {worked:?}"),
                    None => f.write_str("; the application has never had it"),
                }
            }
            It::Late { request, after } => {
                write!(f, "request {request} is answered {after:?} too late: nobody waits for it any more")
            }
            It::Paused { connection, peer, why } => {
                write!(f, "{} is read no more for now: {why}", At(connection, peer))
            }
            It::Resumed { connection, peer, after } => {
                write!(f, "{} is read again", At(connection, peer))?;
                after.map_or(Ok(()), |after| write!(f, ", after {after:?}"))
            }
            It::HalfClosed { connection, peer } => {
                write!(f, "the peer of {} sends no more", At(connection, peer))
            }
            It::Closed { connection, peer, by, why, abandoned, unsent } => {
                write!(f, "{} is ended by {by}: {why}", At(connection, peer))?;
                if *abandoned > 0 {
                    write!(f, "; {} given up with it", Count(*abandoned, "request"))?;
                }
                if *unsent > 0 {
                    write!(f, "; {} of answers are dropped", Count(*unsent, "byte"))
                } else {
                    Ok(())
                }
            }
            It::Draining { left, in_flight } => write!(
                f,
                "the server shuts down: it takes nothing more, and has {left:?} for {} in hand",
                Count((*in_flight).into(), "request")
            ),
            It::Stands { connections, paused, in_flight, waiting, unsent, draining } => {
                write!(f, "the server: {}, ", Count((*connections).into(), "connection"))?;
                write!(f, "{paused} of them not read; {} in hand, ", Count((*in_flight).into(), "request"))?;
                write!(f, "{waiting} waiting to be handed out; {} to be sent", Count(*unsent, "byte"))?;
                f.write_str(if *draining { "; it shuts down" } else { "" })
            }
            It::Connection { connection, peer, in_flight, unsent, held, paused } => {
                write!(f, "{}: {} in hand, ", At(connection, peer), Count(*in_flight, "request"))?;
                write!(f, "{} to be sent", Count(*unsent, "byte"))?;
                paused.map_or(Ok(()), |paused| write!(f, ", not read for {paused:?}"))?;
                held.as_ref().map_or(Ok(()), |held| write!(f, ": {held}"))
            }
            It::InHand { request, name, connection, peer, worked } => {
                write!(
                    f,
                    "request {request} {} of {}: in hand for {worked:?}",
                    Name(name),
                    At(connection, peer)
                )
            }
            It::More { connections, requests } => {
                write!(
                    f,
                    "and {}, {} more",
                    Count(*connections, "connection"),
                    Count(*requests, "request in hand")
                )
            }
        }
    }
}

/// What a request asks for.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("(from before the log)"),
            name => write!(f, "{name:?}"),
        }
    }
}

/// How long a request has waited, and how long it was worked on.
struct Times(Option<Duration>, Option<Duration>);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(waited) = self.0.filter(|waited| !waited.is_zero()) {
            write!(f, "; it has waited for {waited:?}")?;
        }
        match self.1 {
            Some(worked) => write!(f, "; the application has worked on it for {worked:?}"),
            None => f.write_str("; the application has done so on the spot"),
        }
    }
}
