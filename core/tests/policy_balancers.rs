//! Balancers over a set that changes: what a strategy remembers belongs to endpoints, not to positions.

use std::collections::BTreeMap;

use plimsoll_core::policy::balance::{Balancer, Candidates, Strategy};
use plimsoll_core::rng::Pcg;
use plimsoll_core::save::{Reader, Save, Writer};
use plimsoll_core::time::Instant;
use quickcheck::{QuickCheck, quickcheck};
use std::time::Duration;

#[derive(Clone)]
struct Endpoint {
    slot: u32,
    weight: u32,
    in_flight: u32,
}

struct Set {
    listed: Vec<Endpoint>,
    key: u64,
    version: Option<u64>,
}

impl Candidates for Set {
    fn len(&self) -> usize {
        self.listed.len()
    }
    fn in_flight(&self, at: usize) -> u32 {
        self.listed[at].in_flight
    }
    fn cost(&self, at: usize) -> u64 {
        u64::from(self.listed[at].in_flight)
    }
    fn weight(&self, at: usize) -> u32 {
        self.listed[at].weight
    }
    fn slot(&self, at: usize) -> u32 {
        self.listed[at].slot
    }
    fn key(&self) -> Option<u64> {
        Some(self.key)
    }
    fn now(&self) -> Instant {
        Instant::from_millis(1)
    }
    fn version(&self) -> Option<u64> {
        self.version
    }
}

fn set(weights: &[u32]) -> Set {
    let endpoint = |(slot, &weight)| Endpoint { slot, weight, in_flight: 0 };
    Set { listed: (0..).zip(weights).map(endpoint).collect(), key: 1, version: Some(0) }
}

fn shares(balancer: &mut Balancer, rng: &mut Pcg, set: &Set, picks: u32) -> BTreeMap<u32, u32> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        let at = balancer.pick(rng, set).unwrap();
        *shares.entry(set.listed[at].slot).or_default() += 1;
    }
    shares
}

#[test]
fn after_a_removal_that_moved_the_last_into_its_place_weights_are_still_those_of_their_endpoints() {
    for strategy in [Strategy::WeightedRoundRobin, Strategy::WeightedRandom] {
        for versions in [true, false] {
            let mut rng = Pcg::new(3, 1);
            let mut balancer = Balancer::new(strategy, &mut rng);
            let mut set = set(&[100, 200, 300, 400]);
            set.version = versions.then_some(1);
            shares(&mut balancer, &mut rng, &set, 1_000);
            set.listed.swap_remove(0);
            set.version = versions.then_some(2);
            let shares = shares(&mut balancer, &mut rng, &set, 90_000);
            for (slot, expected) in [(1, 20_000u32), (2, 30_000), (3, 40_000)] {
                // Five standard deviations of a share of 4 in 9 are 745.
                assert!(shares[&slot].abs_diff(expected) < 745, "{strategy} {versions}: {shares:?}");
            }
        }
    }
}

#[test]
fn a_key_stays_with_its_endpoint_while_positions_move_and_others_come_and_go() {
    let mut rng = Pcg::new(3, 1);
    let mut balancer = Balancer::new(Strategy::ConsistentHash, &mut rng);
    let mut set = set(&[1; 10]);
    let owner = |balancer: &mut Balancer, set: &Set| {
        let at = balancer.pick(&mut Pcg::new(1, 1), set).unwrap();
        set.listed[at].slot
    };
    let home = owner(&mut balancer, &set);
    for version in 1..200 {
        set.version = Some(version);
        let at = rng.below(set.listed.len() as u32) as usize;
        if set.listed[at].slot != home && set.listed.len() > 2 {
            set.listed.swap_remove(at);
        }
        assert_eq!(owner(&mut balancer, &set), home);
    }
    set.version = Some(1_000);
    set.listed.retain(|endpoint| endpoint.slot != home);
    assert_ne!(owner(&mut balancer, &set), home);
}

#[test]
fn an_overloaded_owner_passes_its_key_on_and_gets_it_back() {
    let mut rng = Pcg::new(3, 1);
    let mut balancer = Balancer::new(Strategy::ConsistentHash, &mut rng);
    let mut set = set(&[1; 4]);
    let home = balancer.pick(&mut rng, &set).unwrap();
    set.listed[home].in_flight = 8;
    assert_ne!(balancer.pick(&mut rng, &set), Some(home));
    set.listed.iter_mut().for_each(|endpoint| endpoint.in_flight = 8);
    assert_eq!(balancer.pick(&mut rng, &set), Some(home));
}

#[test]
fn prequal_follows_its_probes_in_a_large_fleet_and_costs_in_a_small_one() {
    for (n, expected) in [(16, 9), (15, 2)] {
        let mut rng = Pcg::new(3, 1);
        let mut balancer = Balancer::new(Strategy::Prequal, &mut rng);
        let mut set = set(&vec![1; n]);
        // By cost, only 2 is free; by probes, 9 is fast.
        set.listed.iter_mut().for_each(|endpoint| endpoint.in_flight = 5);
        set.listed[2].in_flight = 0;
        let mut picks = vec![0; n];
        for _ in 0..1_000 {
            let prequal = balancer.prequal().unwrap();
            for slot in 7..12 {
                let millis = if slot == 9 { 1 } else { 50 };
                prequal.answered(set.now(), slot, 1, std::time::Duration::from_millis(millis));
            }
            picks[balancer.pick(&mut rng, &set).unwrap()] += 1;
        }
        let most = (0..n).max_by_key(|&at| picks[at]).unwrap();
        assert_eq!(most, expected, "{picks:?}");
    }
    assert!(Balancer::new(Strategy::Random, &mut Pcg::new(1, 1)).prequal().is_none());
}

#[test]
fn nobody_is_picked_where_nobody_has_any_weight() {
    for strategy in [Strategy::WeightedRoundRobin, Strategy::WeightedRandom] {
        let mut balancer = Balancer::new(strategy, &mut Pcg::new(1, 1));
        assert_eq!(balancer.pick(&mut Pcg::new(1, 1), &set(&[0, 0])), None);
    }
}

#[test]
fn once_warm_no_pick_allocates_even_if_an_endpoint_comes_and_goes() {
    for strategy in Strategy::ALL {
        let mut rng = Pcg::new(3, 1);
        let mut balancer = Balancer::new(strategy, &mut rng);
        let mut set = set(&(0..40).map(|n| n % 5 + 1).collect::<Vec<_>>());
        let mut run = |picks: u64| {
            for pick in 0..picks {
                if pick % 10 == 0 {
                    let gone = set.listed.swap_remove(pick as usize % 39);
                    set.version = set.version.map(|version| version + 1);
                    balancer.pick(&mut rng, &set).unwrap();
                    set.listed.push(gone);
                    set.version = set.version.map(|version| version + 1);
                }
                set.key = set.key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if let Some(prequal) = balancer.prequal() {
                    prequal.answered(
                        set.now(),
                        pick as u32 % 40,
                        1,
                        std::time::Duration::from_millis(pick % 7),
                    );
                }
                balancer.pick(&mut rng, &set).unwrap();
            }
        };
        run(1_000);
        let allocated = allocation_counter::measure(|| run(10_000));
        assert_eq!(allocated.count_total, 0, "{strategy}");
    }
}

quickcheck! {
    fn through_any_comings_and_goings_a_pick_is_a_candidate(
        strategy: usize, changes: Vec<(u8, u8, u8)>, seed: u64
    ) -> bool {
        let mut rng = Pcg::new(seed, 1);
        let mut balancer = Balancer::new(Strategy::ALL[strategy % 9], &mut rng);
        let mut set = set(&[]);
        let mut version = 0;
        changes.into_iter().all(|(slot, weight, picks)| {
            let slot = u32::from(slot % 24);
            match set.listed.iter().position(|endpoint| endpoint.slot == slot) {
                Some(at) => drop(set.listed.swap_remove(at)),
                None => set.listed.push(Endpoint { slot, weight: u32::from(weight) + 1, in_flight: 0 }),
            }
            version += 1;
            set.version = Some(version);
            (0..picks % 8).all(|key| {
                set.key = u64::from(key) << 60;
                match balancer.pick(&mut rng, &set) {
                    Some(at) => at < set.listed.len(),
                    None => set.listed.is_empty(),
                }
            })
        })
    }
}

/// A balancer, the same one that is saved and loaded after every step, and whom they have picked.
fn picks(strategy: Strategy, seed: u64, steps: &[(u8, u16)]) -> [Vec<Option<usize>>; 2] {
    let mut rng = Pcg::new(seed, 1);
    let balancer = Balancer::new(strategy, &mut rng);
    let mut set = set(&[3; 20]);
    let mut both = [(balancer.clone(), rng.clone(), Vec::new()), (balancer, rng, Vec::new())];
    for (newcomer, &(what, number)) in (20..).zip(steps) {
        let at = usize::from(number) % set.listed.len();
        match what % 8 {
            0 if set.listed.len() > 17 => {
                set.listed.swap_remove(at);
            }
            0 => set.listed.push(Endpoint { slot: newcomer, weight: 1, in_flight: 0 }),
            1 => set.listed[at].weight = u32::from(number % 4),
            2 => set.listed[at].in_flight = u32::from(number % 8),
            _ => {}
        }
        set.version = set.version.map(|version| version + u64::from(what % 8 < 2));
        set.key = number.into();
        for (balancer, rng, picks) in &mut both {
            if let Some(prequal) = balancer.prequal().filter(|_| what % 8 > 2) {
                prequal.answered(
                    set.now(),
                    set.listed[at].slot,
                    number.into(),
                    Duration::from_millis(what.into()),
                );
            }
            picks.push(balancer.pick(rng, &set));
        }
        let mut out = Writer::new();
        both[1].0.save(&mut out);
        both[1].0 = Balancer::load(&mut Reader::new(out.as_bytes())).unwrap();
    }
    both.map(|(_, _, picks)| picks)
}

/// Fewer runs: rings are long.
#[test]
fn what_is_saved_and_loaded_picks_as_before() {
    fn holds(seed: u64, steps: Vec<(u8, u16)>) -> bool {
        Strategy::ALL.into_iter().all(|strategy| {
            let [plain, saved] = picks(strategy, seed, &steps);
            plain == saved
        })
    }
    QuickCheck::new().tests(20).quickcheck(holds as fn(u64, Vec<(u8, u16)>) -> bool);
}
