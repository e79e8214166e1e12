//! What the fuzz targets in `fuzz/` call: each takes any bytes, and panics if a promise is broken. They stand here so
//! that ordinary builds check them, and the seeds in `fuzz/seeds` are replayed as a test.

mod ipc;
mod ipc_hub;
mod log;

use alloc::vec::Vec;
use core::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;

pub use self::ipc::ipc;
pub use self::ipc_hub::ipc_hub;
pub use self::log::log;
use crate::error::{Misuse, ProtocolError};
use crate::machine::{Action, Input, Machine, Peer};
use crate::save::Snapshot;
use crate::service::Uw;
use crate::service::server::{self, Request, Server};
use crate::testing::laws::{self, Subject};
use crate::testing::play::client_laws::{Surroundings, without_garbage};
use crate::testing::play::fleet_laws::{self, Fleet};
use crate::testing::play::rig::{Polite, Toy};
use crate::testing::play::{self, Op, server_laws};
use crate::time::Instant;
use crate::wire::uw::{
    Limits, Mode, Step, asks_for_load, decode_request, decode_response, encode_request, encode_response,
    read_error, read_load, write_error, write_load,
};
use crate::wire::{Load, WireId};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 15] = [
    ("breaker", breaker),
    ("client", client),
    ("client_laws", client_laws),
    ("cluster", cluster),
    ("cluster_model", self::cluster_model),
    ("ipc", self::ipc::ipc),
    ("ipc_hub", self::ipc_hub::ipc_hub),
    ("log", self::log::log),
    ("server", server),
    ("server_laws", self::server_laws),
    ("uw_error", uw_error),
    ("uw_load", uw_load),
    ("uw_requests", uw_requests),
    ("uw_responses", uw_responses),
    ("uw_server", uw_server),
];

/// Small, so that short inputs reach it.
const LIMITS: Limits = Limits { content: 512 };
/// The longest frame within [`LIMITS`], in bytes.
const LONGEST: usize = 24 + 255 + 512;

/// More operations find nothing that fewer do not, and an input should take less than a millisecond.
const OPS: usize = 100;

/// A breaker beside its model: 5 bytes that configure it, 1 that seeds its jitter, then operations.
pub fn breaker(data: &[u8]) {
    let Some((&[shape @ .., seed], ops)) = data.split_first_chunk::<6>() else { return };
    play::breaker::agrees(shape, seed.into(), &operations(ops)).expect("what the model does");
}

/// A service client, its network and its peers: 1 byte that picks the wire, 3 that configure it, then operations.
pub fn client(data: &[u8]) {
    let Some((&[wire, low, high, extras], ops)) = data.split_first_chunk() else { return };
    let (shape, ops) = (u16::from_le_bytes([low, high]), operations(ops));
    match wire % 3 {
        0 => play::client::play(Uw { mode: Mode::Strict, ..Uw::default() }, shape, extras, &ops),
        1 => play::client::play(Uw { mode: Mode::Resync, ..Uw::default() }, shape, extras, &ops),
        _ if wire / 3 % 2 == 0 => play::client::play(Toy, shape, extras, &ops),
        _ => play::client::play(Polite, shape, extras, &ops),
    }
}

/// A service client under one of the laws: 1 byte that picks it and the wire or the fleet, 1 that configures the client, then
/// operations.
pub fn client_laws(data: &[u8]) {
    let Some((&[law, seed], ops)) = data.split_first_chunk() else { return };
    let ops = lawful(ops);
    match law % 3 {
        0 => hold::<Surroundings<Uw>>(law / 3, seed.into(), &ops, &without_garbage(&ops)),
        1 => hold::<Surroundings<Toy>>(law / 3, seed.into(), &ops, &without_garbage(&ops)),
        // Whom a fleet asks depends on when it hears of whom, and so on the cuts.
        _ => hold::<Fleet>(law / 3 % 7 + 1, seed.into(), &fleet_laws::with_connections(&ops), &[]),
    }
}

/// A service server, its application, its network and its peers: 2 bytes that configure it, then operations.
pub fn server(data: &[u8]) {
    let Some((&shape, ops)) = data.split_first_chunk() else { return };
    play::server::play(u16::from_le_bytes(shape), &operations(ops));
}

/// A service server under one of the laws: 1 byte that picks it and the configuration, 1 more that does, then operations.
pub fn server_laws(data: &[u8]) {
    let Some((&[law, seed], ops)) = data.split_first_chunk() else { return };
    let ops = server_laws::with_connections(&lawful(ops));
    if law % 2 == 0 {
        // Which of its limits a small server reaches first depends on the cuts.
        hold::<server_laws::Small>(law / 2 % 7 + 1, seed.into(), &ops, &[]);
    } else {
        hold::<server_laws::Large>(law / 2, seed.into(), &ops, &ops);
    }
}

/// One of the laws; the one about cuts with operations of its own.
fn hold<S: Subject<Machine: Snapshot>>(law: u8, seed: u64, ops: &[laws::Op], cut: &[laws::Op]) {
    match law % 8 {
        0 => laws::cutting::<S>(seed, cut, &[law / 8 % 8]),
        1 => laws::early_and_repeated_ticks::<S>(seed, ops),
        2 => laws::tick_at_deadline_makes_progress::<S>(seed, ops),
        3 => laws::undrained_action_is_due::<S>(seed, ops),
        4 => laws::clock_going_back::<S>(seed, ops),
        5 => laws::same_seed_same_trace::<S>(seed, ops),
        6 => laws::recycled_slots_ignore_late_completions::<S>(seed, ops),
        _ => laws::saved_and_loaded::<S>(seed, ops),
    }
    .expect("the law");
}

/// A cluster with everything switched on: 4 bytes that configure it, then operations.
pub fn cluster(data: &[u8]) {
    let Some((&shape, ops)) = data.split_first_chunk() else { return };
    play::cluster::play(u32::from_le_bytes(shape), &operations(ops));
}

/// A cluster beside its model: 4 bytes that configure it, then operations.
pub fn cluster_model(data: &[u8]) {
    let Some((&shape, ops)) = data.split_first_chunk() else { return };
    play::cluster_model::agrees(u32::from_le_bytes(shape), &operations(ops));
}

/// Three bytes each.
fn lawful(bytes: &[u8]) -> Vec<laws::Op> {
    let number = |(what, low, high)| (what, u16::from_le_bytes([low, high]));
    operations(bytes).into_iter().map(number).collect()
}

/// Three bytes each.
fn operations(bytes: &[u8]) -> Vec<Op> {
    bytes.as_chunks().0.iter().take(OPS).map(|&[what, whom, much]| (what, whom, much)).collect()
}

/// A stream of requests, and a request whose method or content it might be; the first byte says into what pieces it is cut.
pub fn uw_requests(data: &[u8]) {
    let (id, method) = (WireId::new(0, 0, 0), core::str::from_utf8(data).unwrap_or_default());
    let within = method.len() <= 255 && data.len() <= LIMITS.content as usize;
    is_written_or_left(within, |out| encode_request(out, id, method, data, &LIMITS));
    check_stream(data, |bytes, mode| {
        decode_request(bytes, &LIMITS, mode).map(|step| match step {
            Step::Need(needed) => Step::Need(needed),
            Step::Skip(skipped) => Step::Skip(skipped),
            Step::Frame(head) => {
                let method = core::str::from_utf8(&bytes[head.method]).expect("a method is UTF-8");
                let mut frame = Vec::new();
                encode_request(&mut frame, head.id, method, &bytes[head.content], &LIMITS)
                    .expect("what was decoded can be encoded");
                Step::Frame(frame)
            }
        })
    });
}

/// A stream of responses, and a response whose content it might be; the first byte says into what pieces it is cut.
pub fn uw_responses(data: &[u8]) {
    let (id, within) = (WireId::new(0, 0, 0), data.len() <= LIMITS.content as usize);
    is_written_or_left(within, |out| encode_response(out, id, data, &LIMITS));
    check_stream(data, |bytes, mode| {
        decode_response(bytes, &LIMITS, mode).map(|step| match step {
            Step::Need(needed) => Step::Need(needed),
            Step::Skip(skipped) => Step::Skip(skipped),
            Step::Frame(head) => {
                let mut frame = Vec::new();
                encode_response(&mut frame, head.id, &bytes[head.content], &LIMITS)
                    .expect("what was decoded can be encoded");
                Step::Frame(frame)
            }
        })
    });
}

/// What is above a limit leaves no trace.
fn is_written_or_left(within: bool, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), Misuse>) {
    let mut out = Vec::new();
    assert_eq!(encode(&mut out).is_ok(), within);
    assert_eq!(out.is_empty(), !within);
}

/// Content of a response. Whatever is read as an error is JSON with `error` as its only key. And as text: any code and
/// message are read as they were written.
pub fn uw_error(content: &[u8]) {
    if let Ok(text) = core::str::from_utf8(content) {
        let (code, message) = text.split_once('|').unwrap_or((text, ""));
        let mut written = Vec::new();
        write_error(&mut written, code, message);
        let read = read_error(&written).expect("what is written is read");
        assert_eq!((unquoted(read.code), unquoted(read.message)), (Value::from(code), Value::from(message)));
    }
    let Some(error) = read_error(content) else { return };
    serde_json::from_slice::<IgnoredAny>(content).expect("an error is JSON");
    // Half a surrogate pair, escaped, is JSON by the grammar of RFC 8259, but no text that could be compared.
    let Ok(value) = serde_json::from_slice::<Value>(content) else { return };
    let (keys, inner) = (value.as_object().expect("an object"), &value["error"]);
    assert_eq!(keys.len(), 1, "error is its only key");
    assert_eq!(inner["code"], unquoted(error.code));
    assert_eq!(*inner.get("message").unwrap_or(&Value::from("")), unquoted(error.message));
}

fn unquoted(text: &str) -> Value {
    serde_json::from_str(&alloc::format!("\"{text}\"")).expect("a JSON string")
}

/// Content of a ping or of its answer: a time, the requests in flight and a latency, in 20 bytes, are read as they were
/// written; and any other content is asked whether it asks, and what it tells.
pub fn uw_load(content: &[u8]) {
    let _ = (asks_for_load(content), read_load(content));
    let Some((&time, rest)) = content.split_first_chunk() else { return };
    let Some((&in_flight, rest)) = rest.split_first_chunk() else { return };
    let Some((&micros, _)) = rest.split_first_chunk() else { return };
    let latency = Duration::from_micros(u64::from_le_bytes(micros));
    let load = Load { in_flight: u32::from_le_bytes(in_flight), latency };
    let mut written = Vec::new();
    write_load(&mut written, u64::from_le_bytes(time), load);
    assert_eq!(read_load(&written), Some(load));
    serde_json::from_slice::<IgnoredAny>(&written).expect("a load is JSON");
}

/// A stream of requests to a server that echoes; the first byte says into what pieces it is cut. However it is cut, the
/// same is answered.
pub fn uw_server(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    for mode in [Mode::Strict, Mode::Resync] {
        let whole = serve(bytes, bytes.len().max(1), mode);
        assert_eq!(whole, serve(bytes, usize::from(piece).max(1), mode));
    }
}

/// The answers, sorted, since a pong may overtake an answer; the bytes skipped; and whether the stream was ended.
fn serve(bytes: &[u8], piece: usize, mode: Mode) -> (Vec<Vec<u8>>, u64, bool) {
    let now = Instant::ZERO;
    let mut server = Server::new(server::Config { limits: LIMITS, mode, ..server::Config::default() });
    let conn = server.accept(now, Peer::UNKNOWN).expect("the first connection");
    let mut answers = Vec::new();
    let mut ended = false;
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() && !ended {
            part = &part[server.feed(now, conn, part)..];
            while let Some(Request { content, responder, .. }) = server.event() {
                responder.reply(content).expect("what was decoded can be encoded");
            }
            let mut bufs = [&[][..]; 16];
            let n = server.send_bufs(conn, &mut bufs);
            let sent = bufs[..n].concat();
            server.handle(now, Input::Sent(conn, sent.len()));
            answers.extend(split(&sent));
            ended |= core::iter::from_fn(|| server.poll()).any(|action| action == Action::Close(conn));
        }
    }
    answers.sort();
    (answers, server.metrics().skipped_bytes, ended)
}

fn split(mut answers: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Ok(Step::Frame(head)) = decode_response(answers, &Limits::default(), Mode::Strict) {
        let (frame, rest) = answers.split_at(head.content.end);
        frames.push(frame.to_vec());
        answers = rest;
    }
    assert!(answers.is_empty(), "a server sends nothing but answers");
    frames
}

/// What a decoder made of a stream.
#[derive(Debug, PartialEq)]
struct Decoded {
    frames: Vec<Vec<u8>>,
    skipped: usize,
    /// Bytes that are no whole frame yet, or what ended the stream.
    rest: Result<usize, ProtocolError>,
}

/// However a stream is cut, the same is found in it; each frame is the bytes it was found in; and skipping what is
/// no frame loses none of the frames before it.
fn check_stream(data: &[u8], decode: impl Fn(&[u8], Mode) -> Result<Step<Vec<u8>>, ProtocolError>) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let piece = usize::from(piece).max(1);
    let strict = decode_in_pieces(bytes, bytes.len().max(1), |bytes| decode(bytes, Mode::Strict));
    let resync = decode_in_pieces(bytes, bytes.len().max(1), |bytes| decode(bytes, Mode::Resync));
    assert_eq!(strict, decode_in_pieces(bytes, piece, |bytes| decode(bytes, Mode::Strict)));
    assert_eq!(resync, decode_in_pieces(bytes, piece, |bytes| decode(bytes, Mode::Resync)));
    assert_eq!(strict.skipped, 0, "strict guesses nothing");
    assert!(resync.frames.starts_with(&strict.frames));
    assert!(resync.rest.is_ok(), "nothing ends a stream that is resynchronised");
    assert!(strict.rest.is_err() || strict == resync, "without an error there is nothing to skip");
}

fn decode_in_pieces(
    bytes: &[u8],
    piece: usize,
    decode: impl Fn(&[u8]) -> Result<Step<Vec<u8>>, ProtocolError>,
) -> Decoded {
    let mut decoded = Decoded { frames: Vec::new(), skipped: 0, rest: Ok(0) };
    let (mut start, mut arrived) = (0, 0);
    loop {
        let there = &bytes[start..arrived];
        match decode(there) {
            Ok(Step::Need(needed)) => {
                assert!(needed > there.len(), "asks for what is there");
                assert!(needed <= LONGEST, "asks for more than the limit");
                if arrived == bytes.len() {
                    decoded.rest = Ok(there.len());
                    return decoded;
                }
                arrived = bytes.len().min(arrived + piece);
            }
            Ok(Step::Skip(skipped)) => {
                assert!((1..=there.len()).contains(&skipped), "skips nothing, or what is not there");
                decoded.skipped += skipped;
                start += skipped;
            }
            Ok(Step::Frame(frame)) => {
                assert!(there.starts_with(&frame), "another frame than the one that came");
                start += frame.len();
                decoded.frames.push(frame);
            }
            Err(error) => {
                decoded.rest = Err(error);
                return decoded;
            }
        }
    }
}
