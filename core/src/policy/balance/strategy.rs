use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// How to pick. Its name, as configured and shown, is that of the variant in snake case: `round_robin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// The fewest calls in flight.
    LeastConnections,
    /// One after the other, the heavier more often.
    WeightedRoundRobin,
    /// Any.
    Random,
    /// Any, with a chance by weight.
    WeightedRandom,
    /// The highest score.
    HealthBased,
    /// The cheaper of two drawn at random.
    #[default]
    P2cEwma,
    /// The same endpoint for the same key, unless it is overloaded.
    ConsistentHash,
    /// The fastest of those that say, when probed, that they are not busy.
    Prequal,
}
crate::saved!(enum Strategy {
    0 = RoundRobin, 1 = LeastConnections, 2 = WeightedRoundRobin, 3 = Random, 4 = WeightedRandom,
    5 = HealthBased, 6 = P2cEwma, 7 = ConsistentHash, 8 = Prequal
});

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 9] = [
        Strategy::RoundRobin,
        Strategy::LeastConnections,
        Strategy::WeightedRoundRobin,
        Strategy::Random,
        Strategy::WeightedRandom,
        Strategy::HealthBased,
        Strategy::P2cEwma,
        Strategy::ConsistentHash,
        Strategy::Prequal,
    ];

    /// Whether it goes by the weights of the candidates; one without weight is then never picked.
    pub const fn is_weighted(self) -> bool {
        matches!(self, Strategy::WeightedRoundRobin | Strategy::WeightedRandom)
    }

    /// Its name in files, environment variables and statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round_robin",
            Strategy::LeastConnections => "least_connections",
            Strategy::WeightedRoundRobin => "weighted_round_robin",
            Strategy::Random => "random",
            Strategy::WeightedRandom => "weighted_random",
            Strategy::HealthBased => "health_based",
            Strategy::P2cEwma => "p2c_ewma",
            Strategy::ConsistentHash => "consistent_hash",
            Strategy::Prequal => "prequal",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No strategy has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{given:?} is no load balancing strategy; take one of {}", Names)]
pub struct UnknownStrategy {
    /// The name, its first 64 characters.
    pub given: String,
}

/// All names, with commas between them.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, strategy) in Strategy::ALL.into_iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            f.write_str(strategy.name())?;
        }
        Ok(())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        let known = Strategy::ALL.into_iter().find(|strategy| strategy.name() == name);
        known.ok_or_else(|| UnknownStrategy { given: name.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    #[test]
    fn every_strategy_is_read_from_the_name_it_shows() {
        assert!(Strategy::ALL.into_iter().all(|strategy| strategy.to_string().parse() == Ok(strategy)));
        assert_eq!(Strategy::ALL.map(Strategy::name).into_iter().collect::<BTreeSet<_>>().len(), 9);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "fastest".parse::<Strategy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"fastest\" is no load balancing strategy; take one of round_robin, least_connections, \
             weighted_round_robin, random, weighted_random, health_based, p2c_ewma, consistent_hash, prequal"
        );
        assert_eq!("x".repeat(1_000).parse::<Strategy>().unwrap_err().given.len(), 64);
    }
}
