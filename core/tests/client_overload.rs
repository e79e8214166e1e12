//! More requests than there is room for.

mod client_support;

use client_support::{Done, Rig, limit, steady};
use plimsoll_core::error::Rejected;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{Config, Options, RequestError};

fn narrow() -> Config {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    config
}

const OVERLOADED: Result<plimsoll_core::id::RequestId, RequestError> =
    Err(RequestError::Rejected(Rejected::Overloaded));

#[test]
fn a_full_wait_queue_rejects_at_once_and_counts_it() {
    let mut config = narrow();
    config.cluster.waiters = limit(2);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for _ in 0..3 {
        rig.request();
    }
    assert_eq!(rig.try_request(Options::default()), OVERLOADED);
    let metrics = rig.client.metrics();
    assert_eq!((metrics.requests, metrics.rejected, metrics.failed), (3, 1, 0));
}

#[test]
fn a_wait_queue_full_of_bytes_rejects_too() {
    let mut config = narrow();
    config.cluster.waiting_bytes = core::num::NonZeroU64::new(60).unwrap();
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    // A frame is 24 bytes, 2 of method, 2 of content.
    let ids: Vec<_> = (0..3).map(|_| rig.request()).collect();
    assert_eq!(rig.try_request(Options::default()), OVERLOADED);
    rig.cancel(ids[2]);
    let last = rig.request();
    for _ in 0..3 {
        rig.answer_all(conn);
    }
    rig.assert_answered(last, "{}");
    rig.check_rest();
}

#[test]
fn waiters_get_places_in_the_order_in_which_they_came() {
    let (mut rig, conn) = Rig::<Uw>::connected(narrow());
    let ids: Vec<_> = (0..6).map(|_| rig.request()).collect();
    for _ in 0..6 {
        rig.answer_all(conn);
    }
    assert_eq!(rig.order, ids);
    rig.check_rest();
}

#[test]
fn one_who_comes_later_does_not_overtake_those_who_wait() {
    let (mut rig, conn) = Rig::<Uw>::connected(narrow());
    let (first, waits) = (rig.request(), rig.request());
    let frames = rig.frames(conn);
    rig.answer(conn, &frames[0], "{}");
    let later = rig.request();
    assert_eq!(rig.tags(conn), [1]);
    assert_eq!((rig.outcome(waits), rig.outcome(later)), (None, None));
    rig.assert_answered(first, "{}");
}

#[test]
fn a_waiter_has_its_own_deadline() {
    let (mut rig, conn) = Rig::<Uw>::connected(narrow());
    rig.request();
    let (short, long) = (rig.request_within(100), rig.request_within(1_000));
    rig.pass_ms(100);
    rig.assert_done(short, Done::Timeout { sent: false });
    rig.answer_all(conn);
    rig.answer_all(conn);
    rig.assert_answered(long, "{}");
}

#[test]
fn a_full_connection_is_followed_by_the_next_and_then_by_the_wait_queue() {
    let mut config = steady();
    config.cluster.in_flight = limit(2);
    config.cluster.max_connections = limit(2);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for _ in 0..5 {
        rig.request();
        rig.pass_ms(60);
    }
    let mut taken: Vec<_> = rig.open().iter().map(|conn| rig.peers[conn].frames.len()).collect();
    taken.sort();
    assert_eq!(taken, [2, 2]);
    assert_eq!(rig.client.status().waiting, 1);
}

#[test]
fn outcomes_that_nobody_takes_stop_new_requests_and_none_is_dropped() {
    let mut config = steady();
    config.outcomes = limit(3);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    let ids: Vec<_> = (0..5).map(|_| rig.request()).collect();
    rig.drains = false;
    for &id in &ids {
        rig.cancel(id);
    }
    assert_eq!(rig.try_request(Options::default()), OVERLOADED);
    rig.drains = true;
    rig.run();
    assert_eq!(rig.order, ids);
    assert!(rig.try_request(Options::default()).is_ok());
}

#[test]
fn without_a_limit_in_flight_nothing_overflows() {
    let mut config = steady();
    config.cluster.in_flight = limit(u32::MAX);
    config.cluster.min_connections = 3;
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(500);
    let id = rig.request();
    rig.answer_everybody();
    rig.assert_answered(id, "{}");
}

#[test]
fn a_waiter_is_dialled_for_again_when_a_dial_for_it_failed() {
    let mut config = narrow();
    config.cluster.max_connections = limit(2);
    config.cluster.grow_at = 100;
    let (mut rig, first) = Rig::<Uw>::connected(config);
    rig.pass_ms(60);
    rig.request_within(60_000);
    rig.dial = client_support::Dial::Fails;
    let waits = rig.request_within(60_000);
    assert_eq!(rig.dials.len(), 2);
    rig.dial = client_support::Dial::Succeeds;
    rig.pass_ms(1_000);
    assert_eq!(rig.dials.len(), 3);
    rig.answer_all(rig.last_conn());
    rig.assert_answered(waits, "{}");
    assert_eq!(rig.peers[&first].frames.len(), 1, "the first is still at work");
}

#[test]
fn what_the_wire_cannot_carry_is_refused_and_leaves_no_trace() {
    let (mut rig, conn) = Rig::<Uw>::connected(narrow());
    let now = rig.now;
    let long = "t".repeat(256);
    let bad = plimsoll_core::service::UwRequest { method: &long, content: b"" };
    for _ in 0..2 {
        // On a connection, and then as one that would wait.
        let refused = rig.client.request(now, &bad, Options::default());
        assert!(matches!(refused, Err(RequestError::Misuse(_))));
        rig.client.audit();
        rig.request();
    }
    rig.answer_all(conn);
    rig.answer_all(conn);
    rig.check_rest();
}
