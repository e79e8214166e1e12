//! From received bytes to settled requests, one answer ahead of whoever takes them.

use core::ops::Range;

use super::Client;
use super::admission::Fate;
use super::requests::State;
use crate::buf::Lent;
use crate::error::ProtocolError;
use crate::id::RequestId;
use crate::machine::Action;
use crate::policy::breaker;
use crate::service::{Decoded, Protocol, Verdict};
use crate::wire::WireId;

/// An answer that is settled and waits to be lent.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) slot: u32,
    pub(super) len: usize,
    pub(super) content: Range<usize>,
    pub(super) id: RequestId,
    pub(super) tag: u64,
    /// Whether its content says so; otherwise it says what has failed.
    pub(super) success: bool,
}
crate::saved!(struct Next { slot, len, content, id, tag, success });

impl<P: Protocol> Client<P> {
    /// Finds and settles the next answer that somebody waits for. No bytes are moved: an answer may be lent.
    pub(super) fn look_ahead(&mut self) {
        while self.next.is_none()
            && self.doomed.is_none()
            && let Some(slot) = self.ready.peek()
        {
            match self.next_on(slot) {
                Ok(Some(next)) => self.next = Some(next),
                Ok(None) => {
                    self.ready.pop();
                }
                Err(error) => {
                    self.ready.pop();
                    self.doomed = Some((slot, error));
                }
            }
        }
    }

    /// The next answer on one connection that somebody waits for; what nobody waits for is consumed and counted.
    pub(super) fn next_on(&mut self, slot: u32) -> Result<Option<Next>, ProtocolError> {
        loop {
            let progress = &mut self.progress[slot as usize];
            let decoded = self.protocol.decode(progress, self.receiver.bytes(slot));
            if self.log.is_some() {
                self.note_decoded(slot, &decoded);
            }
            let decoded = decoded?;
            if let Decoded::Need(total) = decoded {
                self.receiver.need(slot, total);
                return Ok(None);
            }
            self.progress[slot as usize] = P::Progress::default();
            match decoded {
                Decoded::Need(_) => return Ok(None),
                Decoded::Response { id, content, len } => {
                    let answered = self.settle_answer(slot, id, content.clone(), len)?;
                    if let Some((id, tag, success)) = answered {
                        return Ok(Some(Next { slot, len, content, id, tag, success }));
                    }
                    self.receiver.consume(slot, len);
                }
                Decoded::Control(n) => {
                    self.receiver.consume(slot, n);
                }
                Decoded::Skip(n) => {
                    self.metrics.skipped_bytes += n as u64;
                    self.receiver.consume(slot, n);
                }
            }
        }
    }

    /// Settles the request that an answer is for, and says whether it succeeded: `None` if nobody waits for it.
    fn settle_answer(
        &mut self,
        slot: u32,
        wire_id: Option<WireId>,
        content: Range<usize>,
        len: usize,
    ) -> Result<Option<(RequestId, u64, bool)>, ProtocolError> {
        let link = &self.links[slot as usize];
        let (conn, next) = (link.conn, link.line.first());
        let mut request = match wire_id {
            Some(id) => self.requests.find_wire(id, conn),
            None => next,
        };
        if let Some(log) = &mut self.log {
            let lengths = [content.len() as u64, content.start as u64, (len - content.end) as u64];
            if request.is_some() && request == next || wire_id.is_none() {
                log.found_next(lengths);
            } else {
                request = self.note_answer(wire_id, request, next, lengths);
            }
        }
        if wire_id.is_none() && self.links[slot as usize].unwelcomed.is_some_and(|left| left > 0) {
            self.welcomed(slot, content)?;
            return Ok(None);
        }
        // Nobody can answer what has not begun to leave.
        let sent = self.links[slot as usize].send.sent();
        let request = request.filter(|&request| self.requests.get(request).start < sent);
        if request.is_none() && wire_id.is_none() {
            return Err(ProtocolError::Unexpected);
        }
        let Some(request) = request else {
            self.metrics.late_responses += 1;
            return Ok(None);
        };
        self.cluster.proven(conn);
        let place = match self.requests.get(request).state {
            State::Placed(place) => place,
            State::Free | State::Waiting | State::Carried | State::Ghost { .. } => {
                let link = &self.links[slot as usize];
                let (ping, probe) = (link.ping == Some(request), link.probe == Some(request));
                self.metrics.late_responses += u64::from(!ping && !probe);
                if probe {
                    let load = self.protocol.load(&self.receiver.bytes(slot)[content]);
                    if let Some(log) = &mut self.log {
                        log.load(load);
                    }
                    load.inspect(|&load| self.cluster.told_load(self.now, conn, load));
                }
                self.vanish(slot, request);
                return Ok(None);
            }
        };
        let verdict = self.protocol.verdict(&self.receiver.bytes(slot)[content]);
        if let Some(log) = &mut self.log {
            log.verdict(&verdict);
        }
        let success = matches!(verdict, Verdict::Success);
        let (outcome, fate) = match verdict {
            Verdict::Success => {
                self.metrics.succeeded += 1;
                (breaker::Outcome::Success, Fate::Answered)
            }
            Verdict::Failure { unhealthy, overloaded, .. } => {
                self.metrics.failed += 1;
                self.metrics.failures.remote += 1;
                match (unhealthy, overloaded) {
                    (_, true) => (breaker::Outcome::Failure, Fate::Overloaded),
                    (true, false) => (breaker::Outcome::Failure, Fate::Failed),
                    (false, false) => (breaker::Outcome::Success, Fate::Answered),
                }
            }
        };
        if let Some(hedging) = self.hedging.as_mut().filter(|_| matches!(fate, Fate::Answered)) {
            hedging.record(self.now, self.now.since(place.since));
        }
        let owner = self.requests.owner(request);
        if self.admission.is_on() {
            let leave = self.requests.take_leave(owner);
            self.admission.settle(self.now, leave, fate);
        }
        let found = (self.requests.id(owner), self.requests.get(owner).tag, success);
        self.metrics.latency.record(self.now.since(self.requests.get(owner).taken));
        self.requests.leave(&mut self.links[slot as usize].line, request);
        self.cluster.settle(self.now, place, outcome);
        if self.hedging.is_some() {
            self.end_race(request, owner);
        }
        self.forget(request);
        self.cluster.release(self.now, conn);
        Ok(Some(found))
    }

    /// The peer has answered to the greeting, or to a part of it. The connection stands with the last answer.
    fn welcomed(&mut self, slot: u32, content: Range<usize>) -> Result<(), ProtocolError> {
        if self.links[slot as usize].send.sent() == 0 {
            return Err(ProtocolError::Unexpected);
        }
        let verdict = self.protocol.verdict(&self.receiver.bytes(slot)[content]);
        if let Some(log) = &mut self.log {
            log.verdict(&verdict);
        }
        if verdict != Verdict::Success {
            return Err(ProtocolError::Unwelcome);
        }
        let link = &mut self.links[slot as usize];
        let left = link.unwelcomed.map_or(0, |left| left - 1);
        link.unwelcomed = Some(left);
        if left == 0 {
            let conn = link.conn;
            self.cluster.connected(self.now, conn);
        }
        Ok(())
    }

    /// Ends a ghost: nobody is told.
    pub(super) fn vanish(&mut self, slot: u32, request: u32) {
        let link = &mut self.links[slot as usize];
        link.ping.take_if(|ping| *ping == request);
        link.probe.take_if(|probe| *probe == request);
        self.requests.leave(&mut link.line, request);
        if let State::Ghost { conn, holds_place: true } = self.requests.get(request).state {
            self.cluster.release(self.now, conn);
        }
        self.requests.close(request);
    }

    /// Reads again where the receive budget had stopped it.
    pub(super) fn relieve(&mut self) {
        // What was lent is given back by now: a long answer that was taken frees its part of the budget.
        self.receiver.reclaim();
        while let Some(slot) = self.receiver.relieved() {
            let link = &mut self.links[slot as usize];
            if !core::mem::replace(&mut link.reading, true) {
                self.actions.push_back(Action::Read(link.conn, true));
                self.cluster.received(self.now, link.conn);
            }
        }
    }

    /// Lends the answer that was found, and looks for the one after it.
    pub(super) fn take_next(&mut self) -> Option<(Next, Lent)> {
        let next = self.next.take()?;
        let lent = self.receiver.consume(next.slot, next.len);
        self.look_ahead();
        if self.draining.is_some() {
            self.cluster.close_drained(self.now);
        }
        Some((next, lent))
    }
}
