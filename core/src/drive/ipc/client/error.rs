//! How connecting and calling can fail, in words for people.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use thiserror::Error;

use crate::drive::client::fate;
use crate::error::Misuse;
use crate::ipc::ContextError;
use crate::ipc::client::{self, MethodError, Outcome};
use crate::wire::ipc::code;

/// A call that failed: which one, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{service}.{method}: {cause}")]
pub struct CallError {
    /// The service that was called.
    pub service: Box<str>,
    /// The method of it.
    pub method: Box<str>,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

impl CallError {
    /// The word of the wire for it; see [`code`].
    pub fn code(&self) -> &str {
        self.cause.code()
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The service, or the hub, answered that it failed.
    #[error("{code}: {message}")]
    Remote {
        /// A word for machines, such as `METHOD_NOT_FOUND`.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// No answer in the time that this client allows.
    #[error("no answer in time; {}", fate(*.sent))]
    Timeout {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// No answer before the deadline of the context.
    #[error("no answer before the deadline of the call in whose context it was made; {}", fate(*.sent))]
    DeadlineExceeded {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// The connection to the hub was lost.
    #[error("the connection to the hub was lost; {}", fate(*.sent))]
    Lost {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// The client was told to disconnect before there was an answer.
    #[error("the client has disconnected before there was an answer")]
    Disconnected,
    /// It was given up.
    #[error("given up")]
    Cancelled,
    /// There is no registered connection to the hub; nothing was sent.
    #[error("there is no connection to the hub: call `connect`, or wait until it is there again")]
    NotConnected,
    /// Too much is under way already; nothing was sent, and later it may work.
    #[error("overloaded: too many calls wait for their answer, or too much waits to be sent to the hub")]
    Overloaded,
    /// The context does not allow it; nothing was sent.
    #[error("{0}")]
    Context(ContextError),
    /// It can never work as it was asked for; nothing was sent.
    #[error("{0}")]
    Misuse(Misuse),
    /// The parameters cannot be written; nothing was sent.
    #[error("the parameters cannot be written: {0}")]
    Unserializable(String),
    /// The service has answered, but with something else than was asked for.
    #[error("the answer cannot be read as what was asked for: {0}")]
    Unreadable(String),
    /// The client has been shut down; nothing was sent.
    #[error("the client has been shut down")]
    Closed,
}

impl Cause {
    /// The word of the wire for it.
    pub fn code(&self) -> &str {
        match self {
            Cause::Remote { code, .. } => code,
            Cause::Timeout { .. } => code::TIMEOUT,
            Cause::DeadlineExceeded { .. } => code::DEADLINE_EXCEEDED,
            Cause::Lost { .. } => code::CONNECTION_LOST,
            Cause::Disconnected | Cause::NotConnected | Cause::Closed => code::NOT_CONNECTED,
            Cause::Cancelled => code::EXECUTION_FAILED,
            Cause::Overloaded => code::OVERLOADED,
            Cause::Context(error) => error.code(),
            Cause::Misuse(_) | Cause::Unserializable(_) => code::SERIALIZATION_FAILED,
            Cause::Unreadable(_) => code::DESERIALIZATION_FAILED,
        }
    }

    /// What an outcome that is no success means.
    pub(super) fn of(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Failure { code, message } => {
                Cause::Remote { code: code.to_string(), message: message.to_string() }
            }
            Outcome::Timeout { sent } => Cause::Timeout { sent },
            Outcome::DeadlineExceeded { sent } => Cause::DeadlineExceeded { sent },
            Outcome::Lost { sent } => Cause::Lost { sent },
            Outcome::Disconnected => Cause::Disconnected,
            Outcome::Cancelled | Outcome::Success(_) => Cause::Cancelled,
        }
    }
}

impl From<client::CallError> for Cause {
    fn from(error: client::CallError) -> Self {
        match error {
            client::CallError::NotConnected => Cause::NotConnected,
            client::CallError::Overloaded => Cause::Overloaded,
            client::CallError::Context(error) => Cause::Context(error),
            client::CallError::Misuse(misuse) => Cause::Misuse(misuse),
            // Nothing else is left but that the client is shutting down.
            _ => Cause::Closed,
        }
    }
}

/// A client could not connect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{service} cannot register with the hub at {path}: {why}")]
pub struct ConnectError {
    /// The name of the client's service.
    pub service: Box<str>,
    /// What it has dialled.
    pub path: Box<str>,
    /// Why not.
    #[source]
    pub why: NotRegistered,
}

/// Why a client is not registered with its hub.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotRegistered {
    /// The connection has ended, or could not be made.
    #[error("{cause}{hint}", cause = .0, hint = hint(.0))]
    Ended(client::Cause),
    /// The hub does not want it.
    #[error("the hub says {code}: {message}")]
    Refused {
        /// A word for machines, such as `CONNECTION_FAILED` for a name that is taken.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// The client has been shut down.
    #[error("the client has been shut down")]
    Closed,
}

fn hint(cause: &client::Cause) -> &'static str {
    use crate::error::Fault;
    match cause {
        client::Cause::Fault(Fault::Refused | Fault::Unresolved) => "; does the hub run there?",
        client::Cause::RegisterTimeout => "; is it a hub that listens there?",
        _ => "",
    }
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name cannot be that of a service.
    #[error("{0:?} cannot be the name of a service: it has 1 to 255 bytes, and does not begin with $")]
    BadName(Box<str>),
    /// A method cannot be registered.
    #[error("the method {name:?} cannot be registered: {error}")]
    Method {
        /// Its name.
        name: Box<str>,
        /// Why not.
        error: MethodError,
    },
}
