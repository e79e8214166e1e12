//! What becomes of a message.

use core::time::Duration;

use super::api::{Dropped, Event, Refused};
use super::pending::{Route, Side};
use super::state::State;
use crate::error::Misuse;
use crate::id::ConnId;
use crate::ipc::ContextError;
use crate::ipc::context;
use crate::machine::Peer;
use crate::wire::ipc::{
    ConvertError, Envelope, Format, HEADER, HUB, Kind, MessageError, Reply, Text, code, write_frame,
    write_register_ack,
};

impl State {
    /// Takes one whole message.
    pub(super) fn take<'m>(&mut self, id: ConnId, message: &'m [u8]) -> Event<'m> {
        let body = &message[HEADER..];
        let parsed = match self
            .lines
            .live(id)
            .and_then(|conn| conn.format)
            .or(body.first().copied().and_then(Format::of))
        {
            Some(format) => Envelope::parse(format, body),
            None => Err(MessageError::NotAMap),
        };
        let envelope = match parsed {
            Ok(envelope) => envelope,
            Err(error) => return self.invalid(id, error.into()),
        };
        let registered = match self.lines.live(id) {
            Some(conn) => {
                conn.format = Some(envelope.format());
                conn.registration.is_some()
            }
            None => false,
        };
        match envelope.kind() {
            Kind::Register => self.register(id, envelope),
            _ if !registered => self.invalid(id, Refused::NotRegistered),
            Kind::Call => self.call(id, message, envelope),
            Kind::Response => self.response(id, message, envelope),
            Kind::Heartbeat => self.heartbeat(id, envelope),
            Kind::RegisterAck | Kind::Error => self.invalid(id, Refused::NotForHubs),
        }
    }

    fn invalid<'m>(&mut self, conn: ConnId, refused: Refused) -> Event<'m> {
        self.refuse(conn, refused);
        Event::Invalid { conn, refused }
    }

    fn register<'m>(&mut self, id: ConnId, register: Envelope<'m>) -> Event<'m> {
        let (methods, now) = (self.config.methods.get(), (self.now, self.unix_ms()));
        let Some(conn) = self.lines.table.get(id) else { return self.invalid(id, Refused::NotRegistered) };
        let registered = match &conn.registration {
            Some(before) => self.services.register_again(before, &register, methods),
            None => {
                let table = &self.lines.table;
                let index_of = |member| table.get(member)?.registration.as_ref()?.index();
                self.services.register(id, &register, methods, now, index_of)
            }
        };
        let registration = match registered {
            Ok(registration) => registration,
            Err(refused) => return self.invalid(id, refused),
        };
        let mut peer = Peer::UNKNOWN;
        if let Some(conn) = self.lines.live(id) {
            conn.registration = Some(registration);
            peer = conn.peer;
        }
        self.metrics.registered += 1;
        self.rearm(id);
        let _ = self.lines.push(&self.config, id, |out| {
            write_register_ack(out, register.format());
            Ok::<(), core::convert::Infallible>(())
        });
        Event::Registered { conn: id, register, peer }
    }

    fn heartbeat<'m>(&mut self, conn: ConnId, beat: Envelope<'m>) -> Event<'m> {
        let service = match self.sender(conn, &beat) {
            Ok(service) => service,
            Err(refused) => return self.invalid(conn, refused),
        };
        self.metrics.heartbeats += 1;
        let unix_ms = self.unix_ms();
        if let Some(service) = self.services.get_mut(service) {
            service.last_heartbeat = unix_ms;
        }
        Event::Heartbeat { conn }
    }

    /// The slot of the service that a message is from, if it says so itself.
    fn sender(&self, id: ConnId, message: &Envelope<'_>) -> Result<u32, Refused> {
        let conn = self.lines.table.get(id).and_then(|conn| conn.registration.as_ref());
        let service = conn.ok_or(Refused::NotRegistered)?.service;
        let from = message.from()?;
        let own = self.services.name(service).is_some_and(|name| from.is(name));
        if own { Ok(service) } else { Err(Refused::Impersonation) }
    }

    fn call<'m>(&mut self, id: ConnId, message: &[u8], call: Envelope<'m>) -> Event<'m> {
        match self.try_call(id, message, &call) {
            Ok(Some(to)) => Event::CallRouted { call, to },
            Ok(None) => Event::CallAnswered { call, refused: None },
            Err(refused) => {
                self.metrics.refused += 1;
                self.metrics.overloaded += u64::from(refused.code() == code::OVERLOADED);
                self.refuse_call(id, &call, refused);
                Event::CallAnswered { call, refused: Some(refused) }
            }
        }
    }

    /// Answers a call with its failure; one without an id, with an `ERROR`.
    fn refuse_call(&mut self, id: ConnId, call: &Envelope<'_>, refused: Refused) {
        let (Ok(call_id), Ok(to)) = (call.id(), call.from()) else { return self.refuse(id, refused) };
        let from = call.to().unwrap_or(Text::from(HUB));
        let reply = Reply { id: call_id, from, to, context: call.raw_context() };
        self.answer_refused(id, &reply, refused);
    }

    /// Passes a call on: to which connection; `None` if it was a question to the hub.
    fn try_call(
        &mut self,
        id: ConnId,
        message: &[u8],
        call: &Envelope<'_>,
    ) -> Result<Option<ConnId>, Refused> {
        let caller_service = self.sender(id, call)?;
        let (call_id, to, method) = (call.id()?, call.to()?, call.method()?);
        let context = call.context().map_err(ContextError::Invalid)?;
        let unix_ms = self.unix_ms();
        context::check(context.depth, context.deadline, unix_ms)?;
        if to.is(HUB) {
            return self.query(id, call).map(|()| None);
        }
        let callee_service = self.services.find(&to.get()).ok_or(Refused::ServiceNotFound)?;
        let callee = self.choose(callee_service, &method.get())?;
        self.admit(id, caller_service, message.len() as u64)?;
        if self.pending.find(caller_service, call_id).is_some() {
            return Err(Refused::IdTaken);
        }
        self.forward(callee, message, call)?;
        let left = Duration::from_millis(context.deadline.saturating_sub(unix_ms));
        let route = Route { caller: id, callee, caller_service, callee_service };
        self.enter(route, context.whole, left);
        Ok(Some(callee))
    }

    /// The member of a service that is called next: of those that have the method and read what they are sent, the one
    /// with the fewest calls; in turn, if several have as few.
    fn choose(&mut self, service: u32, method: &str) -> Result<ConnId, Refused> {
        let table = &self.lines.table;
        let service = self.services.get_mut(service).ok_or(Refused::ServiceNotFound)?;
        let (mut known, mut best) = (false, None);
        let members = service.members.len();
        for turn in 0..members {
            let at = (service.next + turn) % members;
            let Some(conn) = table.get(service.members[at]) else { continue };
            if !conn.registration.as_ref().is_some_and(|registered| registered.has(method)) {
                continue;
            }
            known = true;
            if !conn.port.load.is_above() && best.is_none_or(|(fewest, _)| conn.called.len < fewest) {
                best = Some((conn.called.len, at));
            }
        }
        match best {
            Some((_, at)) => {
                service.next = (at + 1) % members;
                Ok(service.members[at])
            }
            None if known => Err(Refused::CalleeOverloaded),
            None => Err(Refused::MethodNotFound),
        }
    }

    /// Whether a service may make one more call, of so many bytes.
    fn admit(&self, id: ConnId, service: u32, bytes: u64) -> Result<(), Refused> {
        if self.lines.table.get(id).is_some_and(|conn| conn.port.load.is_above()) {
            return Err(Refused::CallerOverloaded);
        }
        let calling = self.services.get(service).map_or(0, |service| service.calling.len);
        let total = self.config.pending_total.get();
        let scarce = calling > 0 && self.pending.len() >= total - total / 4;
        let unsent = self.lines.unsent + bytes > u64::from(self.config.unsent_total.get());
        if calling >= self.config.pending.get() || scarce || unsent || self.pending.is_full() {
            return Err(Refused::TooManyCalls);
        }
        Ok(())
    }

    /// Notes a call that was passed on.
    fn enter(&mut self, route: Route, context: crate::wire::ipc::Value<'_>, left: Duration) {
        let by_deadline = left < self.config.timeout;
        let Some(slot) = self.pending.insert(route, context, self.now, by_deadline) else { return };
        if let Some(conn) = self.lines.table.get_mut(route.callee) {
            self.pending.link(Side::Callee, &mut conn.called, slot);
        }
        if let Some(service) = self.services.get_mut(route.caller_service) {
            self.pending.link(Side::Caller, &mut service.calling, slot);
        }
        self.pending.deadlines.insert(slot, self.now, left.min(self.config.timeout));
        if let Some(service) = self.services.get_mut(route.callee_service) {
            service.rate.record(self.now);
        }
        self.metrics.routed += 1;
        self.metrics.rate.record(self.now);
    }

    fn response<'m>(&mut self, id: ConnId, message: &[u8], response: Envelope<'m>) -> Event<'m> {
        let why = match self.find_call(id, &response) {
            Ok(Ok(call)) => match self.answer(call, message, &response) {
                Some(to) => return Event::ResponseRouted { response, to },
                None => Dropped::Unconvertible,
            },
            Ok(Err(dropped)) => {
                self.metrics.late += u64::from(dropped == Dropped::Late);
                self.metrics.foreign += u64::from(dropped == Dropped::Foreign);
                dropped
            }
            Err(refused) => {
                self.refuse(id, refused);
                Dropped::Invalid(refused)
            }
        };
        Event::ResponseDropped { response, why }
    }

    /// The pending call that a message answers.
    fn find_call(&mut self, id: ConnId, response: &Envelope<'_>) -> Result<Result<u32, Dropped>, Refused> {
        let service = self.sender(id, response)?;
        let (call_id, to, _) = (response.id()?, response.to()?, response.status()?);
        let caller = self.services.find(&to.get());
        let Some(slot) = caller.and_then(|caller| self.pending.find(caller, call_id)) else {
            return Ok(Err(Dropped::Late));
        };
        // Any member of a pool may answer: those of the public client send over one after another.
        let asked = self.pending.get(slot).is_some_and(|call| call.callee_service == service);
        Ok(if asked { Ok(slot) } else { Err(Dropped::Foreign) })
    }

    /// Passes an answer on: to which connection; `None` if its caller could not read it.
    fn answer(&mut self, call: u32, message: &[u8], response: &Envelope<'_>) -> Option<ConnId> {
        let to = self.caller_of(call)?;
        self.metrics.answered += 1;
        if let Some(call) = self.pending.get(call) {
            self.metrics.latency.record(self.now.since(call.taken));
        }
        match self.forward(to, message, response) {
            Ok(()) => {
                self.forget_call(call);
                Some(to)
            }
            Err(refused) => {
                self.end_call(call, refused.code(), "the answer cannot be said in the format of the caller");
                None
            }
        }
    }

    /// Sends a message on: byte for byte, if its receiver reads its format.
    fn forward(&mut self, to: ConnId, message: &[u8], envelope: &Envelope<'_>) -> Result<(), Refused> {
        let Some(format) = self.lines.live(to).map(|conn| conn.format()) else { return Ok(()) };
        let limits = self.config.limits;
        if format == envelope.format() {
            return self.lines.push(&self.config, to, |out| {
                out.extend_from_slice(message);
                Ok(())
            });
        }
        self.metrics.converted += 1;
        let known = self.log.as_mut().and_then(|log| log.conversion());
        let mut len = 0;
        let converted = self.lines.push(&self.config, to, |out| {
            let before = out.len();
            match known {
                None => write_frame(out, format, &limits, |body| {
                    body.convert(envelope.whole(), limits.body as usize)
                })?,
                Some(known) => out.resize(before + known?, 0),
            }
            len = out.len() - before;
            Ok(())
        });
        if let Some(log) = &mut self.log {
            log.converted(converted.map(|()| len));
        }
        Ok(converted?)
    }
}

/// The limit is kept while converting, so that only that can be the matter.
impl From<Misuse> for ConvertError {
    fn from(misuse: Misuse) -> Self {
        match misuse {
            Misuse::ContentTooLarge { limit, .. } => ConvertError::TooLarge { limit: limit as usize },
            _ => ConvertError::TooLarge { limit: 0 },
        }
    }
}
