//! Every scenario of the library comes out as it says, under each of its policies.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use plimsoll_sim::fleet::{self, Scenario};

const SEED: u64 = 1;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"))
}

fn read(name: &str) -> Scenario {
    let text = fs::read_to_string(directory().join(name).with_extension("toml")).unwrap();
    Scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn comes_out_as_stated(name: &str) {
    let scenario = read(name);
    for policy in scenario.policies() {
        let report = fleet::run(&scenario, policy, SEED, &mut |_| {}).unwrap();
        assert!(!report.checks.is_empty(), "{name} says nothing of {policy}");
        for check in &report.checks {
            let should = if check.should_hold { "hold" } else { "be missed" };
            assert!(check.is_as_stated(), "{name}, {policy}: {} should {should}: {}", check.what, check.seen);
        }
        let totals = &report.totals;
        assert_eq!(totals.good + totals.failed(), totals.offered, "{name}, {policy}: {:?}", totals.errors);
        assert!(!totals.errors.contains_key("never_ended"), "{name}, {policy}: {:?}", totals.errors);
    }
}

// A test each, so that they take all processors.
macro_rules! library {
    ($($name:ident),* $(,)?) => {
        const RUN: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            comes_out_as_stated(stringify!($name));
        })*
    };
}

library![
    cold_caches,
    fails_fast,
    flapping_health_checks,
    grey_failure,
    metastable_overload,
    one_slow_host,
    partition,
    retry_storm,
    rolling_deploy,
    slow_consumer,
    thundering_herd,
    zone_loss,
];

/// It takes too long without optimization.
const LARGE: &str = "large_fleet";

#[test]
fn the_library_is_what_is_in_the_directory() {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
    };
    let there: BTreeSet<String> = fs::read_dir(directory()).unwrap().map(name).collect();
    let run: BTreeSet<String> = RUN.iter().copied().chain([LARGE]).map(str::to_owned).collect();
    assert_eq!(there, run);
}

#[test]
fn each_teaches_in_three_sentences_and_has_policies_to_compare() {
    for name in RUN {
        let scenario = read(name);
        let sentences = scenario.description().trim().matches(['.', '!', '?']).count();
        assert!(sentences >= 3, "{name}: {}", scenario.description());
        assert!(scenario.policies().count() >= 2, "{name}");
    }
}

#[test]
fn the_large_fleet_is_a_scenario() {
    assert_eq!(read(LARGE).policies().count(), 1);
}
