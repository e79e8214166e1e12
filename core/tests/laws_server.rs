//! The laws of machines, for the service server.

use plimsoll_core::testing::laws::{self, Op};
use plimsoll_core::testing::play::server_laws::{Large, Small, with_connections};
use quickcheck::quickcheck;

quickcheck! {
    fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
        laws::cutting::<Large>(seed, &with_connections(&ops), &cuts)
    }

    fn early_and_repeated_ticks_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::early_and_repeated_ticks::<Small>(seed, &with_connections(&ops))
    }

    fn a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::tick_at_deadline_makes_progress::<Small>(seed, &with_connections(&ops))
    }

    fn an_undrained_action_is_due(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::undrained_action_is_due::<Small>(seed, &with_connections(&ops))
    }

    fn a_clock_that_goes_back_changes_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::clock_going_back::<Small>(seed, &with_connections(&ops))
    }

    fn the_same_seed_gives_the_same_trace(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::same_seed_same_trace::<Small>(seed, &with_connections(&ops))
    }

    fn late_completions_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recycled_slots_ignore_late_completions::<Small>(seed, &with_connections(&ops))
    }

    fn what_is_saved_and_loaded_behaves_as_before(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        match seed / 2 % 2 {
            0 => laws::saved_and_loaded::<Small>(seed, &with_connections(&ops)),
            _ => laws::saved_and_loaded::<Large>(seed, &with_connections(&ops)),
        }
    }
}
