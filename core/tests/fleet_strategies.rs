//! What the table of strategies claims, on a smaller scale: ten servers, one of which goes wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::policy::Ratio;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Mode;
use plimsoll_core::testing::fleet::trial::{Report, Trial};
use plimsoll_core::testing::fleet::{Condition, Config};

const CONDITIONS: [Condition; 6] = [
    Condition::Healthy,
    Condition::Slow(50),
    Condition::Failing(Ratio::percent(20)),
    Condition::FailsFast,
    Condition::Mute,
    Condition::Deaf,
];

fn trial(strategy: Strategy, condition: Condition) -> Trial {
    let mut config = Config::default();
    config.client.cluster.strategy = strategy;
    config.client.timeout = Duration::from_secs(1);
    let secs = Duration::from_secs;
    Trial { config, per_second: 1_000, condition, begins: secs(1), ends: secs(4), lasts: secs(5) }
}

/// Without breaker and ejection: what the strategy does by itself.
fn alone(strategy: Strategy, condition: Condition) -> Report {
    let mut trial = trial(strategy, condition);
    trial.config.client.cluster.outliers = None;
    trial.config.client.cluster.breaker.mode = Mode::Count { failures: NonZeroU32::MAX };
    trial.run()
}

#[test]
fn every_call_ends_once_whatever_goes_wrong() {
    for strategy in Strategy::ALL {
        for condition in CONDITIONS {
            let report = Trial { per_second: 500, ..trial(strategy, condition) }.run();
            assert_eq!((report.unended, report.doubled), (0, 0), "{strategy}, {condition:?}: {report:?}");
            let ended = report.good + report.failed + report.timed_out + report.lost + report.refused;
            assert_eq!(ended, report.offered, "{strategy}, {condition:?}");
            assert!(report.good * 100 >= report.offered * 90, "{strategy}, {condition:?}: {report:?}");
        }
    }
}

#[test]
fn a_server_that_fails_fast_draws_no_traffic_by_peak_ewma() {
    let report = alone(Strategy::P2cEwma, Condition::FailsFast);
    assert!(report.to_bad * 100 < report.offered, "{report:?}");
    assert!(report.good * 1_000 > report.offered * 995, "{report:?}");
}

#[test]
fn a_slow_server_costs_little_by_peak_ewma_and_its_share_by_round_robin() {
    let report = alone(Strategy::P2cEwma, Condition::Slow(50));
    assert!(report.good * 1_000 > report.offered * 990, "{report:?}");
    assert!(report.p99_of_all < Duration::from_millis(150), "{report:?}");
    let report = alone(Strategy::RoundRobin, Condition::Slow(50));
    assert!(report.good * 1_000 < report.offered * 930, "{report:?}");
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let with_seed = |seed| {
        let mut trial = trial(Strategy::P2cEwma, Condition::Mute);
        trial.config.seed = seed;
        trial.run()
    };
    assert_eq!(with_seed(7), with_seed(7));
    assert_ne!(with_seed(7), with_seed(8));
}
