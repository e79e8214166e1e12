//! What a client is told, and what it tells.

use alloc::string::String;
use core::num::NonZeroU32;
use core::time::Duration;

use thiserror::Error;

use crate::error::{Fault, Misuse, ProtocolError};
use crate::id::RequestId;
use crate::ipc::ContextError;
use crate::metrics::Histogram;
use crate::policy::backoff::{self, Jitter};
use crate::policy::fixed::Ratio;
use crate::policy::watermark::Band;
use crate::wire::ipc::{Format, Limits, MessageError, Text, Value, code};

/// What a client is, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name under which others call it; 1 to 255 bytes, not beginning with `$`.
    pub service_name: String,
    /// What the hub is told of the service's version. `1.0.0`, as by the public client.
    pub version: String,
    /// Where the hub listens; handed to the runtime as the target of its dials. `/tmp/bro-gateway.sock`.
    pub path: String,
    /// How messages are written. JSON.
    pub format: Format,
    /// How large a message may be. 16 MiB.
    pub limits: Limits,
    /// Connections to the hub. Above 1 they are a pool, which shares the name and the calls. 1; at most 64.
    pub pool_size: NonZeroU32,
    /// Whether a lost connection is dialled again. Yes.
    pub auto_reconnect: bool,
    /// How long to wait before that: 5 s, doubled each time up to 30 s, without jitter.
    pub reconnect: backoff::Config,
    /// How long a dial may take. 10 s.
    pub connect_timeout: Duration,
    /// How long the hub may take to acknowledge a registration. 5 s.
    pub register_timeout: Duration,
    /// How long a call may take, if its context does not leave it less. 30 s.
    pub timeout: Duration,
    /// How often the hub is told that the service is alive. 30 s.
    pub heartbeat_interval: Duration,
    /// Calls that wait for their answer. 16,384.
    pub pending: NonZeroU32,
    /// Calls by others that were put off and wait for their answer from here; more are answered `OVERLOADED`. 1,024.
    pub serving: NonZeroU32,
    /// Methods. 1,024.
    pub methods: NonZeroU32,
    /// Bytes that wait to be sent over one connection. From the high mark on, until it is down to the low one, calls are
    /// refused; at twice the high mark it is closed, since the hub does not read. 4 and 16 MiB.
    pub unsent: Band,
    /// Bytes that parts of messages may hold. Beyond it, one at a time is read to its end. 64 MiB.
    pub receive_budget: NonZeroU32,
}
crate::saved!(struct Config {
    service_name, version, path, format, limits, pool_size, auto_reconnect, reconnect, connect_timeout,
    register_timeout, timeout, heartbeat_interval, pending, serving, methods, unsent, receive_budget
});

impl Config {
    /// The defaults, for a service of this name.
    pub fn new(service_name: &str) -> Self {
        const fn limit(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("a limit is not zero")
        }
        Config {
            service_name: service_name.into(),
            version: "1.0.0".into(),
            path: "/tmp/bro-gateway.sock".into(),
            format: Format::Json,
            limits: Limits::default(),
            pool_size: limit(1),
            auto_reconnect: true,
            reconnect: backoff::Config {
                base: Duration::from_secs(5),
                multiplier: Ratio::per_mille(2_000),
                cap: Duration::from_secs(30),
                jitter: Jitter::None,
            },
            connect_timeout: Duration::from_secs(10),
            register_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            pending: limit(16_384),
            serving: limit(1_024),
            methods: limit(1_024),
            unsent: const { Band::new(4 << 20, 16 << 20).expect("low is below high") },
            receive_budget: limit(64 << 20),
        }
    }
}

/// What a caller may say about one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long it may take; `None` for the client's default. The deadline of its context may leave it less.
    pub timeout: Option<Duration>,
    /// The caller's own number, handed back with the outcome.
    pub tag: u64,
}

/// Why a call was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no registered connection to the hub.
    #[error("not connected: there is no registered connection to the hub")]
    NotConnected,
    /// Too many calls wait for their answer, or too many bytes to be sent.
    #[error("overloaded: too many calls wait for their answer, or too much waits to be sent to the hub")]
    Overloaded,
    /// The client is shutting down.
    #[error("shutting down: no more calls are taken")]
    ShuttingDown,
    /// The context does not allow it.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The wire cannot carry it.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

impl CallError {
    /// The word of the wire for it.
    pub const fn code(self) -> &'static str {
        match self {
            CallError::NotConnected | CallError::ShuttingDown => code::NOT_CONNECTED,
            CallError::Overloaded => code::OVERLOADED,
            CallError::Context(error) => error.code(),
            CallError::Misuse(_) => code::SERIALIZATION_FAILED,
        }
    }
}

/// Why a method was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MethodError {
    /// Its name has more than 255 bytes, or none.
    #[error("the name of a method has 1 to 255 bytes")]
    BadName,
    /// There are as many as configured.
    #[error("the service has {limit} methods, which is its limit")]
    TooMany {
        /// The configured limit.
        limit: u32,
    },
}

/// How a call ended. Every call that was taken ends exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The service did what it was asked: its result, if it has one.
    Success(Option<Value<'a>>),
    /// The service, or the hub, says that it failed.
    Failure {
        /// A word for machines; `EXECUTION_FAILED` if the service has none.
        code: Text<'a>,
        /// A sentence for people; empty if there is none.
        message: Text<'a>,
    },
    /// No answer in the time that this client allows.
    Timeout {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// No answer before the deadline of its context.
    DeadlineExceeded {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// Its connection to the hub was lost.
    Lost {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// The client was told to disconnect.
    Disconnected,
    /// The caller gave it up.
    Cancelled,
}

impl<'a> Outcome<'a> {
    /// The word of the wire for it; `None` for a success.
    pub fn code(self) -> Option<Text<'a>> {
        let code = match self {
            Outcome::Success(_) => return None,
            Outcome::Failure { code, .. } => return Some(code),
            Outcome::Timeout { .. } => code::TIMEOUT,
            Outcome::DeadlineExceeded { .. } => code::DEADLINE_EXCEEDED,
            Outcome::Lost { .. } => code::CONNECTION_LOST,
            Outcome::Disconnected => code::NOT_CONNECTED,
            Outcome::Cancelled => code::EXECUTION_FAILED,
        };
        Some(Text::from(code))
    }
}

/// What has changed between a client and its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateEvent {
    /// A connection stands, and says who it is for.
    Connected {
        /// Which of the pool, from 0.
        index: u32,
    },
    /// The hub has taken the registration: calls can be made over this connection, and will come.
    Registered {
        /// Which of the pool, from 0.
        index: u32,
    },
    /// A connection has ended, or could not be made.
    Disconnected {
        /// Which of the pool, from 0.
        index: u32,
        /// Why.
        cause: Cause,
    },
    /// So many events of this kind were not told, because nobody took them.
    Missed(u64),
}
crate::saved!(enum StateEvent {
    0 = Connected { index }, 1 = Registered { index }, 2 = Disconnected { index, cause }, 3 = Missed(value)
});

/// Why a connection to the hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The transport failed, or the hub has closed it.
    #[error("{0}")]
    Fault(Fault),
    /// It could not be made in time.
    #[error("it could not be made in time")]
    ConnectTimeout,
    /// The hub did not acknowledge the registration in time.
    #[error("the hub did not acknowledge the registration in time")]
    RegisterTimeout,
    /// The hub broke the rules of framing.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// The hub sent what cannot be read.
    #[error("{0}")]
    Message(MessageError),
    /// The hub does not read what it is sent.
    #[error("the hub does not read what it is sent")]
    SlowReader,
    /// The application wants it so.
    #[error("the application has disconnected")]
    Disconnect,
}
crate::saved!(enum Cause {
    0 = Fault(value), 1 = ConnectTimeout, 2 = RegisterTimeout, 3 = Protocol(value), 4 = Message(value),
    5 = SlowReader, 6 = Disconnect
});

/// Why a call by another service was answered without asking the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such method here.
    #[error("this service has no such method")]
    MethodNotFound,
    /// As many calls as allowed were put off and not answered yet.
    #[error("overloaded: the service has as many calls in hand as it may")]
    Overloaded,
    /// Its context is none, is too deep, or its time is over.
    #[error("{0}")]
    Context(#[from] ContextError),
    /// It breaks the rules of the wire.
    #[error("{0}")]
    Message(#[from] MessageError),
}

impl Refused {
    /// The word of the wire for it.
    pub const fn code(self) -> &'static str {
        match self {
            Refused::MethodNotFound => code::METHOD_NOT_FOUND,
            Refused::Overloaded => code::OVERLOADED,
            Refused::Context(error) => error.code(),
            Refused::Message(error) => error.code(),
        }
    }
}

/// Names a call that was put off. It may be kept, copied and sent elsewhere; answering it a second time, after its time is
/// over, or after its connection has gone, is [`ReplyError::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(crate) RequestId);
crate::saved!(struct Token { 0 });

impl Token {
    /// The place in a table; below the limit of [`Config::serving`], and of one call at a time.
    pub const fn index(self) -> usize {
        self.0.index()
    }
}

/// Why an answer was not sent as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Nobody waits for it: its connection has gone, its time is over, or the call was answered before.
    #[error(
        "nobody waits for this answer: its connection has gone, its time is over, or it was given before"
    )]
    Gone,
    /// It is too large; the caller was answered with `SERIALIZATION_FAILED` instead.
    #[error("the caller was answered with SERIALIZATION_FAILED instead: {0}")]
    Misuse(#[from] Misuse),
}

/// What a client has counted since it was built, or since [`reset`](Metrics::reset).
///
/// Every call that was taken ends once: `calls` is `succeeded + failed`, and what is pending.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Calls that were taken.
    pub calls: u64,
    /// Calls that were answered with success.
    pub succeeded: u64,
    /// Calls that ended in any other way.
    pub failed: u64,
    /// Those of them that the service or the hub answered with a failure.
    pub remote: u64,
    /// Those of them that ran out of time here.
    pub timed_out: u64,
    /// Those of them whose connection was lost.
    pub lost: u64,
    /// Calls that were not taken.
    pub rejected: u64,
    /// Answers that nobody waited for.
    pub late: u64,
    /// Calls by others that the application was asked to serve.
    pub served: u64,
    /// Calls by others that were answered with success.
    pub executed: u64,
    /// Calls by others that were answered with a failure by the application, or dropped unanswered.
    pub execution_failed: u64,
    /// Calls by others that were answered without asking the application.
    pub refused: u64,
    /// Connections that were tried.
    pub dials: u64,
    /// Registrations that the hub has acknowledged.
    pub registered: u64,
    /// Heartbeats that were sent.
    pub heartbeats: u64,
    /// What the hub complained of.
    pub gateway_errors: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the transport took.
    pub bytes_out: u64,
    /// From a call to its answer.
    pub latency: Histogram,
}
crate::saved!(struct Metrics {
    calls, succeeded, failed, remote, timed_out, lost, rejected, late, served, executed, execution_failed,
    refused, dials, registered, heartbeats, gateway_errors, bytes_in, bytes_out, latency
});

impl Metrics {
    /// Counts from nothing again.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }
}

/// How a client stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// Whether a connection stands.
    pub connected: bool,
    /// Whether a connection stands that the hub has acknowledged.
    pub registered: bool,
    /// The service's name.
    pub service_name: &'a str,
    /// Calls that wait for their answer.
    pub pending: u32,
    /// Calls by others that were put off.
    pub serving: u32,
    /// Methods.
    pub methods: u32,
}
