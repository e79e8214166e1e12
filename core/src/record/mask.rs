//! Messages of Bro IPC without their bodies, and something in place of these that reads as well.

use alloc::vec::Vec;

use crate::save::{Reader, Writer};
use crate::wire::ipc::{Envelope, Format, HEADER, HUB, Value};

/// What a hub or its client reads. Everything else is a body: parameters, results, the words of errors, and fields that
/// nobody here knows.
const READ: [&str; 12] = [
    "type",
    "id",
    "from",
    "to",
    "method",
    "context",
    "status",
    "serviceName",
    "methods",
    "version",
    "metadata",
    "timestamp",
];

/// A message with its header, as a log has it: the format; then bytes that are kept behind their number, and the number of
/// those that are not, by turns. One that cannot be read is kept as it came.
pub(crate) fn mask(format: Option<Format>, message: &[u8]) -> Vec<u8> {
    let body = message.get(HEADER..).unwrap_or(&[]);
    let format = format.or(body.first().copied().and_then(Format::of));
    let mut bodies = Vec::new();
    if let Some(format) = format
        && let Ok(envelope) = Envelope::parse(format, body)
        && !envelope.to().is_ok_and(|to| to.is(HUB))
    {
        find_bodies(envelope.whole(), &mut bodies);
    }
    let start = message.as_ptr().addr();
    let mut out = Writer::new();
    out.byte((format == Some(Format::MessagePack)).into());
    let mut at = 0;
    for body in bodies {
        let from = body.as_ptr().addr() - start;
        out.bytes(&message[at..from]);
        out.length(body.len());
        at = from + body.len();
    }
    out.bytes(&message[at..]);
    out.into_bytes()
}

fn find_bodies<'a>(whole: Value<'a>, bodies: &mut Vec<&'a [u8]>) {
    for (key, value) in whole.members().into_iter().flatten() {
        match &*key.get() {
            "error" if value.members().is_some() => {
                let words = value.members().into_iter().flatten().filter(|(key, _)| !key.is("code"));
                bodies.extend(words.map(|(_, word)| word).map(text_or_whole));
            }
            key if READ.contains(&key) => {}
            _ => bodies.push(value.bytes()),
        }
    }
}

/// Of a text in JSON, what stands between its quotes: it remains one.
fn text_or_whole(value: Value<'_>) -> &[u8] {
    let bytes = value.bytes();
    match value.format() {
        Format::Json if value.text().is_some() => bytes.get(1..bytes.len() - 1).unwrap_or(bytes),
        _ => bytes,
    }
}

/// A message of the same length that reads the same, with other bodies.
pub(crate) fn unmask(bytes: &[u8]) -> Vec<u8> {
    let mut from = Reader::new(bytes);
    let mut message = Vec::new();
    let format = if from.byte() == Ok(1) { Format::MessagePack } else { Format::Json };
    while let Ok(kept) = from.bytes() {
        message.extend_from_slice(kept);
        match from.varint().ok().and_then(|len| usize::try_from(len).ok()) {
            Some(len) => filler(format, len, &mut message),
            None => break,
        }
    }
    message
}

/// How many bytes of a message are not in the log.
pub(crate) fn masked_len(bytes: &[u8]) -> u64 {
    let mut from = Reader::new(bytes);
    let _ = from.byte();
    let lengths = core::iter::from_fn(|| from.bytes().and_then(|_| from.varint()).ok());
    lengths.fold(0, u64::saturating_add)
}

/// A value of so many bytes. In JSON it is a number, which also does within a text.
pub(crate) fn filler(format: Format, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    match (format, len) {
        (Format::Json, _) => out.resize(end, b'1'),
        (_, 0) => {}
        (_, 1) => out.push(0xc0),
        (_, 2..=32) => out.push(0xa0 + (len - 1) as u8),
        (_, 33..=257) => out.extend_from_slice(&[0xd9, (len - 2) as u8]),
        (_, 258..=65_538) => {
            out.push(0xda);
            out.extend_from_slice(&((len - 3) as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&((len - 5) as u32).to_be_bytes());
        }
    }
    out.resize(end, b'1');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn a_filler_is_a_value_of_its_length(len: u16, large: bool, json: bool) -> bool {
            let len = 1 + usize::from(len) * if large { 40 } else { 1 };
            let format = if json { Format::Json } else { Format::MessagePack };
            let mut out = Vec::new();
            filler(format, len, &mut out);
            out.len() == len && Value::parse(format, &out).is_ok()
        }
    }

    #[test]
    fn a_masked_message_reads_the_same_and_has_no_body() {
        let body = br#"{"type":"RESPONSE","id":"1","from":"a","to":"b","status":"error","secret":[1],
            "error":{"code":"E","message":"a secret \" word"},"data":{"secret":true}}"#;
        let message = [&(body.len() as u32).to_be_bytes()[..], body].concat();
        let masked = mask(None, &message);
        assert!(!masked.windows(6).any(|window| window == b"a secr" || window == b"true}}"));
        let again = unmask(&masked);
        assert_eq!(again.len(), message.len());
        let (before, after) = (
            Envelope::parse(Format::Json, body).unwrap(),
            Envelope::parse(Format::Json, &again[HEADER..]).unwrap(),
        );
        assert!(
            before.error().0.is_some_and(|code| code.is("E"))
                && after.error().0.is_some_and(|code| code.is("E"))
        );
        assert_eq!(before.data().map(|data| data.bytes().len()), after.data().map(|data| data.bytes().len()));
    }
}
