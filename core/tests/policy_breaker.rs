//! The circuit breaker, behaviour by behaviour. Where another breaker got it wrong, the test names the place; more of those
//! are in `mistakes.rs`.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::policy::Ratio;
use plimsoll_core::policy::breaker::Outcome::{self, Failure, Ignored, Success};
use plimsoll_core::policy::breaker::{
    Breaker, Config, Counts, MAX_PROBES, Mode, Open, Permit, State, Transition,
};
use plimsoll_core::rng::Pcg;
use plimsoll_core::time::Instant;

const START: Instant = Instant::from_millis(1_000_000);
const RECOVERY: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(30);
const OPENED: Transition = Transition { from: State::Closed, to: State::Open };
const REOPENED: Transition = Transition { from: State::HalfOpen, to: State::Open };
const PROBING: Transition = Transition { from: State::Open, to: State::HalfOpen };
const CLOSED: Transition = Transition { from: State::HalfOpen, to: State::Closed };

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn breaker(config: Config) -> Breaker {
    Breaker::new(config, Pcg::new(1, 1))
}

/// As the seed's breaker: counts within the period, and neither grows nor jitters.
fn seed_config() -> Config {
    Config { mode: Mode::Count { failures: count(5) }, multiplier: Ratio::ONE, ..Config::default() }
}

fn call(breaker: &mut Breaker, now: Instant, outcome: Outcome) -> Option<Transition> {
    let permit = breaker.admit(now).expect("admitted");
    breaker.settle(now, permit, outcome)
}

/// All the probes that may go out at `now`.
fn probes(breaker: &mut Breaker, now: Instant) -> Vec<Permit> {
    std::iter::from_fn(|| breaker.admit(now).ok()).take(100).collect()
}

/// Opens it at `START`; it is half-open at `START + RECOVERY`.
fn opened(config: Config) -> Breaker {
    let mut breaker = breaker(config);
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, START, Failure), None);
    }
    assert_eq!(call(&mut breaker, START, Failure), Some(OPENED));
    breaker
}

fn half_open() -> (Breaker, Instant) {
    let mut breaker = opened(Config::default());
    let now = START + RECOVERY;
    assert_eq!(breaker.tick(now), Some(PROBING));
    (breaker, now)
}

#[test]
fn five_failures_in_a_row_open_it_and_three_good_probes_close_it() {
    let (mut breaker, now) = half_open();
    assert_eq!(call(&mut breaker, now, Success), None);
    assert_eq!(call(&mut breaker, now, Success), None);
    assert_eq!(call(&mut breaker, now, Success), Some(CLOSED));
    assert_eq!((breaker.state(now), breaker.deadline()), (State::Closed, None));
    assert_eq!(call(&mut breaker, now, Failure), None, "what was before is forgotten");
}

#[test]
fn a_success_between_failures_breaks_the_row() {
    let mut breaker = breaker(Config::default());
    for _ in 0..3 {
        for outcome in [Failure, Failure, Failure, Failure, Success] {
            assert_eq!(call(&mut breaker, START, outcome), None);
        }
    }
}

#[test]
fn a_low_share_of_successes_opens_it_once_there_is_volume() {
    let mut breaker = breaker(Config::default());
    for n in 1..20 {
        let outcome = if n % 2 == 0 { Failure } else { Success };
        assert_eq!(call(&mut breaker, START, outcome), None, "result {n} of 20");
    }
    assert_eq!(call(&mut breaker, START, Failure), Some(OPENED));
}

#[test]
fn a_share_at_the_bound_does_not_open_it() {
    let mut breaker = breaker(Config::default());
    for n in 0..1_000 {
        let outcome = if n % 5 == 4 { Failure } else { Success };
        assert_eq!(call(&mut breaker, START, outcome), None);
    }
    assert_eq!(call(&mut breaker, START, Failure), Some(OPENED));
}

#[test]
fn the_seeds_breaker_counts_failures_within_the_period_whatever_succeeds() {
    let mut breaker = breaker(seed_config());
    for second in 0..4 {
        let now = START + Duration::from_secs(second);
        assert_eq!(call(&mut breaker, now, Failure), None);
        assert_eq!(call(&mut breaker, now, Success), None);
    }
    let gone = START + Duration::from_secs(300);
    assert_eq!(call(&mut breaker.clone(), gone, Failure), None, "the four are out of the period");
    let within = START + Duration::from_secs(250);
    assert_eq!(call(&mut breaker, within, Failure), Some(OPENED));
}

#[test]
fn while_open_it_refuses_and_says_until_when() {
    let mut breaker = opened(Config::default());
    let retry_at = START + RECOVERY;
    let just_before = Instant::from_nanos(retry_at.as_nanos() - 1);
    assert_eq!(breaker.admit(START), Err(Open { retry_at }));
    assert_eq!(breaker.admit(just_before), Err(Open { retry_at }));
    assert_eq!(breaker.deadline(), Some(retry_at));
    assert_eq!(breaker.tick(just_before), None, "an early tick changes nothing");
    assert_eq!(breaker.state(just_before), State::Open);
    assert_eq!(breaker.state(retry_at), State::HalfOpen);
    assert_eq!(breaker.stats(START).rejected, 2);
}

#[test]
fn no_more_probes_are_out_than_must_succeed() {
    let (mut breaker, now) = half_open();
    let out = probes(&mut breaker, now);
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|probe| probe.is_probe()));
    assert_eq!(breaker.admit(now), Err(Open { retry_at: now + LEASE }));
    breaker.settle(now, out[1], Success);
    assert_eq!(probes(&mut breaker, now).len(), 1, "one is back, one may go");
}

#[test]
fn a_threshold_above_the_places_is_still_reached() {
    let mut breaker = opened(Config { success_threshold: count(20), ..Config::default() });
    let now = START + RECOVERY;
    let out = probes(&mut breaker, now);
    assert_eq!(out.len(), MAX_PROBES);
    for probe in out {
        assert_eq!(breaker.settle(now, probe, Success), None);
    }
    for _ in MAX_PROBES..19 {
        assert_eq!(call(&mut breaker, now, Success), None);
    }
    assert_eq!(call(&mut breaker, now, Success), Some(CLOSED));
}

#[test]
fn a_lease_that_ends_frees_its_place_without_a_tick() {
    let (mut breaker, now) = half_open();
    assert_eq!(probes(&mut breaker, now).len(), 3);
    assert_eq!(probes(&mut breaker, now + LEASE).len(), 3);
}

/// A call may take as long as its lease, so that its timeout comes when the lease has just ended.
#[test]
fn a_probe_that_times_out_as_its_lease_ends_still_counts() {
    let (mut breaker, now) = half_open();
    let probe = breaker.admit(now).unwrap();
    breaker.tick(now + LEASE);
    assert_eq!(breaker.settle(now + LEASE, probe, Failure), Some(REOPENED));
}

/// resilience4j/resilience4j#1432: a permit given twice in a race with the change to half-open.
#[test]
fn a_late_probe_does_not_give_back_the_place_of_another() {
    let (mut breaker, now) = half_open();
    let late = breaker.admit(now).unwrap();
    let later = now + LEASE;
    assert_eq!(probes(&mut breaker, later).len(), 3);
    breaker.settle(later, late, Ignored);
    assert!(breaker.admit(later).is_err(), "all three places are still taken");
}

/// App-vNext/Polly#216: everything went through while one probe was out.
#[test]
fn a_thousand_callers_do_not_flood_while_it_probes() {
    let (mut breaker, now) = half_open();
    let admitted = (0..1_000).filter(|_| breaker.admit(now).is_ok()).count();
    assert_eq!(admitted, 3);
}

/// erpc/erpc#1118: outcomes that were ignored kept their places, and the breaker latched.
#[test]
fn an_ignored_probe_gives_its_place_back_at_once() {
    let (mut breaker, now) = half_open();
    for _ in 0..100 {
        for probe in probes(&mut breaker, now) {
            assert_eq!(breaker.settle(now, probe, Ignored), None);
        }
    }
    assert_eq!(probes(&mut breaker, now).len(), 3);
    assert_eq!(breaker.stats(now).ignored, 300);
}

#[test]
fn ignored_outcomes_neither_open_it_nor_break_a_row_of_failures() {
    let mut breaker = breaker(Config::default());
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, START, Failure), None);
        for _ in 0..100 {
            assert_eq!(call(&mut breaker, START, Ignored), None);
        }
    }
    assert_eq!(call(&mut breaker, START, Failure), Some(OPENED));
}

#[test]
fn each_reopening_lasts_longer_up_to_the_cap_and_closing_begins_anew() {
    let mut breaker = opened(Config::default());
    let mut now = START;
    for (shortest, longest) in [(60, 60), (60, 120), (120, 240), (150, 300), (150, 300)] {
        let until = breaker.deadline().unwrap();
        let open = until.since(now);
        assert!(open >= Duration::from_secs(shortest) && open <= Duration::from_secs(longest), "{open:?}");
        now = until;
        assert_eq!(breaker.tick(now), Some(PROBING));
        assert_eq!(call(&mut breaker, now, Failure), Some(REOPENED));
    }
    now = breaker.deadline().unwrap();
    for probe in probes(&mut breaker, now) {
        breaker.settle(now, probe, Success);
    }
    for _ in 0..5 {
        call(&mut breaker, now, Failure);
    }
    assert_eq!(breaker.deadline(), Some(now + RECOVERY));
}

#[test]
fn reopening_times_of_many_are_spread() {
    let lasts = |seed| {
        let mut breaker = Breaker::new(Config::default(), Pcg::new(seed, 1));
        for _ in 0..5 {
            call(&mut breaker, START, Failure);
        }
        let now = START + RECOVERY;
        assert_eq!(call(&mut breaker, now, Failure), Some(REOPENED));
        breaker.deadline().unwrap().since(now).as_secs()
    };
    let mut sixths = [0; 6];
    (0..600).for_each(|seed| sixths[(lasts(seed) as usize - 60) / 10] += 1);
    assert!(sixths.iter().all(|n| (60..140).contains(n)), "{sixths:?}");
}

#[test]
fn the_seeds_breaker_reopens_for_the_same_time_exactly() {
    let mut breaker = opened(seed_config());
    let mut now = START;
    for _ in 0..5 {
        assert_eq!(breaker.deadline(), Some(now + RECOVERY));
        now = now + RECOVERY;
        assert_eq!(call(&mut breaker, now, Failure), Some(REOPENED));
    }
    assert_eq!(breaker.stats(now).opened, 6);
}

#[test]
fn a_reset_closes_it_and_forgets_what_is_still_out() {
    let (mut breaker, now) = half_open();
    let out = breaker.admit(now).unwrap();
    assert_eq!(breaker.reset(), Some(CLOSED));
    assert_eq!(breaker.settle(now, out, Failure), None);
    assert_eq!(breaker.stats(now).consecutive_failures, 0);

    for _ in 0..4 {
        assert_eq!(call(&mut breaker, now, Failure), None);
    }
    assert_eq!(breaker.reset(), None, "it was closed");
    assert_eq!(call(&mut breaker, now, Failure), None, "the four are forgotten");
}

#[test]
fn asking_whether_a_call_would_be_admitted_takes_no_place_and_counts_nothing() {
    let breaker = opened(Config::default());
    let (retry_at, just_before) = (START + RECOVERY, Instant::from_nanos((START + RECOVERY).as_nanos() - 1));
    assert_eq!(breaker.check(just_before), Err(Open { retry_at }));
    assert_eq!(breaker.check(retry_at), Ok(()));
    assert_eq!(breaker.stats(retry_at).rejected, 0);

    let (mut breaker, now) = half_open();
    for _ in 0..10 {
        assert_eq!(breaker.check(now), Ok(()));
    }
    assert_eq!(probes(&mut breaker, now).len(), 3, "all places are free");
    assert_eq!(breaker.check(now), Err(Open { retry_at: now + LEASE }));
    assert_eq!(breaker.check(now + LEASE), Ok(()));
}

#[test]
fn the_last_failure_is_remembered_when_all_else_is_forgotten() {
    let mut breaker = breaker(Config::default());
    assert_eq!(breaker.stats(START).last_failure, None);
    call(&mut breaker, START, Failure);
    call(&mut breaker, START + Duration::from_nanos(1), Success);
    breaker.reset();
    assert_eq!(breaker.stats(START + Duration::from_nanos(1)).last_failure, Some(START));
}

#[test]
fn an_update_keeps_the_state_and_the_results_of_the_same_period() {
    let mut breaker = breaker(Config::default());
    call(&mut breaker, START, Failure);
    let failures = count(2);
    breaker.update(Config { mode: Mode::Count { failures }, ..Config::default() });
    assert_eq!(call(&mut breaker, START, Failure), Some(OPENED));
    let recovery = Duration::from_secs(1);
    breaker.update(Config { recovery, ..Config::default() });
    assert_eq!(breaker.deadline(), Some(START + RECOVERY), "an open time that has begun stays");
    let now = START + RECOVERY;
    assert_eq!(call(&mut breaker, now, Failure), Some(REOPENED));
    assert_eq!(breaker.deadline(), Some(now + recovery));
    assert_eq!(breaker.config().recovery, recovery);
}

#[test]
fn an_update_of_the_period_begins_a_new_window() {
    let mut breaker = breaker(seed_config());
    for _ in 0..4 {
        call(&mut breaker, START, Failure);
    }
    breaker.update(Config { period: Duration::from_secs(10), ..seed_config() });
    assert_eq!(call(&mut breaker, START, Failure), None);
    assert_eq!(breaker.stats(START).window, Counts { successes: 0, failures: 1 });
}

#[test]
fn statistics_count_everything_and_the_window_forgets() {
    let mut breaker = breaker(Config::default());
    for outcome in [Success, Success, Failure, Ignored] {
        call(&mut breaker, START, outcome);
    }
    let stats = breaker.stats(START);
    assert_eq!((stats.succeeded, stats.failed, stats.ignored), (2, 1, 1));
    assert_eq!(stats.window, Counts { successes: 2, failures: 1 });
    let later = breaker.stats(START + Duration::from_secs(300));
    assert_eq!((later.succeeded, later.window), (2, Counts::default()));
}

#[test]
fn permits_are_small_and_states_speak() {
    assert_eq!(size_of::<Permit>(), 8);
    assert!(size_of::<Breaker>() <= 640, "{}", size_of::<Breaker>());
    assert_eq!(State::HalfOpen.to_string(), "half-open");
    let open = Open { retry_at: Instant::from_millis(61_500) };
    assert!(open.to_string().ends_with("at 61.500000000s"), "{open}");
}
