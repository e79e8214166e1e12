//! A hub of Bro IPC among peers.

use alloc::vec::Vec;

use crate::id::ConnId;
use crate::ipc::hub::{Config, Hub};
use crate::machine::{Input, Machine, Peer};
use crate::time::Instant;
use crate::wire::ipc::{Envelope, Format, HEADER, Limits, Step, Text, decode_frame};

/// A stream from a peer that is up to anything, at a hub of two services; the first byte says into what pieces it is cut.
/// However it is cut, the same is answered, and the others can still call each other.
pub fn ipc_hub(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    assert_eq!(play(bytes, bytes.len().max(1)), play(bytes, usize::from(piece).max(1)));
}

/// What the peer is answered.
fn play(bytes: &[u8], piece: usize) -> Vec<u8> {
    let now = Instant::from_millis(1);
    let config = Config { limits: Limits { body: 4_096 }, ..Config::default() };
    let config = Config { pending_total: core::num::NonZeroU32::MIN.saturating_add(63), ..config };
    let mut hub = Hub::new(config, 1);
    hub.handle(now, Input::Wall(1_000));
    let [order, user, peer] = [(); 3].map(|()| hub.accept(now, Peer::UNKNOWN).expect("there is room"));
    say(&mut hub, order, br#"{"type":"REGISTER","serviceName":"order"}"#);
    say(&mut hub, user, br#"{"type":"REGISTER","serviceName":"user","methods":["get"]}"#);
    hear(&mut hub, order);
    hear(&mut hub, user);
    let mut heard = Vec::new();
    for mut part in bytes.chunks(piece) {
        loop {
            let taken = hub.feed(now, peer, part);
            while hub.event().is_some() {}
            heard.extend(hear(&mut hub, peer));
            part = &part[taken..];
            if taken == 0 || part.is_empty() {
                break;
            }
        }
    }
    for message in bodies(&hear(&mut hub, user)) {
        assert!(Format::of(message[0]).is_some_and(|format| Envelope::parse(format, message).is_ok()));
    }
    hear(&mut hub, order);
    say(&mut hub, order, br#"{"type":"CALL","id":"own","from":"order","to":"user","method":"get","context":{"root":"r","chain":[],"depth":1,"deadline":9e15}}"#);
    assert_eq!(bodies(&hear(&mut hub, user)).len(), 1, "the call has come");
    say(&mut hub, user, br#"{"type":"RESPONSE","id":"own","from":"user","to":"order","status":"success"}"#);
    let answer = hear(&mut hub, order);
    let answered = |body: &&[u8]| {
        Envelope::parse(Format::Json, body).is_ok_and(|answer| answer.id() == Ok(Text::from("own")))
    };
    assert!(bodies(&answer).iter().any(answered), "the answer has come");
    heard
}

fn say(hub: &mut Hub, conn: ConnId, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
    hub.feed(Instant::from_millis(1), conn, &[&length[..], body].concat());
    while hub.event().is_some() {}
    while hub.poll().is_some() {}
}

fn hear(hub: &mut Hub, conn: ConnId) -> Vec<u8> {
    let mut bufs = [&[][..]; 16];
    let n = hub.send_bufs(conn, &mut bufs);
    let bytes = bufs[..n].concat();
    hub.handle(Instant::from_millis(1), Input::Sent(conn, bytes.len()));
    bytes
}

fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Ok(Step::Frame(body)) = decode_frame(bytes, &Limits::default()) {
        bodies.push(&bytes[HEADER..body.end]);
        bytes = &bytes[body.end..];
    }
    bodies
}
