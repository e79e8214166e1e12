//! Where the next request goes.

use super::endpoint::{Age, Conn};
use super::explaining::Course;
use super::level::Level;
use super::view::View;
use super::{Action, CloseCause, Cluster};
use crate::error::Rejected;
use crate::id::{ConnId, EndpointId};
use crate::policy::balance::{PREQUAL_FLEET, Strategy, p2c};
use crate::policy::breaker::Permit;
use crate::policy::panic::Spread;
use crate::time::Instant;
use crate::wire::Load;

/// Draws after one that hit a fresh endpoint, and was to go elsewhere for its sake.
const REDRAWS: u32 = 3;

/// A place for one request on a connection, with the permit of its endpoint's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The connection.
    pub conn: ConnId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// When it was given.
    pub since: Instant,
    pub(super) permit: Permit,
}
crate::saved!(struct Place { conn, endpoint, since, permit });

/// What a request wants of its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// A hash of what it is about: requests with the same one go to the same endpoint, by `consistent_hash`.
    pub key: Option<u64>,
    /// Another endpoint than this, if any can take it: for what has just failed there, or is under way there.
    pub avoid: Option<EndpointId>,
}
crate::saved!(struct Want { key, avoid });

/// Why a request has no place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// Every connection is full or still being dialled: it may [`wait`](Cluster::wait).
    Full,
    /// There is nothing to wait for.
    Rejected(Rejected),
}

impl Cluster {
    /// A place for a new request. Requests that wait go first.
    ///
    /// # Errors
    /// [`Unplaced`]: it may wait, or is rejected.
    #[inline]
    pub fn checkout(&mut self, now: Instant, want: Want) -> Result<Place, Unplaced> {
        // Most want nothing, which is known where they ask: their want need not be written to be read again.
        self.checkout_as(now, if want == Want::default() { None } else { Some(&want) })
    }

    fn checkout_as(&mut self, now: Instant, want: Option<&Want>) -> Result<Place, Unplaced> {
        if self.waiters.is_empty()
            && let Some(place) = self.place(now, want)
        {
            return Ok(place);
        }
        Err(self.unplaced(now))
    }

    #[cold]
    fn unplaced(&mut self, now: Instant) -> Unplaced {
        self.choose(now);
        let unplaced = self.hopeless().map_or(Unplaced::Full, Unplaced::Rejected);
        self.explain_unplaced(now, unplaced);
        if unplaced == Unplaced::Full {
            self.dial_for_room(now, self.waiters.len() + 1);
        }
        unplaced
    }

    /// Why waiting would not help, if it would not.
    fn hopeless(&self) -> Option<Rejected> {
        let mut serving = self.levels.iter().filter(|level| level.serving > 0).peekable();
        if serving.peek().is_none() {
            return Some(Rejected::NoEndpoint);
        }
        if serving.clone().all(|level| level.out == level.serving) {
            return Some(Rejected::CircuitOpen);
        }
        if serving.clone().all(|level| level.spread == Spread::None) {
            return Some(Rejected::Panicked);
        }
        let nobody = |level: &Level| match level.spread {
            Spread::Available => level.barred == level.serving,
            Spread::All => level.out == level.serving,
            Spread::None => true,
        };
        serving.all(nobody).then_some(Rejected::Unhealthy)
    }

    /// Lets a request of `size` bytes wait under `key` (small and dense, such as a slot). A place that has come free since
    /// its checkout is found at once. `false`: the queue is full.
    pub fn wait(&mut self, now: Instant, key: u32, size: u32, want: Want) -> bool {
        let taken = self.waiters.push(key, size, want);
        if taken {
            self.hand_off(now);
        }
        taken
    }

    /// A request waits no longer. `false` if it did not wait.
    pub fn cancel_wait(&mut self, now: Instant, key: u32) -> bool {
        let found = self.waiters.remove(key);
        self.close_drained(now);
        found
    }

    /// The request on a connection has ended, and its place is free.
    pub fn release(&mut self, now: Instant, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        state.in_flight -= 1;
        state.last_used = now;
        let (id, idle, retiring) = (state.endpoint, state.in_flight == 0, state.age == Age::Retiring);
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        endpoint.in_flight -= 1;
        endpoint.retiring_in_flight -= u32::from(retiring);
        self.levels[usize::from(endpoint.priority)].in_flight -= 1;
        if idle && retiring {
            self.end(now, conn, CloseCause::Aged);
            return;
        }
        if idle && !endpoint.serves() {
            self.end(now, conn, CloseCause::Removed);
            return;
        }
        if endpoint.listed.is_none() {
            self.review_listing(id);
        }
        if !self.waiters.is_empty() {
            self.hand_off(now);
        }
        if idle && self.draining {
            self.close_drained(now);
        }
    }

    /// All bytes for a connection are sent: the next request may go to another.
    pub fn flushed(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get(conn)
            && let Some(endpoint) = self.endpoints.get_mut(state.endpoint)
        {
            endpoint.end_burst(conn);
        }
    }

    /// Gives places to those who wait, as far as there are any.
    pub(super) fn hand_off(&mut self, now: Instant) {
        let waited = !self.waiters.is_empty();
        while let Some(want) = self.waiters.peek() {
            let Some(place) = self.place(now, Some(&want)) else {
                self.dial_for_room(now, self.waiters.len());
                return;
            };
            if let Some(waiter) = self.waiters.pop() {
                self.actions.push_back(Action::Assign { waiter, place });
            }
        }
        if waited {
            // What is idle was kept for them.
            self.close_drained(now);
        }
    }

    /// Chooses an endpoint, asks its breaker, and takes a place on one of its connections.
    // Always: an id that is passed through memory costs as much as the choice of it.
    #[inline(always)]
    fn place(&mut self, now: Instant, want: Option<&Want>) -> Option<Place> {
        // Each round places the request or takes an endpoint off its list.
        loop {
            let id = self.pick(now, want)?;
            let endpoint = self.endpoints.get_mut(id)?;
            let Ok(permit) = endpoint.breaker.admit(now) else {
                self.pass_by(now, id);
                continue;
            };
            let (limit, burst) = (self.config.in_flight.get(), self.config.burst);
            let conn = endpoint.choose(&self.conns, limit, burst)?;
            let state = self.conns.get_mut(conn)?;
            let in_flight = state.in_flight + 1;
            state.in_flight = in_flight;
            state.last_used = now;
            endpoint.in_flight += 1;
            self.levels[usize::from(endpoint.priority)].in_flight += 1;
            if in_flight >= limit || in_flight > self.config.grow_at || permit.is_probe() {
                self.placed(now, id, in_flight, permit);
            }
            return Some(Place { conn, endpoint: id, since: now, permit });
        }
    }

    /// An endpoint's breaker lets nothing through.
    #[cold]
    fn pass_by(&mut self, now: Instant, id: EndpointId) {
        self.set_out(id, true);
        self.review(now, id);
    }

    /// What follows from a place if it was among the last of its endpoint, many are taken on its connection, or it is for a
    /// probe.
    #[inline(never)]
    fn placed(&mut self, now: Instant, id: EndpointId, in_flight: u32, permit: Permit) {
        let Some(endpoint) = self.endpoints.get(id) else { return };
        let full = endpoint.room(self.config.in_flight.get()) == 0;
        if in_flight > self.config.grow_at {
            self.grow(now, id);
        }
        if full {
            self.review_listing(id);
        }
        if permit.is_probe() {
            // Its result may be there before the tick that would tell of the change.
            self.check_breaker(now, id);
            self.review(now, id);
        }
    }

    /// The endpoint that is next, of the level that is next.
    #[inline(always)]
    fn pick(&mut self, now: Instant, want: Option<&Want>) -> Option<EndpointId> {
        match self.levels.as_slice() {
            [only] if only.listed.is_empty() => None,
            [_] => self.pick_in(now, 0, want),
            _ => self.pick_by_level(now, want),
        }
    }

    #[inline(never)]
    fn pick_by_level(&mut self, now: Instant, want: Option<&Want>) -> Option<EndpointId> {
        let drawn = usize::from(self.priorities.pick(&mut self.rng));
        for level in core::iter::once(drawn).chain(0..self.levels.len()) {
            let takes_any = self.taking & (1 << level) != 0;
            if takes_any
                && self.levels.get(level).is_some_and(|level| !level.listed.is_empty())
                && let Some(id) = self.pick_in(now, level, want)
            {
                return Some(id);
            }
        }
        None
    }

    #[inline(always)]
    fn pick_in(&mut self, now: Instant, priority: usize, want: Option<&Want>) -> Option<EndpointId> {
        if self.is_special(priority, want) {
            return self.pick_specially(now, priority, want.copied().unwrap_or_default());
        }
        let listed = &self.levels[priority].listed;
        let (one, other) = p2c::pair(&mut self.rng, listed.len())?;
        let (one, other) = (listed[one], listed[other]);
        let cost = |id| {
            let endpoint = self.endpoints.get(id);
            endpoint.map_or(u64::MAX, |endpoint| endpoint.ewma.cost(now, endpoint.in_flight))
        };
        Some(if cost(other) < cost(one) { other } else { one })
    }

    /// Whether there is more to a pick than the cheaper of two.
    #[inline(always)]
    fn is_special(&self, priority: usize, want: Option<&Want>) -> bool {
        self.config.strategy != Strategy::P2cEwma
            || self.levels[priority].ramping > 0
            || want.is_some_and(|want| want.avoid.is_some())
            || self.explainer.is_some()
    }

    /// Apart, so that the ordinary pick stays small.
    #[inline(never)]
    fn pick_specially(&mut self, now: Instant, priority: usize, want: Want) -> Option<EndpointId> {
        let strategy = self.config.strategy;
        let (level, balancer) = (&self.levels[priority], &mut self.balancers[priority]);
        let ramps = level.ramping > 0;
        let drawn = if ramps { self.rng.next_u32() } else { 0 };
        let slow_start = (ramps && strategy != Strategy::ConsistentHash).then_some(self.config.slow_start);
        let view = View { endpoints: &self.endpoints, level, key: want.key, slow_start, drawn, now };
        let mut before = self.explainer.is_some().then(|| self.rng.clone());
        let probed = before.is_some()
            && level.listed.len() >= PREQUAL_FLEET
            && balancer.prequal().is_some_and(|prequal| prequal.probes(now) > 1);
        let mut passed_on = 0;
        let mut at = balancer.pick(&mut self.rng, &view)?;
        // Those who build tables of weights have drawn by them already; the others may still have hit one that is fresh.
        while !strategy.is_weighted() && passed_on < REDRAWS && !view.takes_part(at) {
            before = before.map(|_| self.rng.clone());
            at = balancer.pick(&mut self.rng, &view)?;
            passed_on += 1;
        }
        let picked = level.listed[at];
        if self.config.strategy == Strategy::Prequal {
            self.probe(priority);
        }
        let id = if want.avoid == Some(picked) { self.another_than(picked)? } else { picked };
        if let Some(rng) = before {
            let mut course = Course { rng, drawn, picked, avoided: id != picked, passed_on, probed };
            self.explain_pick(now, priority as u8, want, &mut course, id);
        }
        Some(id)
    }

    /// Has a few endpoints asked how busy they are, for the next picks.
    fn probe(&mut self, priority: usize) {
        let level = &self.levels[priority];
        let len = level.listed.len();
        if len < PREQUAL_FLEET {
            return;
        }
        let Some(prequal) = self.balancers[priority].prequal() else { return };
        for at in prequal.targets(&mut self.rng, len) {
            let standing = |conn: &ConnId| self.conns.get(*conn).is_some_and(Conn::is_open);
            let endpoint = self.endpoints.get(level.listed[at]);
            if let Some(&conn) =
                endpoint.and_then(|endpoint| endpoint.conns.iter().find(|conn| standing(conn)))
            {
                self.actions.push_back(Action::Probe(conn));
            }
        }
    }

    /// What an endpoint says of itself.
    pub fn told_load(&mut self, now: Instant, conn: ConnId, load: Load) {
        let Some(id) = self.conns.get(conn).map(|conn| conn.endpoint) else { return };
        if let Some(endpoint) = self.endpoints.get(id)
            && let Some(prequal) = self.balancers[usize::from(endpoint.priority)].prequal()
        {
            prequal.answered(now, id.slot(), load.in_flight, load.latency);
        }
    }

    /// Any other endpoint of the same list that gets requests at all, with equal chance; itself if there is none.
    fn another_than(&mut self, id: EndpointId) -> Option<EndpointId> {
        let endpoint = self.endpoints.get(id)?;
        let listed = &self.levels[usize::from(endpoint.priority)].listed;
        let others = u32::try_from(listed.len() - 1).unwrap_or(u32::MAX);
        if others == 0 {
            return Some(id);
        }
        let by_weight = self.config.strategy.is_weighted();
        let gets_any = |id: &EndpointId| {
            !by_weight || self.endpoints.get(*id).is_some_and(|endpoint| endpoint.weight > 0)
        };
        let first = endpoint.listed? + 1 + self.rng.below(others) as usize;
        let mut ring = (first..first + listed.len()).map(|at| listed[at % listed.len()]);
        Some(ring.find(|other| *other != id && gets_any(other)).unwrap_or(id))
    }

    /// Lists the endpoint if it can take a request, and only then.
    pub(super) fn review_listing(&mut self, id: EndpointId) {
        let limit = self.config.in_flight.get();
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let level = &mut self.levels[usize::from(endpoint.priority)];
        let fit = endpoint.is_fit(limit, level.spread);
        match (endpoint.listed, fit) {
            (None, true) => {
                level.version += 1;
                endpoint.listed = Some(level.listed.len());
                level.listed.push(id);
            }
            (Some(at), false) => {
                level.version += 1;
                endpoint.listed = None;
                level.listed.swap_remove(at);
                if let Some(&moved) = level.listed.get(at)
                    && let Some(moved) = self.endpoints.get_mut(moved)
                {
                    moved.listed = Some(at);
                }
            }
            _ => {}
        }
    }
}
