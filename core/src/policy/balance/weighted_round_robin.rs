//! One after the other, the heavier more often, and never in a row what can be spread: 5 : 1 : 1 gives `a a b a c a a`.
//!
//! This is nginx's smooth weighted round robin, pick for pick: each pick gives every member its weight as credit, takes
//! the member with the most (the first of equals), and charges it the sum of all weights. Done as written, a pick looks
//! at all members. But among members of one weight the order never changes except that the picked one goes behind the
//! others; so they stand in a queue per distinct weight, and a pick looks at the heads of the queues: O(d) for d
//! distinct weights, whatever the number of members. With three weights a pick costs the same at 10 and at
//! 10,000 members; with 10,000 different ones it costs as much as the plain form, so round weights where they are
//! measured.
//!
//! A change of members or weights costs O(n log n) once, at the next pick. Everyone's place in the rotation stays:
//! what a member is owed or has had too much, in picks, is the same before and after. In nginx's form it
//! is kept in units of the old sum of weights, and if a heavy member leaves, a light one is ahead or behind for ages.
//!
//! ```
//! use plimsoll_core::policy::balance::WeightedRoundRobin;
//!
//! let mut turns = WeightedRoundRobin::new();
//! for (slot, weight) in [(0, 5), (1, 1), (2, 1)] {
//!     turns.set(slot, weight);
//! }
//! let picks: String = (0..7).map(|_| ["a", "b", "c"][turns.pick().unwrap() as usize]).collect();
//! assert_eq!(picks, "aabacaa");
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::rng::Pcg;

/// Empty queues that are kept, beside as many as there are of the others.
const EMPTY: usize = 8;

/// Smooth weighted round robin over members named by a slot: a number, small and dense, that a member keeps.
#[derive(Clone, Debug, Default)]
pub struct WeightedRoundRobin {
    /// By slot.
    members: Vec<Member>,
    queues: Vec<Queue>,
    /// The sum of the weights in the queues, in Q16 as all credit: a change of weights rounds, and a place in the rotation
    /// of three members with weight 1 should survive that.
    total: i128,
    /// Whether a weight has changed since the queues were built.
    stale: bool,
    /// Where members begin, if not all at the same place.
    scatter: Option<Pcg>,
}
crate::saved!(struct WeightedRoundRobin { members, queues, total, stale, scatter });

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    weight: u32,
    /// What it is owed, in picks, in Q32; true while it is not in a queue.
    lag: i128,
    /// Whether it was in a queue before the change, and will be after it.
    stays: bool,
}
crate::saved!(struct Member { weight, lag, stays });

/// The members of one weight.
#[derive(Clone, Debug, Default)]
struct Queue {
    weight: u32,
    /// What each of them was given since the queue was built.
    gained: i128,
    /// Credit without `gained`, and slot; the most credit first, then the lowest slot.
    waiting: VecDeque<(i128, u32)>,
}
crate::saved!(struct Queue { weight, gained, waiting });

impl WeightedRoundRobin {
    /// Without members it picks none.
    pub const fn new() -> Self {
        WeightedRoundRobin { members: Vec::new(), queues: Vec::new(), total: 0, stale: false, scatter: None }
    }

    /// The same, but each member begins up to half a pick early or late, by chance (as the first deadlines of gRFC A58):
    /// clients that start together do not all begin with the same member.
    pub fn scattered(rng: Pcg) -> Self {
        WeightedRoundRobin { scatter: Some(rng), ..WeightedRoundRobin::new() }
    }

    /// A member has this weight from now on; 0 takes it out. One that comes back has the place it left with.
    pub fn set(&mut self, slot: u32, weight: u32) {
        let at = slot as usize;
        while self.members.len() <= at {
            let lag = self.scatter.as_mut().map_or(0, |rng| i128::from(rng.next_u32()) - (1 << 31));
            self.members.push(Member { lag, ..Member::default() });
        }
        if self.members[at].weight != weight {
            self.members[at].weight = weight;
            self.stale = true;
        }
    }

    /// The slot whose turn it is; `None` if no member has any weight.
    pub fn pick(&mut self) -> Option<u32> {
        if self.stale {
            self.rebuild();
        }
        let mut best: Option<(i128, Reverse<u32>, usize)> = None;
        for (at, queue) in self.queues.iter_mut().enumerate() {
            queue.gained += i128::from(queue.weight) << 16;
            if let Some(&(credit, slot)) = queue.waiting.front() {
                best = best.max(Some((credit + queue.gained, Reverse(slot), at)));
            }
        }
        let (_, Reverse(slot), at) = best?;
        self.queues[at].charge_head(self.total);
        Some(slot)
    }

    fn rebuild(&mut self) {
        self.stale = false;
        self.members.iter_mut().for_each(|member| member.stays = false);
        for queue in &mut self.queues {
            for (credit, slot) in queue.waiting.drain(..) {
                let member = &mut self.members[slot as usize];
                member.lag = ((credit + queue.gained) << 32) / self.total;
                member.stays = member.weight > 0;
            }
            queue.gained = 0;
        }
        self.total = self.sum(|member| i128::from(member.weight)) << 16;
        self.settle();
        for (slot, member) in (0..).zip(&self.members).filter(|(_, member)| member.weight > 0) {
            let at = match self.queues.binary_search_by_key(&member.weight, |queue| queue.weight) {
                Ok(at) => at,
                Err(at) => {
                    self.queues.insert(at, Queue { weight: member.weight, ..Queue::default() });
                    at
                }
            };
            self.queues[at].waiting.push_back(((member.lag * self.total) >> 32, slot));
        }
        self.drop_empty();
        for queue in &mut self.queues {
            queue.waiting.make_contiguous().sort_unstable_by_key(Queue::order);
        }
    }

    /// A few queues may be empty, so that one that comes and goes does not cost an allocation each time.
    fn drop_empty(&mut self) {
        let empty = self.queues.iter().filter(|queue| queue.waiting.is_empty()).count();
        if empty > self.queues.len() - empty + EMPTY {
            self.queues.retain(|queue| !queue.waiting.is_empty());
        }
    }

    /// Who leaves takes its lag along, and who comes back brings it. Those who stay make up for it by weight, so that
    /// all lags together are zero: else they would be ahead of, or behind, everyone who joins.
    fn settle(&mut self) {
        let excess = self.sum(|member| member.lag);
        if self.members.iter().all(|member| !member.stays) {
            self.members.iter_mut().for_each(|member| member.stays = member.weight > 0);
        }
        let staying = self.sum(|member| if member.stays { i128::from(member.weight) } else { 0 });
        for member in self.members.iter_mut().filter(|member| member.stays) {
            member.lag -= excess * i128::from(member.weight) / staying;
        }
    }

    /// The sum over all that have any weight.
    fn sum(&self, of: impl Fn(&Member) -> i128) -> i128 {
        self.members.iter().filter(|member| member.weight > 0).map(of).sum()
    }
}

impl Queue {
    /// The head pays for its pick, and goes behind all that have more credit left: all of them, unless weights
    /// changed lately.
    fn charge_head(&mut self, total: i128) {
        let Some((credit, slot)) = self.waiting.pop_front() else { return };
        let paid = (credit - total, slot);
        if self.waiting.back().is_none_or(|last| Self::order(last) < Self::order(&paid)) {
            self.waiting.push_back(paid);
        } else {
            let at = self.waiting.partition_point(|other| Self::order(other) < Self::order(&paid));
            self.waiting.insert(at, paid);
        }
    }

    const fn order(waiting: &(i128, u32)) -> (Reverse<i128>, u32) {
        (Reverse(waiting.0), waiting.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use quickcheck::quickcheck;

    fn with(weights: &[u32]) -> WeightedRoundRobin {
        let mut turns = WeightedRoundRobin::new();
        (0..).zip(weights).for_each(|(slot, &weight)| turns.set(slot, weight));
        turns
    }

    fn picks(turns: &mut WeightedRoundRobin, n: usize) -> String {
        (0..n).map(|_| char::from(b'a' + turns.pick().unwrap() as u8)).collect()
    }

    /// nginx's own form: a look at every member.
    fn plain(weights: &[u32], current: &mut [i64]) -> Option<u32> {
        let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let mut best: Option<usize> = None;
        for (at, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            current[at] += i64::from(weight);
            if best.is_none_or(|best| current[at] > current[best]) {
                best = Some(at);
            }
        }
        current[best?] -= total;
        best.map(|at| at as u32)
    }

    #[test]
    fn sequences_are_those_of_nginx() {
        assert_eq!(picks(&mut with(&[5, 1, 1]), 14), "aabacaaaabacaa");
        assert_eq!(picks(&mut with(&[4, 2, 1]), 7), "abacaba");
        assert_eq!(picks(&mut with(&[1, 1, 1]), 6), "abcabc");
        assert_eq!(picks(&mut with(&[0, 3, 1]), 4), "bbcb");
    }

    quickcheck! {
        fn it_picks_what_the_plain_form_picks(weights: Vec<u32>) -> bool {
            let mut turns = with(&weights);
            let mut current = vec![0; weights.len()];
            (0..200).all(|_| turns.pick() == plain(&weights, &mut current))
        }

        fn few_weights_pick_what_the_plain_form_picks(weights: Vec<u8>) -> bool {
            let weights: Vec<u32> = weights.iter().map(|weight| u32::from(weight % 4)).collect();
            let mut turns = with(&weights);
            let mut current = vec![0; weights.len()];
            (0..500).all(|_| turns.pick() == plain(&weights, &mut current))
        }

        fn a_round_gives_each_exactly_its_weight(weights: Vec<u8>) -> bool {
            let weights: Vec<u32> = weights.iter().map(|weight| u32::from(weight % 8)).collect();
            let mut turns = with(&weights);
            let mut shares = vec![0; weights.len()];
            for _ in 0..weights.iter().sum() {
                shares[turns.pick().unwrap() as usize] += 1;
            }
            shares == weights
        }

        fn through_any_changes_nobody_without_weight_is_picked_and_credit_is_conserved(
            changes: Vec<(u8, u32, u8)>
        ) -> bool {
            let mut turns = WeightedRoundRobin::new();
            changes.into_iter().all(|(slot, weight, picks)| {
                turns.set(u32::from(slot % 16), weight);
                let fit = (0..picks % 32).all(|_| {
                    turns.pick().map_or(turns.total == 0, |slot| turns.members[slot as usize].weight > 0)
                });
                let credit = |queue: &Queue| {
                    queue.waiting.iter().map(|(credit, _)| credit + queue.gained).sum::<i128>()
                };
                let sum: i128 = turns.queues.iter().map(credit).sum();
                // Rounding loses less than one unit per member at a change.
                fit && sum.abs() <= 16 + (turns.total >> 24)
            })
        }
    }

    #[test]
    fn over_a_million_picks_shares_are_exact_to_one() {
        let weights: Vec<u32> = (1..=20).collect();
        let mut turns = with(&weights);
        let mut shares = [0u64; 20];
        for _ in 0..1_000_000 {
            shares[turns.pick().unwrap() as usize] += 1;
        }
        for (share, weight) in shares.iter().zip(1u64..) {
            assert!(share.abs_diff(1_000_000 * weight / 210) <= 1, "{shares:?}");
        }
    }

    #[test]
    fn a_newcomer_does_not_move_the_others() {
        let mut turns = with(&[1, 1, 1]);
        assert_eq!(picks(&mut turns, 2), "ab");
        turns.set(3, 1);
        // c was next, and still is; the newcomer has waited for less.
        assert_eq!(picks(&mut turns, 8), "cdabcdab");
    }

    #[test]
    fn a_heavy_member_that_leaves_does_not_leave_a_burst_behind() {
        let mut turns = with(&[1_000_000, 1, 1]);
        while turns.pick() != Some(1) {}
        turns.set(0, 0);
        assert_eq!(picks(&mut turns, 6), "cbcbcb");
    }

    #[test]
    fn one_that_comes_and_goes_takes_no_more_than_its_share() {
        let mut turns = with(&[1, 1, 1, 1]);
        let mut shares = [0u32; 4];
        for round in 0..1_000 {
            turns.set(0, round % 2);
            (0..2).for_each(|_| shares[turns.pick().unwrap() as usize] += 1);
        }
        // In half of the time it is one of four, and gets two picks in eight: 250; the others share the rest.
        assert!(shares[0].abs_diff(250) <= 2, "{shares:?}");
        assert!(shares[1..].iter().all(|share| share.abs_diff(583) <= 3), "{shares:?}");
    }
}
