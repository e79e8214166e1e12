use super::bounded;

/// One after the other. Over a set that does not change, any n picks in a row are n different ones.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    next: u32,
}
crate::saved!(struct RoundRobin { next });

impl RoundRobin {
    /// Starts at the position `start`, modulo the number of candidates.
    pub const fn new(start: u32) -> Self {
        RoundRobin { next: start }
    }

    /// The position whose turn it is; `None` if there is none.
    pub fn pick(&mut self, len: usize) -> Option<usize> {
        let at = self.next.checked_rem(bounded(len))?;
        self.next = at + 1;
        Some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use quickcheck::quickcheck;

    quickcheck! {
        fn as_many_picks_as_candidates_are_all_different(start: u32, len: u8, before: u8) -> bool {
            let mut turns = RoundRobin::new(start);
            let len = usize::from(len) + 1;
            for _ in 0..before {
                turns.pick(len);
            }
            (0..len).map(|_| turns.pick(len).unwrap()).collect::<BTreeSet<_>>().len() == len
        }
    }
}
