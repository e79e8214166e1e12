//! Everything of a server but its receive buffers, so that a request can be lent out of those while it is answered.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::api::{Config, ReplyError, Status, Token};
use super::conn::{Conn, half_open, three_quarters};
use super::in_flight::{Deferred, InFlight};
use super::metrics::{Cause, Metrics};
use crate::buf::SendPool;
use crate::error::Misuse;
use crate::id::{ConnId, RequestId, Table, kind};
use crate::machine::Action;
use crate::policy::watermark::{Band, Watermark};
use crate::record::Recorder;
use crate::sched::{MAX_KEYS, ReadyList, Timers, Turns};
use crate::time::{Instant, WallClock, nanos};
use crate::wire::uw::{
    Limits, RequestHead, code, encode_response, write_error, write_load, write_ping_content,
};
use crate::wire::{Load, WireId};

/// Emptied send chunks that are kept, at most 128 KiB each.
const KEPT_CHUNKS: usize = 256;
/// So many requests of one connection are lent before the next one has its turn.
const BURST: u32 = 64;
/// Errors that the server itself words are short, and not subject to the limit on what others word.
const NO_LIMIT: Limits = Limits { content: u32::MAX };

/// What is recorded, if it is.
pub(super) type Log = Option<Box<Recorder>>;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) conns: Table<kind::Conn, Conn>,
    pub(super) metrics: Metrics,
    /// The latest time that was seen.
    pub(super) now: Instant,
    pub(super) timers: Timers,
    /// Set while shutting down: until when.
    pub(super) drain_until: Option<Instant>,
    in_flight: InFlight,
    /// Deferred requests of all connections.
    total: Watermark,
    /// The same, for the last quarter of the places: kept for connections that have none.
    scarce: Watermark,
    pool: SendPool,
    /// Connections that have a request to lend.
    ready: Turns,
    /// Connections with an action for the runtime.
    actions: ReadyList,
    wall: WallClock,
    /// What a request takes lately, in nanoseconds.
    latency: u64,
    scratch: Vec<u8>,
    pub(super) log: Log,
}
// What stands in the scratch is written before it is read.
crate::saved!(struct State {
    config, conns, metrics, now, timers, drain_until, in_flight, total, scarce, pool, ready, actions, wall,
    latency;
    rebuilt scratch = Vec::new(), log = None
});

impl State {
    pub(super) fn new(config: Config) -> Self {
        let no_bytes = const { Band::new(0, u64::MAX).expect("low is below high") };
        State {
            conns: Table::new(),
            metrics: Metrics::default(),
            latency: 0,
            now: Instant::ZERO,
            timers: Timers::new(),
            drain_until: None,
            in_flight: InFlight::default(),
            total: Watermark::new(half_open(config.in_flight_total.get()), no_bytes),
            scarce: Watermark::new(three_quarters(config.in_flight_total.get()), no_bytes),
            pool: SendPool::new(KEPT_CHUNKS),
            ready: Turns::new(BURST),
            actions: ReadyList::new(),
            wall: WallClock::default(),
            scratch: Vec::new(),
            log: None,
            config,
        }
    }

    /// The same, but that it is not recorded.
    pub(super) fn without_log(&mut self) -> Self {
        let log = self.log.take();
        let state = self.clone();
        self.log = log;
        state
    }

    /// Time never runs backwards.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn set_wall(&mut self, unix_ms: u64) {
        self.wall = WallClock::new(self.now, unix_ms);
    }

    pub(super) fn accept(&mut self) -> Option<ConnId> {
        let limit = self.config.connections.get().min(MAX_KEYS) as usize;
        if self.drain_until.is_some() || self.conns.len() >= limit {
            self.metrics.refused += 1;
            return None;
        }
        self.metrics.accepted += 1;
        let conn = self.conns.insert(Conn::new(self.now, &self.config));
        self.settle(conn);
        Some(conn)
    }

    /// The connection, unless it is gone or about to be.
    pub(super) fn live(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn).filter(|conn| !conn.closed)
    }

    /// The same, with what else it takes to look at its bytes.
    pub(super) fn live_with_config(
        &mut self,
        conn: ConnId,
    ) -> Option<(&mut Conn, &Config, Instant, &mut Log)> {
        let conn = self.conns.get_mut(conn).filter(|conn| !conn.closed)?;
        Some((conn, &self.config, self.now, &mut self.log))
    }

    /// Whether [`take`](Self::take) would find a request.
    pub(super) fn has_request(&self) -> bool {
        let limit = u64::from(self.config.in_flight_total.get());
        self.total.items() < limit && !self.ready.is_empty()
    }

    /// The next request, which is no longer the connection's next one.
    pub(super) fn take(&mut self) -> Option<(ConnId, RequestHead)> {
        let slot = self.ready.current().filter(|_| self.has_request())?;
        let conn = self.conns.id_at(slot)?;
        let head = self.conns.get_mut(conn)?.head.take()?;
        self.metrics.requests += 1;
        self.metrics.rate.record(self.now);
        Some((conn, head))
    }

    /// The connection at the front has had one request lent. It stays there for a bounded burst.
    pub(super) fn took_turn(&mut self, conn: ConnId) {
        let scarce = self.scarce.is_above();
        let lends = |conn: &Conn| !conn.closed && conn.lends(&self.config, scarce);
        // Mostly the next one waits behind it, and nothing has changed.
        if self.ready.current() != Some(conn.slot()) || !self.conns.get(conn).is_some_and(lends) {
            self.settle(conn);
        }
        self.ready.took(conn.slot());
    }

    pub(super) fn answer(&mut self, to: Addressee, content: &[u8]) -> Result<(), Misuse> {
        let limits = self.config.limits;
        let result = self.push(to.conn, |out| encode_response(out, to.wire, content, &limits));
        match result {
            Ok(()) => self.metrics.answered += 1,
            Err(misuse) => self.answer_misuse(to, misuse),
        }
        self.answered(to);
        result
    }

    pub(super) fn answer_error(&mut self, to: Addressee, code: &str, message: &str) -> Result<(), Misuse> {
        let result = self.push_error(to, code, message, self.config.limits);
        match result {
            Ok(()) => self.metrics.failed += 1,
            Err(misuse) => self.answer_misuse(to, misuse),
        }
        self.answered(to);
        result
    }

    /// The answer to a request that its handler dropped.
    pub(super) fn answer_dropped(&mut self, to: Addressee) {
        self.metrics.failed += 1;
        self.metrics.unanswered += 1;
        let message = "the request was dropped without an answer";
        let _ = self.push_error(to, code::EXECUTION_FAILED, message, NO_LIMIT);
        self.answered(to);
    }

    pub(super) fn answer_ping(&mut self, conn: ConnId, wire: WireId, with_load: bool) {
        self.metrics.pings += 1;
        let unix_ms = self.wall.unix_ms(self.now);
        let mut content = core::mem::take(&mut self.scratch);
        content.clear();
        if with_load {
            let in_flight = u32::try_from(self.total.items()).unwrap_or(u32::MAX);
            write_load(
                &mut content,
                unix_ms,
                Load { in_flight, latency: Duration::from_nanos(self.latency) },
            );
        } else {
            write_ping_content(&mut content, unix_ms);
        }
        let _ = self.push(conn, |out| encode_response(out, wire, &content, &NO_LIMIT));
        self.scratch = content;
    }

    pub(super) fn defer(&mut self, to: Addressee) -> Token {
        let conn = self.conns.get_mut(to.conn).expect("its request is lent");
        conn.load.add(1, 0);
        let id = self.in_flight.insert(&mut conn.first, to.conn, to.wire, to.taken);
        let changed = self.total.add(1, 0).is_some() | self.scarce.add(1, 0).is_some();
        self.settle_after(to.conn, changed);
        Token(id)
    }

    /// The request that a token names. It is in flight no longer.
    pub(super) fn resume(&mut self, token: Token) -> Result<Addressee, ReplyError> {
        let Deferred { conn, wire, taken, .. } = self.in_flight.get(token.0).ok_or(ReplyError::Gone)?;
        let holder = self.conns.get_mut(conn).ok_or(ReplyError::Gone)?;
        self.in_flight.remove(&mut holder.first, token.0);
        holder.load.remove(1, 0);
        let changed = self.total.remove(1, 0).is_some() | self.scarce.remove(1, 0).is_some();
        self.settle_after(conn, changed);
        Ok(Addressee { conn, wire, taken })
    }

    /// The transport took so many bytes.
    pub(super) fn sent(&mut self, conn: ConnId, n: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(conn).filter(|conn| !conn.closed) else { return };
        let n = n.min(conn.send.len());
        conn.send.advance(&mut self.pool, n);
        conn.load.remove(0, n as u64);
        conn.touch(now);
        if conn.send.is_empty() {
            conn.signals.emptied();
        }
        self.metrics.bytes_out += n as u64;
    }

    /// Drops what a connection holds. Its place is free once the runtime has been told.
    pub(super) fn close(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.closed) else { return };
        conn.stop(cause);
        conn.closed = true;
        let abandoned = self.in_flight.clear(&mut conn.first);
        self.metrics.abandoned += u64::from(abandoned);
        self.metrics.unsent_bytes += conn.send.len() as u64;
        conn.send.clear(&mut self.pool);
        self.metrics.count_closed(cause);
        self.timers.set(id.slot(), None);
        self.ready.set(id.slot(), false);
        self.actions.push(id.slot());
        let freed = u64::from(abandoned);
        if self.total.remove(freed, 0).is_some() | self.scarce.remove(freed, 0).is_some() {
            self.settle_all();
        }
    }

    /// The runtime knows that the connection is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if self.conns.remove(conn).is_some() {
            self.actions.remove(conn.slot());
        }
    }

    /// Brings the lists and the timer in line with what a connection wants.
    pub(super) fn settle(&mut self, id: ConnId) {
        let scarce = self.scarce.is_above();
        let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.closed) else { return };
        conn.set_pressure(self.now, self.total.is_above());
        let slot = id.slot();
        self.ready.set(slot, conn.lends(&self.config, scarce));
        let interest = conn.interest(&self.config);
        self.actions.set(slot, conn.signals.update(interest.read, interest.write));
        // A timer that stands too early is moved when it is due: far cheaper than at every byte.
        if let Some(due) = interest.deadline
            && self.timers.get(slot).is_none_or(|at| at > due)
        {
            self.timers.set(slot, Some(due));
        }
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        let slot = self.actions.peek()?;
        let id = self.conns.id_at(slot)?;
        let conn = self.conns.get_mut(id)?;
        if conn.closed {
            self.forget(id);
            return Some(Action::Close(id));
        }
        let interest = conn.interest(&self.config);
        let action = conn.signals.next(id, interest.read);
        self.actions.set(slot, conn.signals.update(interest.read, interest.write));
        action
    }

    pub(super) fn has_action(&self) -> bool {
        !self.actions.is_empty()
    }

    pub(super) fn status(&self) -> Status {
        let mut status = Status { draining: self.drain_until.is_some(), ..Status::default() };
        for (_, conn) in self.conns.iter().filter(|(_, conn)| !conn.closed) {
            status.connections += 1;
            status.paused += u32::from(!conn.interest(&self.config).read);
            status.unsent += conn.load.bytes();
        }
        status.in_flight = u32::try_from(self.total.items()).unwrap_or(u32::MAX);
        status
    }

    /// The connection whose request is [taken](Self::take) next.
    pub(super) fn upcoming(&self) -> Option<ConnId> {
        self.conns.id_at(self.ready.current().filter(|_| self.has_request())?)
    }

    /// Requests of all connections that were put off.
    pub(super) fn in_hand(&self) -> u64 {
        self.total.items()
    }

    /// Whether nothing is read for the sake of all connections together.
    pub(super) fn is_above(&self) -> bool {
        self.total.is_above()
    }

    /// Whether the last places are kept for connections that have none.
    pub(super) fn is_scarce(&self) -> bool {
        self.scarce.is_above()
    }

    /// Each of them, with its connection, its id on the wire, and since when it is in hand.
    pub(super) fn put_off(&self) -> impl Iterator<Item = (RequestId, ConnId, WireId, Instant)> {
        self.in_flight.iter()
    }

    /// All slots that may hold a connection.
    pub(super) fn slots(&self) -> Range<u32> {
        0..self.conns.slots() as u32
    }

    fn answered(&mut self, to: Addressee) {
        let (now, took) = (self.now, self.now.since(to.taken));
        self.metrics.latency.record(took);
        // An eighth of the way to each new one, as the round-trip time of TCP is smoothed (RFC 6298, section 2).
        self.latency = self.latency - self.latency / 8 + nanos(took) / 8;
        if let Some(conn) = self.live(to.conn) {
            conn.touch(now);
        }
    }

    /// The answer instead of one that the wire cannot carry.
    #[cold]
    fn answer_misuse(&mut self, to: Addressee, misuse: Misuse) {
        self.metrics.failed += 1;
        let _ = self.push_error(to, code::INTERNAL_ERROR, &misuse.to_string(), NO_LIMIT);
    }

    fn push_error(&mut self, to: Addressee, code: &str, message: &str, limits: Limits) -> Result<(), Misuse> {
        let mut content = core::mem::take(&mut self.scratch);
        content.clear();
        write_error(&mut content, code, message);
        if let Some(log) = &mut self.log {
            log.frame = content.len();
        }
        let result = self.push(to.conn, |out| encode_response(out, to.wire, &content, &limits));
        self.scratch = content;
        result
    }

    fn push(
        &mut self,
        id: ConnId,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.closed) else { return Ok(()) };
        let before = conn.send.len();
        conn.send.push_with(&mut self.pool, write)?;
        // Mostly it is neither the first answer that waits nor the one that is too many, and nothing has changed.
        let is_too_much = conn.load.add(0, (conn.send.len() - before) as u64).is_some();
        if is_too_much || !conn.signals.sends() {
            self.settle(id);
        }
        Ok(())
    }

    fn settle_after(&mut self, conn: ConnId, total_changed: bool) {
        if total_changed {
            self.settle_all();
        } else {
            self.settle(conn);
        }
    }

    fn settle_all(&mut self) {
        for slot in self.slots() {
            if let Some(id) = self.conns.id_at(slot) {
                self.settle(id);
            }
        }
    }
}

/// Whom an answer goes to, and since when they wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressee {
    pub(super) conn: ConnId,
    pub(super) wire: WireId,
    pub(super) taken: Instant,
}
