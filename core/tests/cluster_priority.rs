//! Priority levels: failover, failback, and who is dialled for whom.

mod cluster_support;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_support::{Dial, Fleet, calm, limit};
use plimsoll_core::cluster::{CloseCause, Config, StateEvent, Want};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{self, Outcome};
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::outlier;

/// So many endpoints per level.
fn fleet(config: Config, levels: &[u32]) -> Fleet {
    let mut fleet = Fleet::new(config, 0);
    for (priority, endpoints) in (0..).zip(levels) {
        (0..*endpoints).for_each(|_| _ = fleet.add_at(priority));
    }
    fleet
}

fn config() -> Config {
    Config { strategy: Strategy::RoundRobin, ..calm() }
}

/// What each level gets of 1,000 calls.
fn by_level(fleet: &mut Fleet) -> [u32; 3] {
    let mut levels = [0; 3];
    for (id, calls) in fleet.calls(1_000, |_| 0) {
        levels[usize::from(fleet.status(id).priority)] += calls;
    }
    levels
}

fn is_about(levels: [u32; 3], wanted: [u32; 3]) -> bool {
    // Five standard deviations of a half.
    levels.iter().zip(wanted).all(|(n, wanted)| n.abs_diff(wanted) <= 80)
}

#[test]
fn the_next_level_gets_nothing_while_the_first_is_well() {
    let mut fleet = fleet(config(), &[10, 10]);
    assert_eq!(by_level(&mut fleet), [1_000, 0, 0]);
    // 72 % carry everything.
    fleet.set_health(fleet.endpoints[0], Level::Unhealthy);
    fleet.set_health(fleet.endpoints[1], Level::Unhealthy);
    assert_eq!(by_level(&mut fleet), [1_000, 0, 0]);
    assert!(fleet.endpoints.iter().all(|id| fleet.conns(*id).len() == 1), "it is kept connected");
}

#[test]
fn calls_spill_over_as_breakers_open() {
    let mut config = config();
    config.breaker.mode = breaker::Mode::Count { failures: limit(1) };
    config.outliers = None;
    let mut fleet = fleet(config, &[10, 10]);
    for at in 0..5 {
        fleet.answers(fleet.endpoints[at], 1, Outcome::Failure);
    }
    let levels = by_level(&mut fleet);
    assert!(is_about(levels, [700, 300, 0]), "{levels:?}");
}

#[test]
fn calls_spill_over_as_endpoints_are_ejected() {
    let mut config = config();
    config.breaker.mode = breaker::Mode::Count { failures: limit(1_000) };
    config.outliers = Some(outlier::Config { most: Ratio::percent(50), ..Default::default() });
    let mut fleet = fleet(config, &[4, 4]);
    fleet.answers(fleet.endpoints[0], 5, Outcome::Failure);
    assert_eq!(by_level(&mut fleet), [1_000, 0, 0]);
    fleet.answers(fleet.endpoints[1], 5, Outcome::Failure);
    let levels = by_level(&mut fleet);
    assert!(is_about(levels, [700, 300, 0]), "{levels:?}");
}

#[test]
fn calls_spill_over_as_dials_fail_and_through_every_level() {
    let mut fleet = fleet(config(), &[2, 2, 2]);
    fleet.cut_off(fleet.endpoints[0]);
    let levels = by_level(&mut fleet);
    assert!(is_about(levels, [700, 300, 0]), "{levels:?}");
    fleet.cut_off(fleet.endpoints[1]);
    assert_eq!(by_level(&mut fleet), [0, 1_000, 0]);
    fleet.cut_off(fleet.endpoints[2]);
    fleet.cut_off(fleet.endpoints[3]);
    assert_eq!(by_level(&mut fleet), [0, 0, 1_000]);
}

#[test]
fn levels_too_weak_together_share_in_proportion() {
    let mut fleet = fleet(config(), &[10, 10]);
    for at in (0..8).chain(10..18) {
        fleet.set_health(fleet.endpoints[at], Level::Unhealthy);
    }
    let levels = by_level(&mut fleet);
    assert!(is_about(levels, [500, 500, 0]), "{levels:?}");
}

#[test]
fn a_level_that_is_well_again_gets_its_calls_back_after_the_hold() {
    let mut fleet = fleet(config(), &[1, 2]);
    let first = fleet.endpoints[0];
    fleet.set_health(first, Level::Unhealthy);
    assert_eq!(by_level(&mut fleet), [0, 1_000, 0]);
    fleet.pass_secs(100);
    fleet.set_health(first, Level::Healthy);
    fleet.pass_ms(9_999);
    assert_eq!(by_level(&mut fleet), [0, 1_000, 0]);
    fleet.pass_ms(1);
    assert_eq!(by_level(&mut fleet), [1_000, 0, 0]);
    let shares = |state: &StateEvent| match state {
        StateEvent::Failover { shares } => Some(*shares),
        _ => None,
    };
    let told: Vec<_> = fleet.states.iter().filter_map(shares).map(|shares| [shares[0], shares[1]]).collect();
    assert_eq!(told, [[0, 1_000], [1_000, 0]]);
}

#[test]
fn one_after_the_other_of_a_level_is_back_and_its_calls_come_back_in_steps() {
    let mut fleet = fleet(config(), &[2, 2]);
    let [first, second, ..] = fleet.endpoints[..] else { unreachable!() };
    fleet.set_health(first, Level::Unhealthy);
    fleet.set_health(second, Level::Unhealthy);
    fleet.set_health(first, Level::Healthy);
    fleet.pass_secs(5);
    fleet.set_health(second, Level::Healthy);
    fleet.pass_secs(5);
    let levels = by_level(&mut fleet);
    assert!(is_about(levels, [700, 300, 0]), "{levels:?}");
    fleet.pass_secs(10);
    assert_eq!(by_level(&mut fleet), [1_000, 0, 0]);
}

#[test]
fn a_level_that_comes_and_goes_does_not_drag_the_calls_along() {
    let mut fleet = fleet(config(), &[1, 1]);
    let first = fleet.endpoints[0];
    fleet.set_health(first, Level::Unhealthy);
    let before = fleet.states.len();
    for _ in 0..10 {
        fleet.set_health(first, Level::Healthy);
        fleet.pass_secs(9);
        fleet.set_health(first, Level::Unhealthy);
        assert_eq!(by_level(&mut fleet), [0, 1_000, 0]);
    }
    let failovers = fleet.states[before..].iter().filter(|s| matches!(s, StateEvent::Failover { .. }));
    assert_eq!(failovers.count(), 0);
}

#[test]
fn after_an_outage_of_all_levels_the_first_that_is_back_serves_at_once() {
    for back in [0, 1] {
        let mut fleet = fleet(config(), &[1, 1]);
        for id in fleet.endpoints.clone() {
            fleet.cut_off(id);
        }
        fleet.pass_secs(100);
        let id = fleet.endpoints[back];
        fleet.dials_to(id, Dial::Succeeds);
        // As long as the reconnect delay at most, and no hold.
        while !fleet.status(id).reachable {
            fleet.pass_ms(100);
        }
        assert_eq!(fleet.take().endpoint, id, "level {back}");
    }
}

#[test]
fn a_level_that_is_held_back_serves_when_the_one_that_stood_in_fails_too() {
    let mut fleet = fleet(config(), &[1, 1]);
    fleet.cut_off(fleet.endpoints[1]);
    fleet.dials_to(fleet.endpoints[1], Dial::Succeeds);
    while !fleet.status(fleet.endpoints[1]).reachable {
        fleet.pass_ms(100);
    }
    // Level 1 is back for less than the hold when level 0 goes.
    fleet.cut_off(fleet.endpoints[0]);
    assert_eq!(fleet.take().endpoint, fleet.endpoints[1]);
}

#[test]
fn without_a_first_level_the_next_takes_everything_even_after_all_were_gone() {
    let mut fleet = fleet(config(), &[0, 1]);
    let old = fleet.endpoints[0];
    fleet.remove(old);
    let new = fleet.add_at(1);
    assert_eq!(fleet.take().endpoint, new);
}

#[test]
fn where_no_level_is_well_the_first_one_with_anybody_panics() {
    // Nobody in the first level at all.
    let mut fleet = Fleet::new(config(), 0);
    let only = fleet.add_at(1);
    fleet.set_health(only, Level::Unhealthy);
    assert_eq!(fleet.take().endpoint, only);

    // Nobody in it that can be reached.
    let mut fleet = self::fleet(config(), &[1, 1, 1]);
    let [first, second, third] = fleet.endpoints[..] else { unreachable!() };
    fleet.set_health(second, Level::Unhealthy);
    fleet.set_health(third, Level::Unhealthy);
    assert_eq!(fleet.take().endpoint, first);
    fleet.cut_off(first);
    assert_eq!(fleet.take().endpoint, second);

    // On demand, all of them are dialled.
    let mut fleet = self::fleet(Config { min_connections: 0, ..config() }, &[0, 1]);
    fleet.set_health(fleet.endpoints[0], Level::Unhealthy);
    fleet.wait(1, Want::default());
    assert!(fleet.place_of(1).is_some());
}

#[test]
fn a_level_that_panics_and_asks_nobody_passes_its_whole_share_on() {
    let mode = plimsoll_core::policy::panic::Mode::None;
    let panic = plimsoll_core::policy::panic::Config { mode, ..Default::default() };
    let mut fleet = fleet(Config { panic, ..config() }, &[5, 5, 1]);
    // Two of five are too few, though they could carry 56 % of all.
    for at in [0, 1, 2, 5, 6, 7] {
        fleet.set_health(fleet.endpoints[at], Level::Unhealthy);
    }
    assert_eq!(by_level(&mut fleet), [0, 0, 1_000]);
}

#[test]
fn those_who_wait_go_to_the_level_that_takes_over() {
    let narrow = || Config { in_flight: limit(1), max_connections: limit(1), ..config() };
    // However the first level goes.
    let ways: [fn(&mut Fleet); 4] = [
        |fleet| _ = fleet.drain(fleet.endpoints[0]),
        |fleet| _ = fleet.remove(fleet.endpoints[0]),
        |fleet| fleet.set_health(fleet.endpoints[0], Level::Unhealthy),
        |fleet| fleet.cut_off(fleet.endpoints[0]),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let mut fleet = fleet(narrow(), &[1, 1]);
        fleet.take();
        fleet.wait(1, Want::default());
        fleet.pass_secs(1);
        assert_eq!(fleet.place_of(1), None, "level 0 is full, not weak");
        way(&mut fleet);
        assert_eq!(fleet.place_of(1).map(|place| place.endpoint), Some(fleet.endpoints[1]), "way {n}");
    }
}

#[test]
fn those_who_wait_for_a_dial_go_to_the_level_that_takes_over_when_it_fails() {
    let mut fleet = Fleet::new(config(), 0);
    let first = fleet.add_that(Dial::Hangs, 0);
    let second = fleet.add_at(1);
    fleet.wait(1, Want::default());
    fleet.pass_secs(4);
    assert_eq!(fleet.place_of(1), None);
    fleet.pass_secs(1);
    assert_eq!(fleet.place_of(1).unwrap().endpoint, second);
    assert!(!fleet.status(first).reachable);
}

#[test]
fn those_who_wait_keep_their_turn_when_all_connections_end_in_the_same_tick() {
    // The first level's dial fails before the second level's connection is found dead; a process that was stopped for so long
    // sees both at once.
    let mut config = config();
    config.connect_timeout = Duration::from_secs(3);
    (config.heartbeat.interval, config.heartbeat.timeout) = (Duration::from_secs(2), Duration::from_secs(2));
    let mut fleet = Fleet::new(config, 0);
    fleet.add_that(Dial::Hangs, 0);
    let second = fleet.add_at(1);
    fleet.answers_pings = false;
    fleet.wait(1, Want::default());
    fleet.wait(2, Want::default());
    fleet.pass_ms(2_500);
    assert_eq!(fleet.conns(second).len(), 1, "it was asked for a sign of life");
    fleet.dials_to(second, Dial::Hangs);
    fleet.now = fleet.now + Duration::from_secs(10);
    fleet.cluster.tick(fleet.now);
    fleet.run();
    assert_eq!(fleet.closes(second), [CloseCause::Silent]);
    assert_eq!(fleet.assigned, [], "nobody is sent to what has ended");
    assert_eq!(fleet.cluster.status().waiting, 2);
}

#[test]
fn a_level_without_a_share_is_not_dialled_on_demand() {
    let mut config =
        Config { min_connections: 0, in_flight: limit(1), max_connections: limit(2), ..config() };
    config.dial_stagger = Duration::ZERO;
    let mut fleet = fleet(config, &[1, 1]);
    let [first, second] = fleet.endpoints[..] else { unreachable!() };
    (0..5).for_each(|key| fleet.wait(key, Want::default()));
    fleet.pass_secs(60);
    assert_eq!((fleet.dials_begun(first), fleet.dials_begun(second)), (2, 0));
    fleet.set_health(first, Level::Unhealthy);
    assert_eq!(fleet.dials_begun(second), 2, "now it is");
    assert_eq!(fleet.assigned.len(), 4);
}

#[test]
fn a_level_that_nobody_dials_on_demand_fails_back_all_the_same() {
    let mut fleet = Fleet::new(Config { min_connections: 0, ..config() }, 0);
    let first = fleet.add_that(Dial::Fails, 0);
    let second = fleet.add_at(1);
    fleet.wait(1, Want::default());
    assert_eq!(fleet.place_of(1).unwrap().endpoint, second);
    fleet.dials_to(first, Dial::Succeeds);
    fleet.pass_secs(60);
    assert_eq!(fleet.take().endpoint, first);
}

#[test]
fn a_level_whose_endpoints_have_no_weight_passes_its_calls_on() {
    let mut fleet = fleet(Config { strategy: Strategy::WeightedRandom, ..config() }, &[2, 1]);
    let [first, second, third] = fleet.endpoints[..] else { unreachable!() };
    fleet.cluster.set_weight(fleet.now, second, 0);
    fleet.set_health(first, Level::Unhealthy);
    let shares: BTreeMap<_, _> = fleet.calls(100, |_| 0);
    assert_eq!(shares.into_keys().collect::<Vec<_>>(), [third]);
}
