//! An endpoint that fails gets a rest.

mod client_support;

use std::time::Duration;

use client_support::{ADDRESS, Done, Rig, limit, steady};
use plimsoll_core::error::Rejected;
use plimsoll_core::policy::breaker::{Mode, State};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{Config, Options, RequestError, StateEvent};

const OPEN: Result<plimsoll_core::id::RequestId, RequestError> =
    Err(RequestError::Rejected(Rejected::CircuitOpen));

fn tripped(config: Config) -> Rig<Uw> {
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for n in 0..5 {
        assert_eq!(rig.client.status().endpoints_out, 0, "after {n} failures");
        rig.request_within(1);
        rig.pass_ms(1);
    }
    assert_eq!(rig.client.status().endpoints_out, 1);
    rig
}

fn states(rig: &Rig<Uw>) -> Vec<State> {
    let to = |event: &StateEvent| match event {
        StateEvent::Breaker { to, .. } => Some(*to),
        _ => None,
    };
    rig.states.iter().filter_map(to).collect()
}

/// Time passes, and pings are answered.
fn live(rig: &mut Rig<Uw>, seconds: u64) {
    for _ in 0..seconds {
        rig.pass_ms(1_000);
        rig.answer_everybody();
    }
}

#[test]
fn after_five_failures_in_a_row_requests_are_rejected() {
    let mut rig = tripped(steady());
    assert_eq!(rig.try_request(Options::default()), OPEN);
    assert_eq!(states(&rig), [State::Open]);
}

#[test]
fn its_endpoint_says_what_was_counted_when_it_failed_last_and_when_it_is_tried_again() {
    let mut rig = tripped(steady());
    rig.pass_ms(999);
    let status = rig.client.endpoint_status().next().expect("there is one");
    assert_eq!(
        (status.breaker, status.breaker_stats.failed, status.breaker_stats.opened),
        (State::Open, 5, 1)
    );
    assert_eq!(status.breaker_stats.consecutive_failures, 5);
    assert_eq!(status.last_failure, Some(Duration::from_millis(999)));
    assert_eq!(status.next_attempt, Some(Duration::from_millis(60_000 - 999)));
    // 1 − 0.9⁵
    assert_eq!(status.error_per_mille, 409);
}

#[test]
fn after_its_rest_three_probes_close_it_again() {
    let mut rig = tripped(steady());
    live(&mut rig, 59);
    assert_eq!(rig.try_request(Options::default()), OPEN);
    live(&mut rig, 1);
    let conn = rig.last_conn();
    for _ in 0..3 {
        rig.request();
    }
    assert_eq!(rig.try_request(Options::default()), OPEN, "all probes are out");
    rig.answer_all(conn);
    assert_eq!(states(&rig), [State::Open, State::HalfOpen, State::Closed]);
    let id = rig.request();
    rig.answer_all(conn);
    rig.assert_answered(id, "{}");
    assert_eq!(rig.client.status().endpoints_out, 0);
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    let mut rig = tripped(steady());
    live(&mut rig, 60);
    rig.request_within(1);
    rig.pass_ms(1);
    assert_eq!(rig.try_request(Options::default()), OPEN);
    assert_eq!(states(&rig), [State::Open, State::HalfOpen, State::Open]);
}

#[test]
fn a_probe_that_was_cancelled_makes_room_for_another() {
    let mut config = steady();
    config.cluster.breaker.success_threshold = limit(1);
    let mut rig = tripped(config);
    live(&mut rig, 60);
    let probe = rig.request();
    assert_eq!(rig.try_request(Options::default()), OPEN);
    rig.cancel(probe);
    let id = rig.request();
    rig.answer_all(rig.last_conn());
    rig.assert_answered(id, "{}");
    assert_eq!(states(&rig).last(), Some(&State::Closed));
}

#[test]
fn a_lost_connection_is_one_failure_however_many_requests_were_on_it() {
    let mut config = steady();
    // Nobody here answers a ping.
    config.cluster.heartbeat.interval = std::time::Duration::from_secs(3_600);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for lost in 1..=5 {
        assert_eq!(rig.client.status().endpoints_out, 0, "before loss {lost}");
        for _ in 0..20 {
            rig.request();
        }
        rig.drop_conn(rig.last_conn());
        rig.pass_ms(30_000);
    }
    assert_eq!(rig.client.status().endpoints_out, 1);
}

#[test]
fn those_who_wait_get_a_place_when_it_recovers() {
    let mut config = steady();
    config.cluster.in_flight = limit(5);
    config.cluster.max_connections = limit(1);
    config.cluster.breaker.mode = Mode::Count { failures: limit(1) };
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let sent: Vec<_> = (0..5).map(|_| rig.request_within(600_000)).collect();
    let waits = rig.request_within(600_000);
    rig.drop_conn(conn);
    rig.assert_done(sent[4], Done::Lost { sent: true });
    assert_eq!((rig.client.status().waiting, rig.client.status().endpoints_out), (1, 1));
    live(&mut rig, 61);
    rig.assert_answered(waits, "{}");
}

#[test]
fn an_endpoint_that_is_out_gets_nothing_while_another_serves() {
    let mut rig = tripped(steady());
    let bad = rig.last_conn();
    rig.frames(bad);
    rig.add("users-b.internal:3001");
    let good = rig.last_conn();
    for _ in 0..20 {
        rig.request();
    }
    assert_eq!((rig.tags(bad).len(), rig.tags(good).len()), (0, 20));
}

#[test]
fn a_removed_endpoint_does_not_count_as_one_that_serves() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    let endpoint = rig.client.endpoints().next().unwrap().0;
    rig.request();
    assert!(rig.remove(endpoint));
    let refused = rig.try_request(Options::default());
    assert_eq!(refused, Err(RequestError::Rejected(Rejected::NoEndpoint)));
    assert_eq!(rig.peers.values().next().unwrap().target, ADDRESS);
}
