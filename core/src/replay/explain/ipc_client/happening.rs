//! What can happen to a client of a hub, and how it is said.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::super::told::{Count, happenings};
use crate::id::RequestId;

happenings! {
    /// What can happen to a client of a hub. Its own calls have an id such as `3.0`; those of others are numbered in the order
    /// in which the log has them. Connections are those of its pool, from 0.
    Happening::IpcClient(IpcClientHappening) {
        /// A call was made.
        Called = "called" {
            /// Which one.
            call: RequestId,
            /// Its id on the wire.
            id: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// Over which connection it goes.
            connection: Option<u32>,
            /// How many of the pool could have carried it.
            of: u32,
            /// Calls that wait for their answer, this one included.
            pending: u32,
        },
        /// A call was not made.
        Refused = "refused" {
            /// Which service was to be called.
            to: String,
            /// What for.
            method: String,
            /// Why.
            why: &'static str,
        },
        /// A call has ended.
        Ended = "ended" {
            /// Which one.
            call: RequestId,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// How.
            how: &'static str,
            /// The code of the failure, if it is one.
            code: Option<String>,
            /// Whether any of it has left, if it was not answered.
            sent: Option<bool>,
            /// How long it took.
            took: Option<Duration>,
        },
        /// Another service calls.
        Served = "served" {
            /// The number of its call.
            incoming: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// What for.
            method: String,
            /// Other calls that the application has in hand.
            in_hand: u32,
        },
        /// Another service has called, and the application was not asked.
        TurnedDown = "turned_down" {
            /// The number of its call.
            incoming: u64,
            /// Its id on the wire.
            id: String,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// Why.
            why: String,
            /// What the caller is told.
            code: &'static str,
        },
        /// The application has answered another service.
        Answered = "answered" {
            /// The number of its call.
            incoming: u64,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// How.
            how: &'static str,
            /// The code of the error, if it is one.
            code: Option<String>,
            /// How long the application has worked on it; `None`: it has answered on the spot.
            worked: Option<Duration>,
        },
        /// Nobody waits any more for what the application works on.
        Abandoned = "abandoned" {
            /// The number of the call.
            incoming: u64,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// How long the application has worked on it.
            worked: Duration,
        },
        /// The application has answered a call that nobody waits for any more.
        Late = "late" {
            /// The number of the call.
            incoming: u64,
        },
        /// The hub is dialled.
        Dialed = "dialed" {
            /// For which connection.
            connection: Option<u32>,
        },
        /// A connection stands, and tells the hub who it is for.
        Connected = "connected" {
            /// Which.
            connection: u32,
        },
        /// The hub has taken the registration.
        Registered = "registered" {
            /// Of which connection.
            connection: u32,
        },
        /// A connection has ended, or could not be made.
        Disconnected = "disconnected" {
            /// Which.
            connection: u32,
            /// Why.
            why: String,
            /// When it is dialled again; `None`: not by itself.
            again: Option<Duration>,
        },
        /// So many changes were not told, because nobody took them.
        Missed = "missed" {
            /// How many.
            changes: u64,
        },
        /// The hub complains of something.
        Complaint = "complaint" {
            /// The code.
            code: Option<String>,
        },
        /// The hub has sent what is no message.
        Invalid = "invalid" {
            /// What is wrong with it.
            why: String,
        },
        /// How the client stands.
        Stands = "client" {
            /// The name of its service.
            service: String,
            /// Whether calls can be made.
            registered: bool,
            /// Calls that it waits for.
            pending: u32,
            /// Calls by others that the application has in hand.
            serving: u32,
            /// Methods that it can be called for.
            methods: u32,
        },
        /// How a connection stands.
        Connection = "connection" {
            /// Which.
            connection: u32,
            /// How.
            state: &'static str,
            /// Bytes that wait to be sent.
            unsent: u64,
            /// When it is dialled again.
            again: Option<Duration>,
        },
        /// Who is waited for.
        Waits = "waits" {
            /// Which service.
            on: String,
            /// For how many answers.
            calls: u64,
            /// For the first of them since when.
            longest: Duration,
        },
    }
}

impl fmt::Display for IpcClientHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use IpcClientHappening as It;
        match self {
            It::Called { call, id, to, method, connection, of, pending } => {
                write!(f, "call {call} to {to:?} for {method:?}")?;
                match (connection, of) {
                    (Some(connection), 2..) => {
                        write!(f, " goes over connection {connection}, which has the least to send of {of}")?;
                    }
                    (Some(connection), _) => write!(f, " goes over connection {connection}, the only one")?,
                    (None, _) => f.write_str(" goes over a connection that has ended with it")?,
                }
                write!(f, "; {} without an answer now", Count((*pending).into(), "call"))?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Refused { to, method, why } => write!(f, "a call to {to:?} for {method:?} is refused: {why}"),
            It::Ended { call, to, method, how, code, sent, took } => {
                write!(f, "call {call} to {to:?} for {method:?} ends: {how}")?;
                code.as_ref().map_or(Ok(()), |code| write!(f, " ({code})"))?;
                took.map_or(Ok(()), |took| write!(f, ", after {took:?}"))?;
                match sent {
                    Some(true) => f.write_str("; it was sent, at least in part, so that it may have run"),
                    Some(false) => f.write_str("; nothing of it was sent"),
                    None => Ok(()),
                }
            }
            It::Served { incoming, id, from, method, in_hand } => {
                write!(
                    f,
                    "incoming call {incoming} of {from:?} for {method:?} is handed to the application"
                )?;
                if *in_hand > 0 {
                    write!(f, ", which has {} in hand besides", Count((*in_hand).into(), "call"))?;
                }
                write!(f, "; on the wire it is {id:?}")
            }
            It::TurnedDown { incoming, id, from, method, why, code } => {
                write!(f, "incoming call {incoming} of {from:?} for {method:?} is refused ({code}): {why}")?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Answered { incoming, from, method, how, code, worked } => {
                write!(f, "incoming call {incoming} of {from:?} for {method:?} is answered: {how}")?;
                code.as_ref().map_or(Ok(()), |code| write!(f, " {code}"))?;
                match worked {
                    Some(worked) => write!(f, "; the application has worked on it for {worked:?}"),
                    None => f.write_str("; the application has done so on the spot"),
                }
            }
            It::Abandoned { incoming, from, method, worked } => {
                write!(
                    f,
                    "nobody waits any more for incoming call {incoming} of {from:?} for {method:?}: its time is "
                )?;
                write!(f, "over, or its connection has ended; the application has had it for {worked:?}")
            }
            It::Late { incoming } => {
                write!(f, "incoming call {incoming} is answered too late: nobody waits for it any more")
            }
            It::Dialed { connection: Some(connection) } => {
                write!(f, "connection {connection}: the hub is dialled")
            }
            It::Dialed { connection: None } => f.write_str("the hub is dialled"),
            It::Connected { connection } => {
                write!(f, "connection {connection} stands, and tells the hub who it is for")
            }
            It::Registered { connection } => {
                write!(f, "connection {connection} is registered: it carries calls from now on")
            }
            It::Disconnected { connection, why, again } => {
                write!(f, "connection {connection} has ended, or could not be made: {why}")?;
                match again {
                    Some(again) => write!(f, "; it is dialled again in {again:?}"),
                    None => f.write_str("; it is not dialled again by itself"),
                }
            }
            It::Missed { changes } => write!(f, "{changes} changes that nobody took"),
            It::Complaint { code } => {
                write!(f, "the hub complains: {}", code.as_deref().unwrap_or("without a code"))
            }
            It::Invalid { why } => write!(f, "the hub has sent what is no message: {why}"),
            It::Stands { service, registered, pending, serving, methods } => {
                let not = if *registered { "" } else { "not " };
                write!(f, "{service:?} is {not}registered, with {}; ", Count((*methods).into(), "method"))?;
                write!(f, "it waits for {}", Count((*pending).into(), "answer"))?;
                write!(f, ", and has {} in hand", Count((*serving).into(), "call"))
            }
            It::Connection { connection, state, unsent, again } => {
                write!(f, "connection {connection}: {state}")?;
                if *unsent > 0 {
                    write!(f, ", {} to be sent", Count(*unsent, "byte"))?;
                }
                again.map_or(Ok(()), |again| write!(f, ", dialled in {again:?}"))
            }
            It::Waits { on, calls, longest } => {
                write!(f, "it waits for {} of {on:?}, the first for {longest:?}", Count(*calls, "answer"))
            }
        }
    }
}
