//! The end of a client.

mod client_support;

use client_support::{ADDRESS, Dial, Done, Rig, limit, steady};
use plimsoll_core::error::Rejected;
use plimsoll_core::machine::Machine;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{CloseCause, Options, RequestError};

#[test]
fn what_is_in_flight_and_what_waits_is_served_and_nothing_new_is_taken() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let ids = [rig.request(), rig.request()];
    rig.shutdown_within(3_000);
    let refused = rig.try_request(Options::default());
    assert_eq!(refused, Err(RequestError::Rejected(Rejected::ShuttingDown)));
    assert!(!rig.client.is_finished());
    rig.answer_all(conn);
    rig.answer_all(conn);
    rig.assert_answered(ids[1], "{}");
    assert_eq!(rig.closes(), [CloseCause::Shutdown]);
    assert!(rig.client.is_finished());
    assert_eq!(rig.client.deadline(), None);
}

#[test]
fn at_the_deadline_what_is_left_is_lost_and_nothing_is_tried_again() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    let (sent, waits) = (rig.idempotent(), rig.idempotent());
    rig.shutdown_within(300);
    rig.pass_ms(299);
    assert_eq!(rig.outcome(sent), None);
    rig.pass_ms(1);
    rig.assert_done(sent, Done::Lost { sent: true });
    rig.assert_done(waits, Done::Lost { sent: false });
    assert!(rig.client.is_finished());
    rig.check_rest();
}

#[test]
fn an_idle_client_is_finished_at_once_even_with_a_dial_under_way() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Hangs;
    rig.add(ADDRESS);
    rig.shutdown_within(1_000);
    assert!(rig.client.is_finished());
    assert_eq!(rig.client.deadline(), None);
}

#[test]
fn a_waiter_is_still_dialled_for() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Fails;
    rig.add(ADDRESS);
    let id = rig.request();
    rig.shutdown_within(4_000);
    rig.dial = Dial::Succeeds;
    rig.pass_ms(1_000);
    rig.answer_all(rig.last_conn());
    rig.assert_answered(id, "{}");
    assert!(rig.client.is_finished());
}

#[test]
fn no_timer_of_an_open_breaker_outlives_the_client() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    for _ in 0..5 {
        rig.request_within(1);
        rig.pass_ms(1);
    }
    assert_eq!(rig.client.status().endpoints_out, 1);
    rig.shutdown_within(1_000);
    assert!(rig.client.is_finished());
    assert_eq!(rig.client.deadline(), None);
}

#[test]
fn the_earlier_of_two_deadlines_counts() {
    let (mut rig, _) = Rig::<Uw>::connected(steady());
    let id = rig.request();
    rig.shutdown_within(500);
    rig.shutdown_within(2_000);
    rig.pass_ms(500);
    rig.assert_done(id, Done::Lost { sent: true });
}

#[test]
fn an_answer_that_nobody_took_survives_the_end() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let ids = [rig.request(), rig.request()];
    rig.drains = false;
    rig.answer_all(conn);
    rig.shutdown_within(0);
    rig.pass_ms(0);
    assert!(rig.client.is_finished());
    rig.drains = true;
    rig.run();
    rig.assert_answered(ids[0], "{}");
    rig.assert_answered(ids[1], "{}");
}
