//! What is told, as a sentence and as data: each subject says what can happen to it, once.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{ClientHappening, HubHappening, IpcClientHappening, ServerHappening};
use crate::cluster::StateEvent;
use crate::cluster::explain::{Decision, Explanation};
use crate::id::{ConnId, Id};
use crate::machine::Peer;
use crate::record::format::Record;
use crate::record::kinds::Kind;
use crate::replay::player::error;
use crate::save::{Reader, Save};
use crate::time::Instant;

/// Something that has happened, or how something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// To a client of a service.
    Client(ClientHappening),
    /// A decision of its cluster.
    Decision(Decision),
    /// To a server.
    Server(ServerHappening),
    /// To a hub.
    Hub(HubHappening),
    /// To a client of a hub.
    IpcClient(IpcClientHappening),
    /// What an application has told its machine, or a runtime, in words.
    Input(String),
}

impl Happening {
    /// What kind of thing it is, in a word for machines; that of a decision is in the decision.
    pub fn kind(&self) -> &'static str {
        match self {
            Happening::Client(what) => what.kind(),
            Happening::Decision(_) => "decision",
            Happening::Server(what) => what.kind(),
            Happening::Hub(what) => what.kind(),
            Happening::IpcClient(what) => what.kind(),
            Happening::Input(_) => "input",
        }
    }

    /// What is known of it, by the names of its fields.
    pub fn facts(&self) -> Vec<(&'static str, Fact<'_>)> {
        match self {
            Happening::Client(what) => what.facts(),
            Happening::Server(what) => what.facts(),
            Happening::Hub(what) => what.facts(),
            Happening::IpcClient(what) => what.facts(),
            Happening::Decision(_) | Happening::Input(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Client(what) => what.fmt(f),
            Happening::Decision(decision) => {
                let explanation = Explanation { at: Instant::ZERO, decision: decision.clone() }.to_string();
                // Without the time, which stands before every line.
                f.write_str(explanation.split_once(": ").map_or(&*explanation, |(_, said)| said))
            }
            Happening::Server(what) => what.fmt(f),
            Happening::Hub(what) => what.fmt(f),
            Happening::IpcClient(what) => what.fmt(f),
            Happening::Input(words) => f.write_str(words),
        }
    }
}

/// A field of a happening.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact<'a> {
    /// Not known, or there is none.
    Nothing,
    /// A name, an address, an id, or words.
    Text(Cow<'a, str>),
    /// How many.
    Number(u64),
    /// Whether.
    Flag(bool),
    /// How long.
    Time(Duration),
}

/// What can be a field of a happening.
pub(super) trait Field {
    fn fact(&self) -> Fact<'_>;
}

macro_rules! fields {
    ($($type:ty: $value:ident => $fact:expr,)*) => {
        $(impl Field for $type {
            fn fact(&self) -> Fact<'_> {
                let $value = self;
                $fact
            }
        })*
    };
}

fields! {
    String: text => Fact::Text(Cow::Borrowed(text)),
    &'static str: text => Fact::Text(Cow::Borrowed(text)),
    u8: n => Fact::Number((*n).into()),
    u32: n => Fact::Number((*n).into()),
    u64: n => Fact::Number(*n),
    bool: flag => Fact::Flag(*flag),
    Duration: time => Fact::Time(*time),
    StateEvent: event => Fact::Text(Cow::Owned(change(event))),
}

impl<T> Field for Id<T> {
    fn fact(&self) -> Fact<'_> {
        Fact::Text(Cow::Owned(self.to_string()))
    }
}

impl<T: Field> Field for Option<T> {
    fn fact(&self) -> Fact<'_> {
        self.as_ref().map_or(Fact::Nothing, Field::fact)
    }
}

/// What can happen to one subject, and which happening that is: each with a word for it, and fields that are told as data.
macro_rules! happenings {
    ($(#[$doc:meta])* Happening::$subject:ident($name:ident) { $(
        $(#[$about:meta])* $variant:ident = $kind:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* },
    )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$about])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl $name {
            pub(in crate::replay::explain) fn kind(&self) -> &'static str {
                match self {
                    $($name::$variant { .. } => $kind,)*
                }
            }

            pub(in crate::replay::explain) fn facts(&self) -> alloc::vec::Vec<(&'static str, $crate::replay::Fact<'_>)> {
                match self {
                    $($name::$variant { $($field),* } => {
                        [$((stringify!($field), crate::replay::explain::told::Field::fact($field))),*].into()
                    })*
                }
            }
        }

        impl From<$name> for $crate::replay::Happening {
            fn from(what: $name) -> Self {
                $crate::replay::Happening::$subject(what)
            }
        }
    };
}

pub(super) use happenings;

/// A change, as people read it.
pub(super) fn change(event: &StateEvent) -> String {
    match event {
        StateEvent::Connected { .. } => "a connection stands".into(),
        StateEvent::Closed { cause, .. } => alloc::format!("a connection has ended: {cause}"),
        StateEvent::Breaker { to, .. } => alloc::format!("its circuit breaker is {to}"),
        StateEvent::Ejected { cause, .. } => alloc::format!("it is ejected: {cause}"),
        StateEvent::Returned { .. } => "it is back from its ejection".into(),
        StateEvent::Health { to, .. } => alloc::format!("a health check says that it is {to}"),
        StateEvent::Drained { .. } => "it is drained".into(),
        StateEvent::Panic { priority, spread } => alloc::format!("priority {priority} panics: {spread:?}"),
        StateEvent::Failover { shares } => alloc::format!("the priorities take {shares:?} ‰"),
        StateEvent::Missed(missed) => alloc::format!("{missed} changes that nobody took"),
    }
}

/// The request that is asked for, by its id, and the numbers of those that have none but on the wire.
pub(super) struct Asked {
    id: Option<String>,
    last: u64,
}

impl Asked {
    pub(super) fn new(id: Option<&str>) -> Self {
        Asked { id: id.map(String::from), last: 0 }
    }

    /// Whether it is the one with these ids: its own, and that on the wire.
    pub(super) fn is(&self, own: impl fmt::Display, wire: &str) -> bool {
        self.id.as_ref().is_some_and(|id| *id == wire || *id == own.to_string())
    }

    /// The number of the next request, and whether it is asked for.
    pub(super) fn next(&mut self, wire: &str) -> (u64, bool) {
        self.last += 1;
        (self.last, self.is(self.last, wire))
    }
}

/// The connection that has come, unless it was turned away, and who is at its other end.
pub(super) fn accepted(record: &Record<'_>) -> (Option<ConnId>, Option<String>) {
    let [taken, slot, generation, ..] = record.fields;
    let connection = (taken != 0).then(|| ConnId::new(slot as u32, generation as u32));
    (connection, peer(Peer::load(&mut Reader::new(record.bytes)).unwrap_or(Peer::UNKNOWN)))
}

/// For how many calls each waits, and since when for the first of them.
pub(super) fn waits<K: Ord>(calls: impl Iterator<Item = (K, Instant)>) -> BTreeMap<K, (u64, Instant)> {
    let mut waits = BTreeMap::new();
    for (who, taken) in calls {
        let (count, since) = waits.entry(who).or_insert((0, taken));
        (*count, *since) = (*count + 1, taken.min(*since));
    }
    waits
}

/// How an application has answered what it was asked, and the code of the error, if it is one. An answer that was not sent
/// is too large, and whoever has asked is told so instead, by this code.
pub(super) fn answer(record: &Record<'_>, is_sent: bool, too_large: &str) -> (&'static str, Option<String>) {
    match record.kind {
        Kind::Unanswered => ("it was dropped without an answer", Some("EXECUTION_FAILED".into())),
        _ if !is_sent => ("the answer is larger than may be sent", Some(too_large.into())),
        Kind::Fail | Kind::LateFail => ("with the error", Some(error(record, 0).0.into())),
        _ => ("with a result", None),
    }
}

/// Whether an answer came after the application had put it off.
pub(super) fn is_late(kind: Kind) -> bool {
    matches!(kind, Kind::LateReply | Kind::LateFail)
}

/// Who is at the other end, as far as is known.
pub(super) fn peer(peer: Peer) -> Option<String> {
    match (peer.address, peer.credentials) {
        (Some(address), _) => Some(address.to_string()),
        (None, Some(credentials)) => Some(credentials.to_string()),
        (None, None) => None,
    }
}

/// A connection, and in brackets who is at its other end.
pub(super) struct At<'a>(pub(super) &'a ConnId, pub(super) &'a Option<String>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)?;
        match self.1 {
            Some(peer) => write!(f, " ({peer})"),
            None => Ok(()),
        }
    }
}

/// `1 call`, `2 calls`.
pub(super) struct Count(pub(super) u64, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// `1 connection stands`, `2 connections stand`.
pub(super) struct Stand(pub(super) u32);

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0 == 1 { "stands" } else { "stand" };
        write!(f, "{} {verb}", Count(self.0.into(), "connection"))
    }
}
