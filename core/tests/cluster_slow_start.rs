//! A fresh endpoint gets a growing share, whatever the strategy.

mod cluster_support;

use std::time::Duration;

use cluster_support::{Dial, Fleet, calm, limit};
use plimsoll_core::cluster::{Config, Place, Want};
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{self, Outcome};
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::{outlier, panic};

/// Those that let a fresh endpoint begin slowly. `consistent_hash` gives a key to its owner, and `prequal` goes by
/// what the endpoints say of themselves.
const RAMPING: [Strategy; 7] = [
    Strategy::RoundRobin,
    Strategy::Random,
    Strategy::WeightedRoundRobin,
    Strategy::WeightedRandom,
    Strategy::LeastConnections,
    Strategy::P2cEwma,
    Strategy::HealthBased,
];

/// Ten that have served for longer than the window, and are known.
fn seasoned(config: Config) -> Fleet {
    let mut fleet = Fleet::new(config, 10);
    fleet.calls(100, |_| 1);
    fleet.pass(config.slow_start.window);
    fleet.calls(200, |_| 1);
    fleet
}

/// What one gets of 3,000 calls in 3 s, one at a time or many at a time, in thousandths of a fair share.
fn share(fleet: &mut Fleet, id: EndpointId, at_a_time: usize) -> u32 {
    let (mut calls, mut places) = (0, std::collections::VecDeque::new());
    for _ in 0..3_000 {
        if places.len() == at_a_time {
            let place: Place = places.pop_front().unwrap();
            fleet.pass_ms(1);
            fleet.give_back(place, Outcome::Success);
        }
        let place = fleet.take();
        calls += u32::from(place.endpoint == id);
        places.push_back(place);
    }
    places.into_iter().for_each(|place| fleet.give_back(place, Outcome::Success));
    let serving = fleet.cluster.status().endpoints;
    calls * 1_000 * serving / 3_000
}

#[test]
fn a_fresh_endpoint_gets_at_least_the_floor_and_ever_more_up_to_its_full_share() {
    for strategy in RAMPING {
        // Some go by what is in flight.
        let by_load =
            [Strategy::LeastConnections, Strategy::P2cEwma, Strategy::HealthBased].contains(&strategy);
        for at_a_time in if by_load { [1, 50].iter() } else { [1].iter() } {
            let mut config = Config { strategy, ..calm() };
            config.slow_start.window = Duration::from_secs(3_000);
            let mut fleet = seasoned(config);
            let fresh = fleet.add();
            // As well known as the others.
            for _ in 0..10 {
                fleet.answers(fresh, 1, Outcome::Success);
                fleet.pass_secs(10);
            }
            let mut shares = [0; 4];
            for step in &mut shares {
                *step = share(&mut fleet, fresh, *at_a_time);
                fleet.pass_secs(960);
            }
            let told = format!("{strategy}, {at_a_time} at a time: {shares:?}");
            let [floor, third, two_thirds, full] = shares;
            // A tenth, a third, two thirds, all; of two choices the one with less to do gets a little more. Five standard
            // deviations of a random pick are 300 of a full share, and 95 of a tenth.
            assert!((50..250).contains(&floor), "{told}");
            assert!((200..650).contains(&third), "{told}");
            assert!((450..970).contains(&two_thirds), "{told}");
            assert!((700..1_300).contains(&full), "{told}");
        }
    }
}

#[test]
fn a_fresh_endpoint_that_nobody_knows_yet_is_not_flooded() {
    for strategy in RAMPING {
        let mut fleet = seasoned(Config { strategy, ..calm() });
        let fresh = fleet.add();
        let places: Vec<Place> = (0..200).map(|_| fleet.take()).collect();
        let on_fresh = places.iter().filter(|place| place.endpoint == fresh).count();
        assert!(on_fresh <= 10, "{strategy}: {on_fresh} of 200 at once");
    }
}

#[test]
fn when_all_join_at_once_nobody_is_held_back() {
    for strategy in [Strategy::Random, Strategy::WeightedRoundRobin, Strategy::LeastConnections] {
        let mut fleet = Fleet::of(strategy, 10);
        let first = fleet.endpoints[0];
        let others = fleet.endpoints[9];
        let shares = (share(&mut fleet, first, 1), share(&mut fleet, others, 1));
        assert!(shares.0.abs_diff(1_000) < 300 && shares.1.abs_diff(1_000) < 300, "{strategy}: {shares:?}");
    }
}

#[test]
fn after_an_outage_of_all_nobody_is_held_back() {
    let mut config = Config { strategy: Strategy::Random, ..calm() };
    config.breaker.mode = breaker::Mode::Count { failures: limit(1) };
    config.breaker.success_threshold = limit(1);
    config.outliers = None;
    let mut fleet = seasoned(config);
    // One after the other opens, and one after the other closes.
    for at in 0..10 {
        fleet.answers(fleet.endpoints[at], 1, Outcome::Failure);
        fleet.pass_ms(100);
    }
    fleet.pass_secs(60);
    for at in 0..10 {
        fleet.answers(fleet.endpoints[at], 1, Outcome::Success);
    }
    let shares: Vec<u32> = fleet.endpoints.clone().iter().map(|id| share(&mut fleet, *id, 1)).collect();
    assert!(shares.iter().all(|share| share.abs_diff(1_000) < 300), "{shares:?}");
}

#[test]
fn one_that_is_back_begins_slowly_beside_those_that_serve_however_many_are_out() {
    let mut fleet = seasoned(config());
    for at in 0..6 {
        fleet.set_health(fleet.endpoints[at], Level::Unhealthy);
    }
    let back = fleet.endpoints[0];
    fleet.set_health(back, Level::Healthy);
    // Of five that serve, each has twice the share of one of ten.
    let low = share(&mut fleet, back, 1);
    assert!((50..500).contains(&low), "{low}");
}

#[test]
fn what_comes_and_goes_beside_it_does_not_end_its_window() {
    let weighted = Config { strategy: Strategy::WeightedRandom, ..calm() };
    let mut fleet = seasoned(weighted);
    let fresh = fleet.add();
    fleet.pass_secs(5);
    let other = fleet.add();
    fleet.remove(fleet.endpoints[0]);
    fleet.cluster.set_weight(fleet.now, other, 1);
    fleet.drain(fleet.endpoints[1]);
    fleet.resume(fleet.endpoints[1]);
    fleet.pass_secs(5);
    fleet.remove(other);
    let third = share(&mut fleet, fresh, 1);
    assert!((200..520).contains(&third), "{third}");
    // Nor does it lengthen it.
    fleet.pass_secs(20);
    let full = share(&mut fleet, fresh, 1);
    assert!((700..1_300).contains(&full), "{full}");
}

fn config() -> Config {
    let mut config = Config { strategy: Strategy::Random, ..calm() };
    config.panic = panic::Config { threshold: Ratio::percent(0), ..Default::default() };
    config
}

fn is_low(fleet: &mut Fleet, id: EndpointId) {
    let low = share(fleet, id, 1);
    assert!((40..250).contains(&low), "{low} at first");
    fleet.pass_secs(31);
    let full = share(fleet, id, 1);
    assert!((700..1_300).contains(&full), "{full} at last");
}

#[test]
fn back_from_an_ejection_an_endpoint_begins_slowly() {
    let mut config = config();
    config.breaker.mode = breaker::Mode::Count { failures: limit(1_000) };
    config.outliers = Some(outlier::Config::default());
    let mut fleet = seasoned(config);
    let id = fleet.endpoints[4];
    fleet.answers(id, 5, Outcome::Failure);
    while fleet.status(id).ejected {
        fleet.pass_ms(100);
    }
    is_low(&mut fleet, id);
}

#[test]
fn back_from_an_open_breaker_an_endpoint_begins_slowly() {
    let mut config = config();
    config.breaker.success_threshold = limit(1);
    config.outliers = None;
    let mut fleet = seasoned(config);
    let id = fleet.endpoints[4];
    fleet.answers(id, 5, Outcome::Failure);
    fleet.pass_secs(60);
    fleet.answers(id, 1, Outcome::Success);
    assert_eq!(fleet.status(id).breaker, breaker::State::Closed);
    is_low(&mut fleet, id);
}

#[test]
fn back_from_unreachability_an_endpoint_begins_slowly() {
    let mut fleet = seasoned(config());
    let id = fleet.endpoints[4];
    fleet.cut_off(id);
    fleet.dials_to(id, Dial::Succeeds);
    while !fleet.status(id).reachable {
        fleet.pass_ms(100);
    }
    is_low(&mut fleet, id);
}

#[test]
fn back_from_bad_health_an_endpoint_begins_slowly_with_the_first_connection_that_stands() {
    let mut fleet = seasoned(config());
    let id = fleet.endpoints[4];
    fleet.set_health(id, Level::Unhealthy);
    fleet.set_health(id, Level::Healthy);
    is_low(&mut fleet, id);

    // The check says that it is well long before it can be reached.
    fleet.set_health(id, Level::Unhealthy);
    fleet.cut_off(id);
    fleet.set_health(id, Level::Healthy);
    fleet.pass_secs(100);
    fleet.dials_to(id, Dial::Succeeds);
    while !fleet.status(id).reachable {
        fleet.pass_ms(100);
    }
    is_low(&mut fleet, id);
}

#[test]
fn a_connection_that_is_replaced_makes_no_endpoint_fresh() {
    let mut fleet = seasoned(config());
    let id = fleet.endpoints[4];
    for conn in fleet.conns(id) {
        fleet.lose(conn);
    }
    fleet.pass_secs(2);
    let full = share(&mut fleet, id, 1);
    assert!((700..1_300).contains(&full), "{full}");
}

#[test]
fn with_a_window_of_zero_everyone_has_a_full_share_at_once() {
    let mut config = config();
    config.slow_start.window = Duration::ZERO;
    let mut fleet = seasoned(config);
    let fresh = fleet.add();
    let full = share(&mut fleet, fresh, 1);
    assert!((700..1_300).contains(&full), "{full}");
}

#[test]
fn a_fresh_endpoint_alone_takes_everything() {
    for strategy in Strategy::ALL {
        let mut fleet = Fleet::of(strategy, 1);
        fleet.pass_secs(31);
        let fresh = fleet.add();
        fleet.remove(fleet.endpoints[0]);
        for key in 0..100 {
            let want = Want { key: Some(key << 57), avoid: None };
            assert_eq!(fleet.checkout(want).map(|place| place.endpoint), Ok(fresh), "{strategy}");
        }
    }
}
