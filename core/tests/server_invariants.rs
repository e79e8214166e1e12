//! Anything may happen in any order: every request is lent once and answered once, and once everybody behaves, all that
//! was asked is answered.

use plimsoll_core::testing::play::{Op, server};
use quickcheck::{Gen, QuickCheck};

#[test]
fn whatever_happens_every_request_is_lent_and_answered_once_and_everything_comes_to_rest() {
    QuickCheck::new().rng(Gen::new(150)).tests(300).quickcheck(play as fn(u16, Vec<Op>));
}

fn play(shape: u16, ops: Vec<Op>) {
    server::play(shape, &ops);
}
