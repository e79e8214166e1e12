//! Which endpoint gets the next call.
//!
//! | strategy | picks | cost of a pick |
//! |---|---|---|
//! | [`RoundRobin`] | one after the other | O(1) |
//! | [`LeastConnections`] | the one with the fewest calls in flight, equals in turn | O(n) |
//! | [`random`] | any, with equal chance | O(1) |
//! | [`p2c`] by Peak-EWMA | the cheaper of two drawn at random | O(1) |
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
pub mod random;
mod round_robin;
pub mod weighted_random;
pub mod weighted_round_robin;

pub use consistent_hash::ConsistentHash;
pub use health_based::HealthBased;
pub use least_connections::LeastConnections;
pub use round_robin::RoundRobin;
pub use weighted_random::WeightedRandom;
pub use weighted_round_robin::WeightedRoundRobin;

use crate::rng::Pcg;

/// What may be picked: those that are available now, the first 2³² − 1 of them, in an order that is the same
/// at the same seed.
#[allow(clippy::len_without_is_empty)] // nobody asks: a pick from none is `None`
pub trait Candidates {
    /// How many there are.
    fn len(&self) -> usize;

    /// How many calls the one at this position has in flight.
    fn in_flight(&self, at: usize) -> u32;

    /// What one more call costs there, in any unit that all of them share; see
    /// [`PeakEwma::cost`](super::PeakEwma::cost).
    fn cost(&self, at: usize) -> u64;
}

/// How to pick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// The fewest calls in flight.
    LeastConnections,
    /// Any.
    Random,
    /// The cheaper of two drawn at random.
    #[default]
    P2cEwma,
}

/// Picks by the strategy that was configured.
#[derive(Clone, Debug)]
pub struct Balancer {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    Random,
    P2cEwma,
}

impl Balancer {
    /// A balancer that starts anywhere, so that clients which start together do not all begin with the first
    /// endpoint.
    pub fn new(strategy: Strategy, rng: &mut Pcg) -> Self {
        let state = match strategy {
            Strategy::RoundRobin => State::RoundRobin(RoundRobin::new(rng.next_u32())),
            Strategy::LeastConnections => State::LeastConnections(LeastConnections::new(rng.next_u32())),
            Strategy::Random => State::Random,
            Strategy::P2cEwma => State::P2cEwma,
        };
        Balancer { state }
    }

    /// How it picks.
    pub fn strategy(&self) -> Strategy {
        match self.state {
            State::RoundRobin(_) => Strategy::RoundRobin,
            State::LeastConnections(_) => Strategy::LeastConnections,
            State::Random => Strategy::Random,
            State::P2cEwma => Strategy::P2cEwma,
        }
    }

    /// The position of the next one; `None` if there is no candidate.
    pub fn pick(&mut self, rng: &mut Pcg, candidates: &impl Candidates) -> Option<usize> {
        let len = candidates.len();
        match &mut self.state {
            State::RoundRobin(turns) => turns.pick(len),
            State::LeastConnections(least) => least.pick(len, |at| candidates.in_flight(at)),
            State::Random => random::pick(rng, len),
            State::P2cEwma => p2c::pick(rng, len, |at| candidates.cost(at)),
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

    const ALL: [Strategy; 4] =
        [Strategy::RoundRobin, Strategy::LeastConnections, Strategy::Random, Strategy::P2cEwma];

    fn shares(strategy: Strategy, loads: Vec<u32>) -> Vec<u32> {
        let mut rng = Pcg::new(11, 1);
        let mut balancer = Balancer::new(strategy, &mut rng);
        let mut shares = vec![0; loads.len()];
        let loads = Loads(loads);
        for _ in 0..100_000 {
            shares[balancer.pick(&mut rng, &loads).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn equal_endpoints_share_alike() {
        for strategy in ALL {
            // Five standard deviations of a binomial share of one in eight are 523.
            let slack = if matches!(strategy, Strategy::Random | Strategy::P2cEwma) { 523 } else { 1 };
            let shares = shares(strategy, vec![4; 8]);
            assert!(shares.iter().all(|n| n.abs_diff(12_500) <= slack), "{strategy:?}: {shares:?}");
        }
    }

    #[test]
    fn the_least_loaded_gets_all_of_least_connections_and_the_costliest_nothing_of_p2c() {
        assert_eq!(shares(Strategy::LeastConnections, vec![3, 1, 2, 9]), [0, 100_000, 0, 0]);
        // The best of four wins in the 1/2 of all pairs that it is in, the next in 1/3, the next in 1/6.
        let shares = shares(Strategy::P2cEwma, vec![3, 1, 2, 9]);
        let expected = [16_667u32, 50_000, 33_333, 0];
        assert!(shares.iter().zip(expected).all(|(n, wanted)| n.abs_diff(wanted) <= 800), "{shares:?}");
    }

    #[test]
    fn balancers_that_start_together_begin_apart() {
        for strategy in ALL {
            let mut rng = Pcg::new(2, 1);
            let mut first = [0; 4];
            for _ in 0..1_000 {
                let mut balancer = Balancer::new(strategy, &mut rng);
                first[balancer.pick(&mut rng, &Loads(vec![1; 4])).unwrap()] += 1;
            }
            assert!(first.iter().all(|n| (180..320).contains(n)), "{strategy:?}: {first:?}");
        }
    }

    quickcheck! {
        fn a_pick_is_one_of_the_candidates(strategy: usize, sets: Vec<Vec<u32>>, seed: u64) -> bool {
            let mut rng = Pcg::new(seed, 1);
            let mut balancer = Balancer::new(ALL[strategy % 4], &mut rng);
            sets.into_iter().all(|set| match (set.len(), balancer.pick(&mut rng, &Loads(set))) {
                (0, picked) => picked.is_none(),
                (1, picked) => picked == Some(0),
                (len, picked) => picked.is_some_and(|at| at < len),
            })
        }

        fn the_same_seed_picks_the_same(strategy: usize, sets: Vec<Vec<u32>>, seed: u64) -> bool {
            let picks = || -> Vec<_> {
                let mut rng = Pcg::new(seed, 1);
                let mut balancer = Balancer::new(ALL[strategy % 4], &mut rng);
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
