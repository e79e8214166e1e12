//! Everything of a hub but its receive buffers, so that messages can be lent out of those while they are passed on.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::mem;
use core::ops::Range;

use super::api::{Cause, Config, Metrics, Refused, Status};
use super::conn::{Conn, Intake};
use super::lines::Lines;
use super::pending::{Pending, Side};
use super::services::Services;
use crate::error::ProtocolError;
use crate::id::ConnId;
use crate::machine::Peer;
use crate::map::Seed;
use crate::record::Recorder;
use crate::rng::Pcg;
use crate::sched::{MAX_KEYS, Timers, Turns};
use crate::time::{Instant, WallClock};
use crate::wire::ipc::{Limits, Reply, Text, code, write_error, write_failure};

/// So many messages of one connection are taken before the next one has its turn.
const BURST: u32 = 64;
/// So many ends of connections wait to be told.
const NOTICES: usize = 1_024;
/// What the hub words itself is short, and not subject to the limit on what others word.
const NO_LIMIT: Limits = Limits { body: u32::MAX };

/// The end of a connection, which nobody was told of yet.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) conn: ConnId,
    pub(super) name: Option<Box<str>>,
    pub(super) cause: Cause,
}
crate::saved!(struct Notice { conn, name, cause });

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) lines: Lines,
    pub(super) services: Services,
    pub(super) pending: Pending,
    pub(super) metrics: Metrics,
    /// The latest time that was seen.
    pub(super) now: Instant,
    pub(super) timers: Timers,
    /// Set while shutting down: until when.
    pub(super) drain_until: Option<Instant>,
    /// Connections that have a message.
    pub(super) ready: Turns,
    pub(super) notices: VecDeque<Notice>,
    pub(super) missed: u64,
    /// Slots whose receive buffers nobody needs any more.
    pub(super) released: Vec<u32>,
    wall: WallClock,
    /// What is said about an error.
    words: String,
    pub(super) log: Option<Box<Recorder>>,
}
// The words are written before they are read.
crate::saved!(struct State {
    config, lines, services, pending, metrics, now, timers, drain_until, ready, notices, missed, released,
    wall;
    rebuilt words = String::new(), log = None
});

impl State {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let rng = &mut Pcg::new(seed, 0);
        State {
            services: Services::new(config.connections.get(), Seed::new(rng)),
            pending: Pending::new(config.pending_total.get(), Seed::new(rng)),
            config,
            lines: Lines::new(),
            metrics: Metrics::default(),
            now: Instant::ZERO,
            timers: Timers::new(),
            drain_until: None,
            ready: Turns::new(BURST),
            notices: VecDeque::new(),
            missed: 0,
            released: Vec::new(),
            wall: WallClock::default(),
            words: String::new(),
            log: None,
        }
    }

    /// Time never runs backwards.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn set_wall(&mut self, unix_ms: u64) {
        self.wall = WallClock::new(self.now, unix_ms);
    }

    /// The wall clock, in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        self.wall.unix_ms(self.now)
    }

    pub(super) fn accept(&mut self, peer: Peer) -> Option<ConnId> {
        let uid = peer.credentials.map(|credentials| credentials.uid);
        if self.config.require_uid.is_some_and(|required| uid != Some(required)) {
            self.metrics.strangers += 1;
            return None;
        }
        let limit = self.config.connections.get().min(MAX_KEYS) as usize;
        if self.drain_until.is_some() || self.lines.table.len() >= limit {
            self.metrics.turned_away += 1;
            return None;
        }
        self.metrics.accepted += 1;
        let conn = self.lines.table.insert(Conn::new(self.now, peer, self.config.unsent));
        self.rearm(conn);
        Some(conn)
    }

    /// Sets the timer of a connection, if it is due before that. One that stands too early is moved when it is due: far
    /// cheaper than at every byte.
    pub(super) fn rearm(&mut self, id: ConnId) {
        let slot = id.slot();
        if let Some((due, _)) = self.due(id)
            && self.timers.get(slot).is_none_or(|at| at > due)
        {
            self.timers.set(slot, Some(due));
        }
    }

    fn due(&self, id: ConnId) -> Option<(Instant, Cause)> {
        let conn = self.lines.table.get(id).filter(|conn| !conn.closed)?;
        let service = conn.registration.as_ref().and_then(|registered| self.services.get(registered.service));
        conn.due(&self.config, service.map(|service| service.heard))
    }

    /// Something has come over a connection.
    pub(super) fn hear(&mut self, id: ConnId, bytes: usize) {
        self.metrics.bytes_in += bytes as u64;
        let service =
            self.lines.live(id).and_then(|conn| conn.registration.as_ref()).map(|found| found.service);
        if let Some(service) = service.and_then(|slot| self.services.get_mut(slot)) {
            service.heard = self.now;
        }
    }

    /// Whose bytes cannot begin a message.
    pub(super) fn broke(&mut self, id: ConnId, error: ProtocolError) {
        self.metrics.invalid += 1;
        self.tell(id, code::INVALID_MESSAGE, format_args!("{error}"));
        self.stop(id, Cause::Protocol(error));
    }

    /// Tells a connection what is wrong with its message; one that cannot be trusted after it is closed.
    pub(super) fn refuse(&mut self, id: ConnId, refused: Refused) {
        self.metrics.invalid += 1;
        self.tell(id, refused.code(), format_args!("{refused}"));
        if refused.is_fatal() {
            self.stop(id, Cause::Refused(refused));
        }
    }

    fn tell(&mut self, id: ConnId, code: &str, what: core::fmt::Arguments<'_>) {
        let Some(format) = self.lines.live(id).map(|conn| conn.format()) else { return };
        self.words.clear();
        let _ = self.words.write_fmt(what);
        let (words, unix_ms) = (&self.words, self.unix_ms());
        let _ = self.lines.push(&self.config, id, |out| {
            write_error(out, format, code, words, unix_ms);
            Ok::<(), core::convert::Infallible>(())
        });
    }

    /// Answers a call that is not passed on.
    pub(super) fn answer_refused(&mut self, id: ConnId, reply: &Reply<'_>, refused: Refused) {
        let Some(format) = self.lines.live(id).map(|conn| conn.format()) else { return };
        self.words.clear();
        let _ = write!(self.words, "{refused}");
        let words = &self.words;
        let _ = self.lines.push(&self.config, id, |out| {
            write_failure(out, format, &NO_LIMIT, reply, refused.code(), words)
        });
    }

    /// Answers a call that was passed on, instead of who was called.
    pub(super) fn end_call(&mut self, slot: u32, code: &str, message: &str) {
        if let Some((id, call)) = self.pending.get_with_id(slot)
            && let Some(to) = self.caller_of(slot)
            && let Some(format) = self.lines.table.get(to).map(Conn::format)
        {
            let name = |service| Text::from(self.services.name(service).unwrap_or_default());
            let context = Some(call.context()).filter(|context| context.format() == format);
            let (from, to_name) = (name(call.callee_service), name(call.caller_service));
            let reply = Reply { id: Text::from(id), from, to: to_name, context };
            let _ = self
                .lines
                .push(&self.config, to, |out| write_failure(out, format, &NO_LIMIT, &reply, code, message));
        }
        self.forget_call(slot);
    }

    /// The connection that the answer to a call goes to: the one that it came over, or another one of the same pool.
    pub(super) fn caller_of(&self, slot: u32) -> Option<ConnId> {
        let call = self.pending.get(slot)?;
        let members = &self.services.get(call.caller_service)?.members;
        members.iter().find(|&&member| member == call.caller).or(members.first()).copied()
    }

    pub(super) fn forget_call(&mut self, slot: u32) {
        let Some(call) = self.pending.get(slot) else { return };
        let (callee, service) = (call.callee, call.caller_service);
        if let Some(conn) = self.lines.table.get_mut(callee) {
            self.pending.unlink(Side::Callee, &mut conn.called, slot);
        }
        if let Some(service) = self.services.get_mut(service) {
            self.pending.unlink(Side::Caller, &mut service.calling, slot);
        }
        self.pending.remove(slot);
    }

    /// The connection has had its last words: nothing is taken from it any more, and it serves no more.
    pub(super) fn stop(&mut self, id: ConnId, cause: Cause) {
        let now = self.now;
        let Some(conn) = self.lines.live(id) else { return };
        conn.stop(now, cause);
        self.ready.set(id.slot(), false);
        self.unregister(id, cause);
        self.lines.settle(id);
        self.rearm(id);
    }

    /// No more calls go to a connection; those that it has not answered are lost. With the last connection of a service go
    /// the calls that it has made. Its name is free from now on, so that its end is told before others are told to have it.
    pub(super) fn unregister(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.lines.table.get_mut(id) else { return };
        let Some(registration) = conn.registration.take() else { return };
        let service = registration.service;
        self.announce_end(id, Some(service), cause);
        let last = self.services.leave(service, id);
        while let Some(call) = self.lines.table.get(id).and_then(|conn| conn.called.first()) {
            self.metrics.lost += 1;
            let message = "the service that was called has disconnected before it has answered";
            self.end_call(call, code::CONNECTION_LOST, message);
        }
        if !last {
            return;
        }
        while let Some(call) = self.services.get(service).and_then(|service| service.calling.first()) {
            self.metrics.abandoned += 1;
            self.forget_call(call);
        }
        self.services.remove(service);
    }

    /// Closes the connections that are to be closed.
    pub(super) fn reap(&mut self) {
        while let Some((id, cause)) = self.lines.next_doomed() {
            self.close(id, cause);
        }
    }

    /// Drops what a connection holds. Its place is free once the runtime has been told.
    fn close(&mut self, id: ConnId, cause: Cause) {
        if self.lines.live(id).is_none() {
            return;
        }
        self.unregister(id, cause);
        self.announce_end(id, None, cause);
        self.lines.close(id);
        self.metrics.closed += 1;
        self.metrics.expelled += u64::from(!matches!(cause, Cause::Peer | Cause::Fault(_) | Cause::Shutdown));
        self.timers.set(id.slot(), None);
        self.ready.set(id.slot(), false);
        self.released.push(id.slot());
    }

    /// Lets the end of a connection be told, once.
    fn announce_end(&mut self, id: ConnId, service: Option<u32>, cause: Cause) {
        let Some(conn) = self.lines.table.get_mut(id) else { return };
        if mem::replace(&mut conn.end_told, true) {
            return;
        }
        if self.notices.len() >= NOTICES {
            self.missed += 1;
            return;
        }
        let name = service.and_then(|service| self.services.name(service)).map(Box::from);
        self.notices.push_back(Notice { conn: id, name, cause });
    }

    pub(super) fn closed(&mut self, id: ConnId, cause: Cause) {
        self.lines.doom(id, cause);
        self.reap();
        self.lines.forget(id);
    }

    pub(super) fn tick(&mut self) {
        let now = self.now;
        if self.drain_until.is_some_and(|until| until <= now) {
            for slot in self.slots() {
                if let Some(id) = self.lines.table.id_at(slot) {
                    self.lines.doom(id, Cause::Shutdown);
                }
            }
        }
        while let Some(call) = self.pending.deadlines.pop_due(now) {
            self.metrics.timed_out += 1;
            match self.pending.get(call).is_some_and(|call| call.by_deadline) {
                true => self.end_call(call, code::DEADLINE_EXCEEDED, "the deadline of the call has passed"),
                false => self.end_call(call, code::TIMEOUT, "the service has not answered in time"),
            }
        }
        while let Some(id) = self.timers.pop_due(now).and_then(|slot| self.lines.table.id_at(slot)) {
            match self.due(id) {
                Some((at, cause)) if at <= now => self.lines.doom(id, cause),
                _ => self.rearm(id),
            }
        }
    }

    /// Takes no more connections, and closes each that stands once it is sent what waits.
    pub(super) fn shutdown(&mut self, deadline: Instant) {
        self.drain_until = Some(self.drain_until.map_or(deadline, |until| until.min(deadline)));
        for slot in self.slots() {
            if let Some(id) = self.lines.table.id_at(slot) {
                self.stop(id, Cause::Shutdown);
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let stand = self.lines.table.iter().filter(|(_, conn)| !conn.closed).count();
        Status {
            connections: u32::try_from(stand).unwrap_or(u32::MAX),
            services: self.services.len(),
            pending: self.pending.len(),
            unsent: self.lines.unsent,
            draining: self.drain_until.is_some(),
        }
    }

    /// Whether messages of a connection are looked at.
    pub(super) fn listens(&mut self, id: ConnId) -> bool {
        self.lines.live(id).is_some_and(|conn| !matches!(conn.intake, Intake::Stopped(..)))
    }

    fn slots(&self) -> Range<u32> {
        0..self.lines.table.slots() as u32
    }
}
