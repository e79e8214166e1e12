//! The client: a service at a hub. It tells its name and methods, makes calls, and serves those of others.
//!
//! - A connection that is lost is dialled again, and registered anew; calls over it end as [`Outcome::Lost`].
//! - A call takes no longer than the deadline of its context allows, nor than its timeout. A method that calls on hands
//!   over the [`Context`] it was called with: it travels as an argument, so that calls at the same time do not mix.
//! - Methods can be added and removed at any time; the hub is told at once.
//! - A call by another service is lent, and answered on the spot or later by its [`Token`]. Whoever does not take events is
//!   protected from more: buffers fill, and the hub refuses calls to this service.
//!
//! ```
//! use plimsoll_core::id::ConnId;
//! use plimsoll_core::ipc::client::{Client, Config, Event, Incoming, Options, Outcome};
//! use plimsoll_core::ipc::hub::{self, Hub};
//! use plimsoll_core::machine::{Action, Input, Machine, Peer};
//! use plimsoll_core::time::Instant;
//!
//! /// Carries what one machine has to send on a connection to the other, as a socket would.
//! fn carry(now: Instant, from: (&mut impl Machine, ConnId), to: (&mut impl Machine, ConnId)) {
//!     let mut bufs = [&[][..]; 8];
//!     let n = from.0.send_bufs(from.1, &mut bufs);
//!     let bytes = bufs[..n].concat();
//!     let taken = to.0.feed(now, to.1, &bytes);
//!     from.0.handle(now, Input::Sent(from.1, taken));
//! }
//!
//! let now = Instant::ZERO;
//! let mut hub = Hub::new(hub::Config::default(), 1);
//! let mut client = Client::new(Config::new("greeter"), 2);
//! client.register_method(now, "greet").unwrap();
//! client.connect(now);
//!
//! let Some(Action::Connect(here)) = client.poll() else { panic!("it wants a connection") };
//! assert_eq!(client.target(here), Some("/tmp/bro-gateway.sock"));
//! let there = hub.accept(now, Peer::UNKNOWN).unwrap();
//! client.handle(now, Input::Connected(here));
//! let mut exchange = |client: &mut Client| {
//!     carry(now, (client, here), (&mut hub, there));
//!     while hub.event().is_some() {}
//!     carry(now, (&mut hub, there), (client, here));
//! };
//! exchange(&mut client);
//! while client.event().is_some() {} // connected, registered
//! assert!(client.is_connected());
//!
//! // It calls itself, by way of the hub.
//! let call = client.call(now, "greeter", "greet", None, None, Options::default()).unwrap();
//! exchange(&mut client);
//! let Some(Event::Call(Incoming { method, responder, .. })) = client.event() else { panic!("it is called") };
//! assert!(method.is("greet"));
//! responder.reply(None).unwrap();
//! exchange(&mut client);
//! let Some(Event::Outcome { id, outcome: Outcome::Success(_), .. }) = client.event() else { panic!("it is answered") };
//! assert_eq!(id, call);
//! ```

mod api;
mod calls;
mod links;
mod recording;
mod serve;
mod state;
mod view;

pub use api::{
    CallError, Cause, Config, MethodError, Metrics, Options, Outcome, Refused, ReplyError, StateEvent,
    Status, Token,
};
pub(crate) use recording::{read_call, read_value};
pub use serve::{Incoming, Responder};
pub(crate) use view::Standing;

use super::Context;
use crate::buf::Receiver;
use crate::error::Fault;
use crate::id::{ConnId, RequestId};
use crate::machine::{Action, Input, Machine};
use crate::record::Told;
use crate::record::kinds;
use crate::save::Snapshot;
use crate::time::Instant;
use crate::wire::ipc::{Envelope, HEADER, Kind, MessageError, Text, Value};
use links::Stage;
use state::State;

/// A client of Bro IPC: a [machine](crate::machine::Machine) that any runtime drives.
#[derive(Clone, Debug)]
pub struct Client {
    /// Apart from the rest, because messages are lent out of it.
    receiver: Receiver,
    state: State,
}
crate::saved!(struct Client { receiver, state });

impl Snapshot for Client {
    const KIND: [u8; 8] = *b"ipc clnt";
}

/// What a client has to tell. Every message that arrives is one event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call has ended.
    Outcome {
        /// Which one.
        id: RequestId,
        /// The caller's own number for it.
        tag: u64,
        /// How.
        outcome: Outcome<'a>,
    },
    /// Another service calls.
    Call(Incoming<'a>),
    /// Another service has called, and was answered here.
    Refused {
        /// The call.
        call: Envelope<'a>,
        /// Why.
        refused: Refused,
    },
    /// Nobody waits any more for the answer to a call that was put off: its time is over, or its connection has gone.
    Abandoned(Token),
    /// Something has changed between this client and the hub.
    State(StateEvent),
    /// The hub complains of something.
    GatewayError {
        /// A word for machines, if it has one.
        code: Option<Text<'a>>,
        /// A sentence for people, if it has one.
        message: Option<Text<'a>>,
    },
    /// The hub has acknowledged a registration.
    Acknowledged,
    /// A message for which nobody waits, or that is none for a client.
    Ignored(Envelope<'a>),
    /// A message that is none. If nothing of it can be read, the connection is closed.
    Invalid(MessageError),
}

impl Client {
    /// A client that is not connected; all its chance comes from `seed`, which must differ between clients of one name.
    pub fn new(config: Config, seed: u64) -> Self {
        let receiver = Receiver::new(config.receive_budget.get() as usize);
        Client { receiver, state: State::new(config, seed) }
    }

    /// Connects, and stays so as configured.
    pub fn connect(&mut self, now: Instant) {
        self.begin(now);
        self.state.connect();
        self.end();
        self.state.note(kinds::Kind::Connect, []);
    }

    /// Ends all calls as [`Outcome::Disconnected`], sends what waits, and closes all connections. It connects no more by
    /// itself.
    pub fn disconnect(&mut self, now: Instant) {
        self.begin(now);
        self.state.disconnect();
        self.end();
        self.state.note(kinds::Kind::Disconnect, []);
    }

    /// Makes no more calls, sees those it has made and those it has put off to their end, and disconnects; at `deadline`
    /// whatever is left. A second call can only move the deadline closer.
    pub fn shutdown(&mut self, now: Instant, deadline: Instant) {
        self.begin(now);
        let state = &mut self.state;
        state.draining = Some(state.draining.map_or(deadline, |until| until.min(deadline)));
        if !state.links.wanted {
            state.disconnect();
        }
        self.end();
        self.state.note(kinds::Kind::Shutdown, [deadline.as_nanos()]);
    }

    /// Adds a method; `false` if it is there already.
    ///
    /// # Errors
    /// A name that is none, or more methods than configured.
    pub fn register_method(&mut self, now: Instant, method: &str) -> Result<bool, MethodError> {
        self.begin(now);
        let added = self.state.add_method(method);
        self.end();
        self.state.note_text(kinds::Kind::RegisterMethod, [added.map_or(2, u64::from)], method);
        added
    }

    /// Removes a method; `false` if there is none of that name.
    pub fn unregister_method(&mut self, now: Instant, method: &str) -> bool {
        self.begin(now);
        let removed = self.state.remove_method(method);
        self.end();
        self.state.note_text(kinds::Kind::UnregisterMethod, [removed.into()], method);
        removed
    }

    /// The methods, sorted.
    pub fn methods(&self) -> impl ExactSizeIterator<Item = &str> {
        self.state.methods.iter().map(|method| &**method)
    }

    /// Calls `method` of the service `to`: within the context of a call that it serves, or of its own accord. `params` in
    /// the client's format are sent byte for byte; in the other one, they are converted.
    ///
    /// # Errors
    /// [`CallError`]; nothing was sent then.
    pub fn call(
        &mut self,
        now: Instant,
        to: &str,
        method: &str,
        params: Option<Value<'_>>,
        within: Option<&Context>,
        options: Options,
    ) -> Result<RequestId, CallError> {
        self.begin(now);
        let id = self.state.call(to, method, params, within, options);
        self.state.metrics.rejected += u64::from(id.is_err());
        self.end();
        if self.state.links.log.is_some() {
            self.state.note_call([to, method], params, within, options, &id);
        }
        id
    }

    /// Gives a call up; it ends as [`Outcome::Cancelled`]. `false` if it has ended.
    pub fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        self.begin(now);
        let waited = self.state.cancel(id);
        self.state.note(kinds::Kind::Cancel, [id.slot().into(), id.generation().into(), waited.into()]);
        waited
    }

    /// Answers a call that was put off.
    ///
    /// # Errors
    /// [`ReplyError::Gone`] if nobody waits for it; a message above the limit.
    pub fn reply(&mut self, now: Instant, token: Token, data: Option<Value<'_>>) -> Result<(), ReplyError> {
        self.begin(now);
        let result = self.state.succeed_later(token, data);
        self.end();
        self.state.note_reply(Some(token), data, result.is_ok());
        result
    }

    /// Answers a call that was put off with an error, as [`Responder::fail`] does.
    ///
    /// # Errors
    /// [`ReplyError::Gone`] if nobody waits for it; a message above the limit.
    pub fn fail(&mut self, now: Instant, token: Token, code: &str, message: &str) -> Result<(), ReplyError> {
        self.begin(now);
        let result = self.state.fail_later(token, code, message);
        self.end();
        self.state.note_failure(Some(token), code, message, result.is_ok());
        result
    }

    /// Whether a connection stands that the hub has acknowledged.
    pub fn is_connected(&self) -> bool {
        self.state.links.pool.iter().any(|link| matches!(link.stage, Stage::Registered(..)))
    }

    /// Whether a connection is being made, or waits for the hub to acknowledge it.
    pub fn is_connecting(&self) -> bool {
        let begins = |stage: Stage| matches!(stage, Stage::Dialing(..) | Stage::Registering(..));
        self.state.links.pool.iter().any(|link| begins(link.stage))
    }

    /// Whether no connection stands, is being made, or is being closed.
    pub fn is_idle(&self) -> bool {
        self.state.links.pool.iter().all(|link| matches!(link.stage, Stage::Idle(_)))
    }

    /// How the client stands now.
    pub fn status(&self) -> Status<'_> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let stands = |stage: Stage| matches!(stage, Stage::Registering(..) | Stage::Registered(..));
        Status {
            connected: self.state.links.pool.iter().any(|link| stands(link.stage)),
            registered: self.is_connected(),
            service_name: &self.state.config.service_name,
            pending: count(self.state.calls.len()),
            serving: count(self.state.serving.len()),
            methods: count(self.state.methods.len()),
        }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    /// Counts from nothing again.
    pub fn reset_metrics(&mut self) {
        self.state.metrics.reset();
        self.state.note(kinds::Kind::ResetMetrics, []);
    }

    /// Begins whatever happens now: first, what events have left to do.
    fn begin(&mut self, now: Instant) {
        self.state.advance(now);
        self.end();
    }

    /// Ends the calls of lost connections, gives back what was lent, and lets connections read on that waited for it.
    fn end(&mut self) {
        self.state.catch_up();
        while let Some(slot) = self.state.links.released.pop() {
            self.receiver.close(slot);
        }
        self.receiver.reclaim();
        while let Some(slot) = self.receiver.relieved() {
            let relieved = self
                .state
                .links
                .pool
                .iter_mut()
                .find(|link| link.stage.conn().is_some_and(|c| c.slot() == slot));
            if let Some(link) = relieved
                && let Some(conn) = link.stage.conn()
            {
                link.starved = false;
                self.state.links.settle(conn);
            }
        }
    }

    fn received(&mut self, conn: ConnId, n: usize) {
        if n == 0 || !self.listens(conn) {
            return;
        }
        self.receiver.filled(conn.slot(), n);
        if let Some(log) = &mut self.state.links.log {
            log.keep_received(self.receiver.bytes(conn.slot()), n);
        }
        self.state.metrics.bytes_in += n as u64;
        if let Some(cause) = self.look_ahead(conn) {
            self.state.break_off(conn, cause);
        }
    }

    /// Whether messages of a connection are looked at.
    fn listens(&self, conn: ConnId) -> bool {
        let stage = self.state.links.view(conn).map(|link| link.stage);
        matches!(stage, Some(Stage::Registering(..) | Stage::Registered(..)))
    }

    /// Finds the next message of a connection.
    fn look_ahead(&mut self, conn: ConnId) -> Option<Cause> {
        let (slot, now, limits) = (conn.slot(), self.state.now, self.state.config.limits);
        let found = self.state.links.look_ahead(conn, &mut self.receiver, now, &limits)?;
        self.state.ready.set(slot, found == Ok(true));
        found.err().map(Cause::Protocol)
    }

    /// Takes the next message, and looks for the one behind it.
    fn take_message(&mut self) -> Option<Event<'_>> {
        let slot = self.state.ready.current()?;
        let links = &mut self.state.links;
        let conn = links.pool.iter().filter_map(|link| link.stage.conn()).find(|conn| conn.slot() == slot)?;
        let end = links.get(conn)?.port.head.take()?;
        let lent = self.receiver.consume(slot, end);
        // What is behind this message is dealt with at the next call, since the answer to this one is still to be sent.
        self.state.doomed = self.look_ahead(conn).map(|cause| (conn, cause));
        self.state.ready.took(slot);
        if self.state.links.log.is_some() {
            self.note_message(&lent);
        }
        let message = self.receiver.lent(&lent, HEADER..end);
        let parsed = Envelope::parse(self.state.config.format, message);
        let envelope = match parsed {
            Ok(envelope) => envelope,
            Err(error) => {
                if error.is_fatal() {
                    self.state.doomed = Some((conn, Cause::Message(error)));
                }
                let event = Event::Invalid(error);
                if let Some(log) = &mut self.state.links.log {
                    log.event_of(Some(&event));
                }
                return Some(event);
            }
        };
        let event = match envelope.kind() {
            Kind::Call => match self.state.admit(&envelope) {
                Ok(call) => {
                    if let Some(log) = &mut self.state.links.log {
                        log.event(Told::Request, 0, 0);
                    }
                    return Some(Event::Call(self.state.respond(conn, &envelope, call)));
                }
                Err(refused) => {
                    self.state.refuse(conn, &envelope, refused);
                    Event::Refused { call: envelope, refused }
                }
            },
            Kind::Response => match self.state.take_response(&envelope) {
                Some((id, tag, outcome)) => Event::Outcome { id, tag, outcome },
                None => Event::Ignored(envelope),
            },
            Kind::RegisterAck => {
                self.state.registered(conn);
                Event::Acknowledged
            }
            // The public hub says so where a call goes nowhere, with the call's id.
            Kind::Error => match self.state.take_response(&envelope) {
                Some((id, tag, outcome)) => Event::Outcome { id, tag, outcome },
                None => {
                    self.state.metrics.gateway_errors += 1;
                    let (code, message) = envelope.error();
                    Event::GatewayError { code, message }
                }
            },
            Kind::Register | Kind::Heartbeat => Event::Ignored(envelope),
        };
        if let Some(log) = &mut self.state.links.log {
            log.event_of(Some(&event));
        }
        Some(event)
    }
}

impl Machine for Client {
    type Event<'a> = Event<'a>;

    fn handle(&mut self, now: Instant, input: Input) {
        self.begin(now);
        match input {
            Input::Connected(conn) => {
                if self.state.links.find(conn).is_some() {
                    self.receiver.open(conn.slot());
                    self.state.connected(conn);
                }
            }
            Input::Received(conn, n) => self.received(conn, n),
            Input::Sent(conn, n) => {
                self.note_sent(conn, n);
                self.state.sent(conn, n);
            }
            // A client that can get no more answers has lost the connection.
            Input::ReadClosed(conn) if self.state.links.find(conn).is_some() => {
                self.state.end(conn, Cause::Fault(Fault::Closed), false);
            }
            Input::ReadClosed(_) => {}
            Input::Closed(conn, fault) => self.state.end(conn, Cause::Fault(fault), true),
            Input::Tick => self.state.tick(),
            Input::Wall(unix_ms) => self.state.set_wall(unix_ms),
        }
        self.end();
        if self.state.links.log.is_some() {
            self.note_input(input);
        }
    }

    fn poll(&mut self) -> Option<Action> {
        self.end();
        let action = self.state.links.poll();
        if let Some(log) = &mut self.state.links.log {
            log.action(action);
        }
        action
    }

    fn event(&mut self) -> Option<Event<'_>> {
        self.end();
        let event = if let Some(ended) = self.state.calls.ended.pop_front() {
            Some(Event::Outcome { id: ended.id, tag: ended.tag, outcome: ended.how.into() })
        } else if let Some(token) = self.state.serving.abandoned.pop_front() {
            Some(Event::Abandoned(token))
        } else {
            self.state.links.next_event().map(Event::State)
        };
        if event.is_none() && self.state.ready.current().is_some() {
            return self.take_message();
        }
        if let Some(log) = &mut self.state.links.log {
            log.event_of(event.as_ref());
        }
        event
    }

    fn has_event(&self) -> bool {
        let state = &self.state;
        !state.calls.ended.is_empty()
            || !state.serving.abandoned.is_empty()
            || state.links.has_event()
            || !state.ready.is_empty()
            || state.doomed.is_some()
            || state.is_drained()
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        self.end();
        if !self.listens(conn) {
            self.state.links.note_room(conn, false);
            return &mut [];
        }
        let slot = conn.slot();
        let is_full = self.receiver.buf(slot).is_empty();
        self.state.links.note_room(conn, !is_full);
        if is_full {
            let starved = self.receiver.is_starved(slot);
            if let Some(link) = self.state.links.get(conn) {
                link.starved = starved;
            }
            self.state.links.settle(conn);
            return &mut [];
        }
        self.receiver.buf(slot)
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        self.state.links.view(conn).map_or(0, |link| link.port.send.slices(bufs))
    }

    fn target(&self, conn: ConnId) -> Option<&str> {
        self.state.links.find(conn).map(|_| &*self.state.config.path)
    }

    fn deadline(&self) -> Option<Instant> {
        self.due().map(|(at, _)| at)
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.due().map(|(_, reason)| reason)
    }

    fn is_finished(&self) -> bool {
        let state = &self.state;
        state.draining.is_some()
            && !state.links.wanted
            && state.links.is_empty()
            && state.links.actions.is_empty()
    }
}

impl Client {
    fn due(&self) -> Option<(Instant, &'static str)> {
        let state = &self.state;
        if self.is_finished() {
            return None;
        }
        let ends = !state.links.ended.is_empty() || state.doomed.is_some() || state.is_drained();
        if ends || !state.links.actions.is_empty() || self.receiver.may_relieve() {
            return Some((state.now, "actions wait to be done"));
        }
        let link = state.links.deadline().map(|at| (at, "a connection's dial, registration or heartbeat"));
        let call = state.calls.deadlines.next().map(|at| (at, "a call without an answer"));
        let serving = state.serving.deadlines.next().map(|at| (at, "a call that was put off for too long"));
        let drain = state.draining.filter(|_| state.links.wanted).map(|at| (at, "the end of the shutdown"));
        [link, call, serving, drain].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
