//! From a caller's request to a frame on a connection.

use super::requests::State;
use super::{Client, Options, RequestError};
use crate::cluster::{Place, Unplaced, Want};
use crate::error::{Misuse, Rejected};
use crate::id::RequestId;
use crate::policy::breaker;
use crate::service::Protocol;
use crate::time::Instant;

impl<P: Protocol> Client<P> {
    /// Takes a request: encodes it onto a connection, or lets it wait for one. It ends with exactly one
    /// [`Event::Outcome`](super::Event::Outcome).
    ///
    /// # Errors
    /// [`RequestError`]: it was not taken, and nothing was sent.
    pub fn request(
        &mut self,
        now: Instant,
        request: &P::Request<'_>,
        options: Options,
    ) -> Result<RequestId, RequestError> {
        let now = self.begin(now);
        let taken = self.take(now, request, options);
        match &taken {
            Ok(_) => self.metrics.requests += 1,
            Err(error) => {
                self.metrics.rejected += 1;
                if let RequestError::Rejected(rejected) = error {
                    self.metrics.rejections.count(*rejected);
                }
            }
        }
        if self.log.is_some() {
            self.catch_up_and_note(request, options, &taken);
        } else if self.cluster.has_actions() {
            self.catch_up();
        }
        taken
    }

    fn take(
        &mut self,
        now: Instant,
        request: &P::Request<'_>,
        options: Options,
    ) -> Result<RequestId, RequestError> {
        if self.draining.is_some() {
            return Err(Rejected::ShuttingDown.into());
        }
        if self.outcomes.len() as u64 >= u64::from(self.config.outcomes.get()) {
            return Err(Rejected::Overloaded.into());
        }
        let want = Want { key: options.key, avoid: None };
        let leave = self.admission.admit(now)?;
        match self.place(now, request, options, want) {
            Ok(slot) => {
                let timeout = options.timeout.unwrap_or(self.config.timeout);
                self.requests.deadlines.insert(slot, now, timeout);
                self.requests.set_leave(slot, leave);
                self.requests.get_mut(slot).tag = options.tag;
                self.budget.deposit(now);
                self.metrics.rate.record(now);
                Ok(self.requests.id(slot))
            }
            Err(error) => {
                self.admission.undo(now, leave);
                Err(error)
            }
        }
    }

    /// Encodes a request that the guards have let in onto a connection, or to wait for one. Its slot.
    fn place(
        &mut self,
        now: Instant,
        request: &P::Request<'_>,
        options: Options,
        want: Want,
    ) -> Result<u32, RequestError> {
        let place = match self.cluster.checkout(now, want) {
            Ok(place) => Some(place),
            Err(Unplaced::Full) => None,
            Err(Unplaced::Rejected(rejected)) => return Err(rejected.into()),
        };
        let slot = self.requests.open(now);
        self.requests.get_mut(slot).idempotent = options.idempotent;
        self.requests.set_want(slot, want);
        let encoded = match place {
            Some(place) => {
                self.encode_on(place, slot, request, options.idempotent).map_err(RequestError::from)
            }
            None => self.encode_waiting(slot, request, want),
        };
        if let Err(error) = encoded {
            if let Some(place) = place {
                self.cluster.settle(now, place, breaker::Outcome::Ignored);
                self.cluster.release(now, place.conn);
            }
            self.forget(slot);
            return Err(error);
        }
        Ok(slot)
    }

    #[inline]
    fn encode_on(
        &mut self,
        place: Place,
        slot: u32,
        request: &P::Request<'_>,
        keep: bool,
    ) -> Result<(), Misuse> {
        let id = self.requests.wire_id(slot);
        let link = &mut self.links[place.conn.index()];
        let start = link.send.end();
        let protocol = &self.protocol;
        let encoded = link.send.push_with(&mut self.send_pool, |out| protocol.encode(out, id, request));
        let end = link.send.end();
        encoded?;
        if keep {
            let mut frame = self.frames.get();
            link.send.copy_range(start, end, &mut frame);
            self.requests.get_mut(slot).frame = frame;
        }
        self.stand_in_line(place, slot, start, end);
        Ok(())
    }

    fn encode_waiting(
        &mut self,
        slot: u32,
        request: &P::Request<'_>,
        want: Want,
    ) -> Result<(), RequestError> {
        let id = self.requests.wire_id(slot);
        let mut frame = self.frames.get();
        let encoded = self.protocol.encode(&mut frame, id, request);
        let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if let Some(log) = &mut self.log {
            log.frame = encoded.map_or(0, |()| frame.len());
        }
        self.requests.get_mut(slot).frame = frame;
        encoded?;
        if self.cluster.wait(self.now, slot, size, want) { Ok(()) } else { Err(Rejected::Overloaded.into()) }
    }

    /// Puts a kept frame on the connection of its place.
    pub(super) fn put(&mut self, place: Place, slot: u32) {
        let link = &mut self.links[place.conn.index()];
        let start = link.send.end();
        link.send.push(&mut self.send_pool, &self.requests.get(slot).frame);
        let end = link.send.end();
        let request = self.requests.get_mut(slot);
        if !request.idempotent {
            let frame = core::mem::take(&mut request.frame);
            self.keep_for_reuse(frame);
        }
        self.stand_in_line(place, slot, start, end);
    }

    #[inline(always)]
    pub(super) fn stand_in_line(&mut self, place: Place, slot: u32, start: u64, end: u64) {
        let link = &mut self.links[place.conn.index()];
        self.requests.join(&mut link.line, slot);
        if let Some(leave) = self.requests.leave_of(slot) {
            leave.restart(place.since);
        }
        let request = self.requests.get_mut(slot);
        request.state = State::Placed(place);
        request.start = start;
        request.len = (end - start) as u32;
        self.expect_answer(slot, place.since);
        self.flush(place.conn.slot());
    }
}
