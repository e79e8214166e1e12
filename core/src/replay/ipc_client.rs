//! A client of a hub plays a log.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::hub::expect;
use super::player::{Came, Player, error, tell};
use crate::id::{Id, RequestId};
use crate::ipc::client::{self, Client, Event, Outcome, Refused, StateEvent, Token};
use crate::machine::Machine;
use crate::record::Record as _;
use crate::record::format::{Record, Segment};
use crate::record::kinds::Kind;
use crate::save::{Damaged, Snapshot};
use crate::time::Instant;
use crate::wire::ipc::{Format, MessageError, Text, Value};

pub(crate) struct IpcClientPlayer {
    pub(crate) client: Client,
    /// Whether somebody wants to hear what the application was told.
    pub(crate) tells: bool,
    pub(crate) heard: Option<Heard>,
    whole: bool,
    /// An event is taken with the next call, which says what becomes of it if it is a call.
    lends: bool,
}

impl Player for IpcClientPlayer {
    type Machine = Client;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.client
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        let client = Client::restore(segment.snapshot)?;
        Ok(IpcClientPlayer { client, tells: false, heard: None, whole: segment.head.whole, lends: false })
    }

    fn expect(&mut self, finding: &Record<'_>, _: &str) {
        if let Some(log) = self.client.recorder().filter(|log| !log.is_whole()) {
            expect(log, finding);
        }
    }

    fn defers(&self) -> bool {
        self.lends
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came {
        if core::mem::take(&mut self.lends) {
            if self.answer(call) {
                return Came::Nothing;
            }
            self.take_event();
        }
        let IpcClientPlayer { client, whole, .. } = self;
        let [a, b, c, ..] = call.fields;
        let token = Token(Id::new(a as u32, b as u32));
        let text = core::str::from_utf8(call.bytes).unwrap_or("");
        match call.kind {
            Kind::Event => self.lends = true,
            Kind::NoEvent => self.take_event(),
            Kind::Connect => client.connect(now),
            Kind::Disconnect => client.disconnect(now),
            Kind::Shutdown => client.shutdown(now, Instant::from_nanos(a)),
            Kind::ResetMetrics => client.reset_metrics(),
            Kind::RegisterMethod => drop(client.register_method(now, text)),
            Kind::UnregisterMethod => drop(client.unregister_method(now, text)),
            Kind::Cancel => drop(client.cancel(now, Id::new(a as u32, b as u32))),
            Kind::LateReply if *whole => drop(client.reply(now, token, client::read_value(call.bytes))),
            Kind::LateReply => drop(client.reply(now, token, Value::parse(Format::Json, &body(c)).ok())),
            Kind::LateFail => {
                let (code, message) = error(call, c);
                let _ = client.fail(now, token, code, &message);
            }
            Kind::Call => {
                let [flags, _, low, high, timeout, ..] = call.fields;
                let (to, method) = name.split_once('\0').unwrap_or(("", name));
                let timeout = (flags & 1 != 0).then_some(Duration::from_nanos(timeout));
                let options = client::Options { timeout, tag: high << 32 | low };
                let (within, params) = client::read_call(call.bytes);
                return match client.call(now, to, method, params, within.as_ref(), options) {
                    Ok(id) => Came::Taken(id),
                    Err(_) => Came::Refused,
                };
            }
            _ => return tell(client, now, call),
        }
        Came::Nothing
    }
}

impl IpcClientPlayer {
    /// An event of which nothing comes; a call is lent, and forgotten.
    fn take_event(&mut self) {
        let Some(event) = self.client.event() else { return };
        if self.tells {
            self.heard = Some(Heard::from(&event));
        }
        if let Event::Call(call) = event {
            core::mem::forget(call.responder);
        }
    }

    /// Does with the call that is lent what was done; whether this was about it.
    fn answer(&mut self, call: &Record<'_>) -> bool {
        if !matches!(call.kind, Kind::Reply | Kind::Fail | Kind::Defer | Kind::Unanswered) {
            return false;
        }
        let Some(event) = self.client.event() else { return true };
        if self.tells {
            self.heard = Some(Heard::from(&event));
        }
        let Event::Call(lent) = event else { return true };
        let len = call.fields[0];
        match call.kind {
            Kind::Reply if self.whole => drop(lent.responder.reply(client::read_value(call.bytes))),
            Kind::Reply => drop(lent.responder.reply(Value::parse(Format::Json, &body(len)).ok())),
            Kind::Fail => {
                let (code, message) = error(call, len);
                let _ = lent.responder.fail(code, &message);
            }
            Kind::Defer => drop(lent.responder.defer()),
            _ => drop(lent.responder),
        }
        true
    }
}

/// What the application of a client of a hub was told, kept for people.
pub(crate) enum Heard {
    /// A call has ended: how; the code of its failure; whether any of it was sent, if that is not plain.
    Outcome {
        id: RequestId,
        how: &'static str,
        code: Option<String>,
        sent: Option<bool>,
    },
    /// Another service calls.
    Call {
        id: String,
        from: String,
        method: String,
    },
    /// Another service has called, and was answered by the client itself.
    Refused {
        id: String,
        from: String,
        method: String,
        refused: Refused,
    },
    /// Nobody waits any more for the answer to a call that was put off.
    Abandoned(RequestId),
    State(StateEvent),
    /// The hub complains, with a code if it has one.
    Complaint(Option<String>),
    Invalid(MessageError),
    /// What is no news.
    Other,
}

impl From<&Event<'_>> for Heard {
    fn from(event: &Event<'_>) -> Self {
        let text =
            |text: Result<Text<'_>, _>| text.map_or_else(|_| String::new(), |text| text.get().into_owned());
        match event {
            Event::Outcome { id, outcome, .. } => {
                let (how, sent) = match outcome {
                    Outcome::Success(_) => ("it is answered", None),
                    Outcome::Failure { .. } => ("the service or the hub says that it has failed", None),
                    Outcome::Timeout { sent } => {
                        ("no answer in the time that this client allows", Some(*sent))
                    }
                    Outcome::DeadlineExceeded { sent } => {
                        ("no answer before the deadline of its context", Some(*sent))
                    }
                    Outcome::Lost { sent } => ("its connection to the hub was lost", Some(*sent)),
                    Outcome::Disconnected => ("the application has disconnected", None),
                    Outcome::Cancelled => ("its caller gave it up", None),
                };
                let code = outcome.code().map(|code| code.get().into_owned());
                Heard::Outcome { id: *id, how, code, sent }
            }
            Event::Call(call) => Heard::Call {
                id: call.responder.id().get().into_owned(),
                from: call.from.get().into_owned(),
                method: call.method.get().into_owned(),
            },
            Event::Refused { call, refused } => Heard::Refused {
                id: text(call.id()),
                from: text(call.from()),
                method: text(call.method()),
                refused: *refused,
            },
            Event::Abandoned(token) => Heard::Abandoned(token.0),
            Event::State(event) => Heard::State(*event),
            Event::GatewayError { code, .. } => Heard::Complaint(code.map(|code| code.get().into_owned())),
            Event::Invalid(error) => Heard::Invalid(*error),
            Event::Acknowledged | Event::Ignored(_) => Heard::Other,
        }
    }
}

/// A value of so many bytes, or nothing.
fn body(len: u64) -> Vec<u8> {
    "1".repeat(usize::try_from(len).unwrap_or(0)).into_bytes()
}
