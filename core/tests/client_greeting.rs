//! A wire whose peers answer to the greeting: until they have, the connection does not stand.

mod client_support;

use client_support::{ADDRESS, Dial, Done, Frame, Polite, Rig, Toy, Wire, steady};
use plimsoll_core::error::{Fault, Misuse, ProtocolError};
use plimsoll_core::machine::{Action, Input};
use plimsoll_core::service::client::CloseCause;
use plimsoll_core::service::{Decoded, Protocol, Verdict};
use plimsoll_core::wire::WireId;

#[test]
fn no_request_is_sent_before_the_last_answer_to_the_greeting() {
    let (mut rig, conn) = Rig::<Polite>::connected(steady());
    let id = rig.request();
    assert_eq!((rig.client.status().connections, rig.client.status().dialing), (0, 1));
    assert_eq!(rig.peers[&conn].bytes, b"hello\nhello\n");
    rig.feed(conn, b"ok welcome\n");
    assert_eq!(rig.client.status().waiting, 1);
    rig.feed(conn, b"ok in\n");
    assert_eq!((rig.client.status().connections, rig.client.status().in_flight), (1, 1));
    assert_eq!(rig.peers[&conn].bytes, b"hello\nhello\nt0\n");
    rig.feed(conn, b"ok a\n");
    rig.assert_answered(id, "ok a");
    assert_eq!(rig.client.metrics().late_responses, 0);
}

#[test]
fn a_greeting_that_is_refused_ends_the_connection_and_is_tried_again_later() {
    let (mut rig, conn) = Rig::<Polite>::connected(steady());
    let id = rig.request();
    rig.feed(conn, b"ok welcome\nerr who are you\n");
    assert_eq!(rig.closes(), [CloseCause::Protocol(ProtocolError::Unwelcome)]);
    assert_eq!(rig.client.metrics().reconnects, 0, "it never stood");
    assert_eq!(rig.outcome(id), None, "it has not been sent");
    rig.pass_ms(999);
    assert_eq!(rig.dials.len(), 1);
    rig.pass_ms(1);
    let conn = rig.last_conn();
    rig.feed(conn, b"ok welcome\nok in\n");
    rig.feed(conn, b"ok b\n");
    rig.assert_answered(id, "ok b");
}

#[test]
fn a_peer_that_does_not_answer_to_the_greeting_counts_as_a_dial_that_took_too_long() {
    let (mut rig, conn) = Rig::<Polite>::connected(steady());
    rig.feed(conn, b"ok wel");
    rig.pass(rig.config.cluster.connect_timeout);
    assert_eq!(rig.closes(), [CloseCause::DialTimeout]);
    assert!(!rig.peers[&conn].open);
    rig.drop_conn(conn);
    rig.check_rest();
}

#[test]
fn a_peer_that_closes_before_its_welcome_counts_as_a_failed_dial() {
    let (mut rig, conn) = Rig::<Polite>::connected(steady());
    rig.feed(conn, b"ok welcome\n");
    rig.drop_conn(conn);
    assert_eq!(rig.closes(), [CloseCause::Dial(Fault::Reset)]);
}

#[test]
fn a_welcome_before_the_greeting_was_sent_is_none() {
    let mut rig = Rig::<Polite>::new(steady());
    rig.window = 0;
    rig.add(ADDRESS);
    rig.feed(rig.last_conn(), b"ok welcome\n");
    assert_eq!(rig.closes(), [CloseCause::Protocol(ProtocolError::Unexpected)]);
}

#[test]
fn a_connection_is_greeted_once_however_often_the_runtime_says_that_it_stands() {
    let mut rig = Rig::<Polite>::new(steady());
    rig.dial = Dial::Hangs;
    rig.add(ADDRESS);
    let conn = rig.last_conn();
    rig.peers.get_mut(&conn).unwrap().open = true;
    for _ in 0..3 {
        rig.handle(Input::Connected(conn));
    }
    rig.feed(conn, b"ok welcome\nok in\n");
    rig.handle(Input::Connected(conn));
    assert_eq!(rig.peers[&conn].bytes, b"hello\nhello\n");
    assert_eq!(rig.actions.iter().filter(|action| matches!(action, Action::Flush(_))).count(), 1);
    let id = rig.request();
    rig.feed(conn, b"ok a\n");
    rig.assert_done(id, Done::Answer("ok a".into()));
}

/// Of a wire that must not be shown the same bytes twice: it fails if it is.
#[derive(Clone, Copy, Debug, Default)]
struct Careful;

impl Protocol for Careful {
    type Request<'a> = &'a str;
    type Progress = usize;
    const HAS_IDS: bool = false;

    fn encode(&self, out: &mut Vec<u8>, id: WireId, request: &&str) -> Result<(), Misuse> {
        Toy.encode(out, id, request)
    }

    fn ping(&self, _: &mut Vec<u8>, _: WireId, _: u64) -> bool {
        false
    }

    /// `ok` and a digit, which says how many bytes are still to come.
    fn decode(&self, asked: &mut usize, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        if bytes.len() < *asked {
            return Err(ProtocolError::Other(1));
        }
        let need = match bytes.get(2) {
            None => 3,
            Some(digit) => 3 + usize::from(digit - b'0'),
        };
        *asked = need;
        if bytes.len() < need {
            return Ok(Decoded::Need(need));
        }
        Ok(Decoded::Response { id: None, content: 0..need, len: need })
    }

    fn verdict<'a>(&self, _: &'a [u8]) -> Verdict<'a> {
        Verdict::Success
    }
}

impl Wire for Careful {
    const REFUSAL: &str = Toy::REFUSAL;

    fn ask<R>(word: &str, then: impl FnOnce(&&str) -> R) -> R {
        Toy::ask(word, then)
    }

    fn frame(bytes: &[u8]) -> Option<(Frame, usize)> {
        Toy::frame(bytes)
    }

    fn answer(frame: &Frame, text: &str) -> Vec<u8> {
        Toy::answer(frame, text)
    }
}

#[test]
fn a_decoder_is_asked_again_when_there_is_what_it_needs_and_remembers_only_within_one_answer() {
    let (mut rig, conn) = Rig::<Careful>::connected(steady());
    let ids: Vec<_> = (0..3).map(|_| rig.request()).collect();
    for byte in b"ok5abcdeok0ok2xy" {
        rig.feed(conn, &[*byte]);
    }
    for (id, text) in ids.into_iter().zip(["ok5abcde", "ok0", "ok2xy"]) {
        rig.assert_answered(id, text);
    }
}
