//! The hub: services register with it under a name, and it passes their calls and answers on.
//!
//! - `REGISTER` comes first. A name is given once, unless all its connections are members of one pool (`poolIndex` and
//!   `poolSize` in the metadata), among which calls are balanced.
//! - Nobody can speak for another: `from` is the registered name, and an answer is taken only from the service that was
//!   asked. An answer that nobody waits for is dropped and counted.
//! - Every call is answered: by the service, or by the hub if there is no such service or method, if the context is too
//!   deep or too late, if there is no answer in time, or at once when the service that was called disconnects.
//! - Backpressure is per service: while too much waits to be sent to one, calls to it fail with `OVERLOADED`; the others do
//!   not notice. A connection that reads nothing at all is closed.
//! - Within one format, messages are passed on byte for byte, unknown fields and all; otherwise they are
//!   [converted](crate::wire::ipc#between-the-two-formats).
//! - A connection that is half closed is a service that has gone: the public client ends so, and waits for the hub's end.
//!
//! Every message is one [`Event`], and is passed on as the event is taken:
//!
//! ```
//! use plimsoll_core::ipc::hub::{Config, Event, Hub};
//! use plimsoll_core::machine::{Action, Machine, Peer};
//! use plimsoll_core::time::Instant;
//!
//! fn frame(body: &str) -> Vec<u8> {
//!     [&(body.len() as u32).to_be_bytes(), body.as_bytes()].concat()
//! }
//!
//! let now = Instant::ZERO;
//! let mut hub = Hub::new(Config::default(), 42);
//! let (order, user) = (hub.accept(now, Peer::UNKNOWN).unwrap(), hub.accept(now, Peer::UNKNOWN).unwrap());
//! hub.feed(now, order, &frame(r#"{"type":"REGISTER","serviceName":"order","methods":[]}"#));
//! hub.feed(now, user, &frame(r#"{"type":"REGISTER","serviceName":"user","methods":["get"]}"#));
//! assert!(matches!(hub.event(), Some(Event::Registered { .. })));
//! assert!(matches!(hub.event(), Some(Event::Registered { .. })));
//!
//! let call = r#"{"type":"CALL","id":"1","from":"order","to":"user","method":"get","params":{"id":7},
//!     "context":{"root":"root-1","chain":["order","user"],"depth":2,"deadline":30000}}"#;
//! hub.feed(now, order, &frame(call));
//! assert!(matches!(hub.event(), Some(Event::CallRouted { to, .. }) if to == user));
//!
//! assert_eq!(hub.poll(), Some(Action::Flush(order))); // its REGISTER_ACK
//! assert_eq!(hub.poll(), Some(Action::Flush(user)));
//! let mut bufs = [&[][..]; 4];
//! let n = hub.send_bufs(user, &mut bufs);
//! assert!(bufs[..n].concat().ends_with(call.as_bytes()));
//! ```
//!
//! A call to the service `$hub` is a question to the hub: `status`, `services`, or `service` with `{"name": …}`.

mod api;
mod conn;
mod lines;
mod pending;
mod query;
mod recording;
mod route;
mod services;
mod state;
mod view;

pub use api::{Cause, Config, Dropped, Event, Metrics, Refused, ServiceStatus, Status};

use alloc::boxed::Box;

use crate::buf::Receiver;
use crate::error::ProtocolError;
use crate::id::ConnId;
use crate::machine::{Action, Input, Machine, Peer};
use crate::record::Told;
use crate::record::kinds::Kind;
use crate::save::Snapshot;
use crate::time::Instant;
use conn::Intake;
use state::State;

/// A hub of Bro IPC: a [machine](crate::machine::Machine) that any runtime drives.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Apart from the rest, because messages are lent out of it.
    receiver: Receiver,
    state: State,
    /// The name of the service whose end was told last.
    lent: Option<Box<str>>,
}
// Nothing is lent between calls.
crate::saved!(struct Hub { receiver, state; rebuilt lent = None });

impl Snapshot for Hub {
    const KIND: [u8; 8] = *b"ipc hub ";
}

impl Hub {
    /// A hub without connections. Its tables are hashed by `seed`, which peers should not be able to guess.
    pub fn new(config: Config, seed: u64) -> Self {
        let receiver = Receiver::new(config.receive_budget.get() as usize);
        Hub { receiver, state: State::new(config, seed), lent: None }
    }

    /// Takes no more connections and no more messages, and closes each connection once it is sent what waits; what is left
    /// at `deadline` is dropped. A second call can only move the deadline closer.
    pub fn shutdown(&mut self, now: Instant, deadline: Instant) {
        self.begin(now);
        self.state.shutdown(deadline);
        self.end();
        self.state.note(Kind::Shutdown, [deadline.as_nanos()]);
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    /// Counts from nothing again.
    pub fn reset_metrics(&mut self) {
        self.state.metrics.reset();
        self.state.note(Kind::ResetMetrics, []);
    }

    /// How the hub stands now; takes time in proportion to its connections.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// The registered services, in an order that does not change while they stand.
    pub fn services(&self) -> impl Iterator<Item = ServiceStatus<'_>> {
        self.state.services.iter().map(|(name, service)| self.state.service_status(name, service))
    }

    /// One registered service.
    pub fn service(&self, name: &str) -> Option<ServiceStatus<'_>> {
        let services = &self.state.services;
        let slot = services.find(name)?;
        Some(self.state.service_status(services.name(slot)?, services.get(slot)?))
    }

    /// Whether a service of this name is registered.
    pub fn is_connected(&self, service: &str) -> bool {
        self.state.services.find(service).is_some()
    }

    /// Begins whatever happens now: first, what events have left to do.
    fn begin(&mut self, now: Instant) {
        self.state.advance(now);
        self.end();
    }

    /// Closes what is to be closed, gives back what was lent, and lets those read on that waited for it.
    fn end(&mut self) {
        self.state.reap();
        while let Some(slot) = self.state.released.pop() {
            self.receiver.close(slot);
        }
        self.receiver.reclaim();
        while let Some(conn) = self.receiver.relieved().and_then(|slot| self.state.lines.table.id_at(slot)) {
            let now = self.state.now;
            if let Some(live) = self.state.lines.live(conn) {
                live.relieve(now);
                self.state.lines.settle(conn);
                self.state.rearm(conn);
            }
        }
    }

    fn has_action(&self) -> bool {
        !self.state.lines.actions.is_empty() || self.receiver.may_relieve()
    }

    fn received(&mut self, conn: ConnId, n: usize) {
        if n == 0 || !self.state.listens(conn) {
            return;
        }
        self.receiver.filled(conn.slot(), n);
        if let Some(log) = &mut self.state.log {
            log.keep_received(self.receiver.bytes(conn.slot()), n);
        }
        self.state.hear(conn, n);
        if let Some(error) = self.look_ahead(conn) {
            self.state.broke(conn, error);
        }
        self.state.rearm(conn);
    }

    /// The peer has closed its half. What it has sent is still taken.
    fn read_closed(&mut self, conn: ConnId) {
        let Some(live) = self.state.lines.live(conn) else { return };
        if live.intake == Intake::Open {
            live.intake = Intake::Ended;
            if live.port.head.is_none() {
                self.state.unregister(conn, Cause::Peer);
            }
            self.state.lines.settle(conn);
        }
    }

    /// Finds the next message of a connection.
    fn look_ahead(&mut self, conn: ConnId) -> Option<ProtocolError> {
        let (slot, now, limits) = (conn.slot(), self.state.now, self.state.config.limits);
        let log = &mut self.state.log;
        let live = self.state.lines.live(conn)?;
        match live.port.look_ahead(&mut self.receiver, slot, now, &limits, log) {
            Ok(found) => self.state.ready.set(slot, found),
            Err(error) => {
                self.state.ready.set(slot, false);
                return Some(error);
            }
        }
        None
    }

    /// Takes the next message, and looks for the one behind it.
    fn take_message(&mut self) -> Option<Event<'_>> {
        let slot = self.state.ready.current()?;
        let conn = self.state.lines.table.id_at(slot)?;
        let end = self.state.lines.live(conn)?.port.head.take()?;
        let lent = self.receiver.consume(slot, end);
        let broken = self.look_ahead(conn);
        self.state.ready.took(slot);
        if self.state.log.is_some() {
            self.note_message(conn, &lent);
        }
        let event = self.state.take(conn, self.receiver.lent(&lent, 0..end));
        if let Some(log) = &mut self.state.log {
            log.passed_on(conn, &event);
        }
        if let Some(error) = broken {
            self.state.broke(conn, error);
        }
        if self
            .state
            .lines
            .live(conn)
            .is_some_and(|live| live.intake == Intake::Ended && live.port.head.is_none())
        {
            self.state.unregister(conn, Cause::Peer);
        }
        self.state.lines.settle(conn);
        self.state.rearm(conn);
        self.state.reap();
        Some(event)
    }
}

impl Machine for Hub {
    type Event<'a> = Event<'a>;

    fn handle(&mut self, now: Instant, input: Input) {
        self.begin(now);
        match input {
            Input::Received(conn, n) => self.received(conn, n),
            Input::Sent(conn, n) => {
                self.note_sent(conn, n);
                self.state.lines.sent(conn, n, &mut self.state.metrics);
            }
            Input::ReadClosed(conn) => self.read_closed(conn),
            Input::Closed(conn, fault) => self.state.closed(conn, Cause::Fault(fault)),
            Input::Tick => self.state.tick(),
            Input::Wall(unix_ms) => self.state.set_wall(unix_ms),
            Input::Connected(_) => {}
        }
        self.end();
        if self.state.log.is_some() {
            self.note_input(input);
        }
    }

    fn accept(&mut self, now: Instant, peer: Peer) -> Option<ConnId> {
        self.begin(now);
        let conn = self.state.accept(peer);
        if let Some(log) = &mut self.state.log {
            log.accepted(self.state.now, peer, conn);
        }
        self.receiver.open(conn?.slot());
        conn
    }

    fn poll(&mut self) -> Option<Action> {
        self.end();
        let action = self.state.lines.poll();
        if let Some(log) = &mut self.state.log {
            log.action(action);
        }
        action
    }

    fn event(&mut self) -> Option<Event<'_>> {
        self.end();
        if let Some(notice) = self.state.notices.pop_front() {
            self.lent = notice.name;
            if let Some(log) = &mut self.state.log {
                log.ended(notice.conn, notice.cause);
            }
            let service = self.lent.as_deref();
            return Some(Event::Disconnected { conn: notice.conn, service, cause: notice.cause });
        }
        match core::mem::take(&mut self.state.missed) {
            0 if self.state.ready.current().is_none() => {
                self.state.note(Kind::NoEvent, []);
                None
            }
            0 => self.take_message(),
            missed => {
                self.state.note(Kind::Event, [Told::State as u64, 0, missed]);
                Some(Event::Missed(missed))
            }
        }
    }

    fn has_event(&self) -> bool {
        !self.state.notices.is_empty() || self.state.missed > 0 || !self.state.ready.is_empty()
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        self.end();
        if !self.state.listens(conn) {
            self.state.note_room(conn, false);
            return &mut [];
        }
        let slot = conn.slot();
        let is_full = self.receiver.buf(slot).is_empty();
        self.state.note_room(conn, !is_full);
        if is_full {
            let starved = self.receiver.is_starved(slot);
            if let Some(live) = self.state.lines.live(conn) {
                live.starved = starved;
            }
            self.state.lines.settle(conn);
            return &mut [];
        }
        self.receiver.buf(slot)
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        self.state.lines.table.get(conn).map_or(0, |conn| conn.port.send.slices(bufs))
    }

    fn deadline(&self) -> Option<Instant> {
        if self.has_action() {
            return Some(self.state.now);
        }
        let drain = self.state.drain_until.filter(|_| !self.state.lines.table.is_empty());
        [drain, self.state.timers.next(), self.state.pending.deadlines.next()].into_iter().flatten().min()
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        let deadline = self.deadline()?;
        Some(match () {
            () if self.has_action() => "actions wait to be done",
            () if self.state.drain_until == Some(deadline) => "the end of the shutdown",
            () if self.state.pending.deadlines.next() == Some(deadline) => "a call without an answer",
            () => "a connection that may be silent, or a message that may have stalled",
        })
    }

    fn is_finished(&self) -> bool {
        self.state.drain_until.is_some() && self.state.lines.table.is_empty()
    }
}

#[cfg(feature = "testing")]
impl Hub {
    /// Tells a search what makes this state another than others: everything but what was counted and what is kept for
    /// reuse.
    pub fn digest(&self, digest: &mut crate::testing::search::Digest) {
        let State { lines, services, pending, timers, drain_until, ready, notices, .. } = &self.state;
        digest.add(&(lines, &pending.deadlines, timers, drain_until, ready, notices));
        for (conn, _) in lines.table.iter().filter(|(_, conn)| !conn.closed) {
            digest.add(&self.receiver.bytes(conn.slot()));
        }
        for service in services.iter() {
            digest.add(&service);
        }
        for slot in 0..self.state.config.pending_total.get() {
            digest.add(&pending.get_with_id(slot));
        }
    }
}
