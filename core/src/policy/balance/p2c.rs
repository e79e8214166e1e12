//! The power of two choices: draw two different candidates, take the cheaper.
//!
//! Two draws come close to the best of all, at the price of two looks, and clients with stale views do not all
//! run to the same "best" one (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! ```
//! use plimsoll_core::{policy::balance::p2c, rng::Pcg};
//!
//! let cost = [30, 10];
//! assert_eq!(p2c::pick(&mut Pcg::new(1, 1), cost.len(), |at| cost[at]), Some(1));
//! ```

use super::bounded;
use crate::rng::Pcg;

/// A position below `len`, the cheaper of two, either of them where both cost the same; `None` if there is none.
#[inline]
pub fn pick(rng: &mut Pcg, len: usize, cost: impl Fn(usize) -> u64) -> Option<usize> {
    let (one, other) = pair(rng, len)?;
    Some(if one != other && cost(other) < cost(one) { other } else { one })
}

/// Two different positions below `len`, every ordered pair with equal chance; the same one twice, and nothing drawn, if
/// there is only one; `None` if there is none.
#[inline(always)]
pub fn pair(rng: &mut Pcg, len: usize) -> Option<(usize, usize)> {
    match bounded(len) {
        0 => None,
        1 => Some((0, 0)),
        len => {
            let one = rng.below(len);
            let other = rng.below(len - 1);
            Some((one as usize, if other < one { other } else { other + 1 } as usize))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn the_two_differ(seed: u64, len: u32) -> bool {
            let len = len.max(2);
            let (one, other) = pair(&mut Pcg::new(seed, 1), len as usize).unwrap();
            one != other && one < len as usize && other < len as usize
        }

        fn of_two_the_cheaper_is_picked(seed: u64, left: u64, right: u64) -> bool {
            let cost = [left, right];
            let at = pick(&mut Pcg::new(seed, 1), 2, |at| cost[at]).unwrap();
            cost[at] == left.min(right)
        }
    }

    #[test]
    fn every_ordered_pair_has_the_same_chance() {
        let mut rng = Pcg::new(9, 1);
        let mut pairs = [[0u32; 4]; 4];
        for _ in 0..120_000 {
            let (one, other) = pair(&mut rng, 4).unwrap();
            pairs[one][other] += 1;
        }
        for (one, row) in pairs.iter().enumerate() {
            for (other, n) in row.iter().enumerate() {
                assert!(if one == other { *n == 0 } else { n.abs_diff(10_000) < 500 }, "{pairs:?}");
            }
        }
    }
}
