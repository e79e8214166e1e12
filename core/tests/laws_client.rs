//! The laws of machines, for the service client.

use plimsoll_core::service::Uw;
use plimsoll_core::testing::laws::{self, Op};
use plimsoll_core::testing::play::client_laws::{Surroundings, without_garbage};
use plimsoll_core::testing::play::fleet_laws::{self, Fleet};
use plimsoll_core::testing::play::rig::{Polite, Toy};
use quickcheck::{QuickCheck, quickcheck};

quickcheck! {
    fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
        laws::cutting::<Surroundings<Uw>>(seed, &without_garbage(&ops), &cuts)
    }

    fn early_and_repeated_ticks_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::early_and_repeated_ticks::<Surroundings<Uw>>(seed, &ops)
    }

    fn a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::tick_at_deadline_makes_progress::<Surroundings<Uw>>(seed, &ops)
    }

    fn an_undrained_action_is_due(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::undrained_action_is_due::<Surroundings<Uw>>(seed, &ops)
    }

    fn a_clock_that_goes_back_changes_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::clock_going_back::<Surroundings<Uw>>(seed, &ops)
    }

    fn the_same_seed_gives_the_same_trace(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::same_seed_same_trace::<Surroundings<Uw>>(seed, &ops)
    }

    fn late_completions_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recycled_slots_ignore_late_completions::<Surroundings<Uw>>(seed, &ops)
    }

    fn what_is_saved_and_loaded_behaves_as_before(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::saved_and_loaded::<Surroundings<Uw>>(seed, &ops)
    }

    fn what_is_saved_in_the_middle_of_a_line_behaves_as_before(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::saved_and_loaded::<Surroundings<Toy>>(seed, &ops)
    }

    fn cutting_a_wire_without_ids_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
        laws::cutting::<Surroundings<Toy>>(seed, &without_garbage(&ops), &cuts)
    }

    fn cutting_what_is_said_at_a_greeting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
        laws::cutting::<Surroundings<Polite>>(seed, &without_garbage(&ops), &cuts)
    }

    fn while_it_is_greeted_a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::tick_at_deadline_makes_progress::<Surroundings<Polite>>(seed, &ops)
    }
}

/// Whatever the strategy, and with every guard. Fewer runs, since there is more to save.
#[test]
fn what_is_saved_of_a_fleet_behaves_as_before() {
    fn holds(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::saved_and_loaded::<Fleet>(seed, &fleet_laws::with_connections(&ops))
    }
    QuickCheck::new().tests(40).quickcheck(holds as fn(u64, Vec<Op>) -> Result<(), String>);
}
