//! What a hub is told, and what it tells.

use alloc::boxed::Box;
use alloc::string::String;
use core::num::NonZeroU32;
use core::time::Duration;

use thiserror::Error;

use crate::error::{Fault, ProtocolError};
use crate::id::ConnId;
use crate::machine::Peer;
use crate::metrics::{Histogram, Rate};
use crate::policy::watermark::Band;
use crate::wire::ipc::{Envelope, Limits, MessageError, Value};

/// The limits of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the hub listens; told to those who ask, and not used otherwise. `/tmp/bro-gateway.sock`.
    pub socket_path: String,
    /// The user whose processes may connect, as far as the system tells whose they are (over Unix sockets it does); others
    /// are turned away. Anybody who can open the socket.
    pub require_uid: Option<u32>,
    /// How large a message may be. 16 MiB.
    pub limits: Limits,
    /// How often services are expected to tell that they are alive. One from which nothing at all has come for three times
    /// as long is gone. 30 s.
    pub heartbeat_interval: Duration,
    /// How long a call may take, if its context does not leave it less. 30 s.
    pub timeout: Duration,
    /// How long a connection may take to register. 10 s.
    pub register_timeout: Duration,
    /// How long a message may take from its first byte to its last. Who waits for the receive budget has as long: it may
    /// hold the very bytes that others wait for. 10 s.
    pub frame_timeout: Duration,
    /// Connections at a time, and so services. 1,024.
    pub connections: NonZeroU32,
    /// Methods of one service. 1,024.
    pub methods: NonZeroU32,
    /// Calls of one service that wait for their answer. 16,384.
    pub pending: NonZeroU32,
    /// Calls of all services that wait for their answer. The last quarter is kept for services that have none. 65,536.
    pub pending_total: NonZeroU32,
    /// Bytes that wait to be sent to one connection. From the high mark on, until it is down to the low one, calls to it
    /// and calls by it are refused; at twice the high mark it is closed, since it does not read. 16 and 32 MiB.
    pub unsent: Band,
    /// Bytes that wait to be sent to all connections. Above, calls are refused, and who has more waiting than the low mark
    /// of [`unsent`](Self::unsent) and is sent more is closed. 256 MiB.
    pub unsent_total: NonZeroU32,
    /// Bytes that parts of messages may hold, of all connections. Beyond it, one message at a time is read to its end;
    /// whoever else needs more is not read until it has the turn, or half is free. 64 MiB.
    pub receive_budget: NonZeroU32,
}
crate::saved!(struct Config {
    socket_path, require_uid, limits, heartbeat_interval, timeout, register_timeout, frame_timeout,
    connections, methods, pending, pending_total, unsent, unsent_total, receive_budget
});

impl Default for Config {
    fn default() -> Self {
        const fn limit(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("a limit is not zero")
        }
        Config {
            socket_path: "/tmp/bro-gateway.sock".into(),
            require_uid: None,
            limits: Limits::default(),
            heartbeat_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            register_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(10),
            connections: limit(1_024),
            methods: limit(1_024),
            pending: limit(16_384),
            pending_total: limit(65_536),
            unsent: const { Band::new(16 << 20, 32 << 20).expect("low is below high") },
            unsent_total: limit(256 << 20),
            receive_budget: limit(64 << 20),
        }
    }
}

/// What became of one message, or of a connection. Every message that arrives is one event, in whose course it is passed on:
/// who does not take events lets no message through.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A service has registered, or has changed its methods.
    Registered {
        /// Over which connection.
        conn: ConnId,
        /// What it said.
        register: Envelope<'a>,
        /// Who is at the other end.
        peer: Peer,
    },
    /// A call was passed on.
    CallRouted {
        /// The call.
        call: Envelope<'a>,
        /// To which connection.
        to: ConnId,
    },
    /// A call was answered here: it failed, or it was for the hub itself.
    CallAnswered {
        /// The call.
        call: Envelope<'a>,
        /// Why it failed.
        refused: Option<Refused>,
    },
    /// An answer was passed on.
    ResponseRouted {
        /// The answer.
        response: Envelope<'a>,
        /// To which connection.
        to: ConnId,
    },
    /// An answer was dropped.
    ResponseDropped {
        /// The answer.
        response: Envelope<'a>,
        /// Why.
        why: Dropped,
    },
    /// A service is alive.
    Heartbeat {
        /// On which connection.
        conn: ConnId,
    },
    /// A message that cannot be taken, and was answered with an `ERROR`.
    Invalid {
        /// From which connection.
        conn: ConnId,
        /// Why.
        refused: Refused,
    },
    /// A connection has ended, or is about to once it is sent what waits: nothing more is taken from it, and its name is free.
    /// Told once, and before anybody else is told to have registered under that name.
    Disconnected {
        /// Which.
        conn: ConnId,
        /// Of which service, if it was registered.
        service: Option<&'a str>,
        /// Why.
        cause: Cause,
    },
    /// So many ends of connections were not told, because nobody took events.
    Missed(u64),
}

/// Why a message is not taken, or not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// It breaks the rules of the wire.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// Something else came before `REGISTER`.
    #[error("a connection must register before anything else")]
    NotRegistered,
    /// It says to be from another service than the one that sends it.
    #[error("the message says to be from another service than the one that this connection has registered")]
    Impersonation,
    /// Only hubs send such messages.
    #[error("a message of this type is not for a hub")]
    NotForHubs,
    /// The name is taken.
    #[error("a service of this name is registered already, and both are not members of one pool")]
    NameTaken,
    /// The name cannot be one of a service.
    #[error("the name of a service has 1 to 255 bytes and does not begin with $")]
    BadName,
    /// The connection has another name already.
    #[error("this connection is registered under another name already")]
    OtherName,
    /// More methods than allowed, or with too long names.
    #[error(
        "the service has too many methods, names one with more than 255 bytes, or tells more than 64 KiB about itself"
    )]
    TooMuch,
    /// The context is none, is too deep, or its time is over.
    #[error("{0}")]
    Context(#[from] crate::ipc::ContextError),
    /// The id is that of another call of the service, which waits for its answer.
    #[error("another call of this service with the same id waits for its answer")]
    IdTaken,
    /// No such service.
    #[error("no service of this name is registered")]
    ServiceNotFound,
    /// No such method.
    #[error("the service has no method of this name")]
    MethodNotFound,
    /// The service does not read what it is sent as fast as it comes.
    #[error("overloaded: too much waits to be sent to the service")]
    CalleeOverloaded,
    /// The caller does not read what it is sent.
    #[error("overloaded: too much waits to be read by the caller itself")]
    CallerOverloaded,
    /// The caller has as many calls waiting as it may have, or the hub has.
    #[error("overloaded: too many calls wait for their answer")]
    TooManyCalls,
    /// The message cannot be said in the format of whom it is for.
    #[error("the message cannot be said in the format of its receiver: {0}")]
    Unconvertible(#[from] crate::wire::ipc::ConvertError),
    /// The answer to a question to the hub is larger than a message may be.
    #[error("the answer is larger than a message may be")]
    AnswerTooLarge,
}
crate::saved!(enum Refused {
    0 = Message(value), 1 = NotRegistered, 2 = Impersonation, 3 = NotForHubs, 4 = NameTaken, 5 = BadName,
    6 = OtherName, 7 = TooMuch, 8 = Context(value), 9 = IdTaken, 10 = ServiceNotFound, 11 = MethodNotFound,
    12 = CalleeOverloaded, 13 = CallerOverloaded, 14 = TooManyCalls, 15 = Unconvertible(value),
    16 = AnswerTooLarge
});

impl Refused {
    /// The word of the wire for it.
    pub const fn code(self) -> &'static str {
        use crate::wire::ipc::code;
        match self {
            Refused::Message(error) => error.code(),
            Refused::NotRegistered => code::NOT_CONNECTED,
            Refused::NameTaken => code::CONNECTION_FAILED,
            Refused::Context(error) => error.code(),
            Refused::ServiceNotFound => code::SERVICE_NOT_FOUND,
            Refused::MethodNotFound => code::METHOD_NOT_FOUND,
            Refused::CalleeOverloaded | Refused::CallerOverloaded | Refused::TooManyCalls => code::OVERLOADED,
            Refused::Unconvertible(_) => code::SERIALIZATION_FAILED,
            Refused::AnswerTooLarge => code::INTERNAL_ERROR,
            Refused::Impersonation
            | Refused::NotForHubs
            | Refused::BadName
            | Refused::OtherName
            | Refused::TooMuch
            | Refused::IdTaken => code::INVALID_MESSAGE,
        }
    }

    /// Whether the connection is closed for it.
    pub(super) const fn is_fatal(self) -> bool {
        match self {
            Refused::Message(error) => error.is_fatal(),
            Refused::NotRegistered | Refused::NameTaken | Refused::BadName | Refused::TooMuch => true,
            _ => false,
        }
    }
}

/// Why an answer is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Dropped {
    /// Nobody waits for it any more.
    #[error("nobody waits for it any more")]
    Late,
    /// The call that it answers was passed to another service.
    #[error("the call that it answers was passed to another service")]
    Foreign,
    /// It breaks the rules of the wire, or says to be from another service.
    #[error("{0}")]
    Invalid(Refused),
    /// It cannot be said in the format of the caller, who was told so.
    #[error("it cannot be said in the format of the caller, who was told so")]
    Unconvertible,
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The peer has closed it.
    #[error("the peer has closed it")]
    Peer,
    /// The transport failed.
    #[error("{0}")]
    Fault(Fault),
    /// The peer broke the rules of framing, or did not finish a message in time.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// The peer sent something for which it is closed.
    #[error("{0}")]
    Refused(Refused),
    /// It did not register in time.
    #[error("it did not register in time")]
    Unregistered,
    /// Nothing came from the service for three heartbeats.
    #[error("nothing came from it for three heartbeats")]
    Silent,
    /// The peer does not read what it is sent.
    #[error("it does not read what it is sent")]
    SlowReader,
    /// The hub shut down.
    #[error("the hub has shut down")]
    Shutdown,
}
crate::saved!(enum Cause {
    0 = Peer, 1 = Fault(value), 2 = Protocol(value), 3 = Refused(value), 4 = Unregistered, 5 = Silent,
    6 = SlowReader, 7 = Shutdown
});

/// What a hub has counted since it was built, or since [`reset`](Metrics::reset).
///
/// Every call that was passed on ends once: `routed` is `answered + timed_out + lost + abandoned`, and what is pending.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were turned away, at the limit or while shutting down.
    pub turned_away: u64,
    /// Connections that were turned away because they were not of the [required user](Config::require_uid).
    pub strangers: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Those of them that the hub closed because of what their peer did or did not do.
    pub expelled: u64,
    /// Registrations that were taken.
    pub registered: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Calls that were passed on.
    pub routed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Those of the refused that came upon too much work.
    pub overloaded: u64,
    /// Questions to the hub itself.
    pub queries: u64,
    /// Answers that were passed on.
    pub answered: u64,
    /// Calls that were answered here because their time was over.
    pub timed_out: u64,
    /// Calls that were answered here because the service that was called had gone.
    pub lost: u64,
    /// Calls whose caller has gone.
    pub abandoned: u64,
    /// Answers that were dropped because nobody waited for them.
    pub late: u64,
    /// Answers that were dropped because they came from a service that was not asked.
    pub foreign: u64,
    /// Messages that could not be taken.
    pub invalid: u64,
    /// Messages that were passed on in another format than they came in.
    pub converted: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the transport took.
    pub bytes_out: u64,
    /// From a call to its answer.
    pub latency: Histogram,
    /// Calls that were passed on, by time.
    pub rate: Rate,
}
crate::saved!(struct Metrics {
    accepted, turned_away, strangers, closed, expelled, registered, heartbeats, routed, refused, overloaded,
    queries, answered, timed_out, lost, abandoned, late, foreign, invalid, converted, bytes_in, bytes_out,
    latency, rate
});

impl Metrics {
    /// Counts from nothing again.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }
}

/// How a hub stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections that stand.
    pub connections: u32,
    /// Services that are registered.
    pub services: u32,
    /// Calls that wait for their answer.
    pub pending: u32,
    /// Bytes that wait to be sent.
    pub unsent: u64,
    /// Whether the hub is shutting down.
    pub draining: bool,
}

/// One registered service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its connections; more than one if it is a pool.
    pub connections: u32,
    /// When it registered first, in milliseconds since 1970.
    pub connected_at: u64,
    /// When it last told that it is alive, in milliseconds since 1970; its registration counts.
    pub last_heartbeat: u64,
    /// Calls that it has made and that wait for their answer.
    pub calling: u32,
    /// Calls that it was passed and has not answered.
    pub called: u32,
    /// Calls that it was passed over the last second.
    pub calls_per_second: u64,
    /// Who is at the other end. All members of a pool say the same of themselves, as a rule; the first speaks
    /// for them, here and below.
    pub peer: Peer,
    /// What it can be called for, sorted.
    pub methods: &'a [Box<str>],
    /// Its version, if it tells.
    pub version: Option<&'a str>,
    /// What else it tells about itself, as it was written.
    pub metadata: Option<Value<'a>>,
}
