//! When so many endpoints are out that leaving them out does more harm than asking them.
//!
//! If half of a fleet is said to be unhealthy, the other half takes twice its load, falls next, and the cause was
//! perhaps the checks. Below a threshold of available endpoints the balancer therefore panics: it spreads over all,
//! whatever is said of them, or sends nothing at all, where a wrong call is worse than none. The rule and its 50 % are
//! Envoy's ("Panic threshold"); both modes are asked for (envoyproxy/gateway#8126). Applied per priority level.
//!
//! ```
//! use plimsoll_core::policy::panic::{Config, Spread, assess};
//!
//! let config = Config::default();
//! assert_eq!(assess(config, 5, 10), Spread::Available);
//! assert_eq!(assess(config, 4, 10), Spread::All);
//! ```

use super::fixed::Ratio;

/// When to panic, and what to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Panic while less than this share of the endpoints is available; 0 never panics. Up to 1. Default 50 %.
    pub threshold: Ratio,
    /// What panic is. Default [`Mode::All`].
    pub mode: Mode,
}
crate::saved!(struct Config { threshold, mode });

impl Default for Config {
    fn default() -> Self {
        Config { threshold: Ratio::percent(50), mode: Mode::All }
    }
}

/// What a panicking balancer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Calls go to all endpoints alike.
    #[default]
    All,
    /// Calls go nowhere.
    None,
}
crate::saved!(enum Mode { 0 = All, 1 = None });

/// Which endpoints are the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The available ones: no panic.
    Available,
    /// All of them, in panic.
    All,
    /// None of them, in panic.
    None,
}
crate::saved!(enum Spread { 0 = Available, 1 = All, 2 = None });

/// Which endpoints of a level take calls while `available` of `total` are neither ejected, unhealthy, nor behind
/// an open breaker. A level without endpoints does not panic.
pub const fn assess(config: Config, available: u32, total: u32) -> Spread {
    let threshold =
        if config.threshold.as_per_mille() > 1_000 { 1_000 } else { config.threshold.as_per_mille() };
    // Multiplied out: a division would round 1 of 3 down, or a third up.
    if available as u64 * 1_000 >= total as u64 * threshold as u64 {
        return Spread::Available;
    }
    match config.mode {
        Mode::All => Spread::All,
        Mode::None => Spread::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn it_panics_below_the_threshold_and_not_at_it(available: u32, total: u32, percent: u8) -> bool {
            let percent = u32::from(percent % 101);
            let config = Config { threshold: Ratio::percent(percent), mode: Mode::None };
            let enough = u128::from(available) * 100 >= u128::from(total) * u128::from(percent);
            assess(config, available, total) == if enough { Spread::Available } else { Spread::None }
        }

        fn a_full_or_empty_level_never_panics(total: u32, threshold: u32) -> bool {
            let config = Config { threshold: Ratio::per_mille(threshold), ..Config::default() };
            assess(config, total, total) == Spread::Available && assess(config, 0, 0) == Spread::Available
        }

        fn one_more_available_never_begins_a_panic(available: u32, total: u32, threshold: u16) -> bool {
            let config = Config { threshold: Ratio::per_mille(u32::from(threshold)), ..Config::default() };
            assess(config, available, total) != Spread::Available
                || assess(config, available.saturating_add(1), total) == Spread::Available
        }
    }

    #[test]
    fn each_mode_does_what_it_says() {
        let none = Config { mode: Mode::None, ..Config::default() };
        assert_eq!(assess(Config::default(), 0, 3), Spread::All);
        assert_eq!(assess(none, 0, 3), Spread::None);
        assert_eq!(assess(none, 1, 3), Spread::None);
        assert_eq!(assess(none, 2, 3), Spread::Available);
    }

    #[test]
    fn a_threshold_of_0_never_panics() {
        let never = Config { threshold: Ratio::percent(0), ..Config::default() };
        assert_eq!(assess(never, 0, 10), Spread::Available);
    }
}
