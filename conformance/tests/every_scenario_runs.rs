//! A scenario that is in no suite proves nothing: each is made a test of, by one macro or the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names between a marker and a character, wherever the marker is.
fn names<'a>(text: &'a str, after: &'a str, until: &'a [char]) -> impl Iterator<Item = &'a str> {
    text.split(after).skip(1).filter_map(move |rest| rest.split(until).next())
}

/// The lists of the macro, one name to a line.
fn listed(source: &str) -> BTreeSet<String> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let lines = source.lines().filter_map(|line| line.trim().strip_suffix(','));
    lines.filter(|name| !name.is_empty() && is_name(name)).map(str::to_owned).collect()
}

#[test]
fn every_scenario_is_in_a_suite_and_every_suite_has_scenarios_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |name: &str| fs::read_to_string(source.join(name)).expect("a file of this crate");
    let listed: BTreeSet<String> =
        [listed(&read("lib.rs")), listed(&read("ipc.rs"))].into_iter().flatten().collect();

    let mut written = BTreeSet::new();
    for scenarios in ["scenarios.rs", "ipc.rs"] {
        let text = read(scenarios);
        let modules = names(&text, "\npub use crate::", &[':']).map(|module| format!("{module}.rs"));
        for module in modules.chain([scenarios.to_owned()]) {
            written.extend(names(&read(&module), "\npub fn ", &['(', '<']).map(str::to_owned));
        }
    }
    assert!(written.len() > 80, "{} scenarios were found", written.len());
    assert_eq!(listed, written);
}
