//! Endpoints that come and go.

mod client_support;

use client_support::{ADDRESS, Dial, Rig, steady};
use plimsoll_core::error::{Misuse, Rejected};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Mode;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{CloseCause, Options, RequestError};

#[test]
fn without_an_endpoint_a_request_is_rejected() {
    let mut rig = Rig::<Uw>::new(steady());
    let refused = rig.try_request(Options::default());
    assert_eq!(refused, Err(RequestError::Rejected(Rejected::NoEndpoint)));
}

#[test]
fn round_robin_spreads_over_all_of_them() {
    let mut config = steady();
    config.cluster.strategy = Strategy::RoundRobin;
    let mut rig = Rig::<Uw>::new(config);
    for n in 0..3 {
        rig.add(&format!("users-{n}.internal:3001"));
    }
    for _ in 0..9 {
        rig.request();
    }
    for conn in rig.open() {
        assert_eq!(rig.tags(conn).len(), 3);
    }
}

#[test]
fn a_busy_endpoint_that_is_removed_finishes_its_requests_and_gets_no_more() {
    let (mut rig, old) = Rig::<Uw>::connected(steady());
    let endpoint = rig.client.endpoints().next().unwrap().0;
    let ids = [rig.request(), rig.request()];
    rig.add("users-b.internal:3001");
    let new = rig.last_conn();
    assert!(rig.remove(endpoint));
    assert!(!rig.remove(endpoint), "it is removed already");
    let next = rig.request();
    assert_eq!(rig.tags(new), [2]);
    rig.answer_all(old);
    rig.assert_answered(ids[0], "{}");
    rig.assert_answered(ids[1], "{}");
    assert_eq!(rig.closes(), [CloseCause::Removed]);
    assert!(!rig.peers[&old].open);
    assert_eq!(rig.client.endpoints().count(), 1);
    assert_eq!(rig.outcome(next), None);
}

#[test]
fn an_idle_or_dialled_endpoint_goes_at_once() {
    let mut rig = Rig::<Uw>::new(steady());
    let idle = rig.add(ADDRESS);
    rig.dial = Dial::Hangs;
    let dialled = rig.add("users-b.internal:3001");
    assert!(rig.remove(idle) && rig.remove(dialled));
    assert_eq!(rig.client.status(), Default::default());
    rig.pass_ms(60_000);
    assert_eq!(rig.dials.len(), 2, "nothing is dialled any more");
}

#[test]
fn those_who_wait_are_served_by_an_endpoint_that_comes_later() {
    let mut config = steady();
    config.cluster.min_connections = 0;
    let mut rig = Rig::<Uw>::new(config);
    rig.dial = Dial::Hangs;
    let first = rig.add(ADDRESS);
    let id = rig.request();
    rig.remove(first);
    rig.dial = Dial::Succeeds;
    rig.add("users-b.internal:3001");
    rig.answer_all(rig.last_conn());
    rig.assert_answered(id, "{}");
}

#[test]
fn what_is_no_address_is_refused() {
    let mut rig = Rig::<Uw>::new(steady());
    for address in ["", "users.internal", ":3001", "users.internal:x", "users.internal:70000", "::1:3001"] {
        let added = rig.client.add_endpoint(rig.now, address);
        assert_eq!(added, Err(Misuse::BadAddress), "{address}");
    }
    rig.add("[::1]:3001");
}

#[test]
fn at_the_limit_of_endpoints_no_more_are_added() {
    let mut config = steady();
    config.cluster.max_endpoints = client_support::limit(1);
    let mut rig = Rig::<Uw>::new(config);
    rig.add(ADDRESS);
    let added = rig.client.add_endpoint(rig.now, "users-b.internal:3001");
    assert_eq!(added, Err(Misuse::TooManyEndpoints { limit: 1 }));
}

#[test]
fn an_endpoint_that_is_removed_before_its_dial_began_leaves_nothing_to_do() {
    let mut rig = Rig::<Uw>::new(steady());
    let added = rig.client.add_endpoint(rig.now, ADDRESS).unwrap();
    assert!(rig.client.remove_endpoint(rig.now, added));
    assert_eq!(plimsoll_core::machine::Machine::poll(&mut rig.client), None);
}

#[test]
fn a_request_that_was_lost_is_repeated_at_another_endpoint() {
    for strategy in Strategy::ALL {
        let mut config = steady();
        config.cluster.strategy = strategy;
        // Nobody here answers a ping.
        config.cluster.heartbeat.interval = std::time::Duration::from_secs(3_600);
        config.cluster.breaker.mode = Mode::Count { failures: client_support::limit(1_000) };
        // The one that has failed could take it, on its other connection.
        config.cluster.min_connections = 2;
        let mut rig = Rig::<Uw>::new(config);
        for n in 0..3 {
            rig.add(&format!("users-{n}.internal:3001"));
        }
        rig.pass_ms(1_000);
        for key in 0..20 {
            let options = Options { key: Some(key << 59), idempotent: true, ..Options::default() };
            let id = rig.request_with(options);
            let busy = |rig: &Rig<Uw>| rig.open().into_iter().find(|conn| !rig.peers[conn].frames.is_empty());
            let first = busy(&rig).expect("a connection that has it");
            let target = rig.peers[&first].target.clone();
            rig.drop_conn(first);
            let second = busy(&rig).expect("a connection that has it now");
            assert_ne!(rig.peers[&second].target, target, "{strategy}");
            rig.answer_all(second);
            rig.assert_answered(id, "{}");
            // As long as the reconnect delay at most.
            rig.pass_ms(31_000);
        }
    }
}
