//! The service server: takes connections and lends the requests that come over them, one at a time.
//!
//! An answer may be given on the spot, borrowing from the request, or later by its [`Token`]. Whoever does not drain
//! requests, or does not answer them, is protected from more: the server stops reading at its limits ([`Config`]) and
//! the peer's window closes. Nothing is ever answered with `OVERLOADED`; that word is the application's.
//!
//! - Pings are answered here, in the order in which they came, and are no events.
//! - A connection whose peer has closed its half is answered what it asked, and then closed.
//! - A peer that breaks the rules of the wire is answered what it asked before, and then closed.
//! - Connections with requests take turns, of a bounded burst each.
//!
//! ```
//! use plimsoll_core::machine::{Action, Machine, Peer};
//! use plimsoll_core::service::server::{Config, Request, Server};
//! use plimsoll_core::time::Instant;
//! use plimsoll_core::wire::WireId;
//! use plimsoll_core::wire::uw::{Limits, encode_request};
//!
//! let mut server = Server::new(Config::default());
//! let conn = server.accept(Instant::ZERO, Peer::UNKNOWN).unwrap();
//!
//! let mut bytes = Vec::new();
//! encode_request(&mut bytes, WireId::new(0, 0, 1), "echo", b"[1]", &Limits::default())?;
//! server.feed(Instant::ZERO, conn, &bytes);
//!
//! while let Some(Request { method, content, responder }) = server.event() {
//!     match method {
//!         "echo" => responder.reply(content)?, // straight out of the receive buffer
//!         _ => responder.fail("METHOD_NOT_FOUND", "there is only echo")?,
//!     }
//! }
//! assert_eq!(server.poll(), Some(Action::Flush(conn)));
//! let mut bufs = [&[][..]; 4];
//! let n = server.send_bufs(conn, &mut bufs);
//! assert!(bufs[..n].concat().ends_with(b"[1]"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod conn;
mod in_flight;
mod metrics;
mod recording;
mod request;
mod state;
mod view;

use self::conn::Intake;
use self::metrics::Cause;
use self::recording::{note_part, note_ping, note_skip};
use self::state::{Addressee, State};
pub use api::{Config, ReplyError, Status, Token};
pub use metrics::{Closed, Metrics, ProtocolErrors};
pub use request::{Request, Responder};
pub(crate) use view::{Ending, Hold};

use crate::buf::Receiver;
use crate::id::ConnId;
use crate::machine::{Action, Input, Machine, Peer};
use crate::record::kinds::Kind;
use crate::save::Snapshot;
use crate::time::Instant;
use crate::wire::uw::{self, Step};

/// A server of UW, version 1.
#[derive(Clone, Debug)]
pub struct Server {
    /// Apart from the rest, because requests are lent out of it.
    receiver: Receiver,
    state: State,
}
crate::saved!(struct Server { receiver, state });

impl Snapshot for Server {
    const KIND: [u8; 8] = *b"server  ";
}

impl Server {
    /// A server without connections.
    pub fn new(config: Config) -> Self {
        Server { receiver: Receiver::new(config.receive_budget.get() as usize), state: State::new(config) }
    }

    /// Answers a deferred request with a result.
    ///
    /// # Errors
    /// [`ReplyError::Gone`] if nobody waits for it; content above the limit.
    pub fn reply(&mut self, now: Instant, token: Token, content: &[u8]) -> Result<(), ReplyError> {
        self.state.advance(now);
        let resumed = self.state.resume(token);
        let result = resumed.map(|to| self.state.answer(to, content));
        self.state.note_late_reply(token, content, matches!(result, Ok(Ok(()))));
        Ok(result??)
    }

    /// Answers a deferred request with an error, as [`Responder::fail`] does.
    ///
    /// # Errors
    /// [`ReplyError::Gone`] if nobody waits for it; an error above the limit on content.
    pub fn fail(&mut self, now: Instant, token: Token, code: &str, message: &str) -> Result<(), ReplyError> {
        self.state.advance(now);
        let resumed = self.state.resume(token);
        let result = resumed.map(|to| self.state.answer_error(to, code, message));
        self.state.note_failure(Some(token), resumed.ok(), [code, message], matches!(result, Ok(Ok(()))));
        Ok(result??)
    }

    /// Takes no more connections and no more requests, answers those in flight until `deadline`, and closes each
    /// connection once its answers are sent; what is left at `deadline` is dropped. A second call can only move
    /// the deadline closer.
    ///
    /// What was dropped is [`Metrics::abandoned`] and [`Metrics::unsent_bytes`].
    pub fn shutdown(&mut self, now: Instant, deadline: Instant) {
        self.state.advance(now);
        let asked = deadline;
        let deadline = self.state.drain_until.map_or(deadline, |until| until.min(deadline));
        self.state.drain_until = Some(deadline);
        for slot in self.state.slots() {
            let Some(conn) = self.state.conns.id_at(slot) else { continue };
            if let Some(live) = self.state.live(conn) {
                live.stop(Cause::Shutdown);
                self.look_ahead(conn);
                self.settle(conn);
            }
        }
        self.state.note(Kind::Shutdown, [asked.as_nanos()]);
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

    /// How the server stands now; takes time in proportion to its connections.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    fn received(&mut self, conn: ConnId, n: usize) {
        let now = self.state.now;
        let Some(live) = self.state.live(conn) else { return };
        live.touch(now);
        self.receiver.filled(conn.slot(), n);
        if let Some(log) = &mut self.state.log {
            log.keep_received(self.receiver.bytes(conn.slot()), n);
        }
        self.state.metrics.bytes_in += n as u64;
        self.look_ahead(conn);
        self.settle(conn);
    }

    fn sent(&mut self, conn: ConnId, n: usize) {
        self.state.sent(conn, n);
        self.look_ahead(conn);
        self.settle(conn);
    }

    fn read_closed(&mut self, conn: ConnId) {
        if let Some(live) = self.state.live(conn)
            && live.intake == Intake::Open
        {
            live.intake = Intake::Ended;
            self.settle(conn);
        }
    }

    /// Decodes up to the next request, which stays where it is until it is taken. Only marks bytes as consumed, so
    /// that what is lent stays in place.
    fn look_ahead(&mut self, conn: ConnId) {
        let slot = conn.slot();
        while let Some((live, config, now, log)) = self.state.live_with_config(conn) {
            if matches!(live.intake, Intake::Stopped(_)) {
                self.receiver.consume(slot, usize::MAX);
                return;
            }
            if live.head.is_some() || self.receiver.bytes(slot).is_empty() || !live.takes_bytes(config) {
                return;
            }
            if let Some(log) = log
                && log.is_comparing()
            {
                log.put_back(self.receiver.bytes_mut(slot));
            }
            let bytes = self.receiver.bytes(slot);
            let step = uw::decode_request(bytes, &config.limits, config.mode);
            live.set_partial(now, matches!(step, Ok(Step::Need(_))));
            match step {
                Ok(Step::Need(total)) => {
                    note_part(log, bytes);
                    return self.receiver.need(slot, total);
                }
                Ok(Step::Frame(head)) if bytes[head.method.clone()] == *uw::PING.as_bytes() => {
                    note_ping(log, bytes, head.content.end);
                    let with_load = uw::asks_for_load(&bytes[head.content.clone()]);
                    self.receiver.consume(slot, head.content.end);
                    self.state.answer_ping(conn, head.id, with_load);
                }
                Ok(Step::Frame(head)) => {
                    let head = live.head.insert(head);
                    if let Some(log) = log {
                        log.found(bytes, head);
                    }
                }
                Ok(Step::Skip(n)) => {
                    note_skip(log, bytes, n);
                    self.receiver.consume(slot, n);
                    self.state.metrics.skipped_bytes += n as u64;
                }
                Err(error) => {
                    note_part(log, bytes);
                    live.stop(Cause::Protocol(error));
                    self.state.metrics.count_error(error);
                }
            }
        }
    }

    /// Closes a connection that is through; otherwise brings the lists in line with what it wants.
    fn settle(&mut self, conn: ConnId) {
        match self.state.live(conn).and_then(|live| live.finished()) {
            Some(cause) => self.close(conn, cause),
            None => self.state.settle(conn),
        }
    }

    fn close(&mut self, conn: ConnId, cause: Cause) {
        if self.state.live(conn).is_some() {
            self.receiver.close(conn.slot());
            self.state.close(conn, cause);
        }
    }

    fn tick(&mut self) {
        let now = self.state.now;
        if self.state.drain_until.is_some_and(|until| until <= now) {
            for slot in self.state.slots() {
                if let Some(conn) = self.state.conns.id_at(slot) {
                    self.close(conn, Cause::Shutdown);
                }
            }
        }
        while let Some(conn) = self.state.timers.pop_due(now).and_then(|slot| self.state.conns.id_at(slot)) {
            let config = self.state.config;
            match self.state.live(conn).and_then(|live| live.due(&config)) {
                Some((at, cause)) if at <= now => {
                    if let Cause::Protocol(error) = cause {
                        self.state.metrics.count_error(error);
                    }
                    self.close(conn, cause);
                }
                _ => self.state.settle(conn),
            }
        }
    }

    fn has_action(&self) -> bool {
        self.state.has_action() || self.receiver.may_relieve()
    }

    /// Gives back what was lent, and lets those read on that waited for it.
    fn reclaim(&mut self) {
        self.receiver.reclaim();
        while let Some(conn) = self.receiver.relieved().and_then(|slot| self.state.conns.id_at(slot)) {
            if let Some(live) = self.state.live(conn) {
                live.starved = false;
                self.state.settle(conn);
            }
        }
    }
}

impl Machine for Server {
    type Event<'a> = Request<'a>;

    fn handle(&mut self, now: Instant, input: Input) {
        self.state.advance(now);
        match input {
            Input::Received(conn, n) => self.received(conn, n),
            Input::Sent(conn, n) => {
                self.note_sent(conn, n);
                self.sent(conn, n);
            }
            Input::ReadClosed(conn) => self.read_closed(conn),
            Input::Closed(conn, fault) => {
                self.close(conn, Cause::Fault(fault));
                self.state.forget(conn);
            }
            Input::Tick => self.tick(),
            Input::Wall(unix_ms) => self.state.set_wall(unix_ms),
            Input::Connected(_) => {}
        }
        self.reclaim();
        if self.state.log.is_some() {
            self.note_input(input);
        }
    }

    fn accept(&mut self, now: Instant, peer: Peer) -> Option<ConnId> {
        self.state.advance(now);
        let conn = self.state.accept();
        if let Some(log) = &mut self.state.log {
            log.accepted(self.state.now, peer, conn);
        }
        self.receiver.open(conn?.slot());
        conn
    }

    fn poll(&mut self) -> Option<Action> {
        self.reclaim();
        let action = self.state.poll();
        if let Some(log) = &mut self.state.log {
            log.action(action);
        }
        action
    }

    fn event(&mut self) -> Option<Request<'_>> {
        self.reclaim();
        let Some((conn, head)) = self.state.take() else {
            self.state.note(Kind::NoEvent, []);
            return None;
        };
        let lent = self.receiver.consume(conn.slot(), head.content.end);
        self.look_ahead(conn);
        self.state.took_turn(conn);
        let frame = self.receiver.lent(&lent, 0..head.content.end);
        let to = Addressee { conn, wire: head.id, taken: self.state.now };
        if let Some(log) = &mut self.state.log {
            log.lent(conn, &frame[head.method.clone()], &frame[head.content.clone()]);
        }
        Some(Request {
            method: core::str::from_utf8(&frame[head.method]).expect("the decoder has looked at it"),
            content: &frame[head.content],
            responder: Responder::new(&mut self.state, to),
        })
    }

    fn has_event(&self) -> bool {
        self.state.has_request()
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        let Some((live, config, _, log)) = self.state.live_with_config(conn) else {
            self.state.note_room(conn, false);
            return &mut [];
        };
        let room = live.room(config);
        let is_full = self.receiver.buf(conn.slot()).is_empty();
        if let Some(log) = log {
            log.gave_room(conn, !is_full);
        }
        if is_full {
            live.starved = self.receiver.is_starved(conn.slot());
            self.state.settle(conn);
            return &mut [];
        }
        let buf = self.receiver.buf(conn.slot());
        let len = buf.len().min(room);
        &mut buf[..len]
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        self.state.conns.get(conn).map_or(0, |conn| conn.send.slices(bufs))
    }

    fn deadline(&self) -> Option<Instant> {
        if self.has_action() {
            return Some(self.state.now);
        }
        let drain = self.state.drain_until.filter(|_| !self.state.conns.is_empty());
        drain.into_iter().chain(self.state.timers.next()).min()
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        let deadline = self.deadline()?;
        Some(match () {
            () if self.has_action() => "actions wait to be done",
            () if self.state.drain_until == Some(deadline) => "the end of the shutdown",
            () => "a connection that may be idle, or a frame that may have stalled",
        })
    }

    fn is_finished(&self) -> bool {
        self.state.drain_until.is_some() && self.state.conns.is_empty()
    }
}
