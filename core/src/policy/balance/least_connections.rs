use super::bounded;

/// The one with the fewest calls in flight; equals take turns, for the first of them would get every call of a
/// quiet service otherwise. Looks at all candidates, O(n).
#[derive(Clone, Debug)]
pub struct LeastConnections {
    next: u32,
}
crate::saved!(struct LeastConnections { next });

impl LeastConnections {
    /// Looks first at the position `start`, modulo the number of candidates.
    pub const fn new(start: u32) -> Self {
        LeastConnections { next: start }
    }

    /// The position with the least of `in_flight`; `None` if there is none.
    pub fn pick(&mut self, len: usize, in_flight: impl Fn(usize) -> u32) -> Option<usize> {
        let len = bounded(len);
        let first = self.next.checked_rem(len)?;
        // `min_by_key` keeps the first of equals, and the first is another one each time.
        let at = (first..len).chain(0..first).min_by_key(|&at| in_flight(at as usize))?;
        self.next = at + 1;
        Some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn nobody_has_fewer_than_the_one_picked(start: u32, loads: Vec<u32>) -> bool {
            let mut least = LeastConnections::new(start);
            (0..loads.len()).all(|_| {
                least.pick(loads.len(), |at| loads[at]).map(|at| loads[at]) == loads.iter().copied().min()
            })
        }
    }

    #[test]
    fn equals_take_turns_beside_a_busy_one() {
        let mut least = LeastConnections::new(0);
        let loads = [1, 9, 1, 1];
        let picks: Vec<_> = (0..6).filter_map(|_| least.pick(4, |at| loads[at])).collect();
        assert_eq!(picks, [0, 2, 3, 0, 2, 3]);
    }
}
