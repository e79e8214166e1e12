//! The same key goes to the same endpoint, as long as that is not overloaded.
//!
//! Each endpoint has points on a ring (Karger et al. 1997), and a key belongs to the endpoint of the next point. An
//! endpoint that comes or goes therefore moves only keys of its own, about 1/n of all. Nobody has more than
//! ⌈`factor` × average⌉ calls in flight, counting the new one: a key whose endpoint is full goes on to the next on
//! the ring that is not (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016).
//!
//! A pick costs O(log n), and as many steps along the ring as there are full endpoints on the way. The ring is built
//! once per change of members, in O(n log n), with 16 bytes per point. Keys and names are hashes that the caller makes,
//! with one seed for all clients that shall agree.
//!
//! ```
//! use plimsoll_core::policy::balance::consistent_hash::{Config, ConsistentHash, Load};
//!
//! let mut ring = ConsistentHash::new(Config::default());
//! ring.rebuild([(0, 0xfeed), (1, 0xbeef), (2, 0xcafe)]); // slots, and hashes of the names
//!
//! let idle = Load { calls: 0, endpoints: 3 };
//! let owner = ring.pick(42, idle, |_| Some(0)).unwrap();
//! assert_eq!(ring.pick(42, idle, |_| Some(0)), Some(owner));
//!
//! // Four calls on one of three endpoints: at most ⌈1.25 × 5 / 3⌉ = 3 are allowed.
//! let busy = Load { calls: 4, endpoints: 3 };
//! assert_ne!(ring.pick(42, busy, |slot| Some(if slot == owner { 4 } else { 0 })), Some(owner));
//! ```

use alloc::vec::Vec;

use crate::policy::fixed::Ratio;
use crate::policy::mix::mix;
use crate::save::checksum;

/// What a ring is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Points per endpoint: the share of an endpoint deviates from the average by about 1 / √`points`. From 1 to
    /// 1,024. Default 100.
    pub points: u16,
    /// How much more than the average an endpoint may have in flight; from 1. A low one balances better and moves
    /// more keys from home. Default 1.25.
    pub factor: Ratio,
}
crate::saved!(struct Config { points, factor });

impl Default for Config {
    fn default() -> Self {
        Config { points: 100, factor: Ratio::per_mille(1_250) }
    }
}

/// The hash of a key that is text or bytes: FNV-1a of 64 bits ([`checksum`]), scattered by the finalizer of SplitMix64,
/// since the ring wants all bits to differ. It is the same on every platform and will stay so.
pub fn hash_key(key: &[u8]) -> u64 {
    mix(0, checksum(key))
}

/// What the bound is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls in flight on all available endpoints, without the new one.
    pub calls: u64,
    /// How many endpoints are available.
    pub endpoints: u32,
}

/// A ring over members named by a slot.
#[derive(Clone, Debug)]
pub struct ConsistentHash {
    config: Config,
    /// Where, and whose; ascending.
    points: Vec<(u64, u32)>,
}
crate::saved!(struct ConsistentHash { config, points });

impl ConsistentHash {
    /// A ring without members; it picks none.
    pub const fn new(config: Config) -> Self {
        ConsistentHash { config, points: Vec::new() }
    }

    /// The members are these from now on: a slot, and a hash of the name, for the same name the same at all clients.
    pub fn rebuild(&mut self, members: impl IntoIterator<Item = (u32, u64)>) {
        self.points.clear();
        let per_member = u64::from(self.config.points.clamp(1, 1_024));
        for (slot, name) in members {
            self.points.extend((0..per_member).map(|point| (mix(name, point), slot)));
        }
        self.points.sort_unstable();
    }

    /// The most calls that an endpoint may have in flight, counting the new one.
    pub fn bound(&self, load: Load) -> u64 {
        let factor = u128::from(self.config.factor.as_per_mille().max(1_000));
        let bound =
            (factor * (u128::from(load.calls) + 1)).div_ceil(1_000 * u128::from(load.endpoints.max(1)));
        u64::try_from(bound).unwrap_or(u64::MAX)
    }

    /// The slot for a key (its hash), among those for which `in_flight` knows a number; `None` if there is none
    /// that is available and below the bound, which a `load` that is the sum of `in_flight` excludes.
    pub fn pick(&self, key: u64, load: Load, in_flight: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let bound = self.bound(load);
        let first = self.points.partition_point(|&(point, _)| point < key);
        let (before, after) = self.points.split_at(first);
        after
            .iter()
            .chain(before)
            .map(|&(_, slot)| slot)
            .find(|&slot| in_flight(slot).is_some_and(|calls| u64::from(calls) < bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use quickcheck::quickcheck;

    const IDLE: Load = Load { calls: 0, endpoints: 1 };

    fn ring(slots: impl IntoIterator<Item = u32>) -> ConsistentHash {
        let mut ring = ConsistentHash::new(Config::default());
        ring.rebuild(slots.into_iter().map(|slot| (slot, mix(7, u64::from(slot)))));
        ring
    }

    fn owner(ring: &ConsistentHash, key: u64) -> Option<u32> {
        ring.pick(key, IDLE, |_| Some(0))
    }

    fn keys(n: u64) -> impl Iterator<Item = u64> {
        (0..n).map(|key| mix(3, key))
    }

    quickcheck! {
        fn one_that_leaves_moves_its_own_keys_only(slots: BTreeSet<u8>, gone: u8) -> bool {
            let slots: BTreeSet<u32> = slots.into_iter().chain([gone]).map(u32::from).collect();
            let gone = u32::from(gone);
            let before = ring(slots.iter().copied());
            let after = ring(slots.iter().copied().filter(|slot| *slot != gone));
            keys(200).all(|key| owner(&before, key) == Some(gone) || owner(&before, key) == owner(&after, key))
        }

        fn unavailable_is_as_good_as_gone(slots: BTreeSet<u8>, out: u8) -> bool {
            let out = u32::from(out);
            let slots: BTreeSet<u32> = slots.into_iter().map(u32::from).chain([out]).collect();
            let with = ring(slots.iter().copied());
            let without = ring(slots.iter().copied().filter(|slot| *slot != out));
            keys(100).all(|key| {
                with.pick(key, IDLE, |slot| (slot != out).then_some(0)) == owner(&without, key)
            })
        }

        fn names_decide_and_not_slots(names: BTreeSet<u64>, shift: u8) -> bool {
            // Another client knows the same endpoints under other slots.
            let shift = u32::from(shift);
            let (mut here, mut there) = (ring([]), ring([]));
            here.rebuild((0..).zip(names.iter().copied()));
            there.rebuild((shift..).zip(names.iter().copied()));
            keys(50).all(|key| owner(&here, key).map(|slot| slot + shift) == owner(&there, key))
        }

        fn the_order_of_members_does_not_matter(slots: BTreeSet<u8>) -> bool {
            let there = ring(slots.iter().map(|&slot| u32::from(slot)));
            let back = ring(slots.iter().rev().map(|&slot| u32::from(slot)));
            keys(50).all(|key| owner(&there, key) == owner(&back, key))
        }

        fn the_load_is_never_above_the_bound_and_there_is_always_room(
            n: u8, hot: u64, factor: u8, releases: Vec<u16>
        ) -> bool {
            let n = u32::from(n % 20) + 1;
            let factor = Ratio::per_mille(1_000 + 10 * u32::from(factor));
            let mut ring = ConsistentHash::new(Config { factor, points: 20 });
            ring.rebuild((0..n).map(|slot| (slot, mix(9, u64::from(slot)))));
            let mut loads = vec![0u32; n as usize];
            (0..400u64).all(|call| {
                // All calls but a few are for one hot key, and now and then one ends.
                let key = if call % 8 == 0 { mix(1, call) } else { hot };
                let load = Load { calls: loads.iter().map(|&n| u64::from(n)).sum(), endpoints: n };
                let Some(slot) = ring.pick(key, load, |slot| Some(loads[slot as usize])) else { return false };
                loads[slot as usize] += 1;
                let within = u64::from(loads[slot as usize]) <= ring.bound(load);
                if let Some(&release) = releases.get(call as usize) {
                    let at = usize::from(release) % loads.len();
                    loads[at] = loads[at].saturating_sub(1);
                }
                within
            })
        }
    }

    #[test]
    fn keys_that_look_alike_are_spread_and_their_hashes_never_change() {
        assert_eq!(hash_key(b""), 0xaebe_53f8_5cdc_3c4c);
        assert_eq!(hash_key(b"user-12345"), 0xd2b3_e8dc_095f_a7f2);
        let ring = ring(0..10);
        let mut keys_of = [0; 10];
        for n in 0..1_000 {
            let key = alloc::format!("user-{n}");
            keys_of[owner(&ring, hash_key(key.as_bytes())).unwrap() as usize] += 1;
        }
        assert!(keys_of.iter().all(|n| (50..150).contains(n)), "{keys_of:?}");
    }

    #[test]
    fn a_newcomer_moves_one_key_in_n_and_all_of_those_to_itself() {
        for n in [2u32, 10, 50] {
            let before = ring(0..n);
            let mut moved = 0;
            for newcomer in n..n + 30 {
                let after = ring((0..n).chain([newcomer]));
                for key in keys(2_000) {
                    let owner_now = owner(&after, key);
                    moved += u32::from(owner(&before, key) != owner_now);
                    assert!(owner(&before, key) == owner_now || owner_now == Some(newcomer));
                }
            }
            // With a hundred points the share of one newcomer has a standard deviation of a tenth of itself, and the mean
            // of thirty one of a 55th: five of those.
            let fair = 30 * 2_000 / (n + 1);
            assert!(moved.abs_diff(fair) < fair / 11, "{n}: {moved} of {fair}");
        }
    }

    #[test]
    fn a_million_keys_are_shared_within_four_deviations_of_a_hundred_points() {
        let ring = ring(0..10);
        let mut shares = [0u32; 10];
        keys(1_000_000).for_each(|key| shares[owner(&ring, key).unwrap() as usize] += 1);
        assert!(shares.iter().all(|share| share.abs_diff(100_000) < 40_000), "{shares:?}");
    }

    #[test]
    fn the_bound_is_rounded_up_once() {
        let ring = ring(0..4);
        assert_eq!(ring.bound(Load { calls: 0, endpoints: 4 }), 1);
        assert_eq!(ring.bound(Load { calls: 15, endpoints: 4 }), 5);
        assert_eq!(ring.bound(Load { calls: 16, endpoints: 4 }), 6);
    }

    #[test]
    fn nobody_is_picked_of_none() {
        assert_eq!(owner(&ring([]), 1), None);
        assert_eq!(ring(0..3).pick(1, IDLE, |_| None), None);
    }
}
