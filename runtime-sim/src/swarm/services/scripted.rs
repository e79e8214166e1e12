//! A server that is written by hand: its connections, and what it says to whom, and when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Host;
use plimsoll_core::id::{ConnId, Table, kind};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;

use super::book::Shared;
use crate::swarm::dice::Dice;

/// Room to read into.
const ROOM: usize = 16 * 1_024;
/// How long half an answer is out.
const PAUSE: Duration = Duration::from_millis(300);

/// How much longer than usual a late answer takes.
pub(super) const LATE: Duration = Duration::from_secs(20);
/// What is said in no language that is spoken here.
pub(super) const NO_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

/// What it says to whom, and when.
type Said = Reverse<(Instant, u64, ConnId, Words)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Words {
    Whole(Vec<u8>),
    /// Half an answer, and the rest of it.
    Half(Vec<u8>, Vec<u8>),
    /// The pause after half an answer is over.
    GoOn,
    /// The last words: it closes.
    Last(Vec<u8>),
}

/// An answer, cut somewhere.
pub(super) fn halves(mut answer: Vec<u8>, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    let rest = answer.split_off(dice.below(answer.len() as u32) as usize);
    (answer, rest)
}

/// What a server of this kind makes of what it reads.
pub(super) trait Role {
    /// Reads from bytes that begin where the last request ended. How many of them are done with.
    fn hear(&mut self, lines: &mut Lines, conn: ConnId, bytes: &[u8]) -> usize;

    /// Does what is due.
    fn act(&mut self, lines: &mut Lines);

    /// A connection is gone.
    fn left(&mut self, conn: ConnId);

    /// When something is due.
    fn deadline(&self) -> Option<Instant>;

    /// Requests that it has put off.
    fn in_flight(&self) -> u32;
}

/// See the module.
pub(super) struct Scripted<R> {
    role: R,
    lines: Lines,
    book: Shared,
}

/// Its connections.
pub(super) struct Lines {
    pub(super) now: Instant,
    conns: Table<kind::Conn, Conn>,
    /// In the order in which it is said at the same time.
    later: BinaryHeap<Said>,
    sequence: u64,
    actions: VecDeque<Action>,
    /// Closed, and not yet told to the role.
    left: Vec<ConnId>,
}

#[derive(Default)]
struct Conn {
    inbox: Vec<u8>,
    read: usize,
    outbox: Vec<u8>,
    /// The rest of half an answer that is out, and all that comes after it: in between, it would be taken for the rest.
    held: VecDeque<Words>,
    is_closing: bool,
}

impl Conn {
    /// Says it, or keeps it for after the pause. Whether a pause begins.
    fn say(&mut self, words: Words) -> bool {
        if !self.held.is_empty() && words != Words::GoOn {
            self.held.push_back(words);
            return false;
        }
        match words {
            _ if self.is_closing => {}
            Words::Whole(bytes) => self.outbox.extend(bytes),
            Words::Half(first, rest) => {
                self.outbox.extend(first);
                self.held.push_front(Words::Whole(rest));
                return true;
            }
            Words::Last(bytes) => {
                self.outbox.extend(bytes);
                self.is_closing = true;
            }
            Words::GoOn => {
                let mut held = std::mem::take(&mut self.held);
                while let Some(words) = held.pop_front() {
                    if self.say(words) {
                        self.held.extend(held);
                        return true;
                    }
                }
            }
        }
        false
    }
}

impl Lines {
    /// Says it then.
    pub(super) fn say(&mut self, at: Instant, conn: ConnId, words: Words) {
        self.sequence += 1;
        self.later.push(Reverse((at, self.sequence, conn, words)));
        self.speak();
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        if self.conns.remove(conn).is_some() {
            self.left.push(conn);
            self.actions.push_back(Action::Close(conn));
        }
    }

    /// All connections but that one.
    pub(super) fn others(&self, conn: ConnId) -> Vec<ConnId> {
        self.conns.iter().map(|(id, _)| id).filter(|other| *other != conn).collect()
    }

    fn speak(&mut self) {
        while self.later.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, _, conn, words))) = self.later.pop() else { return };
            let Some(state) = self.conns.get_mut(conn) else { continue };
            if state.say(words) {
                self.sequence += 1;
                self.later.push(Reverse((self.now + PAUSE, self.sequence, conn, Words::GoOn)));
            }
            self.actions.push_back(Action::Flush(conn));
        }
    }

    /// Closes what has said its last words.
    fn end(&mut self, conn: ConnId) {
        if self.conns.get(conn).is_some_and(|state| state.is_closing && state.outbox.is_empty()) {
            self.close(conn);
        }
    }

    /// What has come and is not done with, out of the connection's hands.
    fn take(&mut self, conn: ConnId, n: usize) -> Option<Vec<u8>> {
        let state = self.conns.get_mut(conn)?;
        state.read += n;
        Some(std::mem::take(&mut state.inbox))
    }
}

impl<R: Role> Scripted<R> {
    pub(super) fn new(role: R, book: Shared, now: Instant) -> Self {
        let lines = Lines {
            now,
            conns: Table::new(),
            later: BinaryHeap::new(),
            sequence: 0,
            actions: VecDeque::new(),
            left: Vec::new(),
        };
        Scripted { role, lines, book }
    }

    fn read(&mut self, conn: ConnId, n: usize) {
        let Some(mut inbox) = self.lines.take(conn, n) else { return };
        let read = self.lines.conns.get(conn).map_or(0, |state| state.read);
        let done = self.role.hear(&mut self.lines, conn, &inbox[..read]);
        if let Some(state) = self.lines.conns.get_mut(conn) {
            inbox.copy_within(done..read, 0);
            state.read -= done;
            state.inbox = inbox;
        }
    }

    fn act(&mut self, now: Instant) {
        self.lines.now = self.lines.now.max(now);
        self.role.act(&mut self.lines);
        self.lines.speak();
        while let Some(conn) = self.lines.left.pop() {
            self.role.left(conn);
        }
    }
}

impl<R: Role> Machine for Scripted<R> {
    type Event<'a>
        = ()
    where
        R: 'a;

    fn handle(&mut self, now: Instant, input: Input) {
        self.lines.now = self.lines.now.max(now);
        match input {
            Input::Received(conn, n) => self.read(conn, n),
            Input::Sent(conn, n) => {
                if let Some(state) = self.lines.conns.get_mut(conn) {
                    state.outbox.drain(..n);
                    self.lines.end(conn);
                }
            }
            Input::ReadClosed(conn) => self.lines.close(conn),
            Input::Closed(conn, _) => {
                if self.lines.conns.remove(conn).is_some() {
                    self.lines.left.push(conn);
                }
            }
            Input::Tick | Input::Connected(_) | Input::Wall(_) => {}
        }
        self.act(now);
    }

    fn accept(&mut self, now: Instant, _: Peer) -> Option<ConnId> {
        self.lines.now = self.lines.now.max(now);
        Some(self.lines.conns.insert(Conn::default()))
    }

    fn poll(&mut self) -> Option<Action> {
        self.lines.actions.pop_front()
    }

    fn event(&mut self) -> Option<()> {
        None
    }

    fn has_event(&self) -> bool {
        false
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        let Some(state) = self.lines.conns.get_mut(conn) else { return &mut [] };
        state.inbox.resize(state.read + ROOM, 0);
        &mut state.inbox[state.read..]
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        let outbox = self.lines.conns.get(conn).map_or(&[][..], |state| &state.outbox);
        if outbox.is_empty() {
            return 0;
        }
        bufs[0] = outbox;
        1
    }

    fn deadline(&self) -> Option<Instant> {
        let at = self.lines.later.peek().map(|Reverse((at, ..))| *at);
        let at = at.into_iter().chain(self.role.deadline()).min();
        if self.lines.actions.is_empty() { at } else { Some(self.lines.now) }
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.deadline().map(|_| "something to say")
    }

    fn is_finished(&self) -> bool {
        self.book.open().journal.closing.is_some()
    }
}

/// Whoever looks on, from that place.
pub(super) struct Audience(pub(super) Shared, pub(super) u32);

impl<R: Role> Host<Scripted<R>> for Audience {
    fn commands(&mut self, now: Instant, server: &mut Scripted<R>) {
        server.act(now);
    }

    fn event(&mut self, _: Instant, (): ()) {}

    fn publish(&mut self, now: Instant, server: &mut Scripted<R>) {
        let mut book = self.0.open();
        book.journal.turned(now, "a server written by hand");
        book.servers[self.1 as usize].in_flight = server.role.in_flight();
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.0.open().servers[self.1 as usize].waker = Some(driver.clone());
        false
    }
}
