//! Connections that have reached their age: replaced, never missed.

mod cluster_support;

use std::time::Duration;

use cluster_support::{Dial, Fleet, calm, limit};
use plimsoll_core::cluster::{CloseCause, Config, Place, Want};
use plimsoll_core::policy::breaker::Outcome;

/// Past the age of a minute, a tenth more or less, and before the next connection reaches it.
const AGED: u64 = 70;

fn ageing(min_connections: u32) -> Fleet {
    let max_age = Some(Duration::from_secs(60));
    Fleet::new(Config { max_age, min_connections, max_connections: limit(2), ..calm() }, 1)
}

/// A place on the first connection, which is dialled for it if none is kept up.
fn first_place(fleet: &mut Fleet) -> Place {
    fleet.checkout(Want::default()).unwrap_or_else(|_| fleet.take())
}

#[test]
fn one_that_is_idle_is_replaced() {
    let mut fleet = ageing(1);
    let id = fleet.endpoints[0];
    let old = fleet.conns(id);
    fleet.pass_secs(AGED);
    assert_eq!(fleet.closes(id), [CloseCause::Aged]);
    assert_eq!((fleet.conns(id).len(), fleet.dials_begun(id)), (1, 2));
    assert_ne!(fleet.conns(id), old);
}

#[test]
fn one_that_is_idle_and_not_needed_closes_without_another_in_its_place() {
    let mut fleet = ageing(0);
    let id = fleet.endpoints[0];
    let place = first_place(&mut fleet);
    fleet.give_back(place, Outcome::Success);
    fleet.pass_secs(AGED);
    assert_eq!(fleet.closes(id), [CloseCause::Aged]);
    assert_eq!((fleet.conns(id).len(), fleet.dials_begun(id)), (0, 1));
}

#[test]
fn one_that_is_busy_gets_no_more_requests_and_closes_with_its_last() {
    for min_connections in [0, 1] {
        let mut fleet = ageing(min_connections);
        let id = fleet.endpoints[0];
        let busy = [first_place(&mut fleet), fleet.take()];
        assert_eq!(busy[0].conn, busy[1].conn);
        fleet.pass_secs(AGED);
        let next = fleet.take();
        assert_ne!(next.conn, busy[0].conn);
        assert_eq!((fleet.conns(id).len(), fleet.closes(id).len()), (2, 0));
        fleet.give_back(busy[0], Outcome::Success);
        assert_eq!(fleet.closes(id), [], "one request is still on it");
        fleet.give_back(busy[1], Outcome::Success);
        assert_eq!(fleet.closes(id), [CloseCause::Aged]);
        assert_eq!(fleet.conns(id), [next.conn]);
    }
}

#[test]
fn the_last_one_serves_on_while_no_younger_one_stands() {
    let mut fleet = ageing(1);
    let id = fleet.endpoints[0];
    fleet.dials_to(id, Dial::Fails);
    let old = fleet.conns(id);
    fleet.pass_secs(10 * AGED);
    assert_eq!(fleet.conns(id), old);
    let place = fleet.take();
    fleet.dials_to(id, Dial::Succeeds);
    fleet.pass_secs(AGED);
    assert_ne!(fleet.take().conn, place.conn);
    fleet.give_back(place, Outcome::Success);
    assert_eq!(fleet.closes(id).last(), Some(&CloseCause::Aged));
}

#[test]
fn while_the_cluster_drains_none_is_replaced() {
    let mut fleet = ageing(1);
    let id = fleet.endpoints[0];
    let place = fleet.take();
    fleet.cluster.drain(fleet.now);
    fleet.pass_secs(AGED);
    assert_eq!(fleet.dials_begun(id), 1);
    fleet.give_back(place, Outcome::Success);
    assert!(fleet.cluster.is_empty());
}

#[test]
fn one_that_its_owner_retires_is_replaced_too_and_once_is_enough() {
    let mut fleet = ageing(1);
    let id = fleet.endpoints[0];
    let busy = fleet.take();
    assert!(fleet.retire(busy.conn) && fleet.retire(busy.conn));
    fleet.pass_secs(1);
    assert_eq!((fleet.conns(id).len(), fleet.dials_begun(id)), (2, 2));
    assert_ne!(fleet.take().conn, busy.conn);
    fleet.give_back(busy, Outcome::Success);
    assert_eq!(fleet.closes(id), [CloseCause::Aged]);
    assert!(!fleet.retire(busy.conn), "it is gone");
}

#[test]
fn one_that_is_lost_while_it_retires_takes_its_requests_with_it() {
    let mut fleet = ageing(1);
    let id = fleet.endpoints[0];
    let busy = fleet.take();
    fleet.retire(busy.conn);
    fleet.lose(busy.conn);
    fleet.pass_secs(1);
    assert_eq!((fleet.status(id).in_flight, fleet.conns(id).len()), (0, 1));
}
