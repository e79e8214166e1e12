//! What a peer may send.

mod client_support;

use client_support::{Done, Rig, Wire, limit, steady};
use plimsoll_core::error::ProtocolError;
use plimsoll_core::machine::{Action, Machine};
use plimsoll_core::policy::breaker;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{CloseCause, Event};
use plimsoll_core::wire::uw::Mode;

#[test]
fn answers_come_in_any_order_and_in_any_pieces() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let ids: Vec<_> = (0..5).map(|_| rig.request()).collect();
    let mut bytes = Vec::new();
    for (n, frame) in rig.frames(conn).iter().enumerate().rev() {
        bytes.extend(Uw::answer(frame, &format!("{n}")));
    }
    for byte in bytes {
        rig.feed(conn, &[byte]);
    }
    for (n, &id) in ids.iter().enumerate() {
        rig.assert_answered(id, &n.to_string());
    }
}

#[test]
fn a_second_answer_is_counted_and_dropped() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request();
    let frames = rig.frames(conn);
    rig.answer(conn, &frames[0], "first");
    let next = rig.request();
    assert_eq!(next.slot(), id.slot(), "the slot has another tenant");
    rig.answer(conn, &frames[0], "second");
    rig.assert_answered(id, "first");
    assert_eq!((rig.outcome(next), rig.client.metrics().late_responses), (None, 1));
}

#[test]
fn the_right_id_on_the_wrong_connection_answers_nothing() {
    let mut config = steady();
    config.cluster.min_connections = 2;
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(50);
    let id = rig.request();
    let open = rig.open();
    let (on, other) = if rig.peers[&open[0]].frames.is_empty() { (1, 0) } else { (0, 1) };
    let frame = rig.frames(open[on])[0].clone();
    rig.answer(open[other], &frame, "forged");
    assert_eq!((rig.outcome(id), rig.client.metrics().late_responses), (None, 1));
    rig.answer(open[on], &frame, "true");
    rig.assert_answered(id, "true");
}

#[test]
fn an_id_with_one_bit_changed_answers_nothing() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request();
    let frame = rig.frames(conn)[0].clone();
    for bit in 0..128 {
        let mut forged = frame.clone();
        forged.id.as_mut().unwrap().0[bit / 8] ^= 1 << (bit % 8);
        rig.answer(conn, &forged, "forged");
    }
    assert_eq!((rig.outcome(id), rig.client.metrics().late_responses), (None, 128));
}

#[test]
fn an_answer_to_the_last_attempt_does_not_answer_this_one() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.idempotent();
    let old = rig.frames(conn)[0].clone();
    rig.drop_conn(conn);
    rig.pass_ms(1_500);
    let conn = rig.last_conn();
    rig.answer(conn, &old, "old");
    assert_eq!(rig.outcome(id), None);
    rig.answer_all(conn);
    rig.assert_answered(id, "{}");
}

#[test]
fn in_strict_mode_garbage_costs_the_connection_and_what_was_sent_on_it() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let sent = rig.request();
    rig.send_only(0);
    let unsent = rig.request();
    rig.feed(conn, b"HTTP/1.1 400");
    rig.assert_done(sent, Done::Protocol(ProtocolError::BadMagic));
    assert_eq!(rig.outcome(unsent), None);
    assert_eq!(rig.closes(), [CloseCause::Protocol(ProtocolError::BadMagic)]);
    assert_eq!(rig.client.metrics().protocol_errors, 1);
    rig.window = usize::MAX;
    rig.pass_ms(1_500);
    rig.answer_everybody();
    rig.assert_answered(unsent, "{}");
}

#[test]
fn an_answer_before_the_garbage_still_counts() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let (first, second) = (rig.request(), rig.request());
    let frames = rig.frames(conn);
    let mut bytes = Uw::answer(&frames[0], "good");
    bytes.extend_from_slice(b"garbage");
    rig.drains = false;
    rig.feed(conn, &bytes);
    rig.drains = true;
    rig.run();
    rig.assert_answered(first, "good");
    rig.assert_done(second, Done::Protocol(ProtocolError::BadMagic));
}

#[test]
fn in_resync_mode_garbage_is_skipped_and_counted() {
    let uw = Uw { mode: Mode::Resync, ..Uw::default() };
    let mut rig = Rig::over(uw, steady());
    rig.add(client_support::ADDRESS);
    let conn = rig.last_conn();
    let id = rig.request();
    rig.feed(conn, b"garbage");
    rig.answer_all(conn);
    rig.assert_answered(id, "{}");
    assert_eq!(rig.client.metrics().skipped_bytes, 7);
    assert_eq!(rig.closes(), []);
}

#[test]
fn an_error_of_exactly_the_shape_is_a_failure_and_any_other_content_is_an_answer() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let ids = [rig.request(), rig.request(), rig.request()];
    let frames = rig.frames(conn);
    rig.answer(conn, &frames[0], r#"{"error":{"code":"METHOD_NOT_FOUND","message":"no t0"}}"#);
    rig.answer(conn, &frames[1], r#"{"error":{"code":"A"},"more":1}"#);
    rig.answer(conn, &frames[2], "not JSON");
    rig.assert_done(ids[0], Done::Remote("METHOD_NOT_FOUND".into(), "no t0".into()));
    rig.assert_answered(ids[1], r#"{"error":{"code":"A"},"more":1}"#);
    rig.assert_answered(ids[2], "not JSON");
    let metrics = rig.client.metrics();
    assert_eq!((metrics.succeeded, metrics.failures.remote), (2, 1));
}

#[test]
fn with_the_reading_of_errors_off_every_answer_is_a_success() {
    let mut rig = Rig::over(Uw { read_errors: false, ..Uw::default() }, steady());
    rig.add(client_support::ADDRESS);
    let id = rig.request();
    let frame = rig.frames(rig.last_conn())[0].clone();
    rig.answer(rig.last_conn(), &frame, r#"{"error":{"code":"OVERLOADED"}}"#);
    rig.assert_answered(id, r#"{"error":{"code":"OVERLOADED"}}"#);
}

#[test]
fn only_errors_that_blame_the_service_count_for_the_breaker() {
    for (code, state) in [
        ("OVERLOADED", breaker::State::Open),
        ("INTERNAL_ERROR", breaker::State::Open),
        ("DEADLINE_EXCEEDED", breaker::State::Open),
        ("METHOD_NOT_FOUND", breaker::State::Closed),
        ("EXECUTION_FAILED", breaker::State::Closed),
    ] {
        let (mut rig, conn) = Rig::<Uw>::connected(steady());
        for _ in 0..5 {
            rig.request();
        }
        for frame in rig.frames(conn) {
            rig.answer(conn, &frame, &format!(r#"{{"error":{{"code":"{code}"}}}}"#));
        }
        let endpoint = rig.client.endpoints().next().unwrap().0;
        assert_eq!(rig.client.breaker(endpoint).unwrap().state(rig.now), state, "{code}");
    }
}

#[test]
fn a_long_answer_gathers_whole_while_another_connection_is_served() {
    let mut config = steady();
    config.cluster.min_connections = 2;
    config.cluster.in_flight = limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(50);
    let ids = [rig.request(), rig.request()];
    let open = rig.open();
    let long = "x".repeat(1 << 20);
    let frames: Vec<_> = open.iter().map(|&conn| rig.frames(conn).remove(0)).collect();
    let bytes = Uw::answer(&frames[0], &long);
    let (front, back) = bytes.split_at(bytes.len() / 2);
    rig.feed(open[0], front);
    rig.answer(open[1], &frames[1], "short");
    rig.feed(open[0], back);
    let mut done: Vec<_> = ids.iter().map(|&id| rig.outcome(id).cloned().unwrap()).collect();
    done.sort_by_key(|done| format!("{done:?}").len());
    assert_eq!(done, [Done::Answer("short".into()), Done::Answer(long)]);
    assert!(!rig.client.has_event());
}

#[test]
fn what_a_look_at_an_answer_has_left_to_do_is_due_at_once() {
    let mut config = steady();
    config.cluster.in_flight = limit(2);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let ids = [(); 4].map(|()| rig.request());
    let frames = rig.frames(conn);
    rig.drains = false;
    let answers = [&frames[0], &frames[1]].map(|frame| Uw::answer(frame, "{}")).concat();
    rig.feed(conn, &answers);
    // Behind the answer that is lent stands another. Its place is free, and one waits for it.
    assert!(matches!(rig.client.event(), Some(Event::Outcome { id, .. }) if id == ids[0]));
    assert_eq!(rig.client.deadline(), Some(rig.now));
    assert_eq!(rig.client.poll(), Some(Action::Flush(conn)));
    rig.peers.get_mut(&conn).unwrap().flush = true;
    assert!(rig.client.event().is_some());
    rig.run();
    assert!(rig.client.deadline() > Some(rig.now));

    // Or garbage, and the connection is to be closed.
    let last = rig.frames(conn).pop().unwrap();
    rig.feed(conn, &[Uw::answer(&last, "{}"), b"garbage".to_vec()].concat());
    assert!(rig.client.event().is_some());
    assert_eq!(rig.client.deadline(), Some(rig.now));
    assert_eq!(rig.client.poll(), Some(Action::Close(conn)));
}
