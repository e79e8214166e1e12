//! The highest score, equals in turn: the seed strategy of a discovery profile.
//!
//! What a score is made of is the caller's: it is handed in per position, higher is better, 0 is the worst and still a
//! candidate. Those who are not fit at all are left out of the candidates before. Since the best takes everything until
//! its score falls, a score should fall with the calls in flight.
//!
//! ```
//! use plimsoll_core::policy::balance::HealthBased;
//!
//! let mut healthiest = HealthBased::new(0);
//! let scores = [700, 950, 950];
//! let picks = [(); 3].map(|()| healthiest.pick(scores.len(), |at| scores[at]).unwrap());
//! assert_eq!(picks, [1, 2, 1]);
//! ```

use core::cmp::Reverse;

use super::bounded;

/// The one with the highest score; equals take turns. Looks at all candidates, O(n).
#[derive(Clone, Debug)]
pub struct HealthBased {
    next: u32,
}
crate::saved!(struct HealthBased { next });

impl HealthBased {
    /// Looks first at the position `start`, modulo the number of candidates.
    pub const fn new(start: u32) -> Self {
        HealthBased { next: start }
    }

    /// The position with the highest of `score`; `None` if there is none.
    pub fn pick(&mut self, len: usize, score: impl Fn(usize) -> u32) -> Option<usize> {
        let len = bounded(len);
        let first = self.next.checked_rem(len)?;
        // `min_by_key` keeps the first of equals, `max_by_key` the last.
        let at = (first..len).chain(0..first).min_by_key(|&at| Reverse(score(at as usize)))?;
        self.next = at + 1;
        Some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn nobody_scores_higher_than_the_one_picked(start: u32, scores: Vec<u32>) -> bool {
            let mut healthiest = HealthBased::new(start);
            (0..scores.len()).all(|_| {
                healthiest.pick(scores.len(), |at| scores[at]).map(|at| scores[at]) == scores.iter().copied().max()
            })
        }

        fn equals_share_to_within_one_beside_any_others(start: u32, best: Vec<bool>) -> bool {
            let mut healthiest = HealthBased::new(start);
            let mut shares = vec![0u32; best.len()];
            for _ in 0..5 * best.len() {
                shares[healthiest.pick(best.len(), |at| u32::from(best[at])).unwrap()] += 1;
            }
            let top = best.contains(&true);
            let taken = || shares.iter().zip(&best).filter(|(_, b)| **b == top).map(|(n, _)| *n);
            let others = shares.iter().sum::<u32>() - taken().sum::<u32>();
            others == 0 && taken().max().unwrap_or(0) - taken().min().unwrap_or(0) <= 1
        }
    }

    #[test]
    fn none_is_picked_of_none() {
        assert_eq!(HealthBased::new(7).pick(0, |_| 0), None);
    }
}
