//! What an endpoint has shown, and what follows: whether it is a candidate, and how its level stands.

use super::{Cluster, Place, StateEvent};
use crate::id::EndpointId;
use crate::policy::breaker::{self, Outcome, Permit};
use crate::policy::health_check::Level as Health;
use crate::policy::panic::Spread;
use crate::policy::{Ramp, outlier};
use crate::time::Instant;

/// While a weight grows, tables that are built from weights are built anew so often.
const RAMP_STEPS: u32 = 10;

impl Cluster {
    /// What a request on `place` tells about its endpoint. Its place is given back apart from this, by
    /// [`release`](Self::release): on a wire without ids, a request that was given up still holds one.
    // In parts that fit into registers: a place that is copied whole, just after it was written in parts, has to wait
    // for them.
    #[inline]
    pub fn settle(&mut self, now: Instant, place: Place, outcome: Outcome) {
        let Place { endpoint, since, permit, .. } = place;
        self.settle_permit(now, endpoint, now.nanos_since(since), permit, outcome);
    }

    fn settle_permit(
        &mut self,
        now: Instant,
        id: EndpointId,
        round_trip: u64,
        permit: Permit,
        outcome: Outcome,
    ) {
        let before = if self.explainer.is_some() { self.breaker_before(now, id) } else { None };
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        if outcome != Outcome::Ignored {
            endpoint.learn(now, round_trip, outcome == Outcome::Success);
        }
        let transition = endpoint.breaker.settle(now, permit, outcome);
        let moved = transition.is_some() || endpoint.out || permit.is_probe();
        if moved {
            let open = endpoint.breaker.state(now) == breaker::State::Open;
            self.explain_trip(now, id, transition, before, outcome == Outcome::Failure);
            self.set_out(id, open);
            self.breaker_moved(now, id, transition);
        }
        if self.compare(now, id, outcome) || moved {
            self.review(now, id);
            self.hand_off(now);
        }
    }

    /// Another endpoint was faster with the same request, which is given up here: it would have taken at least so long.
    pub fn outrun(&mut self, now: Instant, place: Place) {
        let Some(endpoint) = self.endpoints.get_mut(place.endpoint) else { return };
        let so_far = now.since(place.since);
        if so_far > endpoint.ewma.estimate(now) {
            endpoint.ewma.succeeded(now, so_far);
        }
        if so_far > endpoint.score.round_trip() {
            endpoint.score.record(so_far, true);
        }
    }

    /// Lets the outlier detection know. Whether the endpoint was ejected.
    #[inline]
    fn compare(&mut self, now: Instant, id: EndpointId, outcome: Outcome) -> bool {
        let Some(outliers) = &mut self.outliers else { return false };
        match outcome {
            Outcome::Success => {
                outliers.succeeded(id);
                false
            }
            Outcome::Failure => self.compare_failed(now, id),
            Outcome::Ignored => false,
        }
    }

    #[inline(never)]
    fn compare_failed(&mut self, now: Instant, id: EndpointId) -> bool {
        let Some(outliers) = &mut self.outliers else { return false };
        let out = self.endpoints.get(id).is_some_and(|endpoint| endpoint.out && !endpoint.ejected);
        // Were it counted as open too, it would take two places below the cap.
        let open = self.open_beside_ejected - u32::from(out);
        let ejection = outliers.failed(now, id, open);
        if let Some(ejection) = ejection {
            self.ejected(now, ejection);
        }
        ejection.is_some()
    }

    fn ejected(&mut self, now: Instant, ejection: outlier::Ejection) {
        let outlier::Ejection { endpoint: id, cause, until } = ejection;
        self.change(id, |endpoint| endpoint.ejected = true);
        self.unseason(id);
        self.explain_ejection(now, ejection);
        self.tell(StateEvent::Ejected { endpoint: id, cause, until });
        self.review(now, id);
    }

    /// Compares the endpoints if it is time, and lets those back that were out for long enough.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        if self.sweep_at().is_none_or(|at| at > now) {
            return false;
        }
        let Some(outliers) = &mut self.outliers else { return false };
        let mut changes = core::mem::take(&mut self.changes);
        let is_open = |id| self.endpoints.get(id).is_some_and(|endpoint| endpoint.out);
        outliers.tick(now, is_open, |change| changes.push(change));
        for change in changes.drain(..) {
            match change {
                outlier::Change::Ejected(ejection) => self.ejected(now, ejection),
                outlier::Change::Returned(id) => {
                    self.change(id, |endpoint| endpoint.ejected = false);
                    self.tell(StateEvent::Returned { endpoint: id });
                    self.join(now, id);
                    self.review(now, id);
                }
            }
        }
        self.changes = changes;
        true
    }

    /// When endpoints are compared next; `None` while there is nothing to compare.
    pub(super) fn sweep_at(&self) -> Option<Instant> {
        self.outliers.as_ref().filter(|outliers| outliers.has_news()).map(outlier::Outliers::deadline)
    }

    /// What a health check outside says of an endpoint: an unhealthy one gets no requests, unless too few others are left.
    /// `false` if there is no such endpoint.
    pub fn set_health(&mut self, now: Instant, id: EndpointId, health: Health) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return false };
        let before = core::mem::replace(&mut endpoint.health, health);
        if before != health {
            self.tell(StateEvent::Health { endpoint: id, to: health });
            if before == Health::Unhealthy || health == Health::Unhealthy {
                self.join(now, id);
            }
            self.review(now, id);
            self.hand_off(now);
        }
        true
    }

    pub(super) fn check_breaker(&mut self, now: Instant, id: EndpointId) {
        let before = if self.explainer.is_some() { self.breaker_before(now, id) } else { None };
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        if endpoint.breaker.deadline().is_none_or(|at| at > now) {
            return;
        }
        let transition = endpoint.breaker.tick(now);
        self.explain_trip(now, id, transition, before, false);
        self.breaker_moved(now, id, transition);
        self.set_out(id, false);
    }

    fn breaker_moved(&mut self, now: Instant, id: EndpointId, transition: Option<breaker::Transition>) {
        if let Some(transition) = transition {
            self.tell(StateEvent::Breaker { endpoint: id, to: transition.to });
            self.join(now, id);
        }
    }

    pub(super) fn set_out(&mut self, id: EndpointId, out: bool) {
        self.change(id, |endpoint| endpoint.out = out && endpoint.serves());
    }

    /// Changes an endpoint, and keeps the count of those that count against the ejection cap without being ejected.
    pub(super) fn change(&mut self, id: EndpointId, change: impl FnOnce(&mut super::endpoint::Endpoint)) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        self.open_beside_ejected -= u32::from(endpoint.out && !endpoint.ejected);
        change(endpoint);
        self.open_beside_ejected += u32::from(endpoint.out && !endpoint.ejected);
    }

    /// An endpoint begins to serve, for the first time or again: its weight grows, unless too few others carry theirs. As
    /// long as it cannot serve it does not begin.
    pub(super) fn join(&mut self, now: Instant, id: EndpointId) {
        self.unseason(id);
        let config = self.config.slow_start;
        let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| endpoint.may_join(now)) else {
            return;
        };
        let level = &mut self.levels[usize::from(endpoint.priority)];
        level.version += 1;
        // Those that are out carry nothing: after an outage of all, nobody is to begin slowly beside them.
        let others = level.available - u32::from(endpoint.counted.available);
        let ramp = Ramp::join(config, now, level.seasoned, others + 1);
        endpoint.ramp = Some(ramp);
        endpoint.ramp_at = Some(now);
        endpoint.ramping = ramp.deadline(config, now).is_some();
        level.ramping += u32::from(endpoint.ramping);
        self.season(now, id);
    }

    /// A fresh endpoint has grown older: its weight counts for more, or in full.
    pub(super) fn season(&mut self, now: Instant, id: EndpointId) {
        let config = self.config.slow_start;
        let by_weight = self.config.strategy.is_weighted();
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let Some(ramp) = endpoint.ramp.filter(|_| endpoint.ramp_at.is_some_and(|at| at <= now)) else {
            return;
        };
        let level = &mut self.levels[usize::from(endpoint.priority)];
        level.version += 1;
        if ramp.is_seasoned(config, now) {
            (endpoint.ramp, endpoint.ramp_at, endpoint.seasoned) = (None, None, true);
            level.seasoned += 1;
            level.ramping -= u32::from(core::mem::take(&mut endpoint.ramping));
        } else {
            let steps = if by_weight { RAMP_STEPS } else { 1 };
            endpoint.ramp_at = Some(now + (config.window / steps).max(super::LEAST));
        }
    }

    /// An endpoint serves no more, is out, or cannot be reached: what it carried before says nothing about its return.
    pub(super) fn unseason(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        (endpoint.ramp, endpoint.ramp_at) = (None, None);
        let level = &mut self.levels[usize::from(endpoint.priority)];
        level.seasoned -= u32::from(core::mem::take(&mut endpoint.seasoned));
        level.ramping -= u32::from(core::mem::take(&mut endpoint.ramping));
    }

    /// Brings the counts of an endpoint's level up to date, and what follows from them: who is a candidate in it, and
    /// which levels take requests.
    pub(super) fn recount(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let counted = endpoint.count();
        let before = core::mem::replace(&mut endpoint.counted, counted);
        if before == counted {
            return;
        }
        let priority = endpoint.priority;
        let level = &mut self.levels[usize::from(priority)];
        if level.recount(before, counted, self.config.panic) {
            let (spread, alone) = (level.spread, level.serving < 2);
            if !alone {
                self.tell(StateEvent::Panic { priority, spread });
            }
            self.each_endpoint(|cluster, other| {
                if cluster.endpoints.get(other).is_some_and(|other| other.priority == priority) {
                    cluster.review_listing(other);
                }
            });
        }
        self.weigh_level(now, priority);
        self.review_shares();
    }

    /// Tells the priorities how a level stands, if there is any other.
    pub(super) fn weigh_level(&mut self, now: Instant, priority: u8) {
        let level = &self.levels[usize::from(priority)];
        if self.levels.len() > 1 {
            // One that panics and asks nobody carries nothing, however many of its endpoints are well.
            let available = if level.spread == Spread::None { 0 } else { level.available };
            self.priorities.update(now, priority, available, level.serving);
        }
    }

    /// Lets the levels that take requests be dialled for them, and only those.
    pub(super) fn review_shares(&mut self) {
        if self.levels.len() < 2 {
            return;
        }
        let nobody = self.priorities.is_nobody_well();
        let shares = self.priorities.shares().iter().enumerate();
        let taking =
            shares.fold(0, |taking, (level, share)| taking | u8::from(nobody || *share > 0) << level);
        if core::mem::replace(&mut self.taking, taking) == taking {
            return;
        }
        self.tell(StateEvent::Failover { shares: self.priorities.shares().map(|share| share as u16) });
        self.each_endpoint(Self::note_dialable);
    }

    fn each_endpoint(&mut self, mut each: impl FnMut(&mut Self, EndpointId)) {
        for slot in 0..self.endpoints.slots() as u32 {
            if let Some(id) = self.endpoints.id_at(slot) {
                each(self, id);
            }
        }
    }
}
