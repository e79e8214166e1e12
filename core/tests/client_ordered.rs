//! A wire without ids: answers are matched by their order, so whoever was given up keeps its place in it.

mod client_support;

use client_support::{Dial, Done, Frame, Rig, Toy, limit, steady};
use plimsoll_core::error::ProtocolError;
use plimsoll_core::machine::Machine;
use plimsoll_core::service::client::{CloseCause, Event, StateEvent};

fn rig() -> (Rig<Toy>, plimsoll_core::id::ConnId) {
    Rig::connected(steady())
}

#[test]
fn answers_match_in_order_and_the_greeting_goes_first() {
    let (mut rig, conn) = rig();
    let ids = [rig.request(), rig.request()];
    assert!(rig.peers[&conn].bytes.starts_with(b"hello\nt0\nt1\n"));
    rig.feed(conn, b"ok a\nerr full\n");
    rig.assert_answered(ids[0], "ok a");
    rig.assert_done(ids[1], Done::Remote("full".into(), String::new()));
}

#[test]
fn a_request_that_was_sent_and_given_up_holds_its_place_until_its_answer_has_passed() {
    let mut config = steady();
    config.cluster.in_flight = limit(3);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Toy>::connected(config);
    let (cancelled, late, last) = (rig.request(), rig.request_within(10), rig.request());
    let waits = rig.request();
    rig.cancel(cancelled);
    rig.pass_ms(10);
    rig.assert_done(cancelled, Done::Cancelled);
    rig.assert_done(late, Done::Timeout { sent: true });
    assert_eq!((rig.client.status().in_flight, rig.client.status().waiting), (3, 1));
    assert!(!rig.cancel(cancelled), "it has ended");
    rig.feed(conn, b"ok 0\n");
    assert_eq!((rig.client.status().in_flight, rig.client.status().waiting), (3, 0));
    rig.feed(conn, b"ok 1\nok 2\nok 3\n");
    rig.assert_answered(last, "ok 2");
    rig.assert_answered(waits, "ok 3");
    assert_eq!(rig.client.metrics().late_responses, 2);
    rig.check_rest();
}

#[test]
fn a_request_that_was_not_sent_leaves_no_trace() {
    let (mut rig, conn) = rig();
    rig.send_only(0);
    let (first, second) = (rig.request(), rig.request());
    rig.cancel(first);
    assert_eq!(rig.client.status().in_flight, 1);
    rig.send_only(usize::MAX);
    rig.feed(conn, b"ok b\n");
    rig.assert_answered(second, "ok b");
}

#[test]
fn a_ping_takes_its_turn_among_the_answers() {
    let (mut rig, conn) = rig();
    let id = rig.request_within(60_000);
    assert_eq!(rig.pass_to_ping(conn), Frame { id: None, tag: None });
    rig.feed(conn, b"ok a\nok pong\n");
    let next = rig.request();
    rig.feed(conn, b"ok b\n");
    rig.assert_answered(id, "ok a");
    rig.assert_answered(next, "ok b");
    assert_eq!(rig.client.metrics().late_responses, 0);
    assert_eq!(rig.client.metrics().requests, 2);
}

#[test]
fn an_answer_to_nothing_closes_the_connection() {
    let (mut rig, conn) = rig();
    rig.feed(conn, b"ok what\n");
    assert_eq!(rig.closes(), [CloseCause::Protocol(ProtocolError::Unexpected)]);
    assert!(!rig.peers[&conn].open);
}

#[test]
fn an_answer_before_its_request_was_sent_is_no_answer_to_it() {
    let (mut rig, conn) = rig();
    rig.send_only(0);
    let id = rig.request();
    rig.feed(conn, b"ok early\n");
    assert_eq!(rig.closes(), [CloseCause::Protocol(ProtocolError::Unexpected)]);
    assert_eq!(rig.outcome(id), None, "it is tried again elsewhere");
    rig.window = usize::MAX;
    rig.pass_ms(1_500);
    let conn = rig.last_conn();
    rig.feed(conn, b"ok late\n");
    rig.assert_answered(id, "ok late");
}

#[test]
fn a_lost_connection_takes_its_tombstones_with_it() {
    let (mut rig, conn) = rig();
    let id = rig.request();
    rig.cancel(id);
    rig.drop_conn(conn);
    assert_eq!(rig.client.status().in_flight, 0);
    rig.pass_ms(1_500);
    let next = rig.request();
    rig.feed(rig.last_conn(), b"ok a\n");
    rig.assert_answered(next, "ok a");
    rig.check_rest();
}

#[test]
fn a_removed_endpoint_stays_until_its_tombstones_have_passed() {
    let (mut rig, conn) = rig();
    let endpoint = rig.client.endpoints().next().unwrap().0;
    let id = rig.request();
    rig.cancel(id);
    assert!(rig.remove(endpoint));
    assert!(rig.peers[&conn].open);
    rig.feed(conn, b"ok a\n");
    assert!(!rig.peers[&conn].open);
    assert_eq!(rig.client.status(), Default::default());
}

#[test]
fn an_end_that_an_answer_to_nobody_brings_is_promised_with_the_answer_before_it() {
    let mut config = steady();
    config.cluster.in_flight = limit(2);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Toy>::connected(config);
    rig.dial = Dial::Hangs;
    rig.add("users-b.internal:3001");
    let (answered, late, _, _) = (rig.request(), rig.request_within(10), rig.request(), rig.request());
    rig.pass_ms(10);
    rig.assert_done(late, Done::Timeout { sent: true });
    rig.shutdown_within(1_000);
    rig.drains = false;
    rig.feed(conn, b"ok 0\nok 1\n");
    // Behind the answer that is lent stands one that nobody waits for. Its place goes to the last that waits, so that nobody
    // needs the other dial.
    assert!(matches!(rig.client.event(), Some(Event::Outcome { id, .. }) if id == answered));
    assert!(rig.client.has_event());
    let end = rig.client.event();
    assert!(
        matches!(end, Some(Event::State(StateEvent::Closed { cause: CloseCause::Shutdown, .. }))),
        "{end:?}"
    );
}
