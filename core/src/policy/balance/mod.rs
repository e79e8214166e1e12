//! Which endpoint gets the next call.
//!
//! | strategy | picks | cost of a pick |
//! |---|---|---|
//! | [`RoundRobin`] | one after the other | O(1) |
//! | [`LeastConnections`] | the one with the fewest calls in flight, equals in turn | O(n) |
//! | [`WeightedRoundRobin`] | one after the other, the heavier more often | O(different weights) |
//! | [`random`] | any, with equal chance | O(1) |
//! | [`WeightedRandom`] | any, with a chance by weight | O(1) |
//! | [`HealthBased`] | the one with the highest score, equals in turn | O(n) |
//! | [`p2c`] by Peak-EWMA | the cheaper of two drawn at random | O(1) |
//! | [`ConsistentHash`] | the same for the same key, unless it is overloaded | O(log n) |
//! | [`Prequal`] | the fastest of those that say they are not busy | O(16) |
//!
//! Those by weight and by hash build tables when the candidates change, in O(n) to O(n log n).
//!
//! Each stands alone, over positions `0..len`; a [`Balancer`] is the one that was configured, over
//! [`Candidates`].
//!
//! **A position means something during that call only.** The next removal moves its neighbours, and a pick kept
//! as a position then sends to another endpoint (tower-rs/tower#856): turn it into a generational id at once.
//!
//! ```
//! use plimsoll_core::policy::balance::{Balancer, Candidates, Strategy};
//! use plimsoll_core::rng::Pcg;
//!
//! struct Endpoints<'a>(&'a [(&'a str, u32)]); // a name, and the calls in flight
//!
//! impl Candidates for Endpoints<'_> {
//!     fn len(&self) -> usize {
//!         self.0.len()
//!     }
//!     fn in_flight(&self, at: usize) -> u32 {
//!         self.0[at].1
//!     }
//!     fn cost(&self, at: usize) -> u64 {
//!         u64::from(self.0[at].1)
//!     }
//! }
//!
//! let mut rng = Pcg::new(1, 1);
//! let mut balancer = Balancer::new(Strategy::LeastConnections, &mut rng);
//! let endpoints = [("a", 7), ("b", 2), ("c", 9)];
//! let picked = balancer.pick(&mut rng, &Endpoints(&endpoints)).unwrap();
//! assert_eq!(endpoints[picked].0, "b");
//! ```

pub mod consistent_hash;
pub mod health_based;
mod least_connections;
pub mod p2c;
pub mod prequal;
pub mod random;
mod remember;
mod round_robin;
mod strategy;
pub mod weighted_random;
pub mod weighted_round_robin;

pub use consistent_hash::ConsistentHash;
pub use health_based::HealthBased;
pub use least_connections::LeastConnections;
pub use prequal::Prequal;
pub use round_robin::RoundRobin;
pub use strategy::{Strategy, UnknownStrategy};
pub use weighted_random::WeightedRandom;
pub use weighted_round_robin::WeightedRoundRobin;

use alloc::boxed::Box;

use crate::rng::Pcg;
use crate::time::Instant;
use remember::{Chances, Probed, Ring, Rotation};

/// What may be picked: those that are available now, the first 2³² − 1 of them, in an order that is the same
/// at the same seed. What a strategy does not look at may stay as it is here.
#[allow(clippy::len_without_is_empty)] // nobody asks: a pick from none is `None`
pub trait Candidates {
    /// How many there are.
    fn len(&self) -> usize;

    /// How many calls the one at this position has in flight.
    fn in_flight(&self, at: usize) -> u32;

    /// What one more call costs there, in any unit that all of them share; see
    /// [`PeakEwma::cost`](super::PeakEwma::cost).
    fn cost(&self, at: usize) -> u64;

    /// How many calls it gets in proportion to the others; 0 none. Read by the weighted strategies, once per
    /// [`version`](Candidates::version).
    fn weight(&self, _at: usize) -> u32 {
        1
    }

    /// How healthy it is; more is better. Read by [`Strategy::HealthBased`].
    fn score(&self, _at: usize) -> u32 {
        0
    }

    /// A number that it keeps while it exists, small and dense, such as the slot of its id. Two at a time never share
    /// one. Read by the strategies that remember endpoints.
    fn slot(&self, at: usize) -> u32 {
        at as u32
    }

    /// A hash of its name, the same at all clients that shall send the same keys to it. Read by
    /// [`Strategy::ConsistentHash`].
    fn name(&self, at: usize) -> u64 {
        u64::from(self.slot(at))
    }

    /// A hash of what this call is about; without one it goes anywhere. Read by [`Strategy::ConsistentHash`].
    fn key(&self) -> Option<u64> {
        None
    }

    /// The sum of all calls in flight. Read by [`Strategy::ConsistentHash`]; answer from a counter, or a pick is
    /// O(n).
    fn calls(&self) -> u64 {
        (0..self.len()).map(|at| u64::from(self.in_flight(at))).sum()
    }

    /// The time, for [`Strategy::Prequal`]: probes are forgotten by it.
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    /// Differs whenever the candidates, their order or their weights differ from before. `None`: nobody knows, and
    /// strategies that build tables look at everyone at every pick.
    fn version(&self) -> Option<u64> {
        None
    }
}

/// From this number of candidates on `prequal` picks by its probes; below, or as long as there are not two of them, as
/// `p2c_ewma`. With four endpoints that were
/// bound by their CPU it was a quarter slower than round robin.
pub const PREQUAL_FLEET: usize = 16;

/// Picks by the strategy that was configured.
#[derive(Clone, Debug)]
pub struct Balancer {
    state: State,
}
crate::saved!(struct Balancer { state });

#[derive(Clone, Debug)]
enum State {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    WeightedRoundRobin(Box<Rotation>),
    Random,
    WeightedRandom(Box<Chances>),
    HealthBased(HealthBased),
    P2cEwma,
    ConsistentHash(Box<Ring>),
    Prequal(Box<Probed>),
}
crate::saved!(enum State {
    0 = RoundRobin(value), 1 = LeastConnections(value), 2 = WeightedRoundRobin(value), 3 = Random,
    4 = WeightedRandom(value), 5 = HealthBased(value), 6 = P2cEwma, 7 = ConsistentHash(value),
    8 = Prequal(value)
});

impl Balancer {
    /// A balancer that starts anywhere, so that clients which start together do not all begin with the first
    /// endpoint.
    pub fn new(strategy: Strategy, rng: &mut Pcg) -> Self {
        let state = match strategy {
            Strategy::RoundRobin => State::RoundRobin(RoundRobin::new(rng.next_u32())),
            Strategy::LeastConnections => State::LeastConnections(LeastConnections::new(rng.next_u32())),
            Strategy::WeightedRoundRobin => State::WeightedRoundRobin(Box::new(Rotation::new(rng))),
            Strategy::Random => State::Random,
            Strategy::WeightedRandom => State::WeightedRandom(Box::default()),
            Strategy::HealthBased => State::HealthBased(HealthBased::new(rng.next_u32())),
            Strategy::P2cEwma => State::P2cEwma,
            Strategy::ConsistentHash => State::ConsistentHash(Box::new(Ring::new())),
            Strategy::Prequal => State::Prequal(Box::new(Probed::new())),
        };
        Balancer { state }
    }

    /// How it picks.
    pub fn strategy(&self) -> Strategy {
        match self.state {
            State::RoundRobin(_) => Strategy::RoundRobin,
            State::LeastConnections(_) => Strategy::LeastConnections,
            State::WeightedRoundRobin(_) => Strategy::WeightedRoundRobin,
            State::Random => Strategy::Random,
            State::WeightedRandom(_) => Strategy::WeightedRandom,
            State::HealthBased(_) => Strategy::HealthBased,
            State::P2cEwma => Strategy::P2cEwma,
            State::ConsistentHash(_) => Strategy::ConsistentHash,
            State::Prequal(_) => Strategy::Prequal,
        }
    }

    /// The position of the next one; `None` if there is no candidate, or none of them has any weight.
    #[inline]
    pub fn pick(&mut self, rng: &mut Pcg, candidates: &impl Candidates) -> Option<usize> {
        let len = candidates.len();
        match &mut self.state {
            State::RoundRobin(turns) => turns.pick(len),
            State::LeastConnections(least) => least.pick(len, |at| candidates.in_flight(at)),
            State::WeightedRoundRobin(rotation) => rotation.pick(candidates),
            State::Random => random::pick(rng, len),
            State::WeightedRandom(chances) => chances.pick(rng, candidates),
            State::HealthBased(healthiest) => healthiest.pick(len, |at| candidates.score(at)),
            State::P2cEwma => p2c::pick(rng, len, |at| candidates.cost(at)),
            State::ConsistentHash(ring) => ring.pick(rng, candidates),
            State::Prequal(probed) if len >= PREQUAL_FLEET => probed.pick(rng, candidates),
            State::Prequal(_) => p2c::pick(rng, len, |at| candidates.cost(at)),
        }
    }

    /// The probes of [`Strategy::Prequal`]: whom to ask, and what they said. `None` with any other strategy.
    pub fn prequal(&mut self) -> Option<&mut Prequal> {
        match &mut self.state {
            State::Prequal(probed) => Some(&mut probed.prequal),
            _ => None,
        }
    }
}

/// The number of candidates as all platforms can count it.
fn bounded(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    struct Loads(Vec<u32>);

    impl Candidates for Loads {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn in_flight(&self, at: usize) -> u32 {
            self.0[at]
        }
        fn cost(&self, at: usize) -> u64 {
            u64::from(self.0[at])
        }
    }

    const ALL: [Strategy; 9] = Strategy::ALL;

    fn shares(strategy: Strategy, loads: Vec<u32>) -> Vec<u32> {
        let mut rng = Pcg::new(11, 1);
        let mut balancer = Balancer::new(strategy, &mut rng);
        let mut shares = vec![0; loads.len()];
        let loads = Loads(loads);
        for _ in 0..1_000_000 {
            shares[balancer.pick(&mut rng, &loads).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn equal_endpoints_share_alike() {
        for strategy in ALL {
            // Five standard deviations of a binomial share of one in eight are 1,653.
            let slack = match strategy {
                Strategy::RoundRobin | Strategy::LeastConnections | Strategy::HealthBased => 1,
                Strategy::WeightedRoundRobin => 2, // they begin half a pick early or late
                Strategy::ConsistentHash => 50_000, // four deviations of a share on the ring
                _ => 1_653,
            };
            let shares = shares(strategy, vec![4; 8]);
            assert!(shares.iter().all(|n| n.abs_diff(125_000) <= slack), "{strategy:?}: {shares:?}");
        }
        // Of so many, prequal goes by probes, or by chance without any: five deviations of one in twenty are 1,090.
        let shares = shares(Strategy::Prequal, vec![4; 20]);
        assert!(shares.iter().all(|n| n.abs_diff(50_000) <= 1_090), "{shares:?}");
    }

    #[test]
    fn the_least_loaded_gets_all_of_least_connections_and_the_costliest_nothing_of_p2c() {
        assert_eq!(shares(Strategy::LeastConnections, vec![3, 1, 2, 9]), [0, 1_000_000, 0, 0]);
        // The best of four wins in the 1/2 of all pairs that it is in, the next in 1/3, the next in 1/6.
        let shares = shares(Strategy::P2cEwma, vec![3, 1, 2, 9]);
        let expected = [166_667u32, 500_000, 333_333, 0];
        assert!(shares.iter().zip(expected).all(|(n, wanted)| n.abs_diff(wanted) <= 2_500), "{shares:?}");
    }

    #[test]
    fn balancers_that_start_together_begin_apart() {
        for strategy in ALL {
            let mut rng = Pcg::new(2, 1);
            let mut first = [0u32; 4];
            for _ in 0..1_000 {
                let mut balancer = Balancer::new(strategy, &mut rng);
                first[balancer.pick(&mut rng, &Loads(vec![1; 4])).unwrap()] += 1;
            }
            let slack = if strategy == Strategy::ConsistentHash { 120 } else { 70u32 };
            assert!(first.iter().all(|n| n.abs_diff(250) < slack), "{strategy:?}: {first:?}");
        }
    }

    quickcheck! {
        fn a_pick_is_one_of_the_candidates(strategy: usize, sets: Vec<Vec<u32>>, seed: u64) -> bool {
            let mut rng = Pcg::new(seed, 1);
            let mut balancer = Balancer::new(ALL[strategy % 9], &mut rng);
            sets.into_iter().all(|set| match (set.len(), balancer.pick(&mut rng, &Loads(set))) {
                (0, picked) => picked.is_none(),
                (1, picked) => picked == Some(0),
                (len, picked) => picked.is_some_and(|at| at < len),
            })
        }

        fn the_same_seed_picks_the_same(strategy: usize, sets: Vec<Vec<u32>>, seed: u64) -> bool {
            let picks = || -> Vec<_> {
                let mut rng = Pcg::new(seed, 1);
                let mut balancer = Balancer::new(ALL[strategy % 9], &mut rng);
                sets.iter().map(|set| balancer.pick(&mut rng, &Loads(set.clone()))).collect()
            };
            picks() == picks()
        }
    }

    #[test]
    fn a_balancer_knows_its_strategy() {
        assert!(ALL.iter().all(|&s| Balancer::new(s, &mut Pcg::new(1, 1)).strategy() == s));
    }
}
