//! Chance, in the words that plans are drawn with.

use std::time::Duration;

use plimsoll_core::rng::Pcg;
use plimsoll_core::time::nanos;

/// Draws from a seeded sequence.
#[derive(Clone, Debug)]
pub(super) struct Dice(Pcg);

impl Dice {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Dice(Pcg::new(seed, stream))
    }

    /// With so many chances in a thousand.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.0.below(1_000) < per_mille
    }

    /// A number below `bound`, 0 if that is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    /// A number from `least` to `most`.
    pub(super) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.0.below(most - least + 1)
    }

    /// One of them.
    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.below(choices.len() as u32) as usize]
    }

    /// A length of time between two, in whole milliseconds; short ones as likely as long ones.
    pub(super) fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let mut ceiling = most;
        while ceiling > 2 * least && self.chance(500) {
            ceiling /= 2;
        }
        self.even(least, ceiling)
    }

    /// A length of time between two, in whole milliseconds, all equally likely.
    pub(super) fn even(&mut self, least: Duration, most: Duration) -> Duration {
        let ms = |length: Duration| nanos(length) / 1_000_000;
        Duration::from_millis(ms(least) + self.0.up_to(ms(most).saturating_sub(ms(least))))
    }

    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}
