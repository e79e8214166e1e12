//! A server that is written by hand, and lies: it answers twice, to another, under ids that nobody has, in pieces, and now
//! and then in no language at all.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Host;
use plimsoll_core::id::{ConnId, Table, kind};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{self, Limits, Mode, Step, decode_request, encode_response};

use super::Manner;
use super::book::Shared;
use crate::swarm::content;
use crate::swarm::dice::Dice;

/// Room to read into.
const ROOM: usize = 16 * 1_024;
/// The bytes of an id that no other request of its client differs in: the salt, and what is high in the slot and in the generation.
/// With another bit, it may be the id of the next request, and nobody could see through that.
const TELLING: [usize; 11] = [0, 1, 4, 5, 6, 7, 11, 12, 13, 14, 15];
/// How long half an answer is out.
const PAUSE: Duration = Duration::from_millis(300);

/// What it says to whom, and when.
type Said = Reverse<(Instant, u64, ConnId, Words)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Words {
    Whole(Vec<u8>),
    /// Half an answer, and the rest of it.
    Half(Vec<u8>, Vec<u8>),
    /// The pause after half an answer is over.
    GoOn,
}

/// See the module.
pub(super) struct Rogue {
    place: u32,
    book: Shared,
    dice: Dice,
    /// How many of a thousand answers are lies.
    per_mille: u32,
    conns: Table<kind::Conn, Conn>,
    /// In the order in which it is said at the same time.
    later: BinaryHeap<Said>,
    sequence: u64,
    actions: VecDeque<Action>,
    now: Instant,
}

#[derive(Default)]
struct Conn {
    inbox: Vec<u8>,
    read: usize,
    outbox: Vec<u8>,
    /// The rest of half an answer that is out, and all that comes after it: in between, it would be taken for the rest.
    held: VecDeque<Words>,
}

impl Conn {
    /// Says it, or keeps it for after the pause. Whether a pause begins.
    fn say(&mut self, words: Words) -> bool {
        if !self.held.is_empty() && words != Words::GoOn {
            self.held.push_back(words);
            return false;
        }
        match words {
            Words::Whole(bytes) => self.outbox.extend(bytes),
            Words::Half(first, rest) => {
                self.outbox.extend(first);
                self.held.push_front(Words::Whole(rest));
                return true;
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

impl Rogue {
    pub(super) fn new(place: u32, per_mille: u32, book: Shared, seed: u64, now: Instant) -> Self {
        Rogue {
            place,
            book,
            dice: Dice::new(seed, 9),
            per_mille,
            conns: Table::new(),
            later: BinaryHeap::new(),
            sequence: 0,
            actions: VecDeque::new(),
            now,
        }
    }

    fn read(&mut self, conn: ConnId, n: usize) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        state.read += n;
        let mut frames = Vec::new();
        let mut at = 0;
        while let Ok(Step::Frame(head)) =
            decode_request(&state.inbox[at..state.read], &Limits::default(), Mode::Strict)
        {
            let frame = &state.inbox[at..state.read];
            let is_ping = &frame[head.method] == uw::PING.as_bytes();
            frames.push((head.id, (!is_ping).then(|| content::number(&frame[head.content.clone()]))));
            at += head.content.end;
        }
        state.inbox.copy_within(at..state.read, 0);
        state.read -= at;
        for (id, number) in frames {
            match number {
                None => {
                    let mut pong = Vec::new();
                    uw::write_ping_content(&mut pong, 0);
                    self.say(self.now, conn, &response(id, &pong));
                }
                Some(number) => self.answer(conn, id, number.unwrap_or(u64::MAX)),
            }
        }
    }

    fn answer(&mut self, conn: ConnId, id: WireId, number: u64) {
        let (manner, lies) = {
            let mut book = self.book.open();
            book.seen(self.now, self.place, conn, number);
            (
                book.servers[self.place as usize].manner,
                !book.journal.is_recovering && self.dice.chance(self.per_mille),
            )
        };
        let at = match manner {
            Manner::Late(delay) => self.now + delay,
            Manner::Never => return,
            _ => self.now,
        };
        let answer = response(id, content::with(number, 0).as_bytes());
        let lie = if lies { self.dice.below(8) } else { u32::MAX };
        match lie {
            0 => {
                self.say(at, conn, &answer);
                self.say(at, conn, &answer);
            }
            1 => {
                // As good as right, but for one bit.
                let mut bits = id;
                bits.0[self.dice.of(&TELLING)] ^= 1 << self.dice.below(8);
                self.say(at, conn, &response(bits, content::with(u64::MAX, 0).as_bytes()));
                self.say(at, conn, &answer);
            }
            2 => {
                let others: Vec<ConnId> =
                    self.conns.iter().map(|(id, _)| id).filter(|other| *other != conn).collect();
                if !others.is_empty() {
                    let other = self.dice.of(&others);
                    self.say(at, other, &response(id, content::with(u64::MAX, 0).as_bytes()));
                }
                self.say(at, conn, &answer);
            }
            3 => self.say(at, conn, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            4 => {
                // A length that nobody should believe.
                let mut huge = answer.clone();
                huge[19..23].copy_from_slice(&u32::MAX.to_le_bytes());
                self.say(at, conn, &huge);
            }
            5 => {
                let mut first = answer;
                let rest = first.split_off(self.dice.below(first.len() as u32) as usize);
                self.put(at, conn, Words::Half(first, rest));
                self.speak();
            }
            6 => self.say(at + Duration::from_secs(20), conn, &answer),
            7 => {
                if self.conns.remove(conn).is_some() {
                    self.actions.push_back(Action::Close(conn));
                }
            }
            _ => self.say(at, conn, &answer),
        }
    }

    fn say(&mut self, at: Instant, conn: ConnId, bytes: &[u8]) {
        self.put(at, conn, Words::Whole(bytes.to_vec()));
        self.speak();
    }

    fn put(&mut self, at: Instant, conn: ConnId, words: Words) {
        self.sequence += 1;
        self.later.push(Reverse((at, self.sequence, conn, words)));
    }

    fn speak(&mut self) {
        while self.later.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, _, conn, words))) = self.later.pop() else { return };
            let Some(state) = self.conns.get_mut(conn) else { continue };
            if state.say(words) {
                self.put(self.now + PAUSE, conn, Words::GoOn);
            }
            self.actions.push_back(Action::Flush(conn));
        }
    }
}

fn response(id: WireId, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = encode_response(&mut bytes, id, content, &Limits::default());
    bytes
}

impl Machine for Rogue {
    type Event<'a> = ();

    fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Received(conn, n) => self.read(conn, n),
            Input::Sent(conn, n) => {
                if let Some(state) = self.conns.get_mut(conn) {
                    state.outbox.drain(..n);
                }
            }
            Input::ReadClosed(conn) => {
                if self.conns.remove(conn).is_some() {
                    self.actions.push_back(Action::Close(conn));
                }
            }
            Input::Closed(conn, _) => _ = self.conns.remove(conn),
            Input::Tick | Input::Connected(_) | Input::Wall(_) => {}
        }
        self.speak();
    }

    fn accept(&mut self, now: Instant, _: Peer) -> Option<ConnId> {
        self.now = self.now.max(now);
        Some(self.conns.insert(Conn::default()))
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn event(&mut self) -> Option<()> {
        None
    }

    fn has_event(&self) -> bool {
        false
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        let Some(state) = self.conns.get_mut(conn) else { return &mut [] };
        state.inbox.resize(state.read + ROOM, 0);
        &mut state.inbox[state.read..]
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        let outbox = self.conns.get(conn).map_or(&[][..], |state| &state.outbox);
        if outbox.is_empty() {
            return 0;
        }
        bufs[0] = outbox;
        1
    }

    fn deadline(&self) -> Option<Instant> {
        let at = self.later.peek().map(|Reverse((at, ..))| *at);
        if self.actions.is_empty() { at } else { Some(self.now) }
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.deadline().map(|_| "something to say")
    }

    fn is_finished(&self) -> bool {
        self.book.open().journal.closing.is_some()
    }
}

/// Nobody looks after it.
pub(super) struct Nobody(pub(super) Shared, pub(super) u32);

impl Host<Rogue> for Nobody {
    fn commands(&mut self, _: Instant, _: &mut Rogue) {}

    fn event(&mut self, _: Instant, (): ()) {}

    fn publish(&mut self, now: Instant, rogue: &mut Rogue) {
        self.0.open().journal.turned(now, "a rogue");
        rogue.now = rogue.now.max(now);
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.0.open().servers[self.1 as usize].waker = Some(driver.clone());
        false
    }
}
