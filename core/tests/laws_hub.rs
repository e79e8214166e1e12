//! The laws of machines, for the hub of Bro IPC.

mod ipc_laws;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::ipc::hub::{Config, Event, Hub};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::replay::Query;
use plimsoll_core::testing::laws::{self, Op, Subject};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Envelope, Format, Kind, Limits, code};

use ipc_laws::{frame, next_message, spoil};

/// A hub, small enough that its limits are reached, or at its defaults.
struct Surroundings<const SMALL: bool> {
    peers: BTreeMap<u32, Peer>,
    said: u32,
}

#[derive(Default)]
struct Peer {
    registered: bool,
    /// What it has begun to send and not finished.
    begun: Vec<u8>,
    /// What it has received of a message.
    heard: Vec<u8>,
    /// Calls that it was passed: their ids, and who called.
    called: Vec<(String, String)>,
}

fn small() -> Config {
    let limit = |n| NonZeroU32::new(n).unwrap();
    Config {
        limits: Limits { body: 600_000 },
        timeout: Duration::from_secs(20),
        register_timeout: Duration::from_secs(300),
        connections: limit(4),
        methods: limit(2),
        pending: limit(2),
        pending_total: limit(4),
        unsent: Band::new(300, 600).unwrap(),
        unsent_total: limit(1_500),
        receive_budget: limit(1),
        ..Config::default()
    }
}

fn format_of(peer: u32) -> Format {
    if peer.is_multiple_of(3) { Format::MessagePack } else { Format::Json }
}

fn name_of(peer: u32) -> String {
    format!("service-{}", peer % 5)
}

impl<const SMALL: bool> Surroundings<SMALL> {
    fn message(&mut self, peer: u32, number: u16) -> String {
        self.said += 1;
        let (name, other) = (name_of(peer), name_of(u32::from(number / 16) % 4));
        let of_peer = self.peers.entry(peer).or_default();
        // Most register before they say anything else.
        let first = !std::mem::replace(&mut of_peer.registered, true) && !number.is_multiple_of(8);
        match if first { 0 } else { number % 16 } {
            0 => format!(r#"{{"type":"REGISTER","serviceName":"{name}","methods":["a","b"]}}"#),
            1 => format!(
                r#"{{"type":"REGISTER","serviceName":"{name}","methods":["a"],"metadata":{{"poolIndex":{},"poolSize":4}}}}"#,
                peer % 4
            ),
            2 => format!(r#"{{"type":"HEARTBEAT","from":"{name}","timestamp":1}}"#),
            3 => format!(r#"{{"type":"CALL","id":"x","from":"{other}","to":"{name}","method":"a"}}"#),
            4..=7 => {
                let (id, large) = (self.said, "x".repeat(usize::from(number) % 200));
                let method = ["a", "b", "a", "b", "c"][usize::from(number) % 5];
                let deadline = 1_700_000_000_000 + u64::from(number) * 1_000;
                format!(
                    r#"{{"type":"CALL","id":"{id}","from":"{name}","to":"{other}","method":"{method}","params":"{large}","context":{{"root":"r","chain":["a"],"depth":{},"deadline":{deadline}}}}}"#,
                    1 + number % 102
                )
            }
            8 => format!(
                r#"{{"type":"CALL","id":"q","from":"{name}","to":"$hub","method":"status","context":{{"root":"r","chain":[],"depth":1,"deadline":1e15}}}}"#
            ),
            9 => r#"{"type":"ERROR"}"#.into(),
            _ => match of_peer.called.pop() {
                Some((id, to)) => {
                    let status = if number.is_multiple_of(2) { "success" } else { "error" };
                    format!(
                        r#"{{"type":"RESPONSE","id":"{id}","from":"{name}","to":"{to}","status":"{status}","data":[1]}}"#
                    )
                }
                None => format!(r#"{{"type":"HEARTBEAT","from":"{name}"}}"#),
            },
        }
    }
}

impl<const SMALL: bool> Subject for Surroundings<SMALL> {
    type Machine = Hub;

    fn new(seed: u64) -> (Self, Hub) {
        let large = Config { register_timeout: Duration::from_secs(300), ..Config::default() };
        let hub = Hub::new(if SMALL { small() } else { large }, seed);
        (Surroundings { peers: BTreeMap::new(), said: 0 }, hub)
    }

    fn command(&mut self, hub: &mut Hub, now: Instant, number: u16) {
        if number % 64 == 63 {
            hub.shutdown(now, now + Duration::from_millis(u64::from(number)));
        }
    }

    fn event(&mut self, event: Event<'_>) -> (u64, String) {
        let seen = match event {
            Event::Registered { register, .. } => format!("registered {register}"),
            Event::CallRouted { call, .. } => format!("routed {call}"),
            Event::CallAnswered { call, refused } => format!("answered {call} {refused:?}"),
            Event::ResponseRouted { response, .. } => format!("response {response}"),
            Event::ResponseDropped { response, why } => format!("dropped {response} {why:?}"),
            Event::Heartbeat { .. } => "heartbeat".into(),
            Event::Invalid { refused, .. } => format!("invalid {refused:?}"),
            Event::Disconnected { service, cause, .. } => format!("disconnected {service:?} {cause:?}"),
            other => format!("{other:?}"),
        };
        // Which of two connections is found silent first may depend on how their bytes came.
        let line = match event {
            Event::Disconnected { service, .. } => service.map_or(1, |name| u64::from(name.as_bytes()[8])),
            _ => 0,
        };
        (line, seen)
    }

    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String> {
        let of_peer = self.peers.entry(peer).or_default();
        of_peer.heard.extend(bytes);
        let mut messages = Vec::new();
        while let Some(message) = next_message(&mut of_peer.heard) {
            let format = Format::of(message[0]).expect("the hub sends objects");
            let envelope = Envelope::parse(format, &message).expect("the hub passes on what can be read");
            if envelope.kind() == Kind::Call {
                let text = |text: plimsoll_core::wire::ipc::Text<'_>| text.get().into_owned();
                of_peer.called.push((text(envelope.id().unwrap()), text(envelope.from().unwrap())));
            }
            // Of two that are ended at the same time, the second hears that the first is gone; which is which is not promised.
            if envelope.error().0.is_some_and(|word| word.is(code::CONNECTION_LOST)) {
                continue;
            }
            // What the hub says of itself is of all connections, whose order among each other is not promised.
            let of_itself = envelope.from().is_ok_and(|from| &*from.get() == "$hub");
            messages.push(if of_itself { "of the hub itself".into() } else { envelope.to_string() });
        }
        messages
    }

    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8> {
        let rest = std::mem::take(&mut self.peers.entry(peer).or_default().begun);
        if !rest.is_empty() {
            return rest;
        }
        let mut bytes = Vec::new();
        for n in 0..number % 7 {
            let message = self.message(peer, number / 5 + 7 * n);
            bytes.extend(frame(format_of(peer), &message));
        }
        self.peers.entry(peer).or_default().begun = spoil(&mut bytes, format_of(peer), number);
        bytes
    }
}

/// Somebody must have connected and registered for much to happen.
fn with_connections(ops: Vec<Op>) -> Vec<Op> {
    let connect = (1, 0);
    // 85: one message, a registration, and nothing after it.
    let register = [(2, 85 * 16), (2, 85 * 16 + 1), (2, 85 * 16 + 2)];
    [connect; 3].into_iter().chain(register).chain(ops).collect()
}

laws!(Surroundings<true>, Surroundings<false>, with_connections);

/// The slots of the connections differ, and with them the order in which they end when the time of the shutdown is over.
#[test]
fn cutting_changes_nothing_when_caller_and_callee_end_at_the_same_time() {
    let ops = [
        (128, 0),
        (1, 0),
        (16, 48095),
        (0, 54901),
        (43, 0),
        (0, 35099),
        (127, 0),
        (71, 0),
        (127, 0),
        (1, 0),
        (128, 19777),
        (128, 11280),
        (102, 65535),
    ];
    laws::cutting::<Surroundings<false>>(0, &with_connections(ops.to_vec()), &[0, 0]).unwrap();
}

quickcheck::quickcheck! {
    fn what_a_hub_has_counted_is_told(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        let segments = ipc_laws::small_segments();
        laws::recorded_and_told::<Surroundings<true>>(seed, &with_connections(ops), segments, |hub| {
            let metrics = hub.metrics();
            vec![
                (Query::Changes, "accepted", metrics.accepted),
                (Query::Changes, "turned_away", metrics.turned_away + metrics.strangers),
                (Query::Changes, "registered", metrics.registered),
                (Query::Failures, "refused", metrics.refused),
                (Query::Failures, "timed_out", metrics.timed_out),
                (Query::Failures, "lost", metrics.lost),
                (Query::Failures, "abandoned", metrics.abandoned),
            ]
        })
    }
}
