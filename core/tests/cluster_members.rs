//! Endpoints that come and go while requests wait.

mod cluster_support;

use std::collections::BTreeSet;
use std::ops::Range;

use cluster_support::{Dial, Fleet, calm, limit};
use plimsoll_core::cluster::{
    Action, CloseCause, Cluster, Config, Duty, EndpointOptions, StateEvent, Unplaced, Want,
};
use plimsoll_core::error::{Misuse, Rejected};
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::time::Instant;

/// One connection per endpoint, and one request on it.
fn narrow() -> Config {
    Config { in_flight: limit(1), max_connections: limit(1), ..calm() }
}

fn drained(fleet: &Fleet) -> Vec<EndpointId> {
    let drained = |state: &StateEvent| match state {
        StateEvent::Drained { endpoint } => Some(*endpoint),
        _ => None,
    };
    fleet.states.iter().filter_map(drained).collect()
}

#[test]
fn those_who_wait_go_to_an_endpoint_that_comes() {
    let mut fleet = Fleet::new(narrow(), 1);
    let place = fleet.take();
    fleet.wait(1, Want::default());
    let second = fleet.add();
    assert_eq!(fleet.place_of(1).unwrap().endpoint, second);
    fleet.give_back(place, Outcome::Success);
}

#[test]
fn those_who_wait_stay_while_everyone_goes_and_go_to_the_next_that_comes() {
    let mut fleet = Fleet::new(narrow(), 2);
    let places = [fleet.take(), fleet.take()];
    fleet.wait(1, Want::default());
    for id in fleet.endpoints.clone() {
        assert!(fleet.remove(id));
    }
    places.into_iter().for_each(|place| fleet.give_back(place, Outcome::Success));
    assert_eq!(fleet.cluster.endpoints().count(), 0);
    assert_eq!(fleet.place_of(1), None);
    let third = fleet.add();
    assert_eq!(fleet.place_of(1).unwrap().endpoint, third);
}

#[test]
fn without_endpoints_that_serve_new_requests_are_rejected() {
    let mut fleet = Fleet::new(calm(), 2);
    let [first, second] = fleet.endpoints[..] else { unreachable!() };
    let place = fleet.take();
    let other = if place.endpoint == first { second } else { first };
    fleet.remove(place.endpoint);
    fleet.drain(other);
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::NoEndpoint)));
    fleet.give_back(place, Outcome::Success);
    fleet.remove(other);
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::NoEndpoint)));
    assert_eq!(fleet.cluster.status(), Default::default());
    assert_eq!(fleet.cluster.deadline(), None);
}

#[test]
fn no_pick_hits_an_endpoint_that_was_removed_or_takes_another_for_it() {
    for strategy in Strategy::ALL {
        let mut fleet = Fleet::of(strategy, 8);
        let mut gone = BTreeSet::new();
        for at in [0, 6, 3] {
            fleet.calls(100, |_| 1);
            let id = fleet.endpoints[at];
            fleet.remove(id);
            gone.insert(id);
            let (weight, heavy) = (1_000, fleet.endpoints[7]);
            assert!(fleet.cluster.set_weight(fleet.now, heavy, weight));
            let shares = fleet.calls(400, |_| 1);
            assert!(shares.keys().all(|id| !gone.contains(id)), "{strategy}: {shares:?}");
            if matches!(strategy, Strategy::WeightedRandom | Strategy::WeightedRoundRobin) {
                assert!(shares[&heavy] > 380, "{strategy}: {shares:?}");
            }
        }
        // Newcomers live in the slots of those that went.
        let new: Vec<EndpointId> = (0..3).map(|_| fleet.add()).collect();
        assert!(new.iter().all(|id| gone.iter().any(|old| old.slot() == id.slot() && old != id)));
        let shares = fleet.calls(400, |_| 1);
        assert!(shares.keys().all(|id| !gone.contains(id)), "{strategy}: {shares:?}");
    }
}

#[test]
fn what_comes_late_for_an_endpoint_that_went_does_not_touch_the_one_in_its_slot() {
    let mut fleet = Fleet::new(calm(), 1);
    let old = fleet.endpoints[0];
    let places: Vec<_> = (0..6).map(|_| fleet.take()).collect();
    fleet.remove(old);
    fleet.lose(places[0].conn);
    let new = fleet.add();
    assert_eq!(old.slot(), new.slot());
    for place in places {
        fleet.give_back(place, Outcome::Failure);
    }
    assert_eq!(fleet.status(new).score_per_mille, 500, "nothing is known of it");
    assert_eq!((fleet.status(new).in_flight, fleet.status(new).breaker.to_string()), (0, "closed".into()));
}

#[test]
fn an_endpoint_that_is_drained_finishes_what_it_has_and_says_so_once() {
    let mut fleet = Fleet::new(calm(), 2);
    let id = fleet.endpoints[0];
    let mut places: Vec<_> = (0..6).map(|_| fleet.take()).collect();
    fleet.scale(3);
    assert!(fleet.drain(id));
    assert!(fleet.drain(id), "once more changes nothing");
    assert_eq!(fleet.status(id).duty, Duty::Draining);
    assert!((0..20).all(|_| fleet.take().endpoint != id));
    assert_eq!(drained(&fleet), []);
    places.retain(|place| place.endpoint == id);
    let busy = places[0].conn;
    assert_eq!(fleet.conns(id), [busy], "the idle ones are closed");
    for place in places {
        assert_eq!(drained(&fleet), []);
        fleet.give_back(place, Outcome::Success);
    }
    assert_eq!(drained(&fleet), [id]);
    fleet.pass_secs(1_000);
    assert_eq!((drained(&fleet), fleet.conns(id)), (vec![id], vec![]));
    assert!(fleet.closes(id).iter().all(|cause| *cause == CloseCause::Removed));
}

#[test]
fn an_endpoint_that_is_resumed_serves_and_each_drain_is_told_of() {
    let mut fleet = Fleet::new(narrow(), 2);
    let [first, second] = fleet.endpoints[..] else { unreachable!() };
    fleet.drain(first);
    assert_eq!(drained(&fleet), [first]);
    let place = fleet.take();
    assert_eq!(place.endpoint, second);
    fleet.wait(1, Want::default());
    fleet.pass_secs(1);
    assert!(fleet.resume(first));
    assert!(!fleet.resume(first), "it is resumed already");
    assert_eq!(fleet.place_of(1).unwrap().endpoint, first);
    let again = fleet.place_of(1).unwrap();
    fleet.drain(first);
    assert_eq!(drained(&fleet), [first], "it has a request");
    fleet.give_back(again, Outcome::Success);
    assert_eq!(drained(&fleet), [first, first]);
}

#[test]
fn one_that_is_resumed_before_its_last_request_has_ended_goes_on_with_its_connection() {
    let mut fleet = Fleet::new(calm(), 1);
    let id = fleet.endpoints[0];
    let place = fleet.take();
    fleet.drain(id);
    fleet.resume(id);
    assert_eq!(fleet.take().conn, place.conn);
    assert_eq!((drained(&fleet), fleet.dials_begun(id)), (vec![], 1));
}

#[test]
fn one_that_was_drained_can_be_removed_and_one_that_was_removed_not_be_resumed() {
    let mut fleet = Fleet::new(calm(), 2);
    let id = fleet.endpoints[0];
    fleet.drain(id);
    assert!(fleet.remove(id));
    assert!(!fleet.resume(id) && !fleet.drain(id) && !fleet.remove(id));
    assert_eq!(fleet.cluster.endpoints().count(), 1);
}

#[test]
fn a_breaker_that_is_open_stays_so_while_its_endpoint_is_drained() {
    let mut fleet = Fleet::new(calm(), 1);
    let id = fleet.endpoints[0];
    fleet.answers(id, 5, Outcome::Failure);
    fleet.drain(id);
    fleet.resume(id);
    assert_eq!(fleet.cluster.status().endpoints_out, 1);
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::CircuitOpen)));
    fleet.pass_secs(60);
    fleet.take();
}

#[test]
fn what_waits_goes_to_the_others_when_its_endpoint_is_drained_in_panic() {
    // Two of four are unhealthy: no panic. With one less there is, and they take requests.
    use plimsoll_core::policy::health_check::Level;
    let mut fleet = Fleet::new(narrow(), 4);
    for at in 0..2 {
        fleet.set_health(fleet.endpoints[at], Level::Unhealthy);
    }
    let places = [fleet.take(), fleet.take()];
    fleet.wait(1, Want::default());
    fleet.drain(places[0].endpoint);
    assert!(fleet.endpoints[..2].contains(&fleet.place_of(1).expect("a place").endpoint));
}

fn connected(fleet: &Fleet) -> BTreeSet<EndpointId> {
    fleet.open.values().copied().collect()
}

fn subset(size: u32) -> Config {
    Config { subset: Some(limit(size)), ..calm() }
}

#[test]
fn of_a_subset_only_so_many_are_connected_per_level() {
    let mut fleet = Fleet::new(subset(5), 0);
    for n in 0..40 {
        fleet.add_at(n % 2);
    }
    for priority in 0..2 {
        let of_level = |id: &&EndpointId| fleet.status(**id).priority == priority;
        assert_eq!(connected(&fleet).iter().filter(of_level).count(), 5);
    }
    let shares = fleet.calls(200, |_| 1);
    assert!(shares.keys().all(|id| fleet.status(*id).duty == Duty::Serving));
    let spare = fleet.endpoints.iter().filter(|id| fleet.status(**id).duty == Duty::Spare).count();
    assert_eq!(spare, 30);
}

#[test]
fn of_a_large_fleet_that_comes_at_once_only_those_are_dialled_that_are_chosen() {
    let mut cluster = Cluster::new(subset(20), 3);
    let add = |cluster: &mut Cluster, numbers: Range<u32>| {
        for n in numbers {
            cluster.add_endpoint(Instant::ZERO, &format!("users-{n}.internal:3001")).unwrap();
        }
        assert_eq!(cluster.deadline().map(|(at, _)| at), Some(Instant::ZERO), "the choice is due");
        cluster.tick(Instant::ZERO);
        assert!(cluster.deadline().is_none_or(|(at, _)| at > Instant::ZERO), "it is made");
        let (mut dials, mut closes) = (0, 0);
        while let Some(action) = cluster.poll() {
            match action {
                Action::Dial(_) => dials += 1,
                Action::Close(..) => closes += 1,
                action => panic!("{action:?}"),
            }
        }
        (dials, closes)
    };
    assert_eq!(add(&mut cluster, 0..1_000), (20, 0));
    assert_eq!(cluster.state_event(), None, "nothing has happened to anybody");
    // Those who come later displace only as many as are chosen in their place.
    let (dials, closes) = add(&mut cluster, 1_000..2_000);
    assert!(dials == closes && (1..20).contains(&dials), "{dials} dials, {closes} closes");
    cluster.audit();
}

#[test]
fn a_request_that_comes_before_the_choice_is_made_waits_for_who_is_chosen() {
    let mut cluster = Cluster::new(subset(3), 3);
    (0..100).for_each(|n| {
        cluster.add_endpoint(Instant::ZERO, &format!("users-{n}.internal:3001")).unwrap();
    });
    assert_eq!(cluster.checkout(Instant::ZERO, Want::default()), Err(Unplaced::Full));
    assert!(cluster.wait(Instant::ZERO, 1, 100, Want::default()));
    let dials: Vec<Action> = std::iter::from_fn(|| cluster.poll()).collect();
    let [Action::Dial(conn), Action::Dial(_), Action::Dial(_)] = dials[..] else { panic!("{dials:?}") };
    cluster.connected(Instant::ZERO, conn);
    assert!(matches!(cluster.poll(), Some(Action::Assign { waiter: 1, place }) if place.conn == conn));
}

#[test]
fn a_subset_changes_by_one_when_one_comes_or_goes() {
    let mut fleet = Fleet::new(subset(5), 20);
    for round in 0..20 {
        let before = connected(&fleet);
        fleet.add();
        let between = connected(&fleet);
        assert!(before.difference(&between).count() <= 1);
        let gone = fleet.endpoints[round];
        fleet.remove(gone);
        // One that was displaced a moment ago is not dialled again at once.
        fleet.pass_ms(50);
        let after = connected(&fleet);
        assert!(between.difference(&after).all(|id| *id == gone), "others stay");
        assert_eq!(after.len(), 5);
    }
}

#[test]
fn a_subset_is_the_same_in_whichever_order_its_fleet_comes_and_after_others_went() {
    let subset_of = |numbers: &mut dyn Iterator<Item = u32>| {
        let mut cluster = Cluster::new(subset(7), 3);
        for n in numbers {
            cluster.add_endpoint(Instant::ZERO, &format!("users-{n}.internal:3001")).unwrap();
        }
        cluster.tick(Instant::ZERO);
        cluster
    };
    let serving = |cluster: &Cluster| -> BTreeSet<String> {
        let serves = cluster.endpoint_status(Instant::ZERO).filter(|status| status.duty == Duty::Serving);
        serves.map(|status| status.address.to_string()).collect()
    };
    let (forth, back) = (subset_of(&mut (0..500)), subset_of(&mut (0..500).rev()));
    assert_eq!(serving(&forth), serving(&back));
    // Whoever went leaves room for those who had none.
    let mut more = subset_of(&mut (0..1_000).rev());
    let gone: Vec<EndpointId> = more.endpoints().map(|(id, _)| id).take(500).collect();
    gone.into_iter().for_each(|id| assert!(more.remove_endpoint(Instant::ZERO, id)));
    assert_eq!(serving(&more), serving(&forth));
}

#[test]
fn one_of_a_subset_that_is_drained_is_replaced_and_returns_when_it_is_resumed() {
    let mut fleet = Fleet::new(subset(3), 12);
    let before = connected(&fleet);
    let gone = *before.first().unwrap();
    fleet.drain(gone);
    // It may have been displaced a moment ago, and is not dialled again at once then.
    fleet.pass_ms(50);
    let between = connected(&fleet);
    assert_eq!((between.len(), between.difference(&before).count()), (3, 1));
    assert_eq!(drained(&fleet), [gone]);
    fleet.pass_secs(1);
    fleet.resume(gone);
    assert_eq!(connected(&fleet), before);
}

#[test]
fn who_waits_for_one_of_a_subset_goes_to_its_replacement() {
    let mut fleet = Fleet::new(Config { subset: Some(limit(1)), ..narrow() }, 2);
    let place = fleet.take();
    fleet.wait(1, Want::default());
    fleet.drain(place.endpoint);
    fleet.pass_ms(50);
    assert_ne!(fleet.place_of(1).expect("a place").endpoint, place.endpoint);
}

#[test]
fn a_replacement_in_a_subset_is_no_failover() {
    let mut fleet = Fleet::new(subset(1), 3);
    fleet.add_at(1);
    let first = fleet.take().endpoint;
    fleet.drain(first);
    fleet.pass_ms(50);
    let replacement = fleet.take().endpoint;
    assert_eq!(fleet.status(replacement).priority, 0);
    fleet.resume(first);
    fleet.pass_ms(50);
    assert_eq!(fleet.take().endpoint, first);
    assert!(!fleet.states.iter().any(|state| matches!(state, StateEvent::Failover { .. })));
}

#[test]
fn more_connections_are_dialled_and_surplus_ones_closed() {
    let mut fleet = Fleet::new(calm(), 2);
    fleet.scale(4);
    fleet.pass_secs(1);
    assert!(fleet.endpoints.iter().all(|id| fleet.conns(*id).len() == 4));
    let place = fleet.take();
    fleet.scale(1);
    for id in fleet.endpoints.clone() {
        assert_eq!(fleet.conns(id).len(), 1);
        assert_eq!(fleet.closes(id), [CloseCause::Surplus; 3]);
    }
    assert!(fleet.open.contains_key(&place.conn), "what has a request is not idle");
    fleet.scale(100);
    fleet.pass_secs(10);
    assert!(fleet.endpoints.iter().all(|id| fleet.conns(*id).len() == 10), "the maximum");
    fleet.scale(0);
    assert_eq!(fleet.open.len(), 1);
    fleet.give_back(place, Outcome::Success);
    fleet.pass_secs(1_000);
    assert_eq!(fleet.open.len(), 0, "the last one goes when nobody uses it");
}

#[test]
fn one_that_is_to_be_avoided_is_unless_there_is_no_other() {
    for strategy in Strategy::ALL {
        let mut fleet = Fleet::of(strategy, 3);
        let avoid = fleet.endpoints[1];
        for key in 0..100 {
            let want = Want { key: Some(key << 57), avoid: Some(avoid) };
            let place = fleet.checkout(want).unwrap();
            assert_ne!(place.endpoint, avoid, "{strategy}");
            fleet.give_back(place, Outcome::Success);
        }
        fleet.remove(fleet.endpoints[0]);
        fleet.remove(fleet.endpoints[2]);
        let want = Want { key: None, avoid: Some(avoid) };
        assert_eq!(fleet.checkout(want).unwrap().endpoint, avoid, "{strategy}");
    }
}

#[test]
fn what_avoids_an_endpoint_does_not_go_to_one_without_weight() {
    for strategy in [Strategy::WeightedRoundRobin, Strategy::WeightedRandom] {
        let mut fleet = Fleet::of(strategy, 2);
        let none = fleet.add_with(EndpointOptions { weight: 0, priority: 0 });
        let avoid = fleet.endpoints[0];
        let want = Want { key: None, avoid: Some(avoid) };
        assert!((0..100).all(|_| fleet.checkout(want).unwrap().endpoint == fleet.endpoints[1]), "{strategy}");
        fleet.remove(fleet.endpoints[1]);
        assert_eq!(fleet.checkout(want).unwrap().endpoint, avoid, "{strategy}: {none} gets none");
    }
}

#[test]
fn while_a_dial_hangs_its_endpoint_can_go() {
    let mut fleet = Fleet::new(calm(), 0);
    let id = fleet.add_that(Dial::Hangs, 0);
    fleet.wait(1, Want::default());
    let (_, _, conn) = fleet.dialled[0];
    fleet.remove(id);
    assert!(!fleet.cluster.connected(fleet.now, conn), "too late");
    let second = fleet.add();
    assert_eq!(fleet.place_of(1).unwrap().endpoint, second);
}

#[test]
fn the_limit_of_endpoints_counts_those_that_leave_until_they_are_gone() {
    let mut fleet = Fleet::new(Config { max_endpoints: limit(1), ..calm() }, 1);
    let place = fleet.take();
    fleet.remove(fleet.endpoints[0]);
    let full = fleet.cluster.add_endpoint(fleet.now, "users-1.internal:3001");
    assert_eq!(full, Err(Misuse::TooManyEndpoints { limit: 1 }));
    fleet.give_back(place, Outcome::Success);
    fleet.add();
}
