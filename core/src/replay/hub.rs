//! A hub plays a log.

use alloc::string::String;

use super::player::{Came, Player, tell};
use crate::id::ConnId;
use crate::ipc::hub::{Dropped, Event, Hub, Refused};
use crate::machine::{Machine, Peer};
use crate::record::format::{Record, Segment};
use crate::record::kinds::Kind;
use crate::record::mask::unmask;
use crate::record::{Record as _, Recorder};
use crate::save::{Damaged, Reader, Save, Snapshot};
use crate::time::Instant;
use crate::wire::ipc::{Envelope, Status, Text, Value};

pub(crate) struct HubPlayer {
    pub(crate) hub: Hub,
    /// Whether somebody wants to hear what the application was told.
    pub(crate) tells: bool,
    pub(crate) heard: Option<Heard>,
}

impl Player for HubPlayer {
    type Machine = Hub;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.hub
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        Ok(HubPlayer { hub: Hub::restore(segment.snapshot)?, tells: false, heard: None })
    }

    fn expect(&mut self, finding: &Record<'_>, _: &str) {
        if let Some(log) = self.hub.recorder().filter(|log| !log.is_whole()) {
            expect(log, finding);
        }
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, _: &str) -> Came {
        match call.kind {
            Kind::Event | Kind::NoEvent => {
                let event = self.hub.event();
                self.heard = event.filter(|_| self.tells).map(Heard::from);
            }
            Kind::Accept => {
                let peer = Peer::load(&mut Reader::new(call.bytes)).unwrap_or(Peer::UNKNOWN);
                self.hub.accept(now, peer);
            }
            Kind::Shutdown => self.hub.shutdown(now, Instant::from_nanos(call.fields[0])),
            Kind::ResetMetrics => self.hub.reset_metrics(),
            _ => return tell(&mut self.hub, now, call),
        }
        Came::Nothing
    }
}

/// What the application of a hub was told, kept for people.
pub(crate) enum Heard {
    /// Under which name, with how many methods, and as which one of a pool.
    Registered {
        service: String,
        methods: u64,
        member: Option<String>,
        peer: Peer,
    },
    /// A call was passed on to a connection.
    Routed(Letter, ConnId),
    /// A question to the hub itself.
    Query(Letter),
    Refused(Letter, Refused),
    /// An answer was passed on, or was not.
    Response(Letter, Result<(), Dropped>),
    Invalid(Refused),
    /// A connection has ended.
    End,
    /// What is no news, or known from the machine before.
    Other,
}

/// A message, as far as it tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) id: String,
    pub(crate) to: String,
    pub(crate) method: String,
    /// Of an answer that says that the call has failed.
    pub(crate) code: Option<String>,
}

impl Letter {
    fn of(message: &Envelope<'_>) -> Self {
        let text =
            |text: Result<Text<'_>, _>| text.map_or_else(|_| String::new(), |text| text.get().into_owned());
        let failed = message.status() == Ok(Status::Error);
        let code = || message.error().0.map_or("without a code".into(), |code| code.get().into_owned());
        Letter {
            from: text(message.from()),
            id: text(message.id()),
            to: text(message.to()),
            method: text(message.method()),
            code: failed.then(code),
        }
    }
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Registered { register, peer, .. } => {
                let number =
                    |key| register.metadata().and_then(|all| all.member(key)).and_then(Value::number);
                let member = number("poolIndex").zip(number("poolSize"));
                Heard::Registered {
                    service: register
                        .service_name()
                        .map_or_else(|_| String::new(), |name| name.get().into_owned()),
                    methods: register.methods().map_or(0, |methods| methods.count() as u64),
                    member: member.map(|(index, size)| alloc::format!("{} of {size}", index + 1)),
                    peer,
                }
            }
            Event::CallRouted { call, to } => Heard::Routed(Letter::of(&call), to),
            Event::CallAnswered { call, refused: None } => Heard::Query(Letter::of(&call)),
            Event::CallAnswered { call, refused: Some(refused) } => {
                Heard::Refused(Letter::of(&call), refused)
            }
            Event::ResponseRouted { response, .. } => Heard::Response(Letter::of(&response), Ok(())),
            Event::ResponseDropped { response, why } => Heard::Response(Letter::of(&response), Err(why)),
            Event::Invalid { refused, .. } => Heard::Invalid(refused),
            Event::Disconnected { .. } => Heard::End,
            Event::Heartbeat { .. } | Event::Missed(_) => Heard::Other,
        }
    }
}

/// A finding in messages of Bro IPC.
pub(super) fn expect(log: &mut Recorder, finding: &Record<'_>) {
    match finding.kind {
        Kind::Raw => log.expect(finding.bytes.to_vec()),
        Kind::Message => log.expect(unmask(finding.bytes)),
        Kind::Converted => {
            log.expect_conversion(usize::try_from(finding.fields[0]).unwrap_or(0), finding.bytes);
        }
        Kind::Written => {
            let len = usize::try_from(finding.fields[0]).unwrap_or(0);
            log.expect_write((finding.fields[1] == 0).then_some(len));
        }
        _ => {}
    }
}
