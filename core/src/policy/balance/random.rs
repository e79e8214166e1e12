//! Any of them, with equal chance.

use super::bounded;
use crate::rng::Pcg;

/// A position below `len`; `None` if there is none.
pub fn pick(rng: &mut Pcg, len: usize) -> Option<usize> {
    match bounded(len) {
        0 => None,
        len => Some(rng.below(len) as usize),
    }
}
