//! The laws of machines, for the client of Bro IPC.

mod ipc_laws;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::id::RequestId;
use plimsoll_core::ipc::Context;
use plimsoll_core::ipc::client::{Client, Config, Event, Incoming, Options, Token};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::replay::Query;
use plimsoll_core::testing::laws::{self, Op, Subject};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Envelope, Format, Kind, Limits, Value};

use ipc_laws::{frame, next_message, spoil};

/// A client, small enough that its limits are reached, or at its defaults; and a hub that is played.
struct Surroundings<const SMALL: bool> {
    peers: BTreeMap<u32, Peer>,
    calls: Vec<RequestId>,
    tokens: Vec<Token>,
    context: Option<Context>,
    taken: u16,
    format: Format,
}

#[derive(Default)]
struct Peer {
    begun: Vec<u8>,
    heard: Vec<u8>,
    /// Ids of calls that it was asked to pass on.
    asked: Vec<String>,
    said: u32,
}

fn config(small: bool, format: Format) -> Config {
    let limit = |n| NonZeroU32::new(n).unwrap();
    // Time passes in long steps.
    let long = Duration::from_secs(300);
    let config = Config {
        format,
        pool_size: limit(2),
        connect_timeout: long,
        register_timeout: long,
        ..Config::new("own")
    };
    if !small {
        return config;
    }
    Config {
        limits: Limits { body: 600_000 },
        pending: limit(3),
        serving: limit(2),
        methods: limit(3),
        unsent: Band::new(300, 900).unwrap(),
        receive_budget: limit(1),
        ..config
    }
}

impl<const SMALL: bool> Surroundings<SMALL> {
    fn message(&mut self, peer: u32, number: u16) -> String {
        let of_peer = self.peers.entry(peer).or_default();
        of_peer.said += 1;
        let (id, large) = (of_peer.said, "x".repeat(usize::from(number) % 200));
        match number % 8 {
            0 => r#"{"type":"REGISTER_ACK"}"#.into(),
            1 => r#"{"type":"ERROR","error":{"message":"no","code":"INVALID_MESSAGE"},"timestamp":1}"#.into(),
            2..=4 => {
                let method = ["a", "b", "a", "b", "c"][usize::from(number) % 5];
                let deadline = 1_700_000_000_000 + u64::from(number) * 1_000;
                format!(
                    r#"{{"type":"CALL","id":"{id}","from":"other","to":"own","method":"{method}","params":"{large}","context":{{"root":"r","chain":["other","own"],"depth":{},"deadline":{deadline}}}}}"#,
                    1 + number % 102
                )
            }
            5 if number.is_multiple_of(3) => {
                format!(r#"{{"type":"RESPONSE","id":"{id}","status":"success"}}"#)
            }
            _ => match of_peer.asked.pop() {
                Some(id) if number.is_multiple_of(2) => format!(
                    r#"{{"type":"RESPONSE","id":"{id}","from":"other","to":"own","status":"success","data":"{large}"}}"#
                ),
                Some(id) => format!(
                    r#"{{"type":"RESPONSE","id":"{id}","from":"other","to":"own","status":"error","error":{{"message":"m"}}}}"#
                ),
                None => r#"{"type":"REGISTER_ACK"}"#.into(),
            },
        }
    }
}

impl<const SMALL: bool> Subject for Surroundings<SMALL> {
    type Machine = Client;

    fn new(seed: u64) -> (Self, Client) {
        let format = if seed.is_multiple_of(3) { Format::MessagePack } else { Format::Json };
        let mut client = Client::new(config(SMALL, format), seed);
        client.register_method(Instant::ZERO, "a").unwrap();
        client.register_method(Instant::ZERO, "b").unwrap();
        client.connect(Instant::ZERO);
        let (peers, calls, tokens) = (BTreeMap::new(), Vec::new(), Vec::new());
        (Surroundings { peers, calls, tokens, context: None, taken: 0, format }, client)
    }

    fn command(&mut self, client: &mut Client, now: Instant, number: u16) {
        let of = |len: usize| usize::from(number / 16).checked_rem(len);
        match number % 16 {
            0 => drop(client.register_method(now, ["c", "d", "e"][usize::from(number / 16) % 3])),
            1 => drop(client.unregister_method(now, ["b", "c", "d"][usize::from(number / 16) % 3])),
            2 => {
                if let Some(at) = of(self.calls.len()) {
                    client.cancel(now, self.calls[at]);
                }
            }
            3 | 4 => {
                if let Some(token) = of(self.tokens.len()).map(|at| self.tokens.swap_remove(at)) {
                    let _ = client.reply(now, token, Value::parse(Format::Json, b"[1]").ok());
                }
            }
            5 => {
                if let Some(token) = of(self.tokens.len()).map(|at| self.tokens.swap_remove(at)) {
                    let _ = client.fail(now, token, "LATER", "no");
                }
            }
            6 if number > 50_000 => client.disconnect(now),
            7 if number > 60_000 => client.shutdown(now, now + Duration::from_millis(u64::from(number))),
            8 => client.connect(now),
            _ => {
                let text = format!("\"{}\"", "p".repeat(usize::from(number) % 300));
                let params = Value::parse(Format::Json, text.as_bytes()).unwrap();
                let timeout = number.is_multiple_of(5).then(|| Duration::from_millis(u64::from(number)));
                let options = Options { timeout, tag: u64::from(number) };
                let within = self.context.as_ref().filter(|_| number.is_multiple_of(2));
                if let Ok(id) = client.call(now, "other", "m", Some(params), within, options) {
                    self.calls.push(id);
                }
            }
        }
    }

    fn event(&mut self, event: Event<'_>) -> (u64, String) {
        let seen = match event {
            Event::Call(Incoming { method, params, from, context, responder }) => {
                self.context = Context::read(context.whole).ok();
                self.taken = self.taken.wrapping_add(1);
                match self.taken % 4 {
                    0 => drop(responder),
                    1 => responder.fail("NOW", "no").unwrap(),
                    2 => responder.reply(params).unwrap(),
                    _ => self.tokens.push(responder.defer()),
                }
                format!("call {method} {from} {params:?} {:?}", self.context)
            }
            Event::Outcome { tag, outcome, .. } => format!("outcome {tag} {outcome:?}"),
            other => format!("{other:?}"),
        };
        (0, seen)
    }

    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String> {
        let of_peer = self.peers.entry(peer).or_default();
        of_peer.heard.extend(bytes);
        let mut messages = Vec::new();
        while let Some(message) = next_message(&mut of_peer.heard) {
            let envelope = Envelope::parse(self.format, &message).expect("a client sends what can be read");
            if envelope.kind() == Kind::Call {
                of_peer.asked.push(envelope.id().unwrap().get().into_owned());
            }
            messages.push(envelope.to_string());
        }
        messages
    }

    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8> {
        let rest = std::mem::take(&mut self.peers.entry(peer).or_default().begun);
        if !rest.is_empty() {
            return rest;
        }
        let mut bytes = Vec::new();
        if self.peers[&peer].said == 0 && !number.is_multiple_of(8) {
            bytes.extend(frame(self.format, r#"{"type":"REGISTER_ACK"}"#));
        }
        for n in 0..number % 7 {
            let message = self.message(peer, number / 7 + 5 * n);
            bytes.extend(frame(self.format, &message));
        }
        self.peers.entry(peer).or_default().begun = spoil(&mut bytes, self.format, number);
        bytes
    }
}

/// Its dials have to succeed and its registrations to be taken for much to happen.
fn with_connections(ops: Vec<Op>) -> Vec<Op> {
    // Says one message, of number 85: the acknowledgement comes first.
    [(7, 1), (7, 1), (2, 85 * 16), (2, 85 * 16 + 1)].into_iter().chain(ops).collect()
}

laws!(Surroundings<true>, Surroundings<false>, with_connections);

#[test]
fn a_shutdown_that_the_last_call_was_waited_for_is_an_event_to_come() {
    let ops = [(0, 5000), (91, 1), (16, 2704), (46, 6), (74, 64167), (156, 256)];
    laws::early_and_repeated_ticks::<Surroundings<true>>(0, &with_connections(ops.to_vec())).unwrap();
}

quickcheck::quickcheck! {
    fn what_a_client_has_counted_is_told(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        let segments = ipc_laws::small_segments();
        laws::recorded_and_told::<Surroundings<true>>(seed, &with_connections(ops), segments, |client| {
            let metrics = client.metrics();
            vec![
                (Query::Failures, "ended", metrics.failed),
                (Query::Failures, "refused", metrics.rejected),
                (Query::Failures, "turned_down", metrics.refused),
            ]
        })
    }
}
