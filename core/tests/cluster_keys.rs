//! Requests with a key go where the key belongs.

mod cluster_support;

use std::collections::BTreeMap;

use cluster_support::{Fleet, calm, limit};
use plimsoll_core::cluster::{Config, Want};
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::rng::Pcg;

fn config() -> Config {
    Config { strategy: Strategy::ConsistentHash, ..calm() }
}

fn by(key: u64) -> Want {
    Want { key: Some(key), avoid: None }
}

/// Whose each of many keys is, asked one after the other.
fn owners(fleet: &mut Fleet) -> BTreeMap<u64, EndpointId> {
    let mut keys = Pcg::new(9, 1);
    (0..500).map(|_| keys.next_u64()).map(|key| (key, owner(fleet, key))).collect()
}

fn owner(fleet: &mut Fleet, key: u64) -> EndpointId {
    let place = fleet.checkout(by(key)).expect("a place");
    fleet.give_back(place, Outcome::Success);
    place.endpoint
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_at_every_client() {
    let mut fleet = Fleet::new(config(), 10);
    let before = owners(&mut fleet);
    fleet.pass_secs(5);
    assert_eq!(owners(&mut fleet), before);
    assert!(fleet.endpoints.iter().all(|id| before.values().any(|owner| owner == id)), "each owns some");

    // Another client, which came to know them in another order.
    let address = |fleet: &Fleet, id: EndpointId| {
        fleet.cluster.endpoints().find(|(other, _)| *other == id).map(|(_, address)| address.to_owned())
    };
    let mut other = Fleet::new(config(), 10);
    other.remove(other.endpoints[0]);
    let again = other.cluster.add_endpoint(other.now, "users-0.internal:3001").unwrap();
    other.endpoints[0] = again;
    other.run();
    other.pass_secs(1);
    for (key, id) in owners(&mut other) {
        assert_eq!(address(&other, id), address(&fleet, before[&key]));
    }
}

#[test]
fn one_that_goes_moves_its_own_keys_only_and_has_them_back_when_it_returns() {
    let mut fleet = Fleet::new(config(), 10);
    let before = owners(&mut fleet);
    let gone = fleet.endpoints[6];
    fleet.drain(gone);
    for (key, id) in owners(&mut fleet) {
        assert!(id == before[&key] || before[&key] == gone);
        assert_ne!(id, gone);
    }
    fleet.pass_secs(1);
    fleet.resume(gone);
    assert_eq!(owners(&mut fleet), before, "fresh or not");
    fleet.set_health(gone, Level::Unhealthy);
    assert!(owners(&mut fleet).iter().all(|(key, id)| *id == before[key] || before[key] == gone));
}

#[test]
fn one_that_comes_takes_keys_and_moves_no_others() {
    let mut fleet = Fleet::new(config(), 9);
    fleet.pass_secs(31);
    let before = owners(&mut fleet);
    let new = fleet.add();
    let moved: Vec<EndpointId> =
        owners(&mut fleet).into_iter().filter(|(key, id)| *id != before[key]).map(|(_, id)| id).collect();
    assert!(moved.iter().all(|id| *id == new));
    assert!((20..100).contains(&moved.len()), "about a tenth of 500: {}", moved.len());
}

#[test]
fn a_hot_key_overflows_to_others_and_stays_within_the_bound() {
    let mut fleet = Fleet::new(config(), 5);
    let home = owner(&mut fleet, 77);
    let mut shares: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for _ in 0..100 {
        *shares.entry(fleet.checkout(by(77)).unwrap().endpoint).or_default() += 1;
    }
    // 1.25 × 100 / 5.
    assert!(shares.values().all(|calls| *calls <= 25), "{shares:?}");
    assert_eq!(shares[&home], 25);
}

#[test]
fn those_who_wait_keep_their_keys() {
    let narrow = Config { in_flight: limit(1), max_connections: limit(1), ..config() };
    let fleet = || {
        let mut fleet = Fleet::new(narrow, 1);
        (0..4).for_each(|_| _ = fleet.add_at(1));
        fleet
    };
    let mut other = fleet();
    other.set_health(other.endpoints[0], Level::Unhealthy);
    let homes: BTreeMap<EndpointId, u64> =
        owners(&mut other).into_iter().map(|(key, owner)| (owner, key)).collect();
    assert_eq!(homes.len(), 4);

    // They wait for the first level, and then the second one, all of it idle, takes over.
    let mut fleet = fleet();
    fleet.take();
    for (waiter, key) in (0..).zip(homes.values()) {
        fleet.wait(waiter, by(*key));
    }
    fleet.set_health(fleet.endpoints[0], Level::Unhealthy);
    for (waiter, home) in (0..).zip(homes.keys()) {
        assert_eq!(fleet.place_of(waiter).unwrap().endpoint, *home);
    }
}

#[test]
fn without_a_key_requests_go_anywhere() {
    let mut fleet = Fleet::new(config(), 4);
    let shares = fleet.calls(400, |_| 1);
    assert!(shares.len() == 4 && shares.values().all(|calls| *calls > 40), "{shares:?}");
}
