//! How many connections there are.

mod client_support;

use client_support::{ADDRESS, Dial, Rig, limit, steady};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::CloseCause;

#[test]
fn without_a_minimum_the_first_request_dials() {
    let mut config = steady();
    config.cluster.min_connections = 0;
    let mut rig = Rig::<Uw>::new(config);
    rig.add(ADDRESS);
    rig.pass_ms(1_000);
    assert_eq!(rig.dials.len(), 0);
    let id = rig.request();
    rig.answer_all(rig.last_conn());
    rig.assert_answered(id, "{}");
}

#[test]
fn one_waiter_makes_one_dial_however_many_endpoints_there_are() {
    let mut config = steady();
    config.cluster.min_connections = 0;
    let mut rig = Rig::<Uw>::new(config);
    rig.dial = Dial::Hangs;
    for n in 0..5 {
        rig.add(&format!("users-{n}.internal:3001"));
    }
    rig.request();
    rig.pass_ms(1_000);
    assert_eq!(rig.dials.len(), 1);
    rig.request();
    assert_eq!(rig.dials.len(), 2);
}

#[test]
fn another_connection_is_dialled_above_32_in_flight_one_dial_at_a_time() {
    let mut config = steady();
    config.cluster.max_connections = limit(3);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(60);
    rig.dial = Dial::Hangs;
    for _ in 0..32 {
        rig.request();
    }
    assert_eq!(rig.dials.len(), 1);
    for _ in 0..100 {
        rig.request();
    }
    assert_eq!(rig.dials.len(), 2, "the 33rd dials, and the others wait for that dial");
}

#[test]
fn a_pool_never_grows_above_its_maximum() {
    let mut config = steady();
    config.cluster.max_connections = limit(3);
    config.cluster.in_flight = limit(40);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for _ in 0..1_000 {
        rig.request();
        rig.pass_ms(1);
    }
    assert_eq!(rig.open().len(), 3);
    assert_eq!(rig.client.status().in_flight, 120);
}

#[test]
fn above_the_minimum_an_idle_connection_is_closed_after_five_minutes() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(60);
    rig.request();
    rig.request();
    assert_eq!(rig.open().len(), 2);
    rig.answer_everybody();
    for _ in 0..299 {
        rig.pass_ms(1_000);
        rig.answer_everybody();
    }
    assert_eq!(rig.open().len(), 2);
    for _ in 0..2 {
        rig.pass_ms(1_000);
        rig.answer_everybody();
    }
    assert_eq!(rig.open().len(), 1);
    assert_eq!(rig.closes(), [CloseCause::Idle]);
    for _ in 0..700 {
        rig.pass_ms(1_000);
        rig.answer_everybody();
    }
    assert_eq!(rig.open().len(), 1, "the minimum stays");
}
