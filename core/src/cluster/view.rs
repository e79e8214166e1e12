//! The endpoints of a level that can take a request, as its balancer sees them.

use super::endpoint::Endpoint;
use super::level::Level;
use crate::id::{Table, kind};
use crate::policy::balance::Candidates;
use crate::policy::fixed::{ONE, scale};
use crate::policy::health_score::Score;
use crate::policy::slow_start;
use crate::time::Instant;

pub(super) struct View<'a> {
    pub(super) endpoints: &'a Table<kind::Endpoint, Endpoint>,
    pub(super) level: &'a Level,
    pub(super) slow_start: &'a slow_start::Config,
    pub(super) key: Option<u64>,
    pub(super) now: Instant,
}

impl View<'_> {
    pub(super) fn at(&self, at: usize) -> &Endpoint {
        self.endpoints.get(self.level.listed[at]).expect("a listed endpoint exists")
    }

    /// How much of its weight a fresh endpoint has, in Q32; `None` for all others.
    pub(super) fn ramp(&self, endpoint: &Endpoint) -> Option<u64> {
        if endpoint.seasoned {
            return None;
        }
        let factor = endpoint.ramp?.factor(*self.slow_start, self.now);
        (factor < ONE).then_some(factor.max(1))
    }
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        self.level.listed.len()
    }

    fn in_flight(&self, at: usize) -> u32 {
        let endpoint = self.at(at);
        match self.ramp(endpoint) {
            None => endpoint.in_flight,
            // As many as it would have at its full weight, the next one counted: half a weight, twice the load.
            Some(factor) => {
                let load = (u64::from(endpoint.in_flight) + 1).saturating_mul(ONE) / factor;
                u32::try_from(load - 1).unwrap_or(u32::MAX)
            }
        }
    }

    fn cost(&self, at: usize) -> u64 {
        let endpoint = self.at(at);
        let cost = endpoint.ewma.cost(self.now, endpoint.in_flight);
        match self.ramp(endpoint) {
            None => cost,
            Some(factor) => {
                u64::try_from(u128::from(cost) * u128::from(ONE) / u128::from(factor)).unwrap_or(u64::MAX)
            }
        }
    }

    fn weight(&self, at: usize) -> u32 {
        let endpoint = self.at(at);
        // In thousandths while anybody's weight grows, since weights are small numbers.
        let weight = endpoint.weight.saturating_mul(1_000);
        match self.ramp(endpoint) {
            None => weight,
            Some(factor) => (scale(u64::from(weight), factor) as u32).max(weight.min(1)),
        }
    }

    fn score(&self, at: usize) -> u32 {
        let endpoint = self.at(at);
        let score = match endpoint.score.score(endpoint.in_flight) {
            // One that has answered would keep all calls from those that nobody has asked yet, whose score is 0.5.
            Score::NO_DATA => 1_000,
            score => score.as_per_mille(),
        };
        self.ramp(endpoint).map_or(score, |factor| scale(u64::from(score), factor) as u32)
    }

    fn slot(&self, at: usize) -> u32 {
        self.level.listed[at].slot()
    }

    fn name(&self, at: usize) -> u64 {
        self.at(at).name
    }

    fn key(&self) -> Option<u64> {
        self.key
    }

    fn calls(&self) -> u64 {
        self.level.in_flight
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn version(&self) -> Option<u64> {
        Some(self.level.version)
    }
}
