//! Gathers what an [`Explanation`] tells, where one is wanted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::endpoint::Endpoint;
use super::explain::{Candidate, Decision, Exclusion, Explanation, LISTED, Left, Named, Pick, Rule};
use super::view::View;
use super::{Cluster, Duty, Unplaced, Want};
use crate::id::EndpointId;
use crate::policy::balance::{Candidates, Strategy, p2c};
use crate::policy::breaker::{self, Transition};
use crate::policy::health_check::Level as Health;
use crate::policy::outlier::{Ejection, Outliers};
use crate::policy::panic::Spread;
use crate::rng::Pcg;
use crate::time::Instant;

/// The latest explanations.
#[derive(Clone, Debug)]
pub(super) struct Explainer {
    kept: NonZeroU32,
    latest: VecDeque<Explanation>,
}
// Explanations decide nothing: those that were kept are dropped, and the next ones are kept.
crate::saved!(struct Explainer { kept; rebuilt latest = VecDeque::new() });

impl Explainer {
    fn push(&mut self, at: Instant, decision: Decision) {
        if self.latest.len() >= self.kept.get() as usize {
            self.latest.pop_front();
        }
        self.latest.push_back(Explanation { at, decision });
    }
}

/// How a pick came about, as far as nobody can tell afterwards.
pub(super) struct Course {
    /// The chance as it was before.
    pub(super) rng: Pcg,
    /// Who of the fresh took part.
    pub(super) drawn: u32,
    pub(super) picked: EndpointId,
    pub(super) avoided: bool,
    pub(super) passed_on: u32,
    /// Whether probes decided it.
    pub(super) probed: bool,
}

impl Cluster {
    /// Explains decisions from now on, and keeps so many of the latest; `None` explains nothing more, and forgets.
    pub fn set_explain(&mut self, kept: Option<NonZeroU32>) {
        self.explainer = kept.map(|kept| {
            let latest = self.explainer.take().map_or_else(VecDeque::new, |mut explainer| {
                let surplus = explainer.latest.len().saturating_sub(kept.get() as usize);
                explainer.latest.drain(..surplus);
                explainer.latest
            });
            Explainer { kept, latest }.into()
        });
    }

    /// The latest decisions that were explained, the oldest first.
    pub fn explanations(&self) -> impl DoubleEndedIterator<Item = &Explanation> {
        self.explainer.iter().flat_map(|explainer| &explainer.latest)
    }

    /// Takes the decisions that were explained and not taken yet.
    pub(crate) fn take_explanations(&mut self) -> Vec<Explanation> {
        self.explainer.as_mut().map_or_else(Vec::new, |explainer| explainer.latest.drain(..).collect())
    }

    pub(super) fn explain_pick(
        &mut self,
        now: Instant,
        priority: u8,
        want: Want,
        course: &mut Course,
        id: EndpointId,
    ) {
        let level = &self.levels[usize::from(priority)];
        let view = View {
            endpoints: &self.endpoints,
            level,
            key: want.key,
            slow_start: (self.config.strategy != Strategy::ConsistentHash).then_some(self.config.slow_start),
            drawn: course.drawn,
            now,
        };
        let candidate = |at: usize| self.candidate(&view, at);
        let rule = match self.config.strategy {
            Strategy::RoundRobin | Strategy::WeightedRoundRobin => Rule::Turn,
            Strategy::LeastConnections => Rule::LeastLoaded,
            Strategy::HealthBased => Rule::HighestScore,
            Strategy::Random | Strategy::WeightedRandom => Rule::Drawn,
            Strategy::ConsistentHash => Rule::Key(want.key),
            Strategy::Prequal if course.probed => Rule::Probes,
            Strategy::P2cEwma | Strategy::Prequal => match p2c::pair(&mut course.rng, view.len()) {
                Some((one, other)) => Rule::CheaperOf(candidate(one), candidate(other)),
                None => Rule::Drawn,
            },
        };
        let pick = Pick {
            endpoint: self.named(id),
            strategy: self.config.strategy,
            rule,
            priority,
            share: self.priorities.shares()[usize::from(priority)],
            spread: level.spread,
            candidates: (0..view.len().min(LISTED)).map(candidate).collect(),
            of: view.len() as u32,
            left: self.left(Some(priority)),
            passed_on: course.passed_on,
            avoided: course.avoided.then(|| self.named(course.picked)),
        };
        self.note(now, Decision::Pick(pick));
    }

    /// A request could not be placed.
    pub(super) fn explain_unplaced(&mut self, now: Instant, unplaced: Unplaced) {
        if self.explainer.is_some() {
            let left = self.left(None);
            self.note(
                now,
                match unplaced {
                    Unplaced::Full => Decision::Wait(left),
                    Unplaced::Rejected(rejected) => Decision::Rejection { rejected, left },
                },
            );
        }
    }

    pub(super) fn explain_ejection(&mut self, now: Instant, ejection: Ejection) {
        if self.explainer.is_some() {
            let Ejection { endpoint, cause, until } = ejection;
            let out = self.open_beside_ejected + self.outliers.as_ref().map_or(0, Outliers::ejected);
            let of = self.levels.iter().map(|level| level.serving).sum();
            let endpoint = self.named(endpoint);
            self.note(now, Decision::Ejection { endpoint, cause, until, out, of });
        }
    }

    /// What a breaker went by, before it is told of what may trip it.
    /// What a trip is explained with. Apart, so that those who want no explanation pass it by.
    #[inline(never)]
    pub(super) fn breaker_before(&self, now: Instant, id: EndpointId) -> Option<breaker::Stats> {
        Some(self.endpoints.get(id)?.breaker.stats(now))
    }

    pub(super) fn explain_trip(
        &mut self,
        now: Instant,
        id: EndpointId,
        transition: Option<Transition>,
        before: Option<breaker::Stats>,
        failed: bool,
    ) {
        if let (Some(Transition { from, to }), Some(before)) = (transition, before) {
            let consecutive = if failed { before.consecutive_failures + 1 } else { 0 };
            let endpoint = self.named(id);
            self.note(now, Decision::Trip { endpoint, from, to, consecutive, window: before.window });
        }
    }

    fn note(&mut self, now: Instant, decision: Decision) {
        if let Some(explainer) = &mut self.explainer {
            explainer.push(now, decision);
        }
    }

    fn named(&self, id: EndpointId) -> Named {
        let address = self.endpoints.get(id).map(|endpoint| endpoint.address.clone());
        Named { id, address: address.unwrap_or_default() }
    }

    fn candidate(&self, view: &View<'_>, at: usize) -> Candidate {
        let endpoint = view.at(at);
        Candidate {
            endpoint: self.named(view.level.listed[at]),
            in_flight: view.load(endpoint),
            cost: endpoint.ewma.cost(view.now, view.load(endpoint)),
            weight: view.weight(at),
            score: view.score(at),
            passes: !self.config.strategy.is_weighted() && !view.takes_part(at),
        }
    }

    /// Who could not take a request: of one level if one was chosen, of all if none had anybody.
    fn left(&self, chosen: Option<u8>) -> Left {
        let excluded = || {
            let left_out = |(_, endpoint): &(EndpointId, &Endpoint)| {
                endpoint.listed.is_none() || chosen.is_some_and(|level| endpoint.priority != level)
            };
            self.endpoints.iter().filter(left_out)
        };
        let why =
            |(id, endpoint): (EndpointId, &Endpoint)| (self.named(id), self.exclusion(endpoint, chosen));
        let listed: Vec<_> = excluded().take(LISTED).map(why).collect();
        Left { more: excluded().skip(LISTED).count() as u32, excluded: listed }
    }

    fn exclusion(&self, endpoint: &Endpoint, chosen: Option<u8>) -> Exclusion {
        let spread = self.levels[usize::from(endpoint.priority)].spread;
        match endpoint.duty {
            Duty::Removed => Exclusion::Removed,
            Duty::Draining => Exclusion::Draining,
            Duty::Spare => Exclusion::Spare,
            Duty::Serving if chosen.is_some_and(|level| endpoint.priority != level) => {
                Exclusion::Priority(endpoint.priority)
            }
            Duty::Serving if spread == Spread::None => Exclusion::Panicked,
            Duty::Serving if endpoint.out => Exclusion::CircuitOpen,
            Duty::Serving if spread == Spread::Available && endpoint.ejected => Exclusion::Ejected,
            Duty::Serving if spread == Spread::Available && endpoint.health == Health::Unhealthy => {
                Exclusion::Unhealthy
            }
            Duty::Serving if endpoint.open > 0 => Exclusion::Full,
            Duty::Serving if endpoint.reachable => Exclusion::NotConnected,
            Duty::Serving => Exclusion::Unreachable,
        }
    }
}
