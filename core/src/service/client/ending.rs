//! The ways in which requests and connections end.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::admission::Fate;
use super::requests::State;
use super::{Client, CloseCause, Outcome};
use crate::cluster::{Place, Unplaced, Want};
use crate::error::ProtocolError;
use crate::id::{ConnId, RequestId};
use crate::machine::Action;
use crate::policy::breaker;
use crate::record::Recorder;
use crate::service::{Protocol, Verdict};
use crate::time::Instant;

/// A request that has ended and waits to be told.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) id: RequestId,
    pub(super) tag: u64,
    pub(super) how: How,
}
crate::saved!(struct Ended { id, tag, how });

#[derive(Clone, Debug)]
pub(super) enum How {
    /// Answered on a connection that has closed since, so that the content had to be copied.
    Answered(Vec<u8>),
    Timeout {
        sent: bool,
    },
    Lost {
        sent: bool,
    },
    Protocol(ProtocolError),
    Cancelled,
}
crate::saved!(enum How {
    0 = Answered(value), 1 = Timeout { sent }, 2 = Lost { sent }, 3 = Protocol(value), 4 = Cancelled
});

/// What the content of an answer says.
pub(super) fn outcome_of<'a, P: Protocol>(
    protocol: &P,
    content: &'a [u8],
    log: &mut Option<Box<Recorder>>,
) -> Outcome<'a> {
    let verdict = protocol.verdict(content);
    if let Some(log) = log {
        log.verdict(&verdict);
    }
    match verdict {
        Verdict::Success => Outcome::Answer(content),
        Verdict::Failure { code, message, .. } => Outcome::Remote { code, message },
    }
}

impl<P: Protocol> Client<P> {
    /// Ends every request whose time is over.
    pub(super) fn time_out(&mut self, now: Instant) {
        while let Some(slot) = self.requests.deadlines.pop_due(now) {
            self.give_up(now, slot, breaker::Outcome::Failure, |sent| How::Timeout { sent });
            // The next to time out may have got the place that came free.
            if self.cluster.has_actions() {
                self.catch_up();
            }
        }
    }

    /// Ends a request that has no answer yet, wherever it stands.
    pub(super) fn give_up(
        &mut self,
        now: Instant,
        slot: u32,
        outcome: breaker::Outcome,
        how: impl FnOnce(bool) -> How,
    ) {
        let sent = self.drop_copy(now, slot, outcome) || self.requests.get(slot).sent;
        match self.requests.get(slot).state {
            State::Waiting => {
                self.cluster.cancel_wait(now, slot);
                self.finish(slot, how(sent));
            }
            State::Placed(place) => {
                let left = self.take_off(now, slot, place, outcome);
                self.finish(slot, how(sent || left));
            }
            State::Carried => self.finish(slot, how(sent)),
            State::Free | State::Ghost { .. } => {}
        }
    }

    /// Takes what nobody waits for any more off its connection, and tells whether any byte of it had left. On a wire
    /// without ids it then stays in line as a ghost, and keeps its place, until its answer has passed.
    pub(super) fn take_off(
        &mut self,
        now: Instant,
        slot: u32,
        place: Place,
        outcome: breaker::Outcome,
    ) -> bool {
        self.cluster.settle(now, place, outcome);
        let left = !self.take_back(place.conn.slot(), slot);
        if left && !P::HAS_IDS {
            let request = self.requests.get_mut(slot);
            request.state = State::Ghost { conn: place.conn, holds_place: true };
            let frame = core::mem::take(&mut request.frame);
            self.keep_for_reuse(frame);
            self.requests.deadlines.remove(slot);
            self.requests.slow_at.remove(slot);
        } else {
            self.requests.leave(&mut self.links[place.conn.index()].line, slot);
            self.cluster.release(now, place.conn);
        }
        left
    }

    /// Takes a frame out of the send queue if no byte of it has left: otherwise it would still run, after its caller
    /// was told that it was not sent.
    fn take_back(&mut self, conn: u32, slot: u32) -> bool {
        let link = &mut self.links[conn as usize];
        let (start, len) = (self.requests.get(slot).start, self.requests.get(slot).len);
        if link.send.sent() > start {
            return false;
        }
        link.send.cut(start, len as usize);
        let mut behind = self.requests.after(slot);
        while let Some(other) = behind {
            self.requests.get_mut(other).start -= u64::from(len);
            behind = self.requests.after(other);
        }
        if link.send.is_empty() {
            link.flushing = false;
        }
        true
    }

    /// Ends a request that is on no connection any more, but for its ghost.
    fn finish(&mut self, slot: u32, how: How) {
        self.tell(slot, how);
        self.forget(slot);
    }

    /// Gives a slot back, unless a ghost is in it.
    pub(super) fn forget(&mut self, slot: u32) {
        if matches!(self.requests.get(slot).state, State::Ghost { .. }) {
            return;
        }
        let frame = self.requests.close(slot);
        self.keep_for_reuse(frame);
    }

    fn tell(&mut self, slot: u32, how: How) {
        let failures = &mut self.metrics.failures;
        match how {
            How::Answered(_) => {}
            How::Timeout { .. } => failures.timeout += 1,
            How::Lost { .. } => failures.lost += 1,
            How::Protocol(_) => failures.protocol += 1,
            How::Cancelled => failures.cancelled += 1,
        }
        let fate = if matches!(how, How::Timeout { sent: true }) { Fate::Overloaded } else { Fate::Unknown };
        let leave = self.requests.take_leave(slot);
        self.admission.settle(self.now, leave, fate);
        self.metrics.failed += 1;
        self.outcomes.push_back(Ended { id: self.requests.id(slot), tag: self.requests.get(slot).tag, how });
    }

    /// A connection has ended. Answers that had arrived still count; the other requests on it are tried again or end.
    pub(super) fn close(&mut self, conn: ConnId, cause: CloseCause) {
        let slot = conn.slot();
        self.keep_answers(slot);
        self.receiver.close(slot);
        self.ready.remove(slot);
        let stood = self.links[slot as usize].unwelcomed == Some(0);
        if stood && matches!(cause, CloseCause::Fault(_) | CloseCause::Silent | CloseCause::Protocol(_)) {
            self.metrics.reconnects += 1;
        }
        let mut charged = false;
        let mut line = self.links[slot as usize].line.first();
        while let Some(request) = line {
            line = self.requests.after(request);
            charged |= self.lose(slot, request, cause, charged);
        }
        let link = &mut self.links[slot as usize];
        link.line = super::Line::default();
        link.send.clear(&mut self.send_pool);
        let known = !link.gone && !self.actions.contains(&Action::Connect(conn));
        // Nothing that the runtime was to do with it makes sense any more.
        self.actions.retain(|action| action.conn() != conn);
        if known {
            self.actions.push_back(Action::Close(conn));
        }
        let mut again = core::mem::take(&mut self.again);
        for request in again.drain(..) {
            self.try_again(request);
        }
        self.again = again;
    }

    /// Copies the answers that have arrived on a connection and were not taken yet.
    fn keep_answers(&mut self, slot: u32) {
        let mut next = self.next.take_if(|next| next.slot == slot);
        loop {
            if let Some(next) = next {
                let content = self.receiver.bytes(slot)[next.content].to_vec();
                self.receiver.consume(slot, next.len);
                self.outcomes.push_back(Ended { id: next.id, tag: next.tag, how: How::Answered(content) });
            }
            match self.next_on(slot) {
                Ok(Some(found)) => next = Some(found),
                // What follows garbage is lost with the connection, whatever it was.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// A request's connection is lost: it is tried again if it may be. Answers whether its endpoint was charged with a
    /// failure: once for a connection, however many requests were on it, or one reset would open the breaker.
    fn lose(&mut self, conn: u32, slot: u32, cause: CloseCause, charged: bool) -> bool {
        let place = match self.requests.get(slot).state {
            State::Placed(place) => place,
            State::Free | State::Waiting | State::Carried | State::Ghost { .. } => {
                self.requests.close(slot);
                return false;
            }
        };
        let sent_now = self.links[conn as usize].send.sent() > self.requests.get(slot).start;
        let at_fault = !charged && sent_now && cause.is_error();
        let outcome = if at_fault { breaker::Outcome::Failure } else { breaker::Outcome::Ignored };
        self.cluster.settle(self.now, place, outcome);
        let Some(slot) = self.lose_copy(slot, sent_now) else { return at_fault };
        let link = &self.links[conn as usize];
        let request = self.requests.get_mut(slot);
        let safe = !sent_now || request.idempotent;
        let sent = request.sent;
        let tries = request.attempts < self.config.attempts.get();
        if request.frame.is_empty() && !sent_now {
            let end = request.start + u64::from(request.len);
            request.frame = self.frames.get();
            link.send.copy_range(request.start, end, &mut request.frame);
        }
        let closing = matches!(cause, CloseCause::Shutdown);
        if !closing && safe && tries && self.budget.withdraw(self.now) {
            let id = self.requests.renew(slot);
            self.protocol.set_id(&mut self.requests.get_mut(slot).frame, id);
            let avoid = cause.is_error().then_some(place.endpoint);
            self.requests.set_want(slot, Want { avoid, ..self.requests.want(slot) });
            self.metrics.retries += 1;
            self.again.push(slot);
            return at_fault;
        }
        let how = match cause {
            CloseCause::Protocol(error) if sent_now => How::Protocol(error),
            _ => How::Lost { sent },
        };
        self.finish(slot, how);
        at_fault
    }

    /// Finds another place for a request whose frame is kept.
    pub(super) fn try_again(&mut self, slot: u32) {
        let size = u32::try_from(self.requests.get(slot).frame.len()).unwrap_or(u32::MAX);
        let want = self.requests.want(slot);
        match self.cluster.checkout(self.now, want) {
            Ok(place) => self.put(place, slot),
            Err(Unplaced::Full) if self.cluster.wait(self.now, slot, size, want) => {}
            Err(_) => {
                let sent = self.requests.get(slot).sent;
                self.finish(slot, How::Lost { sent });
            }
        }
    }

    /// The time to drain is over: what is left ends.
    pub(super) fn cut_short(&mut self) {
        let waiting: Vec<u32> = self.requests.taken().collect();
        for slot in waiting {
            if matches!(self.requests.get(slot).state, State::Waiting) {
                let sent = self.requests.get(slot).sent;
                self.cluster.cancel_wait(self.now, slot);
                self.finish(slot, How::Lost { sent });
            }
        }
        self.cluster.close_all(self.now);
    }
}
