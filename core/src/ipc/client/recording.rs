//! What a client of a hub notes while it is recorded.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::api::Options;
use super::{CallError, Client, Event, Outcome, Token};
use crate::buf::Lent;
use crate::id::{ConnId, RequestId};
use crate::ipc::Context;
use crate::machine::Input;
use crate::record::kinds::Kind;
use crate::record::{Record, Recorder, Subject, Told, pair};
use crate::save::{Reader, Snapshot, Writer};
use crate::time::Instant;
use crate::wire::ipc::{Format, Value};

use super::links::Links;
use super::state::State;

impl Record for Client {
    const SUBJECT: Subject = Subject::IpcClient;

    fn log(&mut self) -> &mut Option<Box<Recorder>> {
        &mut self.state.links.log
    }

    fn told_time(&self) -> Instant {
        self.state.now
    }

    fn masked_snapshot(&mut self) -> Vec<u8> {
        let log = self.state.links.log.take();
        let mut masked = Client { receiver: self.receiver.masked(|_| 0), state: self.state.clone() };
        self.state.links.log = log;
        masked.state.links.pool.iter_mut().for_each(|link| link.port.send.mask());
        masked.snapshot()
    }

    fn whole_snapshot(&self) -> Option<Vec<u8>> {
        Some(self.snapshot())
    }
}

impl Client {
    /// Bytes are about to be noted as sent.
    pub(super) fn note_sent(&mut self, conn: ConnId, n: usize) {
        let links = &mut self.state.links;
        if let Some(at) = links.find(conn)
            && let Some(log) = &mut links.log
        {
            log.mix_sent(&links.pool[at as usize].port.send, n);
        }
    }

    pub(super) fn note_input(&mut self, input: Input) {
        let links = &mut self.state.links;
        let sent = match input {
            Input::Sent(conn, _) => {
                links.view(conn).map(|link| (link.port.send.sent(), link.port.send.len()))
            }
            _ => None,
        };
        let Some(log) = &mut links.log else { return };
        if let Some((sent, left)) = sent {
            log.mix(sent);
            log.mix(left as u64);
        }
        log.input(self.state.now, input);
        if log.is_full() {
            self.begin_segment();
        }
    }

    /// A message is about to be taken.
    #[cold]
    pub(super) fn note_message(&mut self, lent: &Lent) {
        let Some(log) = &mut self.state.links.log else { return };
        let message = self.receiver.lent_mut(lent);
        log.put_back(message);
        log.mix_content(message);
        log.message(Some(self.state.config.format), message);
    }
}

impl State {
    pub(super) fn note<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.links.log {
            log.put(kind, Some(self.now), fields);
        }
    }

    pub(super) fn note_text<const N: usize>(&mut self, kind: Kind, fields: [u64; N], text: &str) {
        if let Some(log) = &mut self.links.log {
            log.put_bytes(kind, Some(self.now), fields, text.as_bytes());
        }
    }

    pub(super) fn note_call(
        &mut self,
        [to, method]: [&str; 2],
        params: Option<Value<'_>>,
        within: Option<&Context>,
        options: Options,
        taken: &Result<RequestId, CallError>,
    ) {
        let Some(log) = &mut self.links.log else { return };
        let refused = match taken {
            Ok(id) => {
                log.mix(u64::from(id.slot()) << 32 | u64::from(id.generation()));
                0
            }
            Err(CallError::NotConnected) => 1,
            Err(CallError::Overloaded) => 2,
            Err(CallError::ShuttingDown) => 3,
            Err(CallError::Context(_)) => 4,
            Err(CallError::Misuse(_)) => 5,
        };
        let mut name = String::from(to);
        name.push('\0');
        name.push_str(method);
        let name = log.name(name.as_bytes());
        let flags = u64::from(options.timeout.is_some());
        let timeout = options.timeout.map_or(0, crate::time::nanos);
        let (low, high) = (options.tag & 0xffff_ffff, options.tag >> 32);
        let mut context = Writer::new();
        if let Some(Context { root, chain, depth, deadline }) = within {
            context.bytes(root.as_bytes());
            context.length(chain.len());
            chain.iter().for_each(|service| context.bytes(service.as_bytes()));
            context.varint(u64::from(*depth));
            context.varint(*deadline);
        }
        let mut known = Writer::new();
        known.bytes(context.as_bytes());
        log.keep_value(params, &mut known);
        let fields = [flags, name, low, high, timeout, refused];
        log.put_bytes(Kind::Call, Some(self.now), fields, known.as_bytes());
    }

    /// An answer was given to the call that is lent, or to one that was put off.
    pub(super) fn note_reply(&mut self, token: Option<Token>, data: Option<Value<'_>>, sent: bool) {
        let Some(log) = &mut self.links.log else { return };
        let len = data.map_or(0, |data| data.bytes().len() as u64);
        let mut kept = Writer::new();
        log.keep_value(data, &mut kept);
        let (now, kept) = (Some(self.now), kept.as_bytes());
        match token.map(|token| pair(token.0)) {
            None => log.put_bytes(Kind::Reply, now, [len, sent.into()], kept),
            Some([slot, generation]) => {
                log.put_bytes(Kind::LateReply, now, [slot, generation, len, sent.into()], kept);
            }
        }
    }

    pub(super) fn note_failure(&mut self, token: Option<Token>, code: &str, message: &str, sent: bool) {
        let Some(log) = &mut self.links.log else { return };
        let len = message.len() as u64;
        let (now, words) = (Some(self.now), log.words(code, message));
        match token.map(|token| pair(token.0)) {
            None => log.put_bytes(Kind::Fail, now, [len, sent.into()], words.as_bytes()),
            Some([slot, generation]) => {
                let fields = [slot, generation, len, sent.into()];
                log.put_bytes(Kind::LateFail, now, fields, words.as_bytes());
            }
        }
    }
}

impl Links {
    pub(super) fn note_room(&mut self, conn: ConnId, room: bool) {
        if let Some(log) = &mut self.log {
            log.gave_room(conn, room);
        }
    }
}

/// A value as it was kept; `None`: there was none, or bodies were not kept.
pub(crate) fn read_value(bytes: &[u8]) -> Option<Value<'_>> {
    let (&format, bytes) = bytes.split_first()?;
    Value::parse(if format == 0 { Format::Json } else { Format::MessagePack }, bytes).ok()
}

/// What a call in a log was made with: the bytes of its context, and its parameters.
pub(crate) fn read_call(bytes: &[u8]) -> (Option<Context>, Option<Value<'_>>) {
    let mut from = Reader::new(bytes);
    let context = from.bytes().ok().and_then(read_context);
    (context, read_value(from.left()))
}

fn read_context(bytes: &[u8]) -> Option<Context> {
    let mut from = Reader::new(bytes);
    let text = |from: &mut Reader<'_>| Some(String::from(core::str::from_utf8(from.bytes().ok()?).ok()?));
    let root = text(&mut from)?;
    let mut chain = Vec::new();
    for _ in 0..from.length().ok()? {
        chain.push(text(&mut from)?);
    }
    let depth = u32::try_from(from.varint().ok()?).ok()?;
    Some(Context { root, chain, depth, deadline: from.varint().ok()? })
}

impl Recorder {
    /// Keeps a value, if all bytes are kept.
    fn keep_value(&self, value: Option<Value<'_>>, out: &mut Writer) {
        if let Some(value) = value
            && self.is_whole()
        {
            out.byte((value.format() == Format::MessagePack).into());
            out.raw(value.bytes());
        }
    }

    /// What the application of a client of a hub is told.
    pub(super) fn event_of(&mut self, event: Option<&Event<'_>>) {
        let Some(event) = event else { return self.put(Kind::NoEvent, None, []) };
        let (told, slot) = match event {
            Event::Outcome { id, outcome, .. } => {
                self.mix(id.generation().into());
                let told = match outcome {
                    Outcome::Success(_) => Told::Answer,
                    Outcome::Failure { .. } => Told::Remote,
                    Outcome::Timeout { .. } | Outcome::DeadlineExceeded { .. } => Told::Timeout,
                    Outcome::Lost { .. } | Outcome::Disconnected => Told::Lost,
                    Outcome::Cancelled => Told::Cancelled,
                };
                (told, id.slot())
            }
            Event::Call(_) => (Told::Request, 0),
            Event::Refused { refused, .. } => {
                self.mix_debug(refused);
                (Told::Message, 0)
            }
            Event::Abandoned(token) => (Told::State, token.0.slot()),
            Event::State(change) => {
                self.mix_debug(change);
                (Told::State, 0)
            }
            Event::Invalid(error) => {
                self.mix_debug(error);
                (Told::Message, 1)
            }
            Event::GatewayError { .. } => (Told::Message, 2),
            Event::Acknowledged => (Told::Message, 3),
            Event::Ignored(_) => (Told::Message, 4),
        };
        self.event(told, slot, 0);
    }
}
