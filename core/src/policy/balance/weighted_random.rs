//! Any of them, with a chance in proportion to its weight.
//!
//! An alias table (A. J. Walker 1977, in the construction of M. D. Vose, "A Linear Algorithm for Generating Random
//! Numbers with a Given Distribution", 1991): a pick draws a column and one of its two tenants, O(1) at any number. In
//! whole numbers, so that the chances are exact and every platform draws alike. [`rebuild`](WeightedRandom::rebuild)
//! after a change of members or weights costs O(n), and allocates only to grow.
//!
//! ```
//! use plimsoll_core::{policy::balance::WeightedRandom, rng::Pcg};
//!
//! let weights = [0, 3, 1];
//! let mut chances = WeightedRandom::new();
//! chances.rebuild(weights.len(), |at| weights[at]);
//!
//! let mut rng = Pcg::new(1, 1);
//! let mut shares = [0; 3];
//! (0..4_000).for_each(|_| shares[chances.pick(&mut rng).unwrap()] += 1);
//! assert!(shares[0] == 0 && (2_850..3_150).contains(&shares[1]));
//! ```

use alloc::vec::Vec;

use super::bounded;
use crate::rng::Pcg;

/// Picks with a chance of weight / sum of weights. The positions are those of the last
/// [`rebuild`](WeightedRandom::rebuild).
#[derive(Clone, Debug, Default)]
pub struct WeightedRandom {
    columns: Vec<Column>,
    /// The sum of all weights, and the height of each column.
    total: u64,
    /// Columns still too high, while the table is built.
    rich: Vec<u32>,
}
// Who is rich matters only while the table is built.
crate::saved!(struct WeightedRandom { columns, total; rebuilt rich = Vec::new() });

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below this height the column is its owner's, above it the alias's. While building: the owner's weight × n,
    /// as far as it has no place yet.
    cut: u64,
    alias: u32,
}
crate::saved!(struct Column { cut, alias });

impl WeightedRandom {
    /// A table without members; it picks none.
    pub const fn new() -> Self {
        WeightedRandom { columns: Vec::new(), total: 0, rich: Vec::new() }
    }

    /// Takes the weights of the positions `0..len`, of which the first 2³² − 1 count. Weight 0 is never picked.
    pub fn rebuild(&mut self, len: usize, weight: impl Fn(usize) -> u32) {
        let len = bounded(len);
        self.columns.clear();
        // Below (2³² − 1)², so neither a sum nor a product overflows.
        self.columns.extend((0..len).map(|at| {
            let cut = u64::from(weight(at as usize)) * u64::from(len);
            Column { cut, alias: at }
        }));
        self.total = self.columns.iter().map(|column| column.cut / u64::from(len)).sum();
        self.level();
    }

    /// Fills each column that is too low from one that is too high.
    fn level(&mut self) {
        let total = self.total;
        let columns = &mut self.columns;
        self.rich.clear();
        self.rich
            .extend((0u32..).zip(columns.iter()).filter(|(_, column)| column.cut > total).map(|(at, _)| at));
        for at in 0..columns.len() {
            // One that gave too much is poor itself; if this loop has passed it already, it is filled at once.
            let mut poor = at;
            while columns[poor].cut < total && columns[poor].alias as usize == poor {
                let Some(&rich) = self.rich.last() else { break };
                columns[poor].alias = rich;
                let missing = total - columns[poor].cut;
                let giver = &mut columns[rich as usize];
                giver.cut -= missing;
                if giver.cut > total {
                    break;
                }
                self.rich.pop();
                if rich as usize > at {
                    break;
                }
                poor = rich as usize;
            }
        }
    }

    /// A position; `None` if all weights are 0, or there are none.
    pub fn pick(&self, rng: &mut Pcg) -> Option<usize> {
        let height = self.total.checked_sub(1)?;
        let at = rng.below(bounded(self.columns.len()));
        let column = self.columns[at as usize];
        Some(if rng.up_to(height) < column.cut { at } else { column.alias } as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use quickcheck::quickcheck;

    fn built(weights: &[u32]) -> WeightedRandom {
        let mut chances = WeightedRandom::new();
        chances.rebuild(weights.len(), |at| weights[at]);
        chances
    }

    /// How much of the table's area is each position's.
    fn areas(chances: &WeightedRandom) -> Vec<u128> {
        let mut areas = vec![0; chances.columns.len()];
        for (at, column) in chances.columns.iter().enumerate() {
            let own = column.cut.min(chances.total);
            areas[at] += u128::from(own);
            areas[column.alias as usize] += u128::from(chances.total - own);
        }
        areas
    }

    quickcheck! {
        fn the_chances_are_exactly_the_weights(weights: Vec<u32>) -> bool {
            let len = weights.len() as u128;
            areas(&built(&weights)).iter().zip(&weights).all(|(area, weight)| *area == u128::from(*weight) * len)
        }

        fn a_rebuilt_table_is_as_a_new_one(before: Vec<u32>, weights: Vec<u32>, seed: u64) -> bool {
            let (mut old, new) = (built(&before), built(&weights));
            old.rebuild(weights.len(), |at| weights[at]);
            let (mut left, mut right) = (Pcg::new(seed, 1), Pcg::new(seed, 1));
            (0..20).all(|_| old.pick(&mut left) == new.pick(&mut right))
        }

        fn weight_0_is_never_picked(weights: Vec<bool>, seed: u64) -> bool {
            let chances = built(&weights.iter().map(|&w| u32::from(w)).collect::<Vec<_>>());
            let mut rng = Pcg::new(seed, 1);
            (0..50).all(|_| chances.pick(&mut rng).map_or(!weights.contains(&true), |at| weights[at]))
        }
    }

    #[test]
    fn of_a_million_picks_each_has_its_share_within_five_standard_deviations() {
        let weights = [1u32, 2, 3, 10, 0, 84];
        let chances = built(&weights);
        let mut rng = Pcg::new(3, 1);
        let mut shares = [0u64; 6];
        for _ in 0..1_000_000 {
            shares[chances.pick(&mut rng).unwrap()] += 1;
        }
        for (share, weight) in shares.iter().zip(weights.map(u64::from)) {
            // The variance of a binomial share: N · p · (1 − p), with p in hundredths.
            let slack = 5 * (1_000_000 * weight * (100 - weight) / 10_000).isqrt();
            assert!(share.abs_diff(weight * 10_000) <= slack, "{shares:?}");
        }
    }

    #[test]
    fn the_greatest_weights_do_not_overflow() {
        let chances = built(&[u32::MAX; 1_000]);
        assert!(chances.pick(&mut Pcg::new(1, 1)).is_some());
        assert!(areas(&chances).iter().all(|area| *area == 1_000 * u128::from(u32::MAX)));
    }
}
