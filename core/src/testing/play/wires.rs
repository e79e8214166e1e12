//! What peers of the rig speak.

use alloc::format;
use alloc::vec::Vec;

use crate::error::{Misuse, ProtocolError};
use crate::service::{Decoded, Protocol, Uw, UwRequest, Verdict};
use crate::wire::WireId;
use crate::wire::uw::{self, Limits, Mode, Step};

/// A request as a peer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<WireId>,
    /// The tag of the request; `None` for a ping.
    pub tag: Option<u64>,
}

/// A protocol, with its far side.
pub trait Wire: Protocol + Clone {
    /// Lends the request that says `word`.
    fn ask<R>(word: &str, then: impl FnOnce(&Self::Request<'_>) -> R) -> R;
    /// The request at the start of the bytes, and its length.
    fn frame(bytes: &[u8]) -> Option<(Frame, usize)>;
    fn answer(frame: &Frame, text: &str) -> Vec<u8>;
    /// What a service answers that has too much to do.
    const REFUSAL: &str;
}

fn tag(word: &str) -> Option<u64> {
    word.strip_prefix('t').map(|tag| tag.parse().expect("a tag"))
}

impl Wire for Uw {
    const REFUSAL: &str = r#"{"error":{"code":"OVERLOADED","message":"too much"}}"#;

    fn ask<R>(word: &str, then: impl FnOnce(&UwRequest<'_>) -> R) -> R {
        then(&UwRequest { method: word, content: b"{}" })
    }

    fn frame(bytes: &[u8]) -> Option<(Frame, usize)> {
        let step = uw::decode_request(bytes, &Limits::default(), Mode::Strict).expect("a client's bytes");
        let Step::Frame(head) = step else { return None };
        let method = core::str::from_utf8(&bytes[head.method]).expect("UTF-8");
        assert!(method.starts_with('t') || method == uw::PING, "method {method}");
        Some((Frame { id: Some(head.id), tag: tag(method) }, head.content.end))
    }

    fn answer(frame: &Frame, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let id = frame.id.expect("a UW frame has an id");
        uw::encode_response(&mut out, id, text.as_bytes(), &Limits::default())
            .expect("content within the limit");
        out
    }
}

/// A wire of lines without ids: `word\n` is answered by `ok text\n` or `err code\n`, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toy;
crate::saved!(
    struct Toy {}
);

impl Protocol for Toy {
    type Request<'a> = &'a str;
    /// How many bytes have no line's end among them.
    type Progress = usize;
    const HAS_IDS: bool = false;

    fn greet(&self, out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"hello\n");
        0
    }

    fn encode(&self, out: &mut Vec<u8>, _: WireId, request: &&str) -> Result<(), Misuse> {
        out.extend_from_slice(request.as_bytes());
        if request.contains('\n') {
            return Err(Misuse::Unencodable("a word is one line"));
        }
        out.push(b'\n');
        Ok(())
    }

    fn ping(&self, out: &mut Vec<u8>, _: WireId, _: u64) -> bool {
        out.extend_from_slice(b"ping\n");
        true
    }

    fn decode(&self, seen: &mut usize, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        if bytes.first().is_some_and(|first| !b"oe".contains(first)) {
            return Err(ProtocolError::Other(1));
        }
        Ok(match bytes[*seen..].iter().position(|&byte| byte == b'\n') {
            None => {
                *seen = bytes.len();
                Decoded::Need(bytes.len() + 1)
            }
            Some(at) => {
                let end = *seen + at;
                Decoded::Response { id: None, content: 0..end, len: end + 1 }
            }
        })
    }

    fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a> {
        match core::str::from_utf8(content).ok().and_then(|line| line.strip_prefix("err ")) {
            None => Verdict::Success,
            Some(code) => Verdict::Failure {
                code,
                message: "",
                unhealthy: ["down", "full"].contains(&code),
                overloaded: code == "full",
            },
        }
    }
}

impl Wire for Toy {
    const REFUSAL: &str = "err full";

    fn ask<R>(word: &str, then: impl FnOnce(&&str) -> R) -> R {
        then(&word)
    }

    fn frame(bytes: &[u8]) -> Option<(Frame, usize)> {
        // The greeting is no frame: it goes with the first.
        let greeting = if bytes.starts_with(b"hello\n") { 6 } else { 0 };
        let len = bytes[greeting..].iter().position(|&byte| byte == b'\n')?;
        let word = core::str::from_utf8(&bytes[greeting..greeting + len]).expect("UTF-8");
        assert!(word.starts_with('t') || word == "ping", "word {word:?}");
        Some((Frame { id: None, tag: tag(word) }, greeting + len + 1))
    }

    fn answer(_: &Frame, text: &str) -> Vec<u8> {
        format!("{}{text}\n", if text.starts_with("err ") { "" } else { "ok " }).into_bytes()
    }
}

/// The toy, but that it is greeted twice, and answers both times like any request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polite;
crate::saved!(
    struct Polite {}
);

impl Protocol for Polite {
    type Request<'a> = &'a str;
    type Progress = usize;
    const HAS_IDS: bool = false;

    fn greet(&self, out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"hello\nhello\n");
        2
    }

    fn encode(&self, out: &mut Vec<u8>, id: WireId, request: &&str) -> Result<(), Misuse> {
        Toy.encode(out, id, request)
    }

    fn ping(&self, out: &mut Vec<u8>, id: WireId, unix_ms: u64) -> bool {
        Toy.ping(out, id, unix_ms)
    }

    fn decode(&self, seen: &mut usize, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        Toy.decode(seen, bytes)
    }

    fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a> {
        Toy.verdict(content)
    }
}

impl Wire for Polite {
    const REFUSAL: &str = Toy::REFUSAL;

    fn ask<R>(word: &str, then: impl FnOnce(&&str) -> R) -> R {
        then(&word)
    }

    fn frame(bytes: &[u8]) -> Option<(Frame, usize)> {
        let len = bytes.iter().position(|&byte| byte == b'\n')?;
        let word = core::str::from_utf8(&bytes[..len]).expect("UTF-8");
        assert!(word.starts_with('t') || ["ping", "hello"].contains(&word), "word {word:?}");
        Some((Frame { id: None, tag: tag(word) }, len + 1))
    }

    fn answer(frame: &Frame, text: &str) -> Vec<u8> {
        Toy::answer(frame, text)
    }
}
