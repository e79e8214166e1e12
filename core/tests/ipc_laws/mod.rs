//! The laws, for the machines of Bro IPC.

/// A test of each law: of a machine at its defaults, or of a small one, whose limits are reached. `$prepared` makes the first
/// operations such that much happens.
#[macro_export]
macro_rules! laws {
    ($small:ty, $large:ty, $prepared:path) => {
        quickcheck::quickcheck! {
            fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
                laws::cutting::<$large>(seed, &$prepared(ops), &cuts)
            }

            fn early_and_repeated_ticks_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::early_and_repeated_ticks::<$small>(seed, &$prepared(ops))
            }

            fn a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::tick_at_deadline_makes_progress::<$small>(seed, &$prepared(ops))
            }

            fn an_undrained_action_is_due(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::undrained_action_is_due::<$small>(seed, &$prepared(ops))
            }

            fn a_clock_that_goes_back_changes_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::clock_going_back::<$small>(seed, &$prepared(ops))
            }

            fn the_same_seed_gives_the_same_trace(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::same_seed_same_trace::<$small>(seed, &$prepared(ops))
            }

            fn late_completions_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
                laws::recycled_slots_ignore_late_completions::<$small>(seed, &$prepared(ops))
            }
        }
    };
}
