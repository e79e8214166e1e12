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
//! A call counts when it has ended (as in Envoy), not when it begins: the first hundred calls of a new client, all of them
//! still out, are no refusals. Nor are the answers of a slow service, however short the window
//! (zeromicro/go-zero#5011).
//!
//! ```
//! use plimsoll_core::policy::throttle::{Config, Throttle};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let now = Instant::from_millis(1);
//! let mut rng = Pcg::new(1, 1);
//! let mut throttle = Throttle::new(Config::default());
//! for _ in 0..1_000 {
//!     if throttle.admit(now, &mut rng).is_ok() {
//!         throttle.refused(now); // or `accepted`, when it is
//!     }
//! }
//! assert_eq!(throttle.refusals_per_mille(now), 900);
//! ```

use core::time::Duration;

use thiserror::Error;

use super::buckets::Buckets;
use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::Instant;

/// What a [`Throttle`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many calls may be sent for each that is accepted; below 1 it counts as 1. Default 2.
    pub factor: Ratio,
    /// The largest share of calls that is refused; above 1 it counts as 1. Default 90 %.
    pub most: Ratio,
    /// How long a call counts; it is dropped a tenth of this at a time. Default 2 minutes.
    pub window: Duration,
}
crate::saved!(struct Config { factor, most, window });

impl Default for Config {
    fn default() -> Self {
        Config { factor: Ratio::per_mille(2_000), most: Ratio::percent(90), window: Duration::from_secs(120) }
    }
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
crate::saved!(struct Counts { requests, accepts });

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
crate::saved!(struct Throttle { factor, most, window, sum });

impl Throttle {
    /// A throttle that has seen nothing, and refuses nothing.
    pub fn new(config: Config) -> Self {
        let Config { factor, most, window } = config;
        let factor = u64::from(factor.max(Ratio::ONE).as_per_mille());
        let most = most.min(Ratio::ONE).as_per_mille();
        Throttle { factor, most, window: Buckets::new(window), sum: Counts::default() }
    }

    /// A call is to be made. If it is refused, it counts now: otherwise a throttle that refuses would forget why. If not,
    /// it counts as [`accepted`](Self::accepted) or [`refused`](Self::refused) when it has ended; a call that says nothing
    /// (given up, lost, never sent) as neither.
    ///
    /// # Errors
    /// [`Throttled`] if it is not to be sent.
    pub fn admit(&mut self, now: Instant, rng: &mut Pcg) -> Result<(), Throttled> {
        let excess = self.forget(now).excess(self.factor);
        let all = (u128::from(self.sum.requests) + 1) * 1_000;
        let share = self.bounded((u128::from(excess) << 32) / all);
        if excess > 0 && u128::from(rng.next_u32()) < share {
            self.refused(now);
            return Err(Throttled { per_mille: per_mille(share) });
        }
        Ok(())
    }

    /// A call was accepted: the service did the work, whatever came of it.
    pub fn accepted(&mut self, now: Instant) {
        self.count(now, Counts { requests: 1, accepts: 1 });
    }

    /// A call was refused, or was not answered in time.
    pub fn refused(&mut self, now: Instant) {
        self.count(now, Counts { requests: 1, accepts: 0 });
    }

    fn count(&mut self, now: Instant, more: Counts) {
        self.forget(now);
        let current = self.window.at(now, drop);
        for counts in [current, &mut self.sum] {
            counts.requests += more.requests;
            counts.accepts += more.accepts;
        }
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
        Throttle::new(Config::default())
    }

    #[test]
    fn nothing_is_refused_while_half_of_the_calls_are_accepted() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(1, 1));
        for n in 0..10_000 {
            let now = Instant::from_millis(n * 10);
            assert_eq!(throttle.admit(now, &mut rng), Ok(()));
            if n % 2 == 0 {
                throttle.accepted(now);
            } else {
                throttle.refused(now);
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
                } else {
                    throttle.refused(now);
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
                match throttle.admit(now, &mut rng) {
                    Ok(()) if second >= 120 => throttle.accepted(now),
                    Ok(()) => throttle.refused(now),
                    Err(_) => {}
                }
            }
        }
        assert_eq!(throttle.refusals_per_mille(now), 0);
    }

    #[test]
    fn slow_answers_are_no_extra_calls_however_short_the_window() {
        // zeromicro/go-zero#5011
        let window = Duration::from_millis(100);
        let (mut throttle, mut rng) = (Throttle::new(Config { window, ..Config::default() }), Pcg::new(4, 1));
        for second in 0..1_000 {
            let now = Instant::from_millis(second * 1_000);
            for _ in 0..10 {
                assert_eq!(throttle.admit(now, &mut rng), Ok(()));
            }
            // Those of a second ago are answered, long after their window.
            (0..10).for_each(|_| throttle.accepted(now));
        }
    }

    #[test]
    fn what_is_refused_here_counts_as_asked() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(4, 1));
        (0..10).for_each(|_| throttle.refused(Instant::ZERO));
        let refused = (0..1_000).filter(|_| throttle.admit(Instant::ZERO, &mut rng).is_err()).count();
        assert_eq!(throttle.sum.requests, 10 + refused as u64);
    }

    #[test]
    fn calls_that_are_still_out_are_no_refusals() {
        let (mut throttle, mut rng) = (throttle(), Pcg::new(7, 1));
        (0..1_000).for_each(|_| throttle.admit(Instant::ZERO, &mut rng).unwrap());
    }

    quickcheck! {
        fn the_share_refused_is_the_formula(steps: Vec<(u8, u8, bool)>, seed: u64) -> bool {
            let (mut throttle, mut rng) = (throttle(), Pcg::new(seed, 1));
            let mut now = Instant::ZERO;
            let mut log: Vec<(u64, bool)> = Vec::new();
            steps.into_iter().all(|(gap, calls, accepted)| {
                now = now + Duration::from_secs(u64::from(gap) % 32);
                for _ in 0..calls {
                    log.push((now.as_nanos(), false));
                    match throttle.admit(now, &mut rng) {
                        Ok(()) if accepted => {
                            throttle.accepted(now);
                            log.push((now.as_nanos(), true));
                        }
                        Ok(()) => throttle.refused(now),
                        Err(_) => {}
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
        (0..700).for_each(|_| throttle.refused(Instant::ZERO));
        (0..300).for_each(|_| throttle.accepted(Instant::ZERO));
        let refused =
            (0..10_000).filter(|_| throttle.clone().admit(Instant::ZERO, &mut rng).is_err()).count();
        assert!((3_800..4_200).contains(&refused), "(1,000 − 600) / 1,001, not {refused}");
    }
}
