//! A connection is lost: what becomes of the requests on it.

mod client_support;

use client_support::{ADDRESS, Dial, Done, Rig, limit, steady};
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::policy::Ratio;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Config;

fn rig() -> (Rig<Uw>, plimsoll_core::id::ConnId) {
    Rig::connected(steady())
}

#[test]
fn a_request_that_was_sent_is_lost_at_once() {
    let (mut rig, conn) = rig();
    let id = rig.request();
    rig.drop_conn(conn);
    rig.assert_done(id, Done::Lost { sent: true });
    rig.pass_ms(60_000);
    rig.check_rest();
}

#[test]
fn a_request_of_which_one_byte_was_sent_counts_as_sent() {
    let (mut rig, conn) = rig();
    rig.send_only(1);
    rig.window = 1;
    let id = rig.request();
    let waits = rig.request();
    rig.window = usize::MAX;
    rig.drop_conn(conn);
    rig.assert_done(id, Done::Lost { sent: true });
    rig.pass_ms(1_000);
    rig.answer_everybody();
    rig.assert_answered(waits, "{}");
    rig.check_rest();
}

#[test]
fn a_request_whose_bytes_never_left_is_sent_on_the_next_connection() {
    let (mut rig, conn) = rig();
    rig.send_only(0);
    let id = rig.request();
    rig.drop_conn(conn);
    assert_eq!(rig.outcome(id), None);
    rig.window = usize::MAX;
    rig.pass_ms(1_000);
    rig.answer_everybody();
    rig.assert_answered(id, "{}");
    assert_eq!(rig.client.metrics().retries, 1);
    rig.check_rest();
}

#[test]
fn an_idempotent_request_is_sent_three_times_and_no_more() {
    let (mut rig, _) = rig();
    let id = rig.request_with(plimsoll_core::service::client::Options {
        idempotent: true,
        timeout: Some(core::time::Duration::from_secs(600)),
        ..Default::default()
    });
    let mut ids = Vec::new();
    for attempt in 1..=3 {
        let conn = rig.last_conn();
        let frames = rig.frames(conn);
        assert_eq!(frames.len(), 1, "attempt {attempt}");
        ids.push(frames[0].id);
        rig.drop_conn(conn);
        rig.pass_ms(10_000);
    }
    rig.assert_done(id, Done::Lost { sent: true });
    ids.dedup();
    assert_eq!(ids.len(), 3, "each attempt has a wire id of its own");
    rig.check_rest();
}

#[test]
fn retries_end_with_the_budget() {
    let mut config = steady();
    config.retry_budget.per_second = 0;
    config.retry_budget.ratio = Ratio::percent(20);
    // One lost connection with ten requests is ten failures: this is not about the breaker.
    config.cluster.breaker.mode = plimsoll_core::policy::breaker::Mode::Count { failures: limit(100) };
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let ids: Vec<_> = (0..10).map(|_| rig.idempotent()).collect();
    rig.drop_conn(conn);
    let lost = ids.iter().filter(|&&id| rig.outcome(id) == Some(&Done::Lost { sent: true })).count();
    assert_eq!(lost, 8, "a fifth of ten may be repeated");
    rig.pass_ms(1_000);
    rig.answer_everybody();
    assert_eq!(rig.client.metrics().succeeded, 2);
    rig.check_rest();
}

#[test]
fn an_answer_that_had_arrived_before_the_close_still_counts() {
    let (mut rig, conn) = rig();
    let (first, second, third) = (rig.request(), rig.request(), rig.request());
    let frames = rig.frames(conn);
    rig.drains = false;
    rig.answer(conn, &frames[0], "1");
    rig.answer(conn, &frames[1], "2");
    rig.drop_conn(conn);
    rig.drains = true;
    rig.run();
    rig.assert_answered(first, "1");
    rig.assert_answered(second, "2");
    rig.assert_done(third, Done::Lost { sent: true });
}

#[test]
fn the_end_of_the_peers_stream_is_the_end_of_the_connection() {
    let (mut rig, conn) = rig();
    let id = rig.request();
    rig.handle(Input::ReadClosed(conn));
    rig.assert_done(id, Done::Lost { sent: true });
    assert!(!rig.peers[&conn].open, "the client closes it");
}

#[test]
fn a_retry_goes_to_another_connection_that_stands() {
    let (mut rig, first) = {
        let mut config: Config = steady();
        config.cluster.min_connections = 2;
        config.cluster.in_flight = limit(1);
        Rig::<Uw>::connected(config)
    };
    rig.pass_ms(50);
    let id = rig.idempotent();
    let (conn, other) = {
        let open = rig.open();
        assert_eq!(open.len(), 2);
        let on = if rig.peers[&first].frames.is_empty() { 1 } else { 0 };
        (open[on], open[1 - on])
    };
    rig.drop_conn(conn);
    rig.answer_all(other);
    rig.assert_answered(id, "{}");
}

#[test]
fn inputs_for_a_connection_that_is_gone_are_ignored() {
    let (mut rig, conn) = rig();
    rig.drop_conn(conn);
    rig.pass_ms(2_000);
    let next = rig.last_conn();
    assert_eq!((next.slot(), next == conn), (conn.slot(), false), "the slot is used again");
    let id = rig.request();
    let frames = rig.frames(next);
    for input in
        [Input::Connected(conn), Input::Sent(conn, 9), Input::Received(conn, 9), Input::ReadClosed(conn)]
    {
        rig.handle(input);
    }
    rig.handle(Input::Closed(conn, plimsoll_core::error::Fault::Reset));
    assert!(rig.client.recv_buf(conn).is_empty());
    rig.answer(next, &frames[0], "{}");
    rig.assert_answered(id, "{}");
}

#[test]
fn a_connection_that_is_lost_while_draining_does_not_keep_the_others_open() {
    let mut config = steady();
    config.cluster.min_connections = 2;
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(50);
    let id = rig.request();
    let busy = rig.open().into_iter().find(|conn| !rig.peers[conn].frames.is_empty()).unwrap();
    rig.shutdown_within(10_000);
    rig.drop_conn(busy);
    rig.assert_done(id, Done::Lost { sent: true });
    assert!(rig.client.is_finished());
}

#[test]
fn a_request_waits_out_a_dial_that_fails() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Fails;
    rig.add(ADDRESS);
    let id = rig.request();
    rig.dial = Dial::Succeeds;
    rig.pass_ms(1_000);
    rig.answer_everybody();
    rig.assert_answered(id, "{}");
}

#[test]
fn requests_of_a_lost_connection_are_tried_again_at_another_endpoint() {
    let mut config = steady();
    config.cluster.min_connections = 2;
    config.cluster.max_connections = limit(2);
    config.cluster.strategy = Strategy::RoundRobin;
    let mut rig = Rig::<Uw>::new(config);
    rig.add("users-a.internal:3001");
    rig.add("users-b.internal:3001");
    rig.pass_ms(200);
    assert_eq!(rig.open().len(), 4);
    for _ in 0..16 {
        rig.idempotent();
    }
    let lost = rig.open()[0];
    let there = rig.peers[&lost].target.clone();
    assert_eq!(rig.peers[&lost].frames.len(), 4);
    rig.drop_conn(lost);
    assert_eq!(rig.client.metrics().retries, 4);
    let mut frames = [0; 2];
    for conn in rig.open() {
        let peer = &rig.peers[&conn];
        frames[usize::from(peer.target == there)] += peer.frames.len();
    }
    assert_eq!(frames, [12, 4], "at the other endpoint, and where the connection was lost");
}
