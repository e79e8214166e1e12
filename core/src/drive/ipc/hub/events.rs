//! What happens at a hub, told to whoever listens.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::view::json;
use crate::drive::hub;
use crate::ipc::Context;
use crate::ipc::hub::{Cause, Dropped, Refused};
use crate::machine::Peer;
use crate::wire::ipc::{Envelope, Status, Text};

/// What happens at a hub from now on; it ends when the hub has stopped.
pub type Events = hub::Events<HubEvent>;

/// Something that has happened at a hub. `Display` makes a line for a log of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HubEvent {
    /// The hub listens.
    Started {
        /// What clients dial.
        address: String,
    },
    /// A service has registered, or one of its connections, or it has told its methods anew.
    Registered(Registration),
    /// A connection has ended, and its name is free.
    Disconnected {
        /// Of which service, if it was registered.
        service: Option<String>,
        /// Why.
        cause: Cause,
    },
    /// A call was passed on.
    CallRouted(Passing),
    /// A call was answered by the hub.
    CallAnswered {
        /// The call.
        call: Passing,
        /// Why it failed; `None`: it was a question to the hub itself.
        refused: Option<Refused>,
    },
    /// An answer was passed on.
    ResponseRouted {
        /// The service that was called.
        from: String,
        /// The service that has called.
        to: String,
        /// The id of the call.
        id: String,
        /// Whether the call has succeeded.
        success: bool,
    },
    /// An answer was dropped.
    ResponseDropped {
        /// Who it says to be from.
        from: String,
        /// Who it was for.
        to: String,
        /// The id of the call.
        id: String,
        /// Why.
        why: Dropped,
    },
    /// A service has told that it is alive.
    Heartbeat {
        /// Which.
        service: Option<String>,
    },
    /// A message came that cannot be taken.
    Invalid {
        /// From which service, if it was registered.
        service: Option<String>,
        /// What is wrong with it.
        refused: Refused,
    },
    /// So many events were not told, or not taken up in time, and are lost.
    Missed(u64),
    /// The hub has stopped; nothing follows.
    Stopped,
}

/// What a service tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Its name.
    pub service: String,
    /// What it can be called for.
    pub methods: Vec<String>,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// What else it tells.
    pub metadata: Option<serde_json::Value>,
    /// Who is at the other end.
    pub peer: Peer,
}

/// A call on its way through the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// What is called.
    pub method: String,
    /// Names it in its answer.
    pub id: String,
    /// On whose behalf, if it can be read.
    pub context: Option<Context>,
}

impl Registration {
    pub(super) fn read(register: &Envelope<'_>, peer: Peer) -> Self {
        Registration {
            service: text(register.service_name().ok()),
            methods: register
                .methods()
                .into_iter()
                .flatten()
                .map(|method| method.get().into_owned())
                .collect(),
            version: register.version().map(|version| version.get().into_owned()),
            metadata: register.metadata().and_then(json),
            peer,
        }
    }
}

impl Passing {
    pub(super) fn read(call: &Envelope<'_>) -> Self {
        Passing {
            from: text(call.from().ok()),
            to: text(call.to().ok()),
            method: text(call.method().ok()),
            id: text(call.id().ok()),
            context: call.raw_context().and_then(|context| Context::read(context).ok()),
        }
    }
}

impl HubEvent {
    pub(super) fn response_routed(response: &Envelope<'_>) -> Self {
        HubEvent::ResponseRouted {
            from: text(response.from().ok()),
            to: text(response.to().ok()),
            id: text(response.id().ok()),
            success: response.status() == Ok(Status::Success),
        }
    }

    pub(super) fn response_dropped(response: &Envelope<'_>, why: Dropped) -> Self {
        HubEvent::ResponseDropped {
            from: text(response.from().ok()),
            to: text(response.to().ok()),
            id: text(response.id().ok()),
            why,
        }
    }
}

fn text(text: Option<Text<'_>>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

impl hub::Event for HubEvent {
    fn missed(count: u64, _: Self) -> Self {
        HubEvent::Missed(count)
    }
}

impl fmt::Display for HubEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |service: &Option<String>| service.clone().unwrap_or("a connection without a name".into());
        match self {
            HubEvent::Started { address } => write!(f, "the hub listens at {address}"),
            HubEvent::Registered(it) if it.methods.is_empty() => {
                write!(f, "{} has registered, without methods", it.service)
            }
            HubEvent::Registered(it) => {
                write!(f, "{} has registered, with the methods {}", it.service, it.methods.join(", "))
            }
            HubEvent::Disconnected { service, cause } => {
                write!(f, "{} is disconnected: {cause}", of(service))
            }
            HubEvent::CallRouted(call) => write!(f, "{call}"),
            HubEvent::CallAnswered { call, refused: None } => write!(f, "{call}: answered by the hub"),
            HubEvent::CallAnswered { call, refused: Some(refused) } => {
                write!(f, "{call}: {}: {refused}", refused.code())
            }
            HubEvent::ResponseRouted { from, to, id, success } => {
                write!(f, "{from} → {to}: {} ({id})", if *success { "success" } else { "error" })
            }
            HubEvent::ResponseDropped { from, to, id, why } => {
                write!(f, "{from} → {to}: an answer was dropped ({id}): {why}")
            }
            HubEvent::Heartbeat { service } => write!(f, "{} is alive", of(service)),
            HubEvent::Invalid { service, refused } => {
                write!(f, "{} sent a message that is not taken: {}: {refused}", of(service), refused.code())
            }
            HubEvent::Missed(count) => write!(f, "{count} events were lost"),
            HubEvent::Stopped => f.write_str("the hub has stopped"),
        }
    }
}

/// `[root-1] orders → users (depth: 2): users.get (req-1)`
impl fmt::Display for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(f, "{context}: ")?,
            None => write!(f, "{}: ", self.from)?,
        }
        write!(f, "{}.{} ({})", self.to, self.method, self.id)
    }
}
