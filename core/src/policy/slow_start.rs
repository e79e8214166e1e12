//! A fresh endpoint takes a small share first: its caches are cold, its code is not compiled.
//!
//! Its weight is w · max(`floor`, (t / `window`)^(1 / `aggression`)) while its age t is below `window`: the ramp of
//! Envoy's slow start. The floor is 10 %, as 1 % starved new hosts (envoyproxy/envoy#29259).
//!
//! **Not all at once.** If everything is fresh, holding back spares nobody, and the few old ones would drown. So an
//! endpoint ramps only if, when it joins, at least half of all endpoints (with itself) are *seasoned*: they joined at
//! least a window ago. Else it starts at its full weight. That is decided once, when it joins, and what an endpoint is
//! then depends on its own age alone: no other one that comes or goes makes it surge (envoyproxy/envoy#26290) or ends
//! its ramp (envoyproxy/envoy#29008).
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::slow_start::{Config, Ramp};
//! use plimsoll_core::time::Instant;
//!
//! let config = Config::default();
//! let now = Instant::from_millis(1_000);
//! let fresh = Ramp::join(config, now, 9, 10); // the other nine are seasoned
//! assert_eq!(fresh.weight(config, now, 1_000), 100);
//! assert_eq!(fresh.weight(config, now + Duration::from_secs(15), 1_000), 500);
//! assert_eq!(fresh.weight(config, now + Duration::from_secs(30), 1_000), 1_000);
//! ```

use core::time::Duration;

use super::fixed::{ONE, Ratio, exp2_neg, log2_neg, scale};
use crate::time::{Instant, nanos};

/// How endpoints ramp up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long it takes to the full weight; zero ramps nobody. Default 30 s.
    pub window: Duration,
    /// The shape: 1 is a straight line, above it rises faster at first, below it slower; from 0.001. Default 1.
    pub aggression: Ratio,
    /// The least share of its weight, up to 1. Default 10 %.
    pub floor: Ratio,
}
crate::saved!(struct Config { window, aggression, floor });

impl Default for Config {
    fn default() -> Self {
        Config { window: Duration::from_secs(30), aggression: Ratio::ONE, floor: Ratio::percent(10) }
    }
}

/// The age of one endpoint, and whether it ramps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    joined: Instant,
    ramps: bool,
}
crate::saved!(struct Ramp { joined, ramps });

impl Ramp {
    /// An endpoint joins now; `seasoned` of all `total` endpoints, itself counted in `total`, joined at least a
    /// window ago.
    pub const fn join(config: Config, now: Instant, seasoned: u32, total: u32) -> Self {
        Ramp { joined: now, ramps: seasoned as u64 * 2 >= total as u64 && !config.window.is_zero() }
    }

    /// Whether it joined at least a window ago.
    pub fn is_seasoned(self, config: Config, now: Instant) -> bool {
        now.since(self.joined) >= config.window
    }

    /// When its ramp ends; `None` if it has none, or it has ended.
    pub fn deadline(self, config: Config, now: Instant) -> Option<Instant> {
        (self.ramps && !self.is_seasoned(config, now)).then(|| self.joined + config.window)
    }

    /// What counts of `weight` now, rounded down, but never 0 unless `weight` is. It changes with every nanosecond:
    /// ask now and then, and not for each pick, where a table is built from it.
    pub fn weight(self, config: Config, now: Instant, weight: u32) -> u32 {
        // The factor is at most one, so the product fits.
        (scale(u64::from(weight), self.factor(config, now)) as u32).max(weight.min(1))
    }

    /// The share of its weight that counts now, in Q32: from the floor to [`ONE`], and never less later. Off by less
    /// than 2⁻¹⁸ up to an aggression of 3; above, the curve is so steep at first that nanoseconds round.
    pub fn factor(self, config: Config, now: Instant) -> u64 {
        if !self.ramps || self.is_seasoned(config, now) {
            return ONE;
        }
        // Rounded up, so that a tenth of ten is one.
        let floor = (u64::from(config.floor.as_per_mille().min(1_000)) * ONE).div_ceil(1_000);
        let age = u128::from(nanos(now.since(self.joined)));
        let linear = ((age << 32) / u128::from(nanos(config.window))) as u64;
        floor.max(root(linear, config.aggression))
    }
}

/// `x` to the power of 1 / `degree`, in Q32.
fn root(x: u64, degree: Ratio) -> u64 {
    if degree == Ratio::ONE || x == 0 {
        return x;
    }
    let degree = Ratio::per_mille(degree.as_per_mille().max(1));
    exp2_neg(degree.divide(log2_neg(x)))
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(5_000);

    fn after(ms: u64) -> Instant {
        START + Duration::from_millis(ms)
    }

    fn ramp(config: Config) -> Ramp {
        Ramp::join(config, START, 1, 2)
    }

    quickcheck! {
        fn the_factor_is_that_of_the_formula(aggression: u16, age: u64, window: u32) -> bool {
            let aggression = u32::from(aggression) % 2_900 + 100;
            let window = u64::from(window) + 1;
            let config = Config {
                window: Duration::from_nanos(window),
                aggression: Ratio::per_mille(aggression),
                ..Config::default()
            };
            let age = age % window;
            let factor = ramp(config).factor(config, START + Duration::from_nanos(age)) as f64 / ONE as f64;
            let exact = (age as f64 / window as f64).powf(1_000.0 / f64::from(aggression)).max(0.1);
            (factor - exact).abs() < 1.0 / f64::from(1 << 18)
        }

        fn it_only_rises_from_the_floor_to_one(aggression: u16, floor: u16, first: u16, more: u16) -> bool {
            let config = Config {
                aggression: Ratio::per_mille(u32::from(aggression)),
                floor: Ratio::per_mille(u32::from(floor)),
                ..Config::default()
            };
            let (early, late) = (after(u64::from(first)), after(u64::from(first) + u64::from(more)));
            let (early, late) = (ramp(config).factor(config, early), ramp(config).factor(config, late));
            let floor = u64::from(floor.min(1_000)) * ONE / 1_000;
            floor <= early && early <= late && late <= ONE
        }

        fn some_weight_is_left_of_some_and_none_of_none(weight: u32, age: u16, floor: u8) -> bool {
            let config = Config { floor: Ratio::per_mille(u32::from(floor)), ..Config::default() };
            let left = ramp(config).weight(config, after(u64::from(age)), weight);
            (left == 0) == (weight == 0) && left <= weight
        }
    }

    #[test]
    fn a_straight_line_is_exact_and_begins_at_the_floor() {
        let config = Config { floor: Ratio::per_mille(0), ..Config::default() };
        let window = Config::default().window.as_millis() as u64;
        for ms in (0..window).step_by(997) {
            assert_eq!(ramp(config).factor(config, after(ms)), (ms << 32) / window);
        }
        let curved = Config { aggression: Ratio::per_mille(2_000), ..config };
        assert_eq!(ramp(curved).factor(curved, START), 0);
    }

    #[test]
    fn it_ramps_only_beside_as_many_that_are_seasoned() {
        let config = Config::default();
        let fresh = |seasoned, total| Ramp::join(config, START, seasoned, total).factor(config, START) < ONE;
        assert!(!fresh(0, 1), "the first one");
        assert!(fresh(1, 2) && fresh(10, 20));
        assert!(!fresh(9, 20) && !fresh(1, 3));
    }

    #[test]
    fn a_fleet_that_starts_one_by_one_starts_warm() {
        let config = Config::default();
        let mut fleet = [None; 10];
        for n in 0..fleet.len() {
            let now = after(100 * n as u64);
            let seasoned =
                fleet.iter().flatten().filter(|ramp: &&Ramp| ramp.is_seasoned(config, now)).count();
            fleet[n] = Some(Ramp::join(config, now, seasoned as u32, n as u32 + 1));
        }
        assert!(fleet.iter().flatten().all(|ramp| ramp.factor(config, after(1_000)) == ONE));
    }

    #[test]
    fn the_window_ends_when_it_says() {
        let config = Config::default();
        let fresh = ramp(config);
        assert_eq!(fresh.deadline(config, START), Some(after(30_000)));
        assert!(fresh.factor(config, after(29_999)) < ONE && !fresh.is_seasoned(config, after(29_999)));
        assert_eq!(fresh.factor(config, after(30_000)), ONE);
        assert_eq!(fresh.deadline(config, after(30_000)), None);
    }

    #[test]
    fn an_aggression_above_1_rises_faster_at_first() {
        let config = Config { aggression: Ratio::per_mille(2_000), ..Config::default() };
        assert_eq!(ramp(config).weight(config, after(7_500), 1_000), 500); // √¼
    }

    #[test]
    fn without_a_window_nobody_ramps() {
        let config = Config { window: Duration::ZERO, ..Config::default() };
        assert_eq!(ramp(config).factor(config, START), ONE);
        assert_eq!(ramp(config).deadline(config, START), None);
    }
}
