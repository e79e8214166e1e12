//! Endpoints that serve worse than the others are left out, together with breakers and panic.

mod cluster_support;

use std::time::Duration;

use cluster_support::{Fleet, calm, limit};
use plimsoll_core::cluster::{Config, Place, StateEvent, Unplaced, Want};
use plimsoll_core::error::Rejected;
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::outlier::{self, Cause};
use plimsoll_core::policy::panic::{self, Mode, Spread};
use plimsoll_core::policy::{breaker, slow_start};

/// Everyone in turn, no slow start, and breakers that open late.
fn config() -> Config {
    let mut config = Config { strategy: Strategy::RoundRobin, ..calm() };
    config.slow_start = slow_start::Config { window: Duration::ZERO, ..Default::default() };
    config.breaker.mode = breaker::Mode::Count { failures: limit(1_000_000) };
    config
}

fn at_most(percent: u32) -> Option<outlier::Config> {
    Some(outlier::Config { most: Ratio::percent(percent), ..Default::default() })
}

/// Breakers that open at the third failure, before anybody is ejected.
fn touchy(mut config: Config) -> Config {
    config.breaker.mode = breaker::Mode::Count { failures: limit(3) };
    config
}

fn ejected(fleet: &Fleet) -> Vec<EndpointId> {
    fleet.endpoints.iter().copied().filter(|id| fleet.status(*id).ejected).collect()
}

fn causes(fleet: &Fleet) -> Vec<(EndpointId, Cause)> {
    let cause = |state: &StateEvent| match state {
        StateEvent::Ejected { endpoint, cause, .. } => Some((*endpoint, *cause)),
        _ => None,
    };
    fleet.states.iter().filter_map(cause).collect()
}

/// Everyone answers so many calls; of those of `bad` every `nth` succeeds, and the others fail.
fn round(fleet: &mut Fleet, calls: u32, bad: EndpointId, nth: u32) {
    let mut n = 0;
    for _ in 0..calls * fleet.endpoints.len() as u32 {
        let place = fleet.take();
        n += u32::from(place.endpoint == bad);
        let failed = place.endpoint == bad && n % nth != 0;
        fleet.give_back(place, if failed { Outcome::Failure } else { Outcome::Success });
    }
}

#[test]
fn after_five_failures_in_a_row_an_endpoint_gets_no_requests() {
    let mut fleet = Fleet::new(config(), 10);
    let bad = fleet.endpoints[3];
    fleet.answers(bad, 4, Outcome::Failure);
    fleet.answers(bad, 1, Outcome::Success);
    fleet.answers(bad, 4, Outcome::Failure);
    assert_eq!(causes(&fleet), []);
    fleet.answers(bad, 1, Outcome::Failure);
    assert_eq!(causes(&fleet), [(bad, Cause::Consecutive(5))]);
    assert_eq!(fleet.cluster.status().endpoints_ejected, 1);
    assert_eq!(fleet.calls(90, |_| 1).get(&bad), None);
}

#[test]
fn one_whose_share_of_successes_lies_far_below_that_of_the_others_goes_at_the_next_sweep() {
    let mut fleet = Fleet::new(config(), 10);
    let bad = fleet.endpoints[7];
    // One of two, where the others serve always; never five in a row.
    round(&mut fleet, 100, bad, 2);
    assert_eq!(causes(&fleet), []);
    fleet.pass_secs(10);
    assert_eq!(causes(&fleet), [(bad, Cause::SuccessRate(500))]);
}

#[test]
fn one_whose_share_of_failures_is_too_large_goes_by_that_alone() {
    let mut config = config();
    // Too few answers for a comparison, and no count of failures in a row.
    let consecutive = limit(1_000);
    config.outliers = Some(outlier::Config { consecutive, ..Default::default() });
    let mut fleet = Fleet::new(config, 10);
    let bad = fleet.endpoints[0];
    round(&mut fleet, 60, bad, 10);
    fleet.pass_secs(10);
    assert_eq!(causes(&fleet), [(bad, Cause::FailureShare(900))]);
}

#[test]
fn it_returns_after_the_base_time_times_the_ejections_with_the_next_sweep() {
    let mut fleet = Fleet::new(config(), 10);
    let bad = fleet.endpoints[2];
    for times in 1..4 {
        fleet.answers(bad, 5, Outcome::Failure);
        let since = fleet.now;
        assert_eq!(ejected(&fleet), [bad]);
        while ejected(&fleet) == [bad] {
            fleet.pass_ms(500);
        }
        let out = fleet.now.since(since);
        let base = Duration::from_secs(30 * times);
        assert!(out >= base && out < base + Duration::from_millis(10_500), "{times}: {out:?}");
        let last = fleet.states.iter().rfind(|state| state.endpoint() == Some(bad));
        assert_eq!(last, Some(&StateEvent::Returned { endpoint: bad }));
        assert!(fleet.calls(10, |_| 0).contains_key(&bad), "it serves again");
    }
}

#[test]
fn among_fewer_than_ten_nobody_is_ejected_at_a_tenth() {
    let mut fleet = Fleet::new(config(), 9);
    let bad = fleet.endpoints[2];
    fleet.answers(bad, 100, Outcome::Failure);
    fleet.pass_secs(100);
    assert_eq!(causes(&fleet), []);
    fleet.add();
    fleet.answers(bad, 1, Outcome::Failure);
    assert_eq!(ejected(&fleet), [bad], "one of ten may go");
}

#[test]
fn with_the_next_one_counted_no_more_than_the_cap_are_out() {
    for (endpoints, percent, most) in
        [(10, 10, 1), (19, 10, 1), (20, 10, 2), (5, 50, 2), (3, 34, 1), (2, 100, 1)]
    {
        let mut config = Config { outliers: at_most(percent), ..config() };
        config.panic.threshold = Ratio::percent(0);
        let mut fleet = Fleet::new(config, endpoints);
        for _ in 0..1_000 {
            let place = fleet.take();
            fleet.give_back(place, Outcome::Failure);
        }
        assert_eq!(ejected(&fleet).len(), most, "{percent} % of {endpoints}");
        fleet.pass_secs(10);
        assert_eq!(ejected(&fleet).len(), most, "{percent} % of {endpoints}, swept");
    }
}

#[test]
fn open_breakers_count_below_the_cap() {
    let mut config = touchy(config());
    config.outliers = Some(outlier::Config { consecutive: limit(2), ..at_most(20).unwrap() });
    let mut fleet = Fleet::new(config, 10);
    let [first, second, third, fourth, ..] = fleet.endpoints[..] else { unreachable!() };
    // Ejected and, by an answer that was under way, open: that is one.
    let places: Vec<Place> = std::iter::repeat_with(|| fleet.take()).take(40).collect();
    let mut at_first = places.into_iter().filter(|place| place.endpoint == first);
    (0..3).for_each(|_| fleet.give_back(at_first.next().unwrap(), Outcome::Failure));
    assert_eq!(ejected(&fleet), [first]);
    assert_eq!(fleet.status(first).breaker, breaker::State::Open);
    fleet.answers(second, 2, Outcome::Failure);
    assert_eq!(ejected(&fleet), [first, second]);
    fleet.answers(third, 3, Outcome::Failure);
    assert_eq!(fleet.status(third).breaker, breaker::State::Open, "its breaker asks nobody");
    fleet.answers(fourth, 2, Outcome::Failure);
    assert_eq!(ejected(&fleet), [first, second], "two are out by ejection and one by its breaker");
}

#[test]
fn an_open_breaker_takes_the_last_place_below_the_cap() {
    let mut fleet = Fleet::new(touchy(Config { outliers: at_most(10), ..config() }), 10);
    fleet.answers(fleet.endpoints[0], 3, Outcome::Failure);
    assert_eq!(fleet.cluster.status().endpoints_out, 1);
    // The second one fails five times with successes between them for its breaker's sake: at the sweep, by its share.
    let bad = fleet.endpoints[1];
    let places: Vec<Place> = std::iter::repeat_with(|| fleet.take()).take(90).collect();
    for place in places {
        let failed = place.endpoint == bad;
        fleet.give_back(place, if failed { Outcome::Failure } else { Outcome::Success });
    }
    fleet.pass_secs(10);
    assert_eq!(causes(&fleet), []);
}

#[test]
fn one_that_returns_with_its_breaker_still_open_leaves_its_place_below_the_cap_to_nobody() {
    // The default breaker opens for 60 s at the failure that ejects for 30 s.
    let mut config = config();
    config.breaker = breaker::Config::default();
    let mut fleet = Fleet::new(config, 10);
    let [first, second, ..] = fleet.endpoints[..] else { unreachable!() };
    fleet.answers(first, 5, Outcome::Failure);
    let since = fleet.now;
    assert_eq!((ejected(&fleet), fleet.cluster.status().endpoints_out), (vec![first], 1));
    while fleet.now.since(since) < Duration::from_secs(50) {
        // The second serves worse than the others, but for no breaker.
        let mut asked = 0;
        for _ in 0..200 {
            let place = fleet.take();
            asked += u32::from(place.endpoint == second);
            let failed = place.endpoint == second && asked % 6 == 0;
            fleet.give_back(place, if failed { Outcome::Failure } else { Outcome::Success });
        }
        fleet.pass_ms(1_000);
        let out = |id: &&EndpointId| {
            let status = fleet.status(**id);
            status.ejected || status.breaker == breaker::State::Open
        };
        let out: Vec<_> = fleet.endpoints.iter().filter(out).collect();
        assert_eq!(out, [&first], "one of ten, and no more");
    }
    assert!(!fleet.status(first).ejected && fleet.status(first).breaker == breaker::State::Open);
}

#[test]
fn in_panic_ejections_and_bad_health_do_not_count_but_open_breakers_do() {
    let mut config = Config { outliers: at_most(100), ..config() };
    config.breaker.mode = breaker::Mode::Count { failures: limit(6) };
    let mut fleet = Fleet::new(config, 5);
    let [sick, ejected, open, ..] = fleet.endpoints[..] else { unreachable!() };
    fleet.set_health(sick, Level::Unhealthy);
    fleet.answers(ejected, 5, Outcome::Failure);
    let shares = fleet.calls(60, |_| 1);
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), fleet.endpoints[2..], "three of five are enough");
    // With a third one out, two of five are left.
    let places: Vec<Place> = (0..30).map(|_| fleet.take()).filter(|place| place.endpoint == open).collect();
    places.into_iter().for_each(|place| fleet.give_back(place, Outcome::Failure));
    assert_eq!(fleet.status(open).breaker, breaker::State::Open);
    assert!(fleet.states.contains(&StateEvent::Panic { priority: 0, spread: Spread::All }));
    let shares = fleet.calls(60, |_| 0);
    assert!(shares.contains_key(&sick) && shares.contains_key(&ejected), "{shares:?}");
    assert!(!shares.contains_key(&open), "{shares:?}");

    fleet.set_health(sick, Level::Degraded);
    assert_eq!(fleet.states.last(), Some(&StateEvent::Panic { priority: 0, spread: Spread::Available }));
    let shares = fleet.calls(60, |_| 0);
    assert!(shares.contains_key(&sick) && !shares.contains_key(&ejected), "{shares:?}");
}

#[test]
fn half_of_all_is_no_panic() {
    let mut fleet = Fleet::new(config(), 4);
    fleet.set_health(fleet.endpoints[0], Level::Unhealthy);
    fleet.set_health(fleet.endpoints[1], Level::Unhealthy);
    let shares = fleet.calls(20, |_| 1);
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), fleet.endpoints[2..]);
}

#[test]
fn where_panic_means_nobody_requests_are_rejected_until_enough_are_back() {
    let mode = Mode::None;
    let mut fleet = Fleet::new(Config { panic: panic::Config { mode, ..Default::default() }, ..config() }, 3);
    let [first, second, _] = fleet.endpoints[..] else { unreachable!() };
    fleet.set_health(first, Level::Unhealthy);
    fleet.take();
    fleet.set_health(second, Level::Unhealthy);
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::Panicked)));
    fleet.set_health(second, Level::Healthy);
    fleet.take();
}

#[test]
fn where_panic_means_nobody_one_that_could_not_be_reached_is_dialled_again() {
    let mode = Mode::None;
    for min_connections in [0, 1] {
        let config =
            Config { panic: panic::Config { mode, ..Default::default() }, min_connections, ..config() };
        let mut fleet = Fleet::new(config, 0);
        let id = fleet.add_that(cluster_support::Dial::Fails, 0);
        _ = fleet.checkout(Want::default());
        fleet.pass_secs(10);
        assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::Panicked)));
        fleet.dials_to(id, cluster_support::Dial::Succeeds);
        fleet.pass_secs(30);
        assert!(fleet.checkout(Want::default()).is_ok(), "with {min_connections} kept up");
    }
}

#[test]
fn where_nobody_panics_and_all_are_unhealthy_requests_are_rejected() {
    let threshold = Ratio::percent(0);
    let mut fleet =
        Fleet::new(Config { panic: panic::Config { threshold, ..Default::default() }, ..config() }, 2);
    for id in fleet.endpoints.clone() {
        fleet.set_health(id, Level::Unhealthy);
    }
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Rejected(Rejected::Unhealthy)));
    fleet.set_health(fleet.endpoints[0], Level::Degraded);
    fleet.take();
}

#[test]
fn those_who_wait_are_served_when_one_returns() {
    let mut config =
        Config { outliers: at_most(50), in_flight: limit(1), max_connections: limit(1), ..config() };
    config.panic.threshold = Ratio::percent(0);
    let mut fleet = Fleet::new(config, 2);
    let bad = fleet.endpoints[0];
    for _ in 0..5 {
        let places = [fleet.take(), fleet.take()];
        let outcome = |place: &Place| if place.endpoint == bad { Outcome::Failure } else { Outcome::Success };
        places.iter().for_each(|place| fleet.give_back(*place, outcome(place)));
    }
    fleet.take();
    fleet.wait(1, Want::default());
    fleet.pass_secs(40);
    assert_eq!(fleet.place_of(1).unwrap().endpoint, bad);
}

#[test]
fn nobody_wakes_up_to_compare_where_there_is_nothing_to_compare() {
    let sweeps =
        |fleet: &Fleet| fleet.cluster.deadline().is_some_and(|(_, what)| what.contains("comparison"));
    let mut config = config();
    config.heartbeat.interval = Duration::from_secs(1_000_000);
    config.idle_close = Duration::from_secs(1_000_000);

    // Too few that one might go, and answers of all kinds.
    let mut small = Fleet::new(config, 9);
    small.calls(100, |_| 1);
    small.answers(small.endpoints[1], 6, Outcome::Failure);
    assert!(!sweeps(&small));

    // Enough, and no answers.
    let mut large = Fleet::new(config, 20);
    let place = large.take();
    assert!(!sweeps(&large));
    large.give_back(place, Outcome::Success);
    assert!(sweeps(&large), "there is one now");
    large.pass_secs(10);
    assert!(!sweeps(&large), "and it was looked at");
    let before = large.wakeups;
    large.pass_secs(10_000);
    assert_eq!(large.wakeups, before);

    // One that is out is let back, and forgiven; then it is quiet again.
    large.answers(large.endpoints[4], 5, Outcome::Failure);
    let before = large.wakeups;
    large.pass_secs(10_000);
    assert!(ejected(&large).is_empty() && !sweeps(&large));
    assert!(large.wakeups - before < 10, "{}", large.wakeups - before);
}

#[test]
fn one_that_goes_or_is_drained_while_it_is_ejected_frees_its_place_below_the_cap() {
    let mut fleet = Fleet::new(config(), 12);
    let [first, second, third, ..] = fleet.endpoints[..] else { unreachable!() };
    fleet.answers(first, 5, Outcome::Failure);
    fleet.remove(first);
    fleet.answers(second, 5, Outcome::Failure);
    assert!(fleet.status(second).ejected);
    fleet.drain(second);
    fleet.answers(third, 5, Outcome::Failure);
    assert!(!fleet.status(second).ejected && fleet.status(third).ejected);
}
