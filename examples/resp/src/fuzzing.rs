//! The body of the fuzz target `resp`, whose seeds the tests replay, and what the properties share with it.

use plimsoll_core::error::ProtocolError;
use plimsoll_core::service::{Decoded, Protocol, Verdict};

use crate::{Answer, Limits, Progress, Resp, Value};

/// Small, so that they are reached.
pub(crate) const LIMITS: Limits = Limits { command: 1_000, answer: 4_096, items: 64, depth: 4 };

/// A stream of answers; the first byte says into what pieces it is cut. However it is cut, the same is found in it, and
/// what was found is what was sent.
pub fn resp(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = decode_in_pieces(bytes, bytes.len().max(1));
    assert_eq!(whole, decode_in_pieces(bytes, usize::from(piece).max(1)));
    for answer in whole.answers {
        let again = reread(answer.value());
        assert_eq!(again, answer);
        let verdict = Resp::default().verdict(bytes_of(&answer).as_slice()) == Verdict::Success;
        assert_eq!(verdict, !matches!(answer.value(), Value::Error(_)));
        let bytes = answer.bytes().map(<[u8]>::to_vec);
        assert_eq!(answer.into_bytes(), bytes);
    }
}

/// What was found in a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) answers: Vec<Answer>,
    /// Bytes that are no whole answer yet, if they could become one; or what ended the stream.
    pub(crate) rest: Result<usize, ProtocolError>,
    /// How often the decoder was asked.
    pub(crate) asked: usize,
}

/// Shows a decoder what arrives, as a client does: not before there is what it needs.
pub(crate) fn decode_in_pieces_within(bytes: &[u8], piece: usize, limits: Limits) -> Stream {
    let resp = Resp::default().limits(limits);
    let mut stream = Stream { answers: Vec::new(), rest: Ok(0), asked: 0 };
    let (mut start, mut arrived, mut needed) = (0, 0, 0);
    let mut progress = Progress::default();
    loop {
        let there = &bytes[start..arrived];
        if there.len() < needed {
            if arrived == bytes.len() {
                // It may have been told to wait for more than will ever come, and not have looked at the last of it.
                stream.rest = resp.decode(&mut Progress::default(), there).map(|_| there.len());
                return stream;
            }
            arrived = bytes.len().min(arrived + piece);
            continue;
        }
        stream.asked += 1;
        match resp.decode(&mut progress, there) {
            Ok(Decoded::Need(total)) => {
                assert!(total > there.len(), "asks for what is there");
                // A line that has no end yet may have any, up to its own limit.
                assert!(total <= limits.answer as usize + 65_536, "waits for what is above the limit");
                needed = total;
            }
            Ok(Decoded::Response { id: None, content, len }) => {
                assert_eq!(content, 0..len);
                stream.answers.push(Answer::new(there[content].to_vec()));
                start += len;
                (progress, needed) = (Progress::default(), 0);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                stream.rest = Err(error);
                return stream;
            }
        }
    }
}

fn decode_in_pieces(bytes: &[u8], piece: usize) -> Stream {
    Stream { asked: 0, ..decode_in_pieces_within(bytes, piece, LIMITS) }
}

fn bytes_of(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, answer.value());
    bytes
}

/// Written again, and found again.
fn reread(value: Value<'_>) -> Answer {
    let mut bytes = Vec::new();
    write(&mut bytes, value);
    let found = Resp::default().decode(&mut Progress::default(), &bytes);
    assert_eq!(found, Ok(Decoded::Response { id: None, content: 0..bytes.len(), len: bytes.len() }));
    Answer::new(bytes)
}

/// As a server writes it.
pub(crate) fn write(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Simple(text) => out.extend([b"+", text, b"\r\n"].concat()),
        Value::Error(text) => out.extend([b"-", text, b"\r\n"].concat()),
        Value::Integer(n) => out.extend(format!(":{n}\r\n").into_bytes()),
        Value::Null => out.extend(b"$-1\r\n"),
        Value::Bulk(bytes) => {
            out.extend(format!("${}\r\n", bytes.len()).into_bytes());
            out.extend([bytes, b"\r\n"].concat());
        }
        Value::Array(items) => {
            out.extend(format!("*{}\r\n", items.len()).into_bytes());
            items.for_each(|item| write(out, item));
        }
    }
}
