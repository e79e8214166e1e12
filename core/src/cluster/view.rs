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
    pub(super) key: Option<u64>,
    /// `None`: a fresh endpoint counts like the others. A key belongs to its endpoint, fresh or not, and the bound of
    /// `consistent_hash` is made of what is really in flight.
    pub(super) slow_start: Option<slow_start::Config>,
    /// Decides who of the fresh takes part in this pick.
    pub(super) drawn: u32,
    pub(super) now: Instant,
}

impl View<'_> {
    #[inline]
    pub(super) fn at(&self, at: usize) -> &Endpoint {
        self.endpoints.get(self.level.listed[at]).expect("a listed endpoint exists")
    }

    /// How much of its weight a fresh endpoint has, in Q32; `None` for all others.
    #[inline]
    pub(super) fn ramp(&self, endpoint: &Endpoint) -> Option<u64> {
        let slow_start = self.slow_start?;
        if endpoint.seasoned {
            return None;
        }
        let factor = endpoint.ramp?.factor(slow_start, self.now);
        (factor < ONE).then_some(factor.max(1))
    }

    /// A fresh endpoint takes part in as many picks as its weight allows. Were its load or its cost only counted for more,
    /// it would never be the best of a quiet fleet, and begin with nothing instead of a little.
    #[inline]
    pub(super) fn takes_part(&self, at: usize) -> bool {
        self.slow_start.is_none()
            || self.ramp(self.at(at)).is_none_or(|factor| u64::from(self.drawn) < factor)
    }

    /// The requests on an endpoint; on a fresh one as many as it would have at its full weight.
    #[inline]
    pub(super) fn load(&self, endpoint: &Endpoint) -> u32 {
        let load = u64::from(endpoint.in_flight);
        let load = self.ramp(endpoint).map_or(load, |factor| load.saturating_mul(ONE) / factor);
        u32::try_from(load).unwrap_or(u32::MAX)
    }
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        self.level.listed.len()
    }

    fn in_flight(&self, at: usize) -> u32 {
        if self.takes_part(at) { self.load(self.at(at)) } else { u32::MAX }
    }

    #[inline]
    fn cost(&self, at: usize) -> u64 {
        let endpoint = self.at(at);
        if self.takes_part(at) { endpoint.ewma.cost(self.now, self.load(endpoint)) } else { u64::MAX }
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
        match endpoint.score.score(self.load(endpoint)) {
            _ if !self.takes_part(at) => 0,
            // One that has answered would keep all calls from those that nobody has asked yet, whose score is 0.5. One call
            // is enough to ask.
            score if score == Score::NO_DATA || endpoint.is_forgotten(self.now) => {
                if endpoint.in_flight == 0 { 1_000 } else { Score::NO_DATA.as_per_mille() }
            }
            score => score.as_per_mille(),
        }
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
