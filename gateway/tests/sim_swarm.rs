//! `plimsoll sim --swarm`: random worlds, and how it exits.

mod common;

use std::path::Path;

use common::plimsoll;

fn sim(args: &[&str]) -> (Option<i32>, String, String) {
    let output = plimsoll(Path::new(".")).arg("sim").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_swarm_prints_its_seeds_and_what_it_has_seen() {
    let (code, stdout, stderr) = sim(&["--swarm", "--seeds", "5", "--seed", "3"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("seeds from 3\nall laws hold: 5 worlds, "), "{stdout}");
}

#[test]
fn seeds_are_fresh_unless_they_are_said() {
    let first = || sim(&["--swarm", "--seeds", "2"]).1.lines().next().map(String::from);
    assert_ne!(first(), first());
}

#[test]
fn a_seed_alone_is_one_world() {
    let (code, stdout, stderr) = sim(&["--swarm", "--seed", "7"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("all laws hold: 1 worlds, "), "{stdout}");
}

#[test]
fn a_swarm_has_no_scenario_and_only_a_swarm_has_seeds() {
    for args in [&["--swarm", "fleet.toml"][..], &["fleet.toml", "--seeds", "3"], &[]] {
        let (code, stdout, _) = sim(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
    }
}
