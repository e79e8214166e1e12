//! Anything may happen in any order: the rig's laws hold after every step, and once the faults stop, everything
//! settles.

use plimsoll_core::service::Uw;
use plimsoll_core::testing::play::rig::{Polite, Toy};
use plimsoll_core::testing::play::{Op, client};
use plimsoll_core::wire::uw::Mode;
use quickcheck::QuickCheck;

#[test]
fn over_uw_whatever_happens_every_request_ends_once_and_everything_comes_to_rest() {
    fn check(shape: u16, extras: u8, ops: Vec<Op>, resync: bool) {
        let mode = if resync { Mode::Resync } else { Mode::Strict };
        client::play(Uw { mode, ..Uw::default() }, shape, extras, &ops);
    }
    QuickCheck::new().quickcheck(check as fn(u16, u8, Vec<Op>, bool));
}

#[test]
fn on_a_wire_without_ids_whatever_happens_every_request_ends_once_and_everything_comes_to_rest() {
    fn check(shape: u16, extras: u8, ops: Vec<Op>) {
        client::play(Toy, shape, extras, &ops);
    }
    QuickCheck::new().quickcheck(check as fn(u16, u8, Vec<Op>));
}

#[test]
fn with_peers_that_are_greeted_whatever_happens_every_request_ends_once_and_everything_comes_to_rest() {
    fn check(shape: u16, extras: u8, ops: Vec<Op>) {
        client::play(Polite, shape, extras, &ops);
    }
    QuickCheck::new().quickcheck(check as fn(u16, u8, Vec<Op>));
}
