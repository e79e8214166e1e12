//! Connections retire at their age, and nobody notices.

mod cluster_support;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_support::{Dial, Fleet, calm, limit};
use plimsoll_core::cluster::{CloseCause, Config, StateEvent, Want};
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::time::Instant;

const AGE: Duration = Duration::from_secs(600);

fn aging() -> Config {
    let mut config = Config { max_age: Some(AGE), ..calm() };
    config.idle_close = Duration::from_secs(1_000_000);
    config
}

/// When connections were closed because of their age, to the second.
fn retired(fleet: &mut Fleet, time: Duration) -> Vec<Instant> {
    let mut retired = Vec::new();
    let end = fleet.now + time;
    while fleet.now < end {
        let before = fleet.states.len();
        fleet.pass_secs(1);
        let aged = |state: &&StateEvent| matches!(state, StateEvent::Closed { cause: CloseCause::Aged, .. });
        let closed = fleet.states[before..].iter().filter(aged).count();
        retired.extend(std::iter::repeat_n(fleet.now, closed));
    }
    retired
}

#[test]
fn each_connection_is_replaced_at_its_age_a_tenth_more_or_less() {
    let mut fleet = Fleet::new(aging(), 20);
    let start = fleet.now;
    let ages = retired(&mut fleet, Duration::from_secs(700));
    assert_eq!(ages.len(), 20);
    let ages: Vec<u64> = ages.iter().map(|at| at.since(start).as_secs()).collect();
    assert!(ages.iter().all(|age| (540..=661).contains(age)), "{ages:?}");
    assert!(ages[0] < 575 && ages[19] > 625, "over the whole range: {ages:?}");
    assert!(fleet.endpoints.iter().all(|id| fleet.conns(*id).len() == 1));
    // And so on: their successors live as long.
    assert_eq!(retired(&mut fleet, Duration::from_secs(300)).len(), 0);
    assert_eq!(retired(&mut fleet, Duration::from_secs(400)).len(), 20);
}

#[test]
fn a_thousand_that_were_dialled_in_one_instant_do_not_end_in_one_instant() {
    let mut config = aging();
    config.heartbeat.interval = Duration::from_secs(1_000_000);
    let mut fleet = Fleet::new(config, 0);
    let start = fleet.now;
    // All of them stand before the first is looked at.
    for n in 0..1_000 {
        fleet.cluster.add_endpoint(fleet.now, &format!("users-{n}.internal:3001")).unwrap();
    }
    fleet.endpoints = fleet.cluster.endpoints().map(|(id, _)| id).collect();
    while let Some(action) = fleet.cluster.poll() {
        let plimsoll_core::cluster::Action::Dial(conn) = action else { unreachable!() };
        assert!(fleet.cluster.connected(fleet.now, conn));
    }
    let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
    while let Some((at, _)) =
        fleet.cluster.deadline().filter(|(at, _)| at.since(start) < Duration::from_secs(661))
    {
        fleet.now = at;
        fleet.cluster.tick(at);
        while let Some(action) = fleet.cluster.poll() {
            match action {
                plimsoll_core::cluster::Action::Dial(conn) => _ = fleet.cluster.connected(at, conn),
                plimsoll_core::cluster::Action::Close(..) => {
                    *ends.entry(at.since(start).as_secs()).or_default() += 1;
                }
                _ => unreachable!("{action:?}"),
            }
        }
    }
    fleet.cluster.audit();
    assert_eq!(ends.values().sum::<u32>(), 1_000);
    // 8.3 a second over the 120 s; five standard deviations above that are 23.
    assert!(ends.values().all(|n| *n <= 23) && ends.len() >= 115, "{ends:?}");
}

#[test]
fn the_last_connection_serves_until_its_successor_stands() {
    let mut fleet = Fleet::new(aging(), 1);
    let id = fleet.endpoints[0];
    let old = fleet.conns(id)[0];
    fleet.dials_to(id, Dial::Hangs);
    while fleet.dials_begun(id) < 2 {
        fleet.pass_ms(500);
    }
    let place = fleet.take();
    assert_eq!(place.conn, old);
    fleet.give_back(place, Outcome::Success);
    let (_, _, new) = fleet.dialled[1];
    fleet.connect(new);
    assert_eq!(fleet.conns(id), [new]);
    assert_eq!(fleet.closes(id).last(), Some(&CloseCause::Aged));
    assert_eq!(fleet.take().conn, new);
}

#[test]
fn a_dial_that_fails_costs_the_old_connection_nothing() {
    let mut fleet = Fleet::new(aging(), 1);
    let id = fleet.endpoints[0];
    let old = fleet.conns(id);
    fleet.dials_to(id, Dial::Fails);
    for _ in 0..50 {
        fleet.pass_secs(30);
        let place = fleet.take();
        assert_eq!([place.conn], old[..]);
        fleet.give_back(place, Outcome::Success);
        assert!(fleet.status(id).reachable, "it serves");
    }
    assert!(
        (10..100).contains(&fleet.dials_begun(id)),
        "with the reconnect delay: {}",
        fleet.dials_begun(id)
    );
    fleet.dials_to(id, Dial::Succeeds);
    fleet.pass_secs(31);
    assert_ne!(fleet.conns(id), old);
    assert_eq!(fleet.conns(id).len(), 1);
}

#[test]
fn who_waits_while_the_only_connection_retires_gets_the_next_one_at_once() {
    let mut config = Config { in_flight: limit(1), max_connections: limit(1), min_connections: 0, ..calm() };
    config.dial_stagger = Duration::ZERO;
    let mut fleet = Fleet::new(config, 1);
    fleet.wait(1, Want::default());
    fleet.wait(2, Want::default());
    let first = fleet.place_of(1).expect("a place");
    // The request on it may take for ever.
    assert!(fleet.retire(first.conn));
    assert_ne!(fleet.place_of(2).expect("a place on another").conn, first.conn);
}

#[test]
fn requests_on_a_connection_that_retires_finish_there_and_new_ones_go_elsewhere() {
    let mut fleet = Fleet::new(aging(), 1);
    let id = fleet.endpoints[0];
    let places = [fleet.take(), fleet.take()];
    fleet.pass_secs(661);
    assert_eq!(fleet.conns(id).len(), 2);
    let later = fleet.take();
    assert_ne!(later.conn, places[0].conn);
    assert_eq!(fleet.status(id).in_flight, 3);
    assert_eq!(fleet.closes(id), []);
    fleet.give_back(places[0], Outcome::Success);
    assert_eq!(fleet.closes(id), []);
    fleet.give_back(places[1], Outcome::Success);
    assert_eq!(fleet.closes(id), [CloseCause::Aged]);
    assert_eq!(fleet.conns(id), [later.conn]);
}

#[test]
fn at_the_maximum_of_connections_the_successor_is_one_more_for_a_while() {
    let mut fleet = Fleet::new(Config { max_connections: limit(1), ..aging() }, 1);
    let place = fleet.take();
    fleet.pass_secs(661);
    assert_eq!(fleet.open.len(), 2);
    fleet.give_back(place, Outcome::Success);
    assert_eq!(fleet.open.len(), 1);
}

#[test]
fn a_connection_that_is_lost_while_it_waits_for_its_successor_leaves_nothing_behind() {
    let mut fleet = Fleet::new(aging(), 1);
    let id = fleet.endpoints[0];
    fleet.dials_to(id, Dial::Fails);
    fleet.pass_secs(661);
    fleet.lose(fleet.conns(id)[0]);
    fleet.pass_secs(60);
    assert!(!fleet.status(id).reachable);
    fleet.dials_to(id, Dial::Succeeds);
    fleet.pass_secs(60);
    assert_eq!(fleet.conns(id).len(), 1);
}

#[test]
fn where_none_is_kept_up_an_idle_one_ends_and_a_busy_one_is_replaced() {
    let mut fleet = Fleet::new(Config { min_connections: 0, ..aging() }, 2);
    fleet.wait(1, Want::default());
    let place = fleet.place_of(1).unwrap();
    fleet.give_back(place, Outcome::Success);
    fleet.pass_secs(661);
    assert_eq!((fleet.open.len(), fleet.dialled.len()), (0, 1));
    assert_eq!(fleet.cluster.deadline(), None, "nothing is left to do");
    fleet.wait(2, Want::default());
    let place = fleet.place_of(2).unwrap();
    fleet.pass_secs(661);
    assert_eq!((fleet.open.len(), fleet.dialled.len()), (2, 3));
    fleet.give_back(place, Outcome::Success);
    assert_eq!(fleet.open.len(), 1);
}

#[test]
fn a_connection_that_is_told_to_retire_gets_no_more_and_ends_with_its_last_request() {
    let mut fleet = Fleet::new(calm(), 1);
    let id = fleet.endpoints[0];
    let places = [fleet.take(), fleet.take()];
    let old = places[0].conn;
    fleet.pass_secs(1);
    assert!(fleet.retire(old));
    assert!(fleet.retire(old), "once more changes nothing");
    assert_eq!(fleet.conns(id).len(), 2, "another is dialled at once");
    assert_ne!(fleet.take().conn, old);
    places.into_iter().for_each(|place| fleet.give_back(place, Outcome::Success));
    assert_eq!(fleet.closes(id), [CloseCause::Aged]);
    assert!(!fleet.retire(old), "it is gone");
}

#[test]
fn an_idle_connection_that_is_told_to_retire_ends_at_once_and_those_who_wait_get_its_successor() {
    let narrow = Config { in_flight: limit(1), max_connections: limit(1), ..calm() };
    let mut fleet = Fleet::new(narrow, 1);
    let place = fleet.take();
    fleet.wait(1, Want::default());
    fleet.pass_secs(1);
    fleet.retire(place.conn);
    let successor = fleet.place_of(1).unwrap();
    assert_ne!(successor.conn, place.conn);
    fleet.give_back(successor, Outcome::Success);
    fleet.pass_secs(1);
    fleet.retire(successor.conn);
    assert_eq!(fleet.closes(fleet.endpoints[0]), [CloseCause::Aged]);
    fleet.give_back(place, Outcome::Success);
    assert_eq!(fleet.open.len(), 1);
}

#[test]
fn a_connection_that_retires_reaches_no_age_any_more() {
    let mut fleet = Fleet::new(aging(), 1);
    let place = fleet.take();
    fleet.pass_secs(1);
    fleet.retire(place.conn);
    fleet.pass_secs(661);
    assert_eq!(fleet.status(fleet.endpoints[0]).connections, 2);
    assert_ne!(fleet.take().conn, place.conn);
    fleet.give_back(place, Outcome::Success);
}

#[test]
fn a_dial_cannot_retire() {
    let mut fleet = Fleet::new(calm(), 0);
    fleet.add_that(Dial::Hangs, 0);
    let conn = fleet.dialled[0].2;
    assert!(!fleet.retire(conn));
    fleet.connect(conn);
    assert!(fleet.retire(conn));
}

#[test]
fn without_an_age_connections_stay() {
    let mut fleet = Fleet::new(Config { max_age: None, ..aging() }, 3);
    let before = fleet.open.clone();
    fleet.pass_secs(10_000);
    assert_eq!(fleet.open, before);
}
