//! The cluster agrees with its model, whatever happens.

use plimsoll_core::testing::play::{Op, cluster_model};
use quickcheck::{Gen, QuickCheck};

#[test]
fn the_cluster_agrees_with_its_model_over_random_histories() {
    QuickCheck::new().rng(Gen::new(150)).tests(300).quickcheck(cluster_model_agrees as fn(u32, Vec<Op>));
}

fn cluster_model_agrees(shape: u32, ops: Vec<Op>) {
    cluster_model::agrees(shape, &ops);
}
