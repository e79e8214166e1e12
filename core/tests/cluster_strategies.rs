//! Every strategy, where it is used: in a cluster whose endpoints come and go.

mod cluster_support;

use std::time::Duration;

use cluster_support::Fleet;
use plimsoll_core::cluster::Place;
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Outcome;

#[test]
fn calls_follow_the_weights() {
    let mut fleet = Fleet::of(Strategy::WeightedRoundRobin, 3);
    let [heavy, light, none] = fleet.endpoints[..] else { unreachable!() };
    fleet.cluster.set_weight(fleet.now, heavy, 5);
    fleet.cluster.set_weight(fleet.now, none, 0);
    let shares = fleet.calls(600, |_| 1);
    assert!(shares[&heavy].abs_diff(500) <= 1 && shares[&light].abs_diff(100) <= 1, "{shares:?}");
    assert_eq!(shares.get(&none), None);
}

#[test]
fn the_weights_stay_with_their_endpoints_when_one_before_them_goes() {
    for strategy in [Strategy::WeightedRoundRobin, Strategy::WeightedRandom] {
        let mut fleet = Fleet::of(strategy, 4);
        let [first, second, third, heavy] = fleet.endpoints[..] else { unreachable!() };
        fleet.cluster.set_weight(fleet.now, heavy, 8);
        fleet.calls(100, |_| 1);
        assert!(fleet.remove(first));
        let shares = fleet.calls(10_000, |_| 1);
        assert_eq!(shares.get(&first), None);
        assert!(shares[&heavy].abs_diff(8_000) < 250, "{strategy}: {shares:?}");
        assert!(shares[&second].abs_diff(1_000) < 200 && shares[&third].abs_diff(1_000) < 200, "{shares:?}");
    }
}

#[test]
fn the_healthiest_gets_the_calls_until_it_is_not() {
    let mut fleet = Fleet::of(Strategy::HealthBased, 3);
    let slow = fleet.endpoints[0];
    let shares = fleet.calls(3_000, |endpoint| if endpoint == slow { 2_000 } else { 10 });
    assert!(shares[&slow] < 60, "{shares:?}");

    // One fails for a while: its score falls, and the calls go elsewhere.
    let failing = fleet.endpoints[1];
    let mut failed = 0;
    for _ in 0..1_000 {
        let place = fleet.take();
        let outcome = if place.endpoint == failing { Outcome::Failure } else { Outcome::Success };
        failed += u32::from(outcome == Outcome::Failure);
        fleet.pass_ms(10);
        fleet.give_back(place, outcome);
    }
    assert!(failed < 20, "{failed}");
}

#[test]
fn the_least_loaded_gets_the_next_call() {
    let mut fleet = Fleet::of(Strategy::LeastConnections, 4);
    let places: Vec<Place> = (0..12).map(|_| fleet.take()).collect();
    let load = |endpoint: &EndpointId| places.iter().filter(|place| place.endpoint == *endpoint).count();
    assert!(fleet.endpoints.iter().all(|endpoint| load(endpoint) == 3));
    let freed = places[5];
    fleet.give_back(freed, Outcome::Success);
    assert_eq!(fleet.take().endpoint, freed.endpoint);
}

#[test]
fn a_slow_endpoint_gets_little_by_peak_ewma() {
    let mut fleet = Fleet::of(Strategy::P2cEwma, 10);
    let slow = fleet.endpoints[3];
    let shares = fleet.calls(10_000, |endpoint| if endpoint == slow { 500 } else { 10 });
    assert!(shares[&slow] < 200, "{shares:?}");
    assert_eq!(shares.len(), 10, "everyone gets some");
}

#[test]
fn by_health_one_that_was_bad_is_asked_again_after_a_while_and_found_to_be_well() {
    let mut fleet = Fleet::of(Strategy::HealthBased, 3);
    let bad = fleet.endpoints[1];
    let outcomes = |fleet: &mut Fleet, calls: u32, is_bad: bool| {
        let mut asked = 0;
        for _ in 0..calls {
            let place = fleet.take();
            let fails = is_bad && place.endpoint == bad;
            asked += u32::from(place.endpoint == bad);
            fleet.pass(Duration::from_millis(10));
            fleet.give_back(place, if fails { Outcome::Failure } else { Outcome::Success });
        }
        asked
    };
    assert!(outcomes(&mut fleet, 300, true) < 10);
    assert_eq!(outcomes(&mut fleet, 1_000, false), 0, "what it has shown counts against it");
    // Thirty seconds after its last answer that is forgotten, and the first good answer is all there is of it.
    assert!(outcomes(&mut fleet, 3_000, false) > 300);
}
