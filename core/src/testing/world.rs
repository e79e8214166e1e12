//! A runtime in virtual time, with one machine, its application and its peers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::laws::{Op, Subject};
use crate::error::Fault;
use crate::id::ConnId;
use crate::machine::{Action, Input, Machine, Peer};
use crate::time::Instant;

/// Far more rounds than any machine needs to come to rest.
const ROUNDS: usize = 100_000;
const SLICES: usize = 8;
/// Kinds of operations.
const KINDS: u8 = 14;
/// The kind that moves the time to the deadline.
const JUMP: u8 = 8;

/// Whether the operation moves the time to the deadline.
pub(super) fn is_jump((what, _): &Op) -> bool {
    what % KINDS == JUMP
}

/// When what a machine has to say is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// All of it after every operation.
    Prompt,
    /// When an operation says so, and all of it at the end.
    Late,
}

/// Everything that came out of a machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// With their lines.
    pub(super) events: Vec<(u64, String)>,
    pub(super) actions: Vec<Action>,
    /// By peer.
    pub(super) sent: BTreeMap<u32, Vec<u8>>,
    pub(super) heard: BTreeMap<u32, Vec<String>>,
    /// After every operation.
    deadlines: Vec<Option<Instant>>,
}

/// The runtime's side of a connection.
struct Link {
    /// Peers are numbered, because which slot a machine gives to whom is its own business.
    peer: u32,
    conn: ConnId,
    /// What the peer has sent and the machine has not read.
    wire: Vec<u8>,
    dialing: bool,
    reads: bool,
    flush: bool,
    /// The peer sends nothing after what is on the wire.
    ended: bool,
    /// The machine knows that.
    told_end: bool,
}

pub(super) struct World<S: Subject> {
    subject: S,
    machine: S::Machine,
    now: Instant,
    pace: Pace,
    links: Vec<Link>,
    peers: u32,
    gone: Vec<ConnId>,
    trace: Trace,
    /// The lengths of the pieces that are read, as powers of two, over and over; as long as possible if there are
    /// none.
    pub(super) cuts: Vec<u8>,
    next_cut: usize,
    pub(super) extra_ticks: bool,
    pub(super) clock_goes_back: bool,
    pub(super) completions: Completions,
    /// The same machine again, which takes its place after every call.
    pub(super) again: Option<Again<S::Machine>>,
}

pub(super) type Again<M> = fn(&M) -> Result<M, String>;

/// What else is said to the machine after every operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Completions {
    None,
    /// Completions for connections that are gone.
    Late,
    /// As many, for a connection that never was: a machine may use any call to do what was due.
    Strange,
}

/// A connection that no machine has.
const STRANGER: ConnId = ConnId::new(u32::MAX, u32::MAX);

impl<S: Subject> World<S> {
    pub(super) fn new(seed: u64, pace: Pace) -> Self {
        let (subject, machine) = S::new(seed);
        World {
            subject,
            machine,
            now: Instant::from_millis(1_000_000),
            pace,
            links: Vec::new(),
            peers: 0,
            gone: Vec::new(),
            trace: Trace::default(),
            cuts: Vec::new(),
            next_cut: 0,
            extra_ticks: false,
            clock_goes_back: false,
            completions: Completions::None,
            again: None,
        }
    }

    pub(super) fn run(self, ops: &[Op]) -> Result<Trace, String> {
        self.run_to_end(ops).map(|(trace, _)| trace)
    }

    /// With the machine as it is then.
    pub(super) fn run_to_end(mut self, ops: &[Op]) -> Result<(Trace, S::Machine), String> {
        self.handle(Input::Tick);
        self.handle(Input::Wall(1_700_000_000_000));
        for &op in ops {
            self.step(op)?;
        }
        self.rest()?;
        Ok((self.trace, self.machine))
    }

    fn replace(&mut self) -> Result<(), String> {
        if let Some(again) = self.again {
            self.machine = again(&self.machine)?;
        }
        Ok(())
    }

    pub(super) fn machine(&mut self) -> &mut S::Machine {
        &mut self.machine
    }

    pub(super) fn step(&mut self, (what, number): Op) -> Result<(), String> {
        let count = 1 + usize::from(number % 8);
        match what % KINDS {
            0 => self.pass(Duration::from_millis(u64::from(number))),
            1 => self.accept(),
            2 | 3 => self.speak(number),
            4 | 5 => self.subject.command(&mut self.machine, self.now, number),
            6 => self.hang_up(number),
            7 => self.finish_dial(number, number % 3 != 0),
            JUMP => self.jump()?,
            9 => self.handle(Input::Tick),
            10 => drop(self.read(number, usize::from(number % 64))),
            11 => drop(self.times(count, Self::event)?),
            12 => drop(self.times(count, Self::act)?),
            _ => drop(self.send(number, count * 16)),
        }
        if self.pace == Pace::Prompt {
            self.rest()?;
        }
        self.disturb()?;
        self.replace()?;
        self.trace.deadlines.push(self.machine.deadline());
        Ok(())
    }

    /// Moves the time to the deadline, and ticks.
    pub(super) fn jump(&mut self) -> Result<(), String> {
        let Some(deadline) = self.machine.deadline() else { return Ok(()) };
        self.now = self.now.max(deadline);
        self.handle(Input::Tick);
        self.rest()?;
        match self.machine.deadline() {
            Some(next) if next <= deadline => Err(format!("a tick at {deadline:?} left it at {next:?}")),
            _ => Ok(()),
        }
    }

    /// Only ticks move the time on, so that every other input may come with an earlier one.
    fn handle(&mut self, input: Input) {
        let now = if input == Input::Tick { self.now } else { self.stale_now() };
        self.machine.handle(now, input);
    }

    fn stale_now(&self) -> Instant {
        if self.clock_goes_back { Instant::from_nanos(self.now.as_nanos() / 2) } else { self.now }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handle(Input::Tick);
    }

    fn accept(&mut self) {
        if let Some(conn) = self.machine.accept(self.stale_now(), Peer::UNKNOWN) {
            self.open(conn, false);
        }
    }

    fn open(&mut self, conn: ConnId, dialing: bool) {
        let (wire, peer) = (Vec::new(), self.peers);
        self.peers += 1;
        self.links.push(Link {
            peer,
            conn,
            wire,
            dialing,
            reads: true,
            flush: false,
            ended: false,
            told_end: false,
        });
    }

    /// Where some link stands.
    fn pick(&self, number: u16, dialing: bool) -> Option<usize> {
        let picked = self.links.iter().enumerate().filter(|(_, link)| link.dialing == dialing);
        let count = picked.clone().count();
        picked.map(|(at, _)| at).nth(usize::from(number).checked_rem(count)?)
    }

    fn speak(&mut self, number: u16) {
        let Some(link) = self.pick(number, false).map(|at| &mut self.links[at]) else { return };
        if !link.ended {
            link.wire.extend(self.subject.speak(link.peer, number / 16));
        }
    }

    fn hang_up(&mut self, number: u16) {
        let Some(link) = self.pick(number, false).map(|at| &mut self.links[at]) else { return };
        if number.is_multiple_of(2) {
            link.ended = true;
        } else {
            let conn = link.conn;
            self.handle(Input::Closed(conn, Fault::Reset));
            self.forget(conn);
        }
    }

    fn finish_dial(&mut self, number: u16, succeeds: bool) {
        let Some(link) = self.pick(number, true).map(|at| &mut self.links[at]) else { return };
        let conn = link.conn;
        if succeeds {
            link.dialing = false;
            self.handle(Input::Connected(conn));
        } else {
            self.handle(Input::Closed(conn, Fault::Refused));
            self.forget(conn);
        }
    }

    fn forget(&mut self, conn: ConnId) {
        self.links.retain(|link| link.conn != conn);
        self.gone.push(conn);
    }

    /// Reads up to `limit` bytes from a connection; how many that were. The end of the stream counts as one.
    fn read(&mut self, number: u16, limit: usize) -> usize {
        self.pick(number, false).map_or(0, |at| self.read_from(at, limit))
    }

    fn read_from(&mut self, at: usize, limit: usize) -> usize {
        let link = &mut self.links[at];
        let conn = link.conn;
        if !link.reads || link.dialing {
            return 0;
        }
        if link.wire.is_empty() {
            if link.ended && !core::mem::replace(&mut link.told_end, true) {
                self.handle(Input::ReadClosed(conn));
                return 1;
            }
            return 0;
        }
        let buf = self.machine.recv_buf(conn);
        let n = buf.len().min(link.wire.len()).min(limit);
        buf[..n].copy_from_slice(&link.wire[..n]);
        link.wire.drain(..n);
        if n > 0 {
            self.handle(Input::Received(conn, n));
        }
        n
    }

    /// The transport takes up to `limit` bytes of a connection; how many that were.
    fn send(&mut self, number: u16, limit: usize) -> usize {
        self.pick(number, false).map_or(0, |at| self.send_to(at, limit))
    }

    fn send_to(&mut self, at: usize, limit: usize) -> usize {
        let Link { conn, peer, .. } = self.links[at];
        let mut bufs = [&[][..]; SLICES];
        let filled = self.machine.send_bufs(conn, &mut bufs);
        let mut bytes = bufs[..filled].concat();
        bytes.truncate(limit);
        if !bytes.is_empty() {
            self.handle(Input::Sent(conn, bytes.len()));
            let heard = self.subject.hear(peer, &bytes);
            self.trace.heard.entry(peer).or_default().extend(heard);
            self.trace.sent.entry(peer).or_default().extend(&bytes);
        }
        bytes.len()
    }

    fn event(&mut self) -> Result<bool, String> {
        let promised = self.machine.has_event();
        let event = self.machine.event().map(|event| self.subject.event(event));
        if promised != event.is_some() {
            return Err(format!("has_event() says {promised}, event() lends {event:?}"));
        }
        self.trace.events.extend(event);
        self.replace()?;
        Ok(promised)
    }

    fn act(&mut self) -> Result<bool, String> {
        let due = self.machine.deadline().is_some_and(|deadline| deadline <= self.now);
        let Some(action) = self.machine.poll() else { return Ok(false) };
        if !due {
            return Err(format!("{action:?} waited, and was not due"));
        }
        self.trace.actions.push(action);
        self.replace()?;
        match action {
            Action::Connect(conn) => self.open(conn, true),
            Action::Close(conn) => self.forget(conn),
            Action::Read(conn, reads) => self.link(conn, action)?.reads = reads,
            Action::Flush(conn) => self.link(conn, action)?.flush = true,
        }
        Ok(true)
    }

    fn link(&mut self, conn: ConnId, action: Action) -> Result<&mut Link, String> {
        let link = self.links.iter_mut().find(|link| link.conn == conn);
        link.ok_or_else(|| format!("{action:?} names no connection"))
    }

    fn times(&mut self, n: usize, step: fn(&mut Self) -> Result<bool, String>) -> Result<bool, String> {
        for done in 0..n {
            if !step(self)? {
                return Ok(done > 0);
            }
        }
        Ok(true)
    }

    /// Goes on until nothing is left to do at this time.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            let took = self.times(ROUNDS, Self::event)? | self.times(ROUNDS, Self::act)?;
            if took | self.flush_all() | self.read_one() {
                continue;
            }
            match self.machine.deadline() {
                Some(deadline) if deadline <= self.now => {
                    self.handle(Input::Tick);
                    if self.machine.deadline() == Some(deadline) && !self.times(ROUNDS, Self::act)? {
                        return Err(format!("a tick at the deadline {deadline:?} changed nothing"));
                    }
                }
                _ => return Ok(()),
            }
        }
        Err(format!("it does not come to rest: {:?}", self.machine.deadline_reason()))
    }

    fn flush_all(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.links.len() {
            if self.links[at].flush {
                any |= self.send_to(at, usize::MAX) > 0;
                self.links[at].flush = self.machine.send_bufs(self.links[at].conn, &mut [&[][..]; 1]) > 0;
            }
        }
        any
    }

    /// Reads one piece from the first connection that has one.
    fn read_one(&mut self) -> bool {
        let limit = match self.cuts.get(self.next_cut) {
            Some(&cut) => 1 << (cut % 16),
            None => usize::MAX,
        };
        self.next_cut = (self.next_cut + 1).checked_rem(self.cuts.len()).unwrap_or(0);
        (0..self.links.len()).any(|at| self.read_from(at, limit) > 0)
    }

    /// What must change nothing.
    fn disturb(&mut self) -> Result<(), String> {
        let before = self.machine.deadline();
        if self.extra_ticks {
            self.handle(Input::Tick);
            self.handle(Input::Tick);
        }
        if self.completions != Completions::None {
            self.complete_late()?;
        }
        let after = self.machine.deadline();
        if self.extra_ticks && before != after {
            return Err(format!("an early tick moved the deadline from {before:?} to {after:?}"));
        }
        Ok(())
    }

    fn complete_late(&mut self) -> Result<(), String> {
        for conn in self.gone.clone() {
            if !self.machine.recv_buf(conn).is_empty() || self.machine.send_bufs(conn, &mut [&[][..]; 1]) > 0
            {
                return Err(format!("{conn} is gone and still has buffers"));
            }
            let conn = if self.completions == Completions::Late { conn } else { STRANGER };
            for input in late_inputs(conn) {
                self.handle(input);
            }
        }
        Ok(())
    }
}

/// Whatever a runtime may still say of a connection that is gone.
pub(super) fn late_inputs(conn: ConnId) -> [Input; 5] {
    [
        Input::Connected(conn),
        Input::Received(conn, 1),
        Input::Sent(conn, 1),
        Input::ReadClosed(conn),
        Input::Closed(conn, Fault::Reset),
    ]
}
