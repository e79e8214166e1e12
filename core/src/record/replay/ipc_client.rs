//! A client of a hub plays a log.

use alloc::vec::Vec;
use core::time::Duration;

use super::super::Record as _;
use super::super::format::{Record, Segment};
use super::super::kinds::Kind;
use super::hub::expect;
use super::{Came, Player, error, tell};
use crate::id::Id;
use crate::ipc::client::{self, Client, Event, Token};
use crate::machine::Machine;
use crate::save::{Damaged, Snapshot};
use crate::time::Instant;
use crate::wire::ipc::{Format, Value};

pub(crate) struct IpcClientPlayer {
    client: Client,
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
        Ok(IpcClientPlayer { client, whole: segment.head.whole, lends: false })
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
                let _ = client.call(now, to, method, params, within.as_ref(), options);
            }
            _ => return tell(client, now, call),
        }
        Came::Nothing
    }
}

impl IpcClientPlayer {
    /// An event of which nothing comes; a call is lent, and forgotten.
    fn take_event(&mut self) {
        if let Some(Event::Call(call)) = self.client.event() {
            core::mem::forget(call.responder);
        }
    }

    /// Does with the call that is lent what was done; whether this was about it.
    fn answer(&mut self, call: &Record<'_>) -> bool {
        if !matches!(call.kind, Kind::Reply | Kind::Fail | Kind::Defer | Kind::Unanswered) {
            return false;
        }
        let Some(Event::Call(lent)) = self.client.event() else { return true };
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

/// A value of so many bytes, or nothing.
fn body(len: u64) -> Vec<u8> {
    "1".repeat(usize::try_from(len).unwrap_or(0)).into_bytes()
}
