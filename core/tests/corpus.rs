//! The fuzz targets, on the seeds that are kept: hand-made ones, and inputs that once broke something.

use std::fs;
use std::path::Path;

use plimsoll_core::fuzzing::TARGETS;

#[test]
fn every_seed_keeps_the_promises_of_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, target) in TARGETS {
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} is not fuzzed");
        let seeds = fs::read_dir(fuzz.join("seeds").join(name)).expect("every target has seeds");
        let replayed = seeds.map(|seed| target(&fs::read(seed.unwrap().path()).unwrap())).count();
        assert!(replayed > 0, "{name} has no seeds");
    }
}
