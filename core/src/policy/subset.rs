//! Which endpoints of a large fleet a client uses: a subset by rendezvous hashing.
//!
//! A thousand clients with connections to a thousand endpoints are a million connections. Each client takes the
//! `size` endpoints whose hash with its own salt is lowest (rendezvous hashing: Thaler and Ravishankar 1998; as
//! a subset: gRFC A68, with its size of 20). An endpoint that comes or goes then changes one member of a subset at
//! most, and nothing in those that it does not belong to. Over many clients the endpoints share like random draws do:
//! c clients give each about c · size / n, with the deviation of a binomial.
//!
//! Done when membership changes, in O(n).
//!
//! ```
//! use plimsoll_core::policy::subset::Subset;
//!
//! let fleet: Vec<u64> = (0..100).collect(); // hashes of the endpoints' addresses
//! let mut subset = Subset::new(0x5eed, 20);
//! let chosen: Vec<u64> = subset.select(&fleet).iter().map(|&at| fleet[at as usize]).collect();
//! assert_eq!(chosen.len(), 20);
//!
//! // One of them leaves: the others stay, and one comes in its place.
//! let smaller: Vec<u64> = fleet.iter().copied().filter(|name| *name != chosen[0]).collect();
//! let now: Vec<u64> = subset.select(&smaller).iter().map(|&at| smaller[at as usize]).collect();
//! assert_eq!(now.iter().filter(|name| chosen.contains(name)).count(), 19);
//! ```

use alloc::vec::Vec;

use super::mix::mix;

/// The size of a subset in gRFC A68.
pub const SIZE: u32 = 20;

/// Chooses a client's endpoints.
#[derive(Clone, Debug)]
pub struct Subset {
    salt: u64,
    size: u32,
    /// Hash and position, of the last selection.
    ranked: Vec<(u64, u32)>,
    chosen: Vec<u32>,
}
// A selection begins anew every time.
crate::saved!(struct Subset { salt, size; rebuilt ranked = Vec::new(), chosen = Vec::new() });

impl Subset {
    /// Subsets of `size` endpoints, from 1 (0 counts as that). The `salt` is random per client, and the same for
    /// its life: with a common one all clients would use the same endpoints.
    pub const fn new(salt: u64, size: u32) -> Self {
        let size = if size == 0 { 1 } else { size };
        Subset { salt, size, ranked: Vec::new(), chosen: Vec::new() }
    }

    /// The positions of the chosen, ascending; all if there are no more than `size`. A name is a hash of what
    /// stays the same about an endpoint, such as its address. The first 2³² of them count.
    pub fn select(&mut self, names: &[u64]) -> &[u32] {
        self.ranked.clear();
        self.ranked.extend((0..=u32::MAX).zip(names).map(|(at, &name)| (mix(self.salt, name), at)));
        let size = self.size as usize;
        if size < self.ranked.len() {
            self.ranked.select_nth_unstable(size);
            self.ranked.truncate(size);
        }
        self.chosen.clear();
        self.chosen.extend(self.ranked.iter().map(|&(_, at)| at));
        self.chosen.sort_unstable();
        &self.chosen
    }

    /// Where a name stands; the lowest are chosen.
    pub fn rank(&self, name: u64) -> u64 {
        mix(self.salt, name)
    }

    /// The rank that nobody above it is chosen with, beside those of the last selection; `None` if there is room.
    pub fn limit(&self) -> Option<u64> {
        let is_full = self.ranked.len() == self.size as usize;
        self.ranked.iter().map(|&(rank, _)| rank).max().filter(|_| is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use quickcheck::quickcheck;

    fn chosen(salt: u64, size: u32, names: &BTreeSet<u64>) -> BTreeSet<u64> {
        let names: Vec<u64> = names.iter().copied().collect();
        Subset::new(salt, size).select(&names).iter().map(|&at| names[at as usize]).collect()
    }

    quickcheck! {
        fn as_many_as_asked_or_all(salt: u64, size: u8, names: BTreeSet<u64>) -> bool {
            chosen(salt, u32::from(size), &names).len() == usize::from(size.max(1)).min(names.len())
        }

        fn a_newcomer_displaces_one_at_most_and_only_by_being_chosen(salt: u64, names: BTreeSet<u64>, new: u64) -> bool {
            let before = chosen(salt, 8, &names);
            let mut names = names;
            names.insert(new);
            let after = chosen(salt, 8, &names);
            let lost = before.difference(&after).count();
            lost <= 1 && after.difference(&before).all(|name| *name == new)
        }

        fn exactly_who_ranks_below_the_limit_is_chosen_too(salt: u64, names: BTreeSet<u64>, new: u64) -> bool {
            let mut names = names;
            names.remove(&new);
            let mut subset = Subset::new(salt, 8);
            subset.select(&names.iter().copied().collect::<Vec<_>>());
            let is_below = subset.limit().is_none_or(|limit| subset.rank(new) <= limit);
            names.insert(new);
            is_below == chosen(salt, 8, &names).contains(&new)
        }

        fn one_that_leaves_takes_nobody_with_it(salt: u64, names: BTreeSet<u64>, at: usize) -> bool {
            let before = chosen(salt, 8, &names);
            let mut left = names.clone();
            let Some(gone) = names.iter().nth(at % names.len().max(1)) else { return true };
            left.remove(gone);
            let after = chosen(salt, 8, &left);
            before.iter().all(|name| name == gone || after.contains(name))
                && (before.contains(gone) || before == after)
        }

        fn the_order_of_names_does_not_matter(salt: u64, names: BTreeSet<u64>) -> bool {
            let backwards: Vec<u64> = names.iter().rev().copied().collect();
            let set: BTreeSet<u64> =
                Subset::new(salt, 5).select(&backwards).iter().map(|&at| backwards[at as usize]).collect();
            set == chosen(salt, 5, &names)
        }
    }

    #[test]
    fn a_thousand_clients_share_the_fleet_within_five_standard_deviations() {
        let fleet: Vec<u64> = (0..200).collect();
        let mut clients = vec![0u32; fleet.len()];
        for salt in 0..1_000 {
            for &at in Subset::new(salt, SIZE).select(&fleet) {
                clients[at as usize] += 1;
            }
        }
        // 1,000 draws with a chance of 1 in 10: 100 expected, √90 = 9.5 a standard deviation.
        assert!(clients.iter().all(|n| n.abs_diff(100) <= 48), "{clients:?}");
    }
}
