//! Messages of Bro IPC, in both formats.

use alloc::vec::Vec;

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::wire::ipc::{Envelope, Format, Limits, Step, Value, convert, decode_frame};

/// Small, so that short inputs reach it.
const LIMITS: Limits = Limits { body: 512 };

/// A body, whose format the first byte picks. A message can be asked for everything; what is read as JSON is JSON; and
/// what is said in the other format means the same when it comes back.
pub fn ipc(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let (format, other) = match first % 2 {
        0 => (Format::Json, Format::MessagePack),
        _ => (Format::MessagePack, Format::Json),
    };
    frame(body);
    let value = Value::parse(format, body);
    if let Ok(envelope) = Envelope::parse(format, body) {
        assert!(value.is_ok(), "a message is a value");
        ask(&envelope);
    }
    let Ok(value) = value else { return };
    if format == Format::Json {
        serde_json::from_slice::<IgnoredAny>(body).expect("what is read as JSON is JSON");
    }
    let Some(there) = said_in(other, value) else { return };
    let there = Value::parse(other, &there).expect("what is converted can be read");
    let back = said_in(format, there).expect("what came from a format can be said in it");
    let again = Value::parse(format, &back).expect("what is converted can be read");
    let (before, after) = match format {
        Format::Json => (body.to_vec(), back),
        // The lengths of integers may differ, and binary comes back as text: as JSON they are the same.
        Format::MessagePack => (there.bytes().to_vec(), said_in(other, again).expect("it was said before")),
    };
    // Half a surrogate pair, escaped, is JSON by the grammar, but no text that could be compared.
    if let (Ok(before), Ok(after)) = (serde_json::from_slice(&before), serde_json::from_slice(&after)) {
        assert!(same(&before, &after), "{before} has become {after}");
    }
}

fn frame(bytes: &[u8]) {
    match decode_frame(bytes, &LIMITS) {
        Ok(Step::Need(needed)) => assert!(needed > bytes.len() && needed <= 4 + LIMITS.body as usize),
        Ok(Step::Frame(body)) => assert!(body.start == 4 && body.end <= bytes.len()),
        Err(_) => assert!(bytes.len() >= 4),
    }
}

fn ask(envelope: &Envelope<'_>) {
    let texts = [envelope.id(), envelope.from(), envelope.to(), envelope.method(), envelope.service_name()];
    for text in texts.into_iter().flatten() {
        assert!(text.get().len() <= text.len_at_most(), "longer than it may be at most");
    }
    let parts = [envelope.params(), envelope.data(), envelope.metadata(), envelope.raw_context()];
    for part in parts.into_iter().flatten() {
        assert!(Value::parse(envelope.format(), part.bytes()).is_ok(), "a part of a message is a value");
    }
    let _ =
        (envelope.status(), envelope.error(), envelope.version(), envelope.timestamp(), envelope.context());
    let _ = envelope.methods().map(|methods| methods.count());
}

fn said_in(format: Format, value: Value<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    convert(value, format, &mut out, 1 << 16).ok().map(|()| out)
}

/// Numbers that are no integers may differ by what reading them rounds.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) if left.is_f64() || right.is_f64() => {
            let float = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
            let (left, right) = (float(left), float(right));
            left == right || left.to_bits().abs_diff(right.to_bits()) <= 8
        }
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}
