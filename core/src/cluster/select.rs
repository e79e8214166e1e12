//! Where the next request goes.

use super::endpoint::Endpoint;
use super::{Action, CloseCause, Cluster};
use crate::error::Rejected;
use crate::id::{ConnId, EndpointId, Table, kind};
use crate::policy::balance::Candidates;
use crate::policy::breaker::Permit;
use crate::policy::health_score::Score;
use crate::time::Instant;

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

/// Why a request has no place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// Every connection is full or still being dialled: it may [`wait`](Cluster::wait).
    Full,
    /// There is nothing to wait for.
    Rejected(Rejected),
}

/// The endpoints that can take a request, as the balancer sees them.
struct View<'a> {
    endpoints: &'a Table<kind::Endpoint, Endpoint>,
    listed: &'a [EndpointId],
    version: u64,
    now: Instant,
}

impl View<'_> {
    fn at(&self, at: usize) -> &Endpoint {
        self.endpoints.get(self.listed[at]).expect("a listed endpoint exists")
    }
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        self.listed.len()
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.at(at).in_flight
    }

    fn cost(&self, at: usize) -> u64 {
        let endpoint = self.at(at);
        endpoint.ewma.cost(self.now, endpoint.in_flight)
    }

    fn weight(&self, at: usize) -> u32 {
        self.at(at).weight
    }

    fn score(&self, at: usize) -> u32 {
        let endpoint = self.at(at);
        match endpoint.health.score(endpoint.in_flight) {
            // One that has answered would keep all calls from those that nobody has asked yet, whose score is 0.5.
            Score::NO_DATA => 1_000,
            score => score.as_per_mille(),
        }
    }

    fn slot(&self, at: usize) -> u32 {
        self.listed[at].slot()
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

impl Cluster {
    /// A place for a new request. Requests that wait go first.
    ///
    /// # Errors
    /// [`Unplaced`]: it may wait, or is rejected.
    pub fn checkout(&mut self, now: Instant) -> Result<Place, Unplaced> {
        if self.waiters.is_empty()
            && let Some(place) = self.place(now)
        {
            return Ok(place);
        }
        let serving = self.endpoints.len() - self.removed as usize;
        if serving == 0 {
            return Err(Unplaced::Rejected(Rejected::NoEndpoint));
        }
        if self.out as usize == serving {
            return Err(Unplaced::Rejected(Rejected::CircuitOpen));
        }
        self.dial_for_room(now, self.waiters.len() + 1);
        Err(Unplaced::Full)
    }

    /// Lets a request of `size` bytes wait under `key` (small and dense, such as a slot). `false`: the queue is full.
    pub fn wait(&mut self, key: u32, size: u32) -> bool {
        self.waiters.push(key, size)
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
        let (id, idle) = (state.endpoint, state.in_flight == 0);
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        endpoint.in_flight -= 1;
        if idle && endpoint.removed {
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
        while !self.waiters.is_empty() {
            let Some(place) = self.place(now) else {
                self.dial_for_room(now, self.waiters.len());
                return;
            };
            if let Some(waiter) = self.waiters.pop() {
                self.actions.push_back(Action::Assign { waiter, place });
            }
        }
    }

    /// Chooses an endpoint, asks its breaker, and takes a place on one of its connections.
    fn place(&mut self, now: Instant) -> Option<Place> {
        // Each round places the request or takes an endpoint off the list.
        loop {
            let view = View { endpoints: &self.endpoints, listed: &self.listed, version: self.version, now };
            let at = self.balancer.pick(&mut self.rng, &view)?;
            let id = self.listed[at];
            let endpoint = self.endpoints.get_mut(id)?;
            let Ok(permit) = endpoint.breaker.admit(now) else {
                self.set_out(id, true);
                self.review(now, id);
                continue;
            };
            let (limit, burst) = (self.config.in_flight.get(), self.config.burst);
            let conn = endpoint.choose(&self.conns, limit, burst)?;
            let state = self.conns.get_mut(conn)?;
            state.in_flight += 1;
            state.last_used = now;
            endpoint.in_flight += 1;
            let grow = state.in_flight > self.config.grow_at && endpoint.dialing.is_none();
            let full = endpoint.room(limit) == 0;
            if grow {
                self.grow(now, id);
            }
            if full {
                self.review_listing(id);
            }
            if permit.is_probe() {
                self.review(now, id);
            }
            return Some(Place { conn, endpoint: id, since: now, permit });
        }
    }

    /// Lists the endpoint if it can take a request, and only then.
    pub(super) fn review_listing(&mut self, id: EndpointId) {
        let limit = self.config.in_flight.get();
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let fit = !endpoint.removed && !endpoint.out && endpoint.room(limit) > 0;
        match (endpoint.listed, fit) {
            (None, true) => {
                self.version += 1;
                endpoint.listed = Some(self.listed.len());
                self.listed.push(id);
            }
            (Some(at), false) => {
                self.version += 1;
                endpoint.listed = None;
                self.listed.swap_remove(at);
                if let Some(&moved) = self.listed.get(at)
                    && let Some(moved) = self.endpoints.get_mut(moved)
                {
                    moved.listed = Some(at);
                }
            }
            _ => {}
        }
    }
}
