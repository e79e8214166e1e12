//! Stops sending what will be refused anyway: client-side throttling after "Handling Overload" ("Site Reliability
//! Engineering", Beyer et al., 2016, chapter 21).
//!
//! A service that refuses calls still pays for refusing them. So the client counts its calls and those that were
//! accepted over the last two minutes, and refuses a new one itself with probability
//! max(0, (requests − K × accepts) / (requests + 1)). With K = 2 it sends about twice what gets through, which is
//! enough to notice when the service has recovered.
//!
//! After an outage without a single accept the formula alone would let one call in thousands through, and come back by a
//! factor of *e* per window, for a quarter of an hour. So no more than [`Config::most`] is ever refused (the bound that
//! Envoy's admission control has too).
//!
//! ```
//! use plimsoll_core::policy::throttle::{Config, Throttle};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let now = Instant::from_millis(1);
//! let mut rng = Pcg::new(1, 1);
//! let mut throttle = Throttle::new(Config::default())?;
//! for _ in 0..1_000 {
//!     _ = throttle.admit(now, &mut rng); // none of them is accepted
//! }
//! assert_eq!(throttle.refusals_per_mille(now), 900);
//! throttle.accepted(now); // called when one is
//! # Ok::<_, plimsoll_core::policy::throttle::WindowTooShort>(())
//! ```

use core::time::Duration;

use thiserror::Error;

use super::buckets::Buckets;
use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// What a [`Throttle`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many calls may be sent for each that is accepted; below 1 it counts as 1. Default 2.
    pub factor: Ratio,
    /// The largest share of calls that is refused; above 1 it counts as 1. Default 90 %.
    pub most: Ratio,
    /// How long a call counts; it is dropped a tenth of this at a time. Default 2 minutes.
    pub window: Duration,
    /// The longest a call may take. Default 30 s.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            factor: Ratio::per_mille(2_000),
            most: Ratio::percent(90),
            window: Duration::from_secs(120),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A call would be forgotten before its answer counts, so that slow answers would look like extra ones
/// (zeromicro/go-zero#5011).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the window must be longer than the timeout: nine tenths of {window:?} are less than {timeout:?}")]
pub struct WindowTooShort {
    /// The window, whose last tenth may already be dropped.
    pub window: Duration,
    /// How long a call may take.
    pub timeout: Duration,
}

/// The call was refused here, and is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("throttled: the service has refused too much lately; {per_mille} of 1,000 calls are not sent")]
pub struct Throttled {
    /// How many of 1,000 calls are refused here at present.
    pub per_mille: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    accepts: u64,
}

/// Throttles the calls to one service.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// In thousandths, as the other.
    factor: u64,
    most: u32,
    window: Buckets<Counts>,
    /// The sum of the window.
    sum: Counts,
}

impl Throttle {
    /// A throttle that has seen nothing, and refuses nothing.
    ///
    /// # Errors
    /// [`WindowTooShort`] if a call could take longer than it counts.
    pub fn new(config: Config) -> Result<Self, WindowTooShort> {
        let Config { factor, most, window, timeout } = config;
        if nanos(window) / 10 * 9 < nanos(timeout) {
            return Err(WindowTooShort { window, timeout });
        }
        let factor = u64::from(factor.max(Ratio::ONE).as_per_mille());
        let most = most.min(Ratio::ONE).as_per_mille();
        Ok(Throttle { factor, most, window: Buckets::new(window), sum: Counts::default() })
    }

    /// A call is to be made. It counts, refused or not: otherwise a throttle that refuses would forget why.
    ///
    /// # Errors
    /// [`Throttled`] if it is not to be sent.
    pub fn admit(&mut self, now: Instant, rng: &mut Pcg) -> Result<(), Throttled> {
        let excess = self.forget(now).excess(self.factor);
        let all = (u128::from(self.sum.requests) + 1) * 1_000;
        self.window.at(now, drop).requests += 1;
        self.sum.requests += 1;
        let share = self.bounded((u128::from(excess) << 32) / all);
        if excess > 0 && u128::from(rng.next_u32()) < share {
            return Err(Throttled { per_mille: per_mille(share) });
        }
        Ok(())
    }

    /// A call was accepted: the service did the work, whatever came of it.
    pub fn accepted(&mut self, now: Instant) {
        self.forget(now);
        self.window.at(now, drop).accepts += 1;
        self.sum.accepts += 1;
    }

    /// How many of 1,000 calls would be refused now.
    pub fn refusals_per_mille(&self, now: Instant) -> u32 {
        let mut sum = Counts::default();
        for counts in self.window.alive(now) {
            sum.requests += counts.requests;
            sum.accepts += counts.accepts;
        }
        let all = (u128::from(sum.requests) + 1) * 1_000;
        per_mille(self.bounded((u128::from(sum.excess(self.factor)) << 32) / all))
    }

    /// In Q32, as `share`.
    fn bounded(&self, share: u128) -> u128 {
        share.min((u128::from(self.most) << 32) / 1_000)
    }

    fn forget(&mut self, now: Instant) -> Counts {
        let sum = &mut self.sum;
        self.window.at(now, |expired| {
            sum.requests -= expired.requests;
            sum.accepts -= expired.accepts;
        });
        self.sum
    }
}

impl Counts {
    /// requests − K × accepts, in thousandths, at least 0.
    fn excess(self, factor: u64) -> u64 {
        self.requests.saturating_mul(1_000).saturating_sub(self.accepts.saturating_mul(factor))
    }
}

/// Of a share in Q32, rounded to the nearest.
fn per_mille(share: u128) -> u32 {
    ((share * 1_000 + (1 << 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn throttle() -> Throttle {
        Throttle::new(Config::default()).unwrap()
    }

    #[test]
    fn nothing_is_refused_while_half_of_the_calls_are_accepted() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(1, 1));
        for n in 0..10_000 {
            let now = Instant::from_millis(n * 10);
            assert_eq!(throttle.admit(now, &mut rng), Ok(()));
            if n % 2 == 0 {
                throttle.accepted(now);
            }
        }
    }

    #[test]
    fn a_service_that_takes_a_tenth_is_sent_about_twice_that() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(2, 1));
        let mut sent = 0;
        let mut taken = 0;
        for n in 0..400_000u64 {
            let now = Instant::from_millis(n); // 1,000 per second, of which it takes 100
            if throttle.admit(now, &mut rng).is_ok() {
                sent += 1;
                if taken < n / 10 {
                    taken += 1;
                    throttle.accepted(now);
                }
            }
        }
        assert!((76_000..84_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_service_that_has_recovered_is_called_again_within_minutes() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(3, 1));
        let mut now = Instant::ZERO;
        for second in 0..420 {
            for _ in 0..100 {
                now = now + Duration::from_millis(10);
                if throttle.admit(now, &mut rng).is_ok() && second >= 120 {
                    throttle.accepted(now);
                }
            }
        }
        assert_eq!(throttle.refusals_per_mille(now), 0);
    }

    #[test]
    fn a_window_shorter_than_the_timeout_is_refused() {
        // zeromicro/go-zero#5011
        let seconds = Duration::from_secs;
        let of = |window, timeout| Throttle::new(Config { window, timeout, ..Config::default() }).map(drop);
        assert_eq!(of(seconds(100), seconds(90)), Ok(()));
        let refused = WindowTooShort { window: seconds(99), timeout: seconds(90) };
        assert_eq!(of(seconds(99), seconds(90)), Err(refused));
    }

    #[test]
    fn what_is_refused_here_counts_as_asked() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(4, 1));
        (0..1_000).for_each(|_| _ = throttle.admit(Instant::ZERO, &mut rng));
        assert_eq!(throttle.sum.requests, 1_000);
    }

    quickcheck! {
        fn the_share_refused_is_the_formula(steps: Vec<(u8, u8, bool)>, seed: u64) -> bool {
            let (mut throttle, mut rng) = (throttle(), Pcg::new(seed, 1));
            let mut now = Instant::ZERO;
            let mut log: Vec<(u64, bool)> = Vec::new();
            steps.into_iter().all(|(gap, calls, accepted)| {
                now = now + Duration::from_secs(u64::from(gap) % 32);
                for _ in 0..calls {
                    _ = throttle.admit(now, &mut rng);
                    log.push((now.as_nanos(), false));
                    if accepted {
                        throttle.accepted(now);
                        log.push((now.as_nanos(), true));
                    }
                }
                let width = 12_000_000_000;
                let oldest = (now.as_nanos() / width * width).saturating_sub(9 * width);
                let count = |which| log.iter().filter(|&&(at, a)| at >= oldest && a == which).count() as u64;
                let (requests, accepts) = (count(false), count(true));
                let refused = throttle.refusals_per_mille(now);
                let exact = requests.saturating_sub(2 * accepts) * 1_000;
                let exact = exact.min(900 * (requests + 1));
                (u64::from(refused) * (requests + 1)).abs_diff(exact) * 2 <= requests + 2
                    && (refused > 0 || throttle.clone().admit(now, &mut rng).is_ok())
            })
        }
    }

    #[test]
    fn the_draw_follows_the_share() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(5, 1));
        for _ in 0..1_000 {
            throttle.window.at(Instant::ZERO, drop).requests += 1;
            throttle.sum.requests += 1;
        }
        (0..300).for_each(|_| throttle.accepted(Instant::ZERO));
        let refused =
            (0..10_000).filter(|_| throttle.clone().admit(Instant::ZERO, &mut rng).is_err()).count();
        assert!((3_800..4_200).contains(&refused), "(1,000 − 600) / 1,001, not {refused}");
    }
}
