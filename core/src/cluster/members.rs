//! The endpoints of a cluster: they come and go, while requests wait.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::endpoint::{Counted, Duty, Endpoint};
use super::level::Level;
use super::{CloseCause, Cluster, StateEvent};
use crate::error::Misuse;
use crate::id::EndpointId;
use crate::machine::unix_path;
use crate::policy::balance::consistent_hash::hash_key;
use crate::policy::health_check::Level as Health;
use crate::policy::{Backoff, Balancer, Breaker, HealthScore, PeakEwma, breaker, priority};
use crate::rng::Pcg;
use crate::time::Instant;

/// What can be said about an endpoint when it is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointOptions {
    /// How many requests it gets in proportion to the others, by the strategies that go by weight: up to 1,000,000, 0 for
    /// none. Default 1.
    pub weight: u32,
    /// Its priority level, from 0 to 7: a level gets requests when those before it are too weak. Default 0.
    pub priority: u8,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        EndpointOptions { weight: 1, priority: 0 }
    }
}

impl Cluster {
    /// Adds an address (`host:port`), and dials it if connections are to be kept up. Of a [`subset`](super::Config::subset)
    /// those to be used are chosen at the next [`tick`](Self::tick), which is due at once: of a fleet that comes together
    /// nobody is dialled who is displaced a moment later.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`]; [`Misuse::TooManyEndpoints`] at the configured limit.
    pub fn add_endpoint(&mut self, now: Instant, address: &str) -> Result<EndpointId, Misuse> {
        self.add_endpoint_with(now, address, EndpointOptions::default())
    }

    /// Adds an address (`host:port`), of which more is known.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`]; [`Misuse::TooManyEndpoints`] at the configured limit.
    pub fn add_endpoint_with(
        &mut self,
        now: Instant,
        address: &str,
        options: EndpointOptions,
    ) -> Result<EndpointId, Misuse> {
        check_address(address)?;
        let limit = self.config.max_endpoints.get();
        if self.endpoints.len() as u64 >= u64::from(limit) {
            return Err(Misuse::TooManyEndpoints { limit });
        }
        let priority = options.priority.min(priority::LEVELS as u8 - 1);
        self.make_levels(now, priority);
        let breaker_seed = Pcg::new(self.rng.next_u64(), 2);
        let id = self.endpoints.insert(Endpoint {
            address: address.to_string(),
            name: hash_key(address.as_bytes()),
            priority,
            duty: Duty::Spare,
            drained: false,
            conns: Vec::new(),
            open: 0,
            aged: 0,
            retiring: 0,
            retiring_in_flight: 0,
            dialing: None,
            dial_at: now,
            backing_off: false,
            in_flight: 0,
            burst: None,
            breaker: Breaker::new(self.config.breaker, breaker_seed),
            out: false,
            ejected: false,
            health: Health::Healthy,
            reachable: true,
            counted: Counted::default(),
            ramp: None,
            ramp_at: None,
            ramping: false,
            seasoned: false,
            ewma: PeakEwma::new(self.config.ewma, now),
            score: HealthScore::default(),
            weight: options.weight.min(MAX_WEIGHT),
            backoff: Backoff::new(self.config.backoff),
            listed: None,
        });
        self.enlist(now, id);
        self.hand_off(now);
        Ok(id)
    }

    fn make_levels(&mut self, now: Instant, priority: u8) {
        let before = self.levels.len();
        while self.levels.len() <= usize::from(priority) {
            self.levels.push(Level::new());
            self.balancers.push(Balancer::new(self.config.strategy, &mut self.rng));
        }
        if before < self.levels.len() {
            (0..self.levels.len() as u8).for_each(|level| self.weigh_level(now, level));
        }
    }

    /// Sends no more requests to an endpoint, and forgets it with its last connection: its idle connections close now, the
    /// others when their last request has ended. `false` if there is no such endpoint.
    pub fn remove_endpoint(&mut self, now: Instant, id: EndpointId) -> bool {
        self.dismiss(now, id, Duty::Removed)
    }

    /// Sends no more requests to an endpoint, until it is resumed. Its connections close as with
    /// [`remove_endpoint`](Self::remove_endpoint), and [`StateEvent::Drained`] tells when the last one has. `false` if
    /// there is no such endpoint.
    pub fn drain_endpoint(&mut self, now: Instant, id: EndpointId) -> bool {
        self.dismiss(now, id, Duty::Draining)
    }

    /// Sends requests to an endpoint again that was drained. `false` if it was not.
    pub fn resume_endpoint(&mut self, now: Instant, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| endpoint.duty == Duty::Draining)
        else {
            return false;
        };
        (endpoint.duty, endpoint.drained) = (Duty::Spare, false);
        self.enlist(now, id);
        self.hand_off(now);
        true
    }

    /// How many requests an endpoint gets in proportion to the others, by the strategies that go by weight: 1 at first,
    /// up to 1,000,000, 0 for none. `false` if there is no such endpoint.
    pub fn set_weight(&mut self, now: Instant, id: EndpointId, weight: u32) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return false };
        endpoint.weight = weight.min(MAX_WEIGHT);
        self.levels[usize::from(endpoint.priority)].version += 1;
        self.hand_off(now);
        true
    }

    /// How many connections are kept up per endpoint, from now on: more are dialled, and the idle ones of those that are
    /// too many are closed. At most [`max_connections`](super::Config::max_connections) count.
    pub fn scale(&mut self, now: Instant, connections: u32) {
        self.config.min_connections = connections;
        for slot in 0..self.endpoints.slots() as u32 {
            let Some(id) = self.endpoints.id_at(slot) else { continue };
            while let Some(conn) = self.surplus(id) {
                self.end(now, conn, CloseCause::Surplus);
            }
            self.review(now, id);
        }
    }

    fn surplus(&self, id: EndpointId) -> Option<crate::id::ConnId> {
        let endpoint = self.endpoints.get(id).filter(|e| e.open > self.config.min_connections)?;
        let mut conns = endpoint.conns.iter().copied();
        conns.find(|conn| self.conns.get(*conn).is_some_and(|conn| conn.is_open() && conn.in_flight == 0))
    }

    /// Lets an endpoint serve, if it is in this client's subset.
    fn enlist(&mut self, now: Instant, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        if let Some(subset) = &self.subset {
            // Or a fleet that comes one by one would cost O(n) for each of them.
            let limit = self.levels[usize::from(endpoint.priority)].subset_limit;
            if limit.is_none_or(|limit| subset.rank(endpoint.name) <= limit) {
                self.levels[usize::from(endpoint.priority)].is_unchosen = true;
                self.choose_at = self.choose_at.or(Some(now));
            }
            self.review(now, id);
        } else {
            self.set_duty(now, id, Duty::Serving);
        }
    }

    fn dismiss(&mut self, now: Instant, id: EndpointId, duty: Duty) -> bool {
        let Some(endpoint) = self.endpoints.get(id).filter(|endpoint| endpoint.duty != Duty::Removed) else {
            return false;
        };
        self.select(now, endpoint.priority, Some(id));
        self.set_duty(now, id, duty);
        self.hand_off(now);
        true
    }

    /// Chooses anew where somebody came who may be in this client's subset. Whether that was due.
    pub(super) fn choose(&mut self, now: Instant) -> bool {
        let is_due = self.choose_at.take().is_some();
        if is_due {
            for level in 0..self.levels.len() {
                if self.levels[level].is_unchosen {
                    self.select(now, level as u8, None);
                }
            }
        }
        is_due
    }

    /// Chooses the endpoints of a level that this client uses, without the one that leaves, in O(n).
    fn select(&mut self, now: Instant, priority: u8, leaving: Option<EndpointId>) {
        let Some(mut subset) = self.subset.take() else { return };
        let may_serve = |endpoint: &Endpoint| matches!(endpoint.duty, Duty::Serving | Duty::Spare);
        let (mut ids, mut names) = (Vec::new(), Vec::new());
        for (id, endpoint) in self.endpoints.iter() {
            if endpoint.priority == priority && may_serve(endpoint) && leaving != Some(id) {
                ids.push(id);
                names.push(endpoint.name);
            }
        }
        let chosen = subset.select(&names).to_vec();
        let mut chosen = chosen.into_iter().peekable();
        let level = &mut self.levels[usize::from(priority)];
        (level.subset_limit, level.is_unchosen) = (subset.limit(), false);
        let mut displaced = Vec::new();
        for (at, id) in (0..).zip(ids) {
            let is_chosen = chosen.next_if_eq(&at).is_some();
            match self.endpoints.get(id).map(|endpoint| endpoint.duty) {
                Some(Duty::Spare) if is_chosen => self.set_duty(now, id, Duty::Serving),
                Some(Duty::Serving) if !is_chosen => displaced.push(id),
                _ => {}
            }
        }
        // Whoever comes does so before others go: a small level would seem to fail meanwhile.
        displaced.into_iter().for_each(|id| self.set_duty(now, id, Duty::Spare));
        self.subset = Some(subset);
    }

    fn set_duty(&mut self, now: Instant, id: EndpointId, duty: Duty) {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let (served, priority) = (endpoint.serves(), endpoint.priority);
        endpoint.duty = duty;
        let serves = endpoint.serves();
        if serves && !served {
            let open = endpoint.breaker.state(now) == breaker::State::Open;
            self.set_out(id, open);
            if let Some(outliers) = &mut self.outliers {
                outliers.add(id);
            }
        }
        if !serves {
            if let Some(prequal) = self.balancers[usize::from(priority)].prequal() {
                prequal.forget(id.slot());
            }
            self.leave(now, id);
        }
        self.review(now, id);
    }

    /// An endpoint serves no more: what it has idle is closed.
    fn leave(&mut self, now: Instant, id: EndpointId) {
        self.change(id, |endpoint| (endpoint.out, endpoint.ejected) = (false, false));
        self.unseason(id);
        if let Some(outliers) = &mut self.outliers {
            outliers.remove(id);
        }
        let conns = self.endpoints.get(id).map_or_else(Vec::new, |endpoint| endpoint.conns.clone());
        for conn in conns {
            if self.conns.get(conn).is_some_and(|conn| conn.in_flight == 0) {
                self.end(now, conn, CloseCause::Removed);
            }
        }
    }

    /// Forgets an endpoint that was removed, and tells of one that was drained, when its last connection has ended.
    pub(super) fn review_duty(&mut self, id: EndpointId) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id).filter(|endpoint| endpoint.conns.is_empty()) else {
            return false;
        };
        match endpoint.duty {
            Duty::Removed => {
                self.endpoint_timers.set(id.slot(), None);
                self.dialable.remove(id.slot());
                self.endpoints.remove(id);
                true
            }
            Duty::Draining => {
                if !core::mem::replace(&mut endpoint.drained, true) {
                    self.tell(StateEvent::Drained { endpoint: id });
                }
                false
            }
            Duty::Serving | Duty::Spare => {
                endpoint.drained = false;
                false
            }
        }
    }
}

/// So that a thousandth of it can be counted.
const MAX_WEIGHT: u32 = 1_000_000;

fn check_address(address: &str) -> Result<(), Misuse> {
    if unix_path(address).is_some() {
        return Ok(());
    }
    let (host, port) = address.rsplit_once(':').ok_or(Misuse::BadAddress)?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || port.parse::<u16>().is_err() {
        return Err(Misuse::BadAddress);
    }
    Ok(())
}
