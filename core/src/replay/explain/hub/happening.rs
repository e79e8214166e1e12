//! What can happen to a hub, and how it is said.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::super::told::{At, Count, Stand, happenings};
use crate::id::ConnId;

happenings! {
    /// What can happen to a hub. Calls are numbered in the order in which the log has them.
    Happening::Hub(HubHappening) {
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
            why: &'static str,
        },
        /// A service has registered, or has changed its methods.
        Registered = "registered" {
            /// Under which name.
            service: String,
            /// Over which connection.
            connection: ConnId,
            /// Who.
            peer: Option<String>,
            /// With how many methods.
            methods: u64,
            /// Which one of a pool it is.
            member: Option<String>,
        },
        /// A call was passed on.
        Routed = "routed" {
            /// Its number.
            call: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Whose that is.
            peer: Option<String>,
            /// Why it was passed to this one.
            why: String,
            /// Calls that wait for their answer, this one included.
            pending: u32,
        },
        /// A question to the hub itself was answered.
        Queried = "queried" {
            /// Who has asked.
            from: String,
            /// What for.
            method: String,
        },
        /// A call was not passed on.
        Refused = "refused" {
            /// Its number.
            call: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// Why it was refused.
            why: String,
            /// What the caller is told.
            code: &'static str,
        },
        /// A call was answered by who was called.
        Answered = "answered" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The code of the failure, if it has failed.
            code: Option<String>,
            /// How long it took.
            took: Duration,
        },
        /// A call was answered by the hub, since its time was over.
        TimedOut = "timed_out" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Which time it was that was over.
            why: &'static str,
            /// How long it waited.
            took: Duration,
        },
        /// A call was answered by the hub, since who was called has gone.
        Lost = "lost" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Why that has ended.
            why: Option<String>,
            /// How long it waited.
            took: Duration,
        },
        /// A call has nobody any more who waits for its answer.
        Abandoned = "abandoned" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// How long the caller has waited.
            took: Duration,
        },
        /// An answer was dropped.
        Dropped = "dropped" {
            /// The number of the call, if it is known which one it answers.
            call: Option<u64>,
            /// Its id on the wire.
            id: String,
            /// Who has answered.
            from: String,
            /// Whom.
            to: String,
            /// Why.
            why: String,
        },
        /// A message could not be taken.
        Invalid = "invalid" {
            /// From which connection.
            connection: Option<ConnId>,
            /// Whose.
            peer: Option<String>,
            /// Of which service, if it has registered.
            service: Option<String>,
            /// Why.
            why: String,
            /// What it is told.
            code: &'static str,
        },
        /// A connection has ended.
        Disconnected = "disconnected" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// Of which service, if it has registered.
            service: Option<String>,
            /// Why.
            why: String,
        },
        /// No more calls go to a connection.
        Left = "left" {
            /// Which.
            connection: ConnId,
            /// Of which service.
            service: String,
            /// Connections that this has left.
            left: u32,
        },
        /// The hub shuts down.
        Draining = "draining" {
            /// How long it has for that.
            left: Duration,
        },
        /// How the hub stands.
        Stands = "hub" {
            /// Connections.
            connections: u32,
            /// Services that are registered.
            services: u32,
            /// Calls that wait for their answer.
            pending: u32,
            /// Bytes that wait to be sent.
            unsent: u64,
            /// Whether it shuts down.
            draining: bool,
        },
        /// How a service stands.
        Service = "service" {
            /// Its name.
            service: String,
            /// Its connections.
            connections: u32,
            /// Those of them that do not read what they are sent.
            slow: u32,
            /// Calls that it was passed and has not answered.
            called: u32,
            /// Calls that it waits for.
            calling: u32,
        },
        /// Who waits for whom.
        Waits = "waits" {
            /// Who.
            service: String,
            /// For whom.
            on: String,
            /// For how many answers.
            calls: u64,
            /// For the first of them since when.
            longest: Duration,
        },
    }
}

impl fmt::Display for HubHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use HubHappening as It;
        match self {
            It::Accepted { connection, peer, connections } => {
                write!(f, "{} is accepted; {} now", At(connection, peer), Stand(*connections))
            }
            It::TurnedAway { peer, why } => {
                write!(f, "{} is turned away: {why}", peer.as_deref().unwrap_or("a connection"))
            }
            It::Registered { service, connection, peer, methods, member } => {
                write!(f, "{service:?} is registered over {}", At(connection, peer))?;
                member.as_ref().map_or(Ok(()), |member| write!(f, ", {member} in its pool"))?;
                write!(f, ", with {}", Count(*methods, "method"))
            }
            It::Routed { call, id, from, to, method, connection, peer, why, pending } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(f, " is passed to {}, {why}; ", At(connection, peer))?;
                write!(f, "{} without an answer now", Count((*pending).into(), "call"))?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Queried { from, method } => write!(f, "{from:?} has asked the hub itself for {method:?}"),
            It::Refused { call, id, from, to, method, why, code } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(f, " is refused ({code}): {why}; on the wire it is {id:?}")
            }
            It::Answered { call, from, to, method, code: None, took } => {
                write!(f, "{} is answered after {took:?}", Call(*call, from, to, method))
            }
            It::Answered { call, from, to, method, code: Some(code), took } => {
                write!(f, "{} has failed there ({code}), after {took:?}", Call(*call, from, to, method))
            }
            It::TimedOut { call, from, to, method, connection, why, took } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(
                    f,
                    " is answered by the hub: {why}, and connection {connection} has not answered in {took:?}"
                )
            }
            It::Lost { call, from, to, method, connection, why, took } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(
                    f,
                    " is lost after {took:?}: connection {connection}, which it was passed to, has ended"
                )?;
                why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            It::Abandoned { call, from, to, method, took } => {
                write!(f, "{} is given up after {took:?}: its caller has gone", Call(*call, from, to, method))
            }
            It::Dropped { call, id, from, to, why } => {
                write!(f, "an answer of {from:?} to ")?;
                match call {
                    Some(call) => write!(f, "call {call} of {to:?}")?,
                    None => write!(f, "a call {id:?} of {to:?}")?,
                }
                write!(f, " is dropped: {why}")
            }
            It::Invalid { connection, peer, service, why, code } => {
                f.write_str("a message")?;
                service.as_ref().map_or(Ok(()), |service| write!(f, " of {service:?}"))?;
                connection
                    .as_ref()
                    .map_or(Ok(()), |connection| write!(f, " over {}", At(connection, peer)))?;
                write!(f, " is not taken ({code}): {why}")
            }
            It::Disconnected { connection, peer, service, why } => {
                write!(f, "{}", At(connection, peer))?;
                service.as_ref().map_or(Ok(()), |service| write!(f, " of {service:?}"))?;
                write!(f, " has ended: {why}")
            }
            It::Left { connection, service, left: 0 } => {
                write!(f, "{service:?} is gone with connection {connection}, its last one: the name is free")
            }
            It::Left { connection, service, left } => {
                write!(f, "{service:?} has {} left besides {connection}", Count((*left).into(), "connection"))
            }
            It::Draining { left } => write!(f, "the hub shuts down, and has {left:?} for its last words"),
            It::Stands { connections, services, pending, unsent, draining } => {
                write!(f, "the hub: {} of ", Count((*connections).into(), "connection"))?;
                write!(f, "{}; ", Count((*services).into(), "service"))?;
                write!(
                    f,
                    "{} without an answer; {unsent} bytes to be sent",
                    Count((*pending).into(), "call")
                )?;
                f.write_str(if *draining { "; it shuts down" } else { "" })
            }
            It::Service { service, connections, slow, called, calling } => {
                write!(f, "{service:?}: {}", Count((*connections).into(), "connection"))?;
                if *slow > 0 {
                    write!(f, ", {slow} of which do not read what they are sent")?;
                }
                write!(f, "; it has {} to answer", Count((*called).into(), "call"))?;
                write!(f, ", and waits for {}", Count((*calling).into(), "answer"))
            }
            It::Waits { service, on, calls, longest } => {
                write!(
                    f,
                    "{service:?} waits for {} of {on:?}, the first for {longest:?}",
                    Count(*calls, "answer")
                )
            }
        }
    }
}

/// A call, in a few words.
struct Call<'a>(u64, &'a str, &'a str, &'a str);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call(number, from, to, method) = self;
        write!(f, "call {number} of {from:?} to {to:?} for {method:?}")
    }
}
