//! The circuit breaker agrees with its model, whatever happens.

use plimsoll_core::testing::play::{Op, breaker};
use quickcheck::{Gen, QuickCheck, TestResult};

fn agrees(mode: u8, small: (u8, u8, u8), multiplier: u8, seed: u64, ops: Vec<Op>) -> TestResult {
    let shape = [mode, small.0, small.1, small.2, multiplier];
    breaker::agrees(shape, seed, &ops).map_or_else(TestResult::error, |()| TestResult::passed())
}

#[test]
fn the_breaker_agrees_with_its_model_over_random_histories() {
    type Property = fn(u8, (u8, u8, u8), u8, u64, Vec<Op>) -> TestResult;
    QuickCheck::new().rng(Gen::new(300)).tests(3_000).quickcheck(agrees as Property);
}
