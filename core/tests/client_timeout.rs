//! A request's time runs out.

mod client_support;

use std::time::Duration;

use client_support::{ADDRESS, Dial, Done, Rig, limit, steady};
use plimsoll_core::machine::Machine;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Options;
use plimsoll_core::time::Instant;

#[test]
fn a_request_that_waits_times_out_unsent() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Hangs;
    rig.add(ADDRESS);
    let id = rig.request_within(700);
    rig.pass_ms(699);
    assert_eq!(rig.outcome(id), None);
    rig.pass_ms(1);
    rig.assert_done(id, Done::Timeout { sent: false });
    rig.check_rest();
}

#[test]
fn a_request_on_a_connection_that_takes_nothing_times_out_unsent_and_is_never_sent() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.send_only(0);
    let id = rig.request_within(10);
    rig.pass_ms(10);
    rig.assert_done(id, Done::Timeout { sent: false });
    rig.send_only(usize::MAX);
    assert_eq!(rig.tags(conn), [0u64; 0]);
    rig.check_rest();
}

#[test]
fn a_request_that_was_sent_times_out_and_its_late_answer_is_dropped() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request();
    rig.pass_ms(5_000);
    rig.assert_done(id, Done::Timeout { sent: true });
    rig.answer_all(conn);
    assert_eq!(rig.client.metrics().late_responses, 1);
    rig.check_rest();
}

#[test]
fn more_distinct_timeouts_than_queues_run_out_each_at_its_own_time() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    let ids: Vec<_> = (0..40).map(|n| rig.request_within(1_000 - 20 * n)).collect();
    rig.pass_ms(1_000);
    let latest_first: Vec<_> = rig.order.iter().rev().copied().collect();
    assert_eq!(latest_first, ids);
}

#[test]
fn of_equal_timeouts_the_first_taken_ends_first() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    let ids: Vec<_> = (0..10).map(|_| rig.request_within(10)).collect();
    rig.pass_ms(10);
    assert_eq!(rig.order, ids);
}

#[test]
fn waiters_that_time_out_together_with_those_before_them_end_once() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let ids: Vec<_> = (0..4).map(|_| rig.request_within(100)).collect();
    let later = rig.request_within(500);
    rig.pass_ms(100);
    rig.assert_done(ids[0], Done::Timeout { sent: true });
    for &id in &ids[1..] {
        rig.assert_done(id, Done::Timeout { sent: false });
    }
    assert_eq!(rig.tags(conn), [0, 4]);
    assert_eq!(rig.outcome(later), None);
    rig.pass_ms(1_000);
    rig.check_rest();
}

#[test]
fn a_timeout_of_zero_ends_at_the_next_tick() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    rig.drains = false;
    let now = rig.now;
    let request = plimsoll_core::service::UwRequest { method: "t0", content: b"" };
    let options = Options { timeout: Some(Duration::ZERO), ..Options::default() };
    rig.client.request(now, &request, options).unwrap();
    assert!(rig.client.deadline().is_some_and(|at| at <= now));
    rig.run();
    assert_eq!(rig.client.metrics().failures.timeout, 1);
}

#[test]
fn a_timeout_of_for_ever_does_not_wrap() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request_with(Options { timeout: Some(Duration::MAX), ..Options::default() });
    rig.pass_ms(1_000);
    assert!(rig.client.deadline().is_some_and(|at| at < Instant::MAX), "pings go on");
    rig.answer_all(conn);
    rig.assert_answered(id, "{}");
}

#[test]
fn a_request_that_is_in_flight_longer_than_the_idle_time_keeps_its_connection() {
    let mut config = steady();
    config.cluster.idle_close = Duration::from_millis(100);
    config.cluster.min_connections = 0;
    let (mut rig, conn) = {
        let mut rig = Rig::<Uw>::new(config);
        rig.add(ADDRESS);
        rig.request();
        let conn = rig.last_conn();
        (rig, conn)
    };
    rig.pass_ms(450);
    assert!(rig.peers[&conn].open);
    rig.answer_all(conn);
    assert_eq!(rig.client.metrics().succeeded, 1);
    rig.pass_ms(201);
    assert!(!rig.peers[&conn].open, "and it is closed when it has been idle");
}
