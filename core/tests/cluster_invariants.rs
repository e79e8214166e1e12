//! Anything may happen in any order, with everything switched on: after each step the cluster's counts agree with what
//! is there, its places with those that were given, and nobody waits for what can be had.

use plimsoll_core::testing::play::{Op, cluster};
use quickcheck::{Gen, QuickCheck};

#[test]
fn whatever_happens_everything_is_counted_nobody_is_forgotten_and_all_comes_to_rest() {
    fn check(shape: u32, ops: Vec<Op>) -> bool {
        cluster::play(shape, &ops) == cluster::play(shape, &ops)
    }
    QuickCheck::new().rng(Gen::new(200)).quickcheck(check as fn(u32, Vec<Op>) -> bool);
}
