//! How well an endpoint serves, as one number from 0 to 1: for picking the best, and for showing.
//!
//! 0.4 × max(0, 1 − mean round trip / 5 s) + 0.4 × (1 − error rate) + 0.2 × max(0, 1 − connections / 100), where both
//! means move by a tenth with every answer, and start at nothing. An endpoint that has not answered yet scores 0.5.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::health_score::{HealthScore, Score};
//!
//! let mut health = HealthScore::default();
//! assert_eq!(health.score(0), Score::NO_DATA);
//!
//! health.record(Duration::from_millis(500), true); // the mean is now 50 ms
//! assert_eq!(health.score(0).as_per_mille(), 996);
//! health.record(Duration::from_millis(500), false); // 95 ms, one error in ten
//! assert_eq!(health.score(10).as_per_mille(), 932);
//! ```
//!
//! An endpoint that fails at once looks fast; because its error rate costs as much as its speed can bring, it stays
//! below every endpoint with as many connections that answers within 5 s.

use core::fmt;
use core::time::Duration;

use super::fixed::{ONE, scale};
use crate::time::nanos;

/// A round trip from which on speed counts nothing, in nanoseconds.
const SLOWEST: u64 = 5_000_000_000;
/// Connections from which on room counts nothing.
const CROWDED: u32 = 100;

/// From 0 (worst) to 1 (best), in steps of 2⁻³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u64);
crate::saved!(struct Score { 0 });

impl Score {
    /// 0.5, of an endpoint that has not answered yet.
    pub const NO_DATA: Score = Score(ONE / 2);

    /// In thousandths, rounded to the nearest.
    pub const fn as_per_mille(self) -> u32 {
        ((self.0 * 1_000 + ONE / 2) >> 32) as u32
    }

    /// As a Q32 number, at most [`ONE`].
    pub const fn as_q32(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousandths = self.as_per_mille();
        write!(f, "{}.{:03}", thousandths / 1_000, thousandths % 1_000)
    }
}

/// What one endpoint's answers were like.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthScore {
    /// The moving mean of the round trip, in nanoseconds.
    round_trip: u64,
    /// The moving share of errors, in Q32.
    errors: u64,
    answered: bool,
}
crate::saved!(struct HealthScore { round_trip, errors, answered });

impl HealthScore {
    /// A call has ended after `round_trip`, well or not. Above 584 years the time counts as that.
    pub fn record(&mut self, round_trip: Duration, served: bool) {
        self.ended(nanos(round_trip), served);
    }

    /// A call has ended after so many nanoseconds.
    #[inline]
    pub(crate) fn ended(&mut self, round_trip: u64, served: bool) {
        self.round_trip = moved(self.round_trip, round_trip);
        if !served || self.errors > 0 {
            self.errors = moved(self.errors, if served { 0 } else { ONE });
        }
        self.answered = true;
    }

    /// The score with so many connections or calls open; off from the exact value by less than 2⁻²⁹.
    pub fn score(&self, connections: u32) -> Score {
        if !self.answered {
            return Score::NO_DATA;
        }
        let speed = share_left(self.round_trip, SLOWEST);
        let room = share_left(u64::from(connections), u64::from(CROWDED));
        Score((4 * speed + 4 * (ONE - self.errors) + 2 * room) / 10)
    }

    /// The moving mean of the round trip.
    pub fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip)
    }

    /// The moving share of errors, in thousandths, rounded down.
    pub fn error_per_mille(&self) -> u32 {
        scale(1_000, self.errors) as u32
    }
}

/// `mean` after one more `value`: 0.9 × `mean` + 0.1 × `value`, rounded to the nearest. Each rounding is off by at
/// most a half, and fades by a tenth with every value, so that all of them together stay below 5.
fn moved(mean: u64, value: u64) -> u64 {
    // Below 36 years, no product leaves 64 bits.
    if mean | value < 1 << 60 {
        (mean * 9 + value + 5) / 10
    } else {
        ((u128::from(mean) * 9 + u128::from(value) + 5) / 10) as u64
    }
}

/// max(0, 1 − `used` / `all`) in Q32.
fn share_left(used: u64, all: u64) -> u64 {
    ((u128::from(all.saturating_sub(used)) << 32) / u128::from(all)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn after(answers: impl IntoIterator<Item = (u64, bool)>) -> HealthScore {
        let mut health = HealthScore::default();
        for (round_trip, served) in answers {
            health.record(Duration::from_nanos(round_trip), served);
        }
        health
    }

    quickcheck! {
        fn agrees_with_exact_fractions(answers: Vec<(u64, bool)>, connections: u8) -> bool {
            // After n answers the means are whole multiples of 10⁻ⁿ; 12 leave room in 128 bits.
            let answers: Vec<_> = answers.into_iter().take(12).map(|(t, ok)| (t % 9_000_000_000, ok)).collect();
            let (mut unit, mut time, mut errors) = (1i128, 0i128, 0i128);
            for &(round_trip, served) in &answers {
                time = time * 9 + i128::from(round_trip) * unit;
                errors = errors * 9 + i128::from(!served) * unit;
                unit *= 10;
            }
            let slowest = i128::from(SLOWEST);
            let room = i128::from(100u8.saturating_sub(connections));
            // Ten times the score, times `unit * slowest`, which makes every term whole.
            let exact = 4 * (slowest * unit - time).max(0) + 4 * (unit - errors) * slowest
                + 2 * room * unit * (slowest / 100);
            let score = i128::from(after(answers.iter().copied()).score(connections.into()).as_q32());
            // |score / 2³² − exact / (10 × unit × slowest)| < 2⁻²⁹
            answers.is_empty()
                || (score * (10 * unit * slowest / (1 << 9)) - (exact << 23)).abs()
                    < ((10 * unit * slowest) >> 9) * 8
        }

        fn never_leaves_zero_to_one_and_only_falls_with_connections(
            answers: Vec<(u64, bool)>, fewer: u32, more: u32
        ) -> bool {
            let health = after(answers);
            let (fewer, more) = (fewer.min(more), fewer.max(more));
            health.score(more) <= health.score(fewer) && health.score(fewer).as_q32() <= ONE
        }

        fn a_slower_or_failed_answer_never_scores_more(answers: Vec<(u64, bool)>, last: (u64, u64)) -> bool {
            let score = |time: u64, served| after(answers.iter().copied().chain([(time, served)])).score(0);
            let (fast, slow) = (last.0.min(last.1), last.0.max(last.1));
            score(slow, true) <= score(fast, true) && score(fast, false) <= score(fast, true)
        }
    }

    #[test]
    fn without_data_it_is_a_half_whatever_the_connections() {
        assert_eq!(HealthScore::default().score(1_000).as_per_mille(), 500);
    }

    #[test]
    fn one_that_fails_fast_scores_below_one_that_serves_slowly() {
        let failing = after([(50_000, false); 100]);
        let slow = after([(4_900_000_000, true); 100]);
        assert!(failing.score(0) < slow.score(0), "{} {}", failing.score(0), slow.score(0));
    }

    #[test]
    fn thousandths_of_the_score_are_rounded_and_those_of_errors_are_not() {
        // A mean of 5 ms takes 0.0004: 0.9996 is left.
        assert_eq!(after([(50_000_000, true)]).score(0).as_per_mille(), 1_000);
        let failed = after([(0, false), (0, true)]);
        assert_eq!((failed.score(0).as_per_mille(), failed.error_per_mille()), (964, 90));
        assert_eq!(after([(0, false); 3]).error_per_mille(), 271);
    }

    #[test]
    fn all_at_their_worst_is_zero() {
        assert_eq!(after([(u64::MAX, false); 300]).score(100).as_per_mille(), 0);
        assert_eq!(std::format!("{}", after([(0, true)]).score(0)), "1.000");
    }
}
