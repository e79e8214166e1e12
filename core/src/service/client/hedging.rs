//! A second copy of a request that is slow, at another endpoint: the first answer counts.
//!
//! The copy has a slot of its own, and with it an id on the wire and a place in the line of its connection. All else stays
//! with the request: its caller's id, its deadline, its frame, its permit. When one of the two is answered the other is
//! taken back; when one is lost the other goes on alone, and only when both are is the request tried again.

use super::Client;
use super::requests::State;
use crate::cluster::{Place, Want};
use crate::policy::breaker;
use crate::policy::hedge::{Answer, Call};
use crate::service::Protocol;
use crate::time::Instant;

impl<P: Protocol> Client<P> {
    /// A request has got a place: after a while it is slow.
    pub(super) fn expect_answer(&mut self, slot: u32, since: Instant) {
        if let Some(hedging) = &self.hedging
            && self.requests.get(slot).idempotent
            && let Some(delay) = hedging.delay()
        {
            self.requests.slow_at.insert(slot, since, delay);
        }
    }

    /// Sends a second copy of every request that has become slow, as far as that is allowed.
    pub(super) fn hedge_slow(&mut self, now: Instant) {
        while let Some(slot) = self.requests.slow_at.pop_due(now) {
            self.hedge(now, slot);
            if self.cluster.has_actions() {
                self.catch_up();
            }
        }
    }

    fn hedge(&mut self, now: Instant, slot: u32) {
        let request = self.requests.get(slot);
        let State::Placed(first) = request.state else { return };
        // A copy is an attempt like any other.
        if request.attempts >= self.config.attempts.get() || self.cluster.endpoints().nth(1).is_none() {
            return;
        }
        let hedges = u32::from(request.hedges);
        let want = Want { avoid: Some(first.endpoint), ..self.requests.want(slot) };
        // Whoever waits for a place goes first, and what finds no other endpoint with room is not worth waiting for.
        let Ok(second) = self.cluster.checkout(now, want) else { return };
        let has_other_endpoint = second.endpoint != first.endpoint;
        let call = Call { sent: first.since, is_idempotent: true, has_other_endpoint, hedges };
        let answer = self.hedging.as_ref().map(|hedging| hedging.ask(now, &call, &mut self.budget));
        if answer == Some(Answer::Hedge) {
            self.send_copy(slot, second);
            return;
        }
        self.cluster.settle(now, second, breaker::Outcome::Ignored);
        self.cluster.release(now, second.conn);
        if let Some(Answer::Wait(until)) = answer {
            self.requests.slow_at.insert(slot, now, until.since(now));
        }
    }

    fn send_copy(&mut self, slot: u32, place: Place) {
        let copy = self.requests.open(self.now);
        self.requests.pair(slot, copy);
        let id = self.requests.wire_id(copy);
        let request = self.requests.get_mut(slot);
        request.attempts += 1;
        request.hedges += 1;
        // Of no matter to the request itself: should it be sent again, then under yet another id.
        self.protocol.set_id(&mut request.frame, id);
        self.metrics.hedges += 1;
        let link = &mut self.links[place.conn.index()];
        let start = link.send.end();
        link.send.push(&mut self.send_pool, &self.requests.get(slot).frame);
        let end = link.send.end();
        self.stand_in_line(place, copy, start, end);
    }

    /// Takes the second copy of a request back, if there is one; whether any byte of it had left.
    pub(super) fn drop_copy(&mut self, now: Instant, slot: u32, outcome: breaker::Outcome) -> bool {
        let Some(copy) = self.requests.unpair(slot) else { return false };
        self.drop_loser(now, copy, outcome)
    }

    /// A copy of the request that `owner` stands for was answered, the only one or the faster of two.
    pub(super) fn end_race(&mut self, winner: u32, owner: u32) {
        if owner == winner {
            self.outrun(self.requests.copy_of(winner));
            self.drop_copy(self.now, winner, breaker::Outcome::Ignored);
        } else {
            self.metrics.hedges_won += 1;
            self.requests.unpair(owner);
            self.outrun(Some(owner));
            self.drop_loser(self.now, owner, breaker::Outcome::Ignored);
        }
    }

    /// A copy was slower than the other: without this, hedging would hide from the balancer who is slow.
    fn outrun(&mut self, loser: Option<u32>) {
        if let Some(slot) = loser
            && let State::Placed(place) = self.requests.get(slot).state
        {
            self.cluster.outrun(self.now, place);
        }
    }

    /// Takes back what its other copy has overtaken, and forgets it; whether any byte of it had left.
    fn drop_loser(&mut self, now: Instant, slot: u32, outcome: breaker::Outcome) -> bool {
        let left = match self.requests.get(slot).state {
            State::Placed(place) => self.take_off(now, slot, place, outcome),
            State::Free | State::Waiting | State::Carried | State::Ghost { .. } => false,
        };
        self.forget(slot);
        left
    }

    /// One copy is lost, of which some byte had left or not. `Some`: the request, if it has no other copy now.
    pub(super) fn lose_copy(&mut self, slot: u32, sent: bool) -> Option<u32> {
        let owner = self.requests.owner(slot);
        self.requests.get_mut(owner).sent |= sent;
        if owner != slot {
            self.requests.unpair(owner);
            self.requests.close(slot);
            return matches!(self.requests.get(owner).state, State::Carried).then_some(owner);
        }
        if self.requests.copy_of(slot).is_none() {
            return Some(slot);
        }
        self.requests.get_mut(slot).state = State::Carried;
        None
    }
}
