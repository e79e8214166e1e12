//! What happens at a client, told to whoever listens.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::drive::hub;
use crate::drive::methods::HandlerError;
use crate::ipc::client::{Cause, Refused};
use crate::wire::ipc::MessageError;

/// What happens at a client from now on; it ends with the client's driver.
pub type Events = hub::Events<ClientEvent>;

/// Something that has happened at a client. `Display` makes a line for a log of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A connection to the hub stands.
    Connected {
        /// Which of the pool, from 0.
        index: u32,
    },
    /// The hub has taken the registration: calls can be made over this connection, and will come.
    Registered {
        /// Which of the pool, from 0.
        index: u32,
    },
    /// A connection to the hub has ended, or could not be made.
    Disconnected {
        /// Which of the pool, from 0.
        index: u32,
        /// Why.
        cause: Cause,
    },
    /// A handler has done its work.
    MethodExecuted {
        /// What was called.
        method: Arc<str>,
        /// Who has called.
        caller: Arc<str>,
        /// Why it failed, if it did.
        error: Option<HandlerError>,
    },
    /// A call of another service was not handed to a handler.
    CallRefused {
        /// What was called, if it can be read.
        method: Option<String>,
        /// Who has called, if it can be read.
        caller: Option<String>,
        /// Why.
        refused: Refused,
    },
    /// A call that nobody waits for any more: its handler was dropped.
    CallAbandoned {
        /// What was called.
        method: Arc<str>,
        /// Who has called.
        caller: Arc<str>,
    },
    /// A call of ours was answered, or has ended without an answer.
    ResponseReceived {
        /// The service that was called.
        service: String,
        /// What was called.
        method: String,
        /// The word of the wire for its failure, if it failed.
        code: Option<String>,
    },
    /// The hub complains of something.
    GatewayError {
        /// A word for machines; empty if it has none.
        code: String,
        /// A sentence for people; empty if it has none.
        message: String,
    },
    /// The hub has sent a message that cannot be read.
    Invalid(MessageError),
    /// So many events were not told, or not taken up in time, and are lost.
    Missed(u64),
}

impl hub::Event for ClientEvent {
    fn missed(count: u64, _: Self) -> Self {
        ClientEvent::Missed(count)
    }
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientEvent::Connected { index } => write!(f, "connection {index} to the hub stands"),
            ClientEvent::Registered { index } => write!(f, "connection {index} is registered with the hub"),
            ClientEvent::Disconnected { index, cause } => {
                write!(f, "connection {index} to the hub has ended: {cause}")
            }
            ClientEvent::MethodExecuted { method, caller, error: None } => {
                write!(f, "{method} was executed for {caller}")
            }
            ClientEvent::MethodExecuted { method, caller, error: Some(error) } => {
                write!(f, "{method} has failed for {caller}: {}: {}", error.code, error.message)
            }
            ClientEvent::CallRefused { method, caller, refused } => {
                let (method, caller) = (method.as_deref(), caller.as_deref());
                write!(f, "a call of {} by {} was refused: {refused}", known(method), known(caller))
            }
            ClientEvent::CallAbandoned { method, caller } => {
                write!(f, "{method} was given up: {caller} waits no more")
            }
            ClientEvent::ResponseReceived { service, method, code: None } => {
                write!(f, "{service}.{method} has answered")
            }
            ClientEvent::ResponseReceived { service, method, code: Some(code) } => {
                write!(f, "{service}.{method} has failed: {code}")
            }
            ClientEvent::GatewayError { code, message } => write!(f, "the hub says {code}: {message}"),
            ClientEvent::Invalid(error) => write!(f, "the hub sent what cannot be read: {error}"),
            ClientEvent::Missed(count) => write!(f, "{count} events were lost"),
        }
    }
}

fn known(name: Option<&str>) -> &str {
    name.unwrap_or("?")
}
