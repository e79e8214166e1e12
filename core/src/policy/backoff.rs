//! How long to wait before the next attempt: exponential, capped, with full jitter.
//!
//! Full jitter draws each delay from zero to the exponential ceiling: of the schemes compared in M. Brooker,
//! "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), the one with the least work for the server,
//! because clients that failed together do not come back together.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::backoff::{Backoff, Config, Jitter};
//! use plimsoll_core::rng::Pcg;
//!
//! let mut rng = Pcg::new(1, 1);
//! let mut backoff = Backoff::new(Config { jitter: Jitter::None, ..Config::default() });
//! assert_eq!(backoff.next(&mut rng), Duration::from_millis(1_000));
//! assert_eq!(backoff.next(&mut rng), Duration::from_millis(1_500));
//! assert_eq!(backoff.next(&mut rng), Duration::from_millis(2_250));
//! backoff.reset(); // the connection has proven itself
//! assert_eq!(backoff.next(&mut rng), Duration::from_millis(1_000));
//! ```

use core::time::Duration;

use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::nanos;

/// How the delays of many clients are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all: every client waits exactly the ceiling.
    None,
    /// Uniform from zero to the ceiling.
    #[default]
    Full,
}
crate::saved!(enum Jitter { 0 = None, 1 = Full });

/// What a [`Backoff`] is made of. The default is that of reconnecting: 1 s × 1.5ⁿ, at most 30 s, full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The first ceiling; above `cap` it counts as `cap`.
    pub base: Duration,
    /// What the ceiling grows by at each attempt; below 1 it counts as 1.
    pub multiplier: Ratio,
    /// What no delay exceeds; at most 584 years.
    pub cap: Duration,
    /// Where below the ceiling a delay lies.
    pub jitter: Jitter,
}
crate::saved!(struct Config { base, multiplier, cap, jitter });

impl Default for Config {
    fn default() -> Self {
        Config {
            base: Duration::from_millis(1_000),
            multiplier: Ratio::per_mille(1_500),
            cap: Duration::from_millis(30_000),
            jitter: Jitter::Full,
        }
    }
}

/// The delays of one thing that is attempted again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: Config,
    attempts: u32,
    /// In nanoseconds.
    ceiling: u64,
}
crate::saved!(struct Backoff { config, attempts, ceiling });

impl Backoff {
    /// Nothing was attempted yet.
    pub fn new(config: Config) -> Self {
        Backoff { config, attempts: 0, ceiling: Self::first(&config) }
    }

    /// How long to wait before the next attempt. `rng` is drawn from only with [`Jitter::Full`].
    pub fn next(&mut self, rng: &mut Pcg) -> Duration {
        let delay = match self.config.jitter {
            Jitter::None => self.ceiling,
            Jitter::Full => rng.up_to(self.ceiling),
        };
        let grown = self.config.multiplier.max(Ratio::ONE).of(self.ceiling);
        self.ceiling = grown.min(nanos(self.config.cap));
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_nanos(delay)
    }

    /// How many delays were given since the start or the last [`reset`](Self::reset).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt has proven itself: the next delay is the first one again.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.ceiling = Self::first(&self.config);
    }

    fn first(config: &Config) -> u64 {
        nanos(config.base.min(config.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn config(base: u64, multiplier: u32, cap: u64, jitter: Jitter) -> Config {
        let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(cap));
        Config { base, multiplier: Ratio::per_mille(multiplier), cap, jitter }
    }

    #[test]
    fn without_jitter_the_delays_are_those_of_the_public_client() {
        let mut backoff = Backoff::new(Config { jitter: Jitter::None, ..Config::default() });
        let mut rng = Pcg::new(1, 1);
        let micros: [u128; 11] = core::array::from_fn(|_| backoff.next(&mut rng).as_micros());
        let expected =
            [1_000_000, 1_500_000, 2_250_000, 3_375_000, 5_062_500, 7_593_750, 11_390_625, 17_085_937];
        assert_eq!(micros[..8], expected);
        assert_eq!(micros[8..], [25_628_906, 30_000_000, 30_000_000]);
        assert_eq!(rng, Pcg::new(1, 1), "no jitter draws nothing");
    }

    #[test]
    fn full_jitter_spreads_a_herd_over_the_whole_delay() {
        let mut rng = Pcg::new(3, 1);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let delay = Backoff::new(Config::default()).next(&mut rng);
            tenths[(delay.as_nanos() / 100_000_001) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1_100).contains(n)), "{tenths:?}");
    }

    quickcheck! {
        fn never_above_the_cap(base: u64, multiplier: u32, cap: u64, full: bool, seed: u64) -> bool {
            let jitter = if full { Jitter::Full } else { Jitter::None };
            let mut backoff = Backoff::new(config(base, multiplier, cap, jitter));
            let mut rng = Pcg::new(seed, 1);
            (0..200).all(|_| backoff.next(&mut rng) <= Duration::from_nanos(cap))
        }

        fn never_shorter_than_the_last_without_jitter(base: u64, multiplier: u32, cap: u64) -> bool {
            let mut backoff = Backoff::new(config(base, multiplier, cap, Jitter::None));
            let mut rng = Pcg::new(1, 1);
            let mut last = Duration::ZERO;
            (0..200).all(|_| core::mem::replace(&mut last, backoff.next(&mut rng)) <= last)
        }

        fn a_reset_begins_anew(attempts: u8, multiplier: u32) -> bool {
            let mut backoff = Backoff::new(config(1_000, multiplier, u64::MAX, Jitter::None));
            let mut rng = Pcg::new(1, 1);
            for _ in 0..attempts {
                backoff.next(&mut rng);
            }
            let counted = backoff.attempts() == u32::from(attempts);
            backoff.reset();
            counted && backoff.attempts() == 0 && backoff.next(&mut rng) == Duration::from_nanos(1_000)
        }
    }
}
