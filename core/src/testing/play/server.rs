//! A server, its application, and peers that ask, stall, break the rules and vanish: every request is lent once, in the
//! order in which its peer sent it, and answered once with its own answer; and once everybody behaves, everything
//! that was asked on a connection that stands is answered.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Op, limit};
use crate::error::Fault;
use crate::id::ConnId;
use crate::machine::{self, Action, Input, Machine};
use crate::policy::watermark::Band;
use crate::service::server::{Config, ReplyError, Request, Server, Token};
use crate::testing::world::late_inputs;
use crate::time::Instant;
use crate::wire::WireId;
use crate::wire::uw::{Limits, Mode, Step, code, decode_response, encode_request};

const LARGEST: u32 = 600;

fn config(shape: u16) -> Config {
    Config {
        limits: Limits { content: LARGEST },
        mode: if shape.is_multiple_of(2) { Mode::Strict } else { Mode::Resync },
        frame_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(10),
        connections: limit(1 + u32::from(shape / 2 % 4)),
        in_flight: limit(1 + u32::from(shape / 8 % 4)),
        in_flight_total: limit(2 + u32::from(shape / 32 % 8)),
        unsent: Band::new(64, 256 + u64::from(shape / 256) * 8).expect("low is below high"),
        receive_budget: limit(1),
    }
}

/// What the application makes of a request, by its method.
const METHODS: [&str; 5] = ["echo", "drop", "fail", "later", "ping"];

/// A request that was sent and not answered.
struct Asked {
    number: u32,
    method: &'static str,
    content: Vec<u8>,
    /// Where its frame ends, counted from the first byte of the connection.
    end: usize,
    lent: bool,
}

/// The far end of a connection.
struct Peer {
    conn: ConnId,
    open: bool,
    /// The server wants to be read to.
    reads: bool,
    /// It sends nothing after what is on the wire, and whether the server knows.
    ended: bool,
    told_end: bool,
    /// Sent and not yet read.
    wire: VecDeque<u8>,
    /// Where each frame ends that is not yet read, and how much was sent and read.
    ends: VecDeque<usize>,
    sent: usize,
    read: usize,
    /// Since when the server has had bytes that are no whole frame.
    partial: Option<Instant>,
    last_traffic: Instant,
    asked: VecDeque<Asked>,
    heard: Vec<u8>,
}

impl Peer {
    /// Bytes were read. What no frame has ended yet may stall.
    fn read(&mut self, n: usize, now: Instant) {
        self.wire.drain(..n);
        self.read += n;
        self.last_traffic = now;
        let whole = self.ends.iter().take_while(|&&end| end <= self.read).count();
        let last = self.ends.drain(..whole).next_back();
        self.partial = match last {
            Some(end) if end == self.read => None,
            Some(_) => Some(now),
            None => self.partial.or(Some(now)),
        };
    }

    fn is_owed(&self, number: u32) -> bool {
        self.asked.iter().any(|asked| asked.number == number)
    }
}

struct World {
    config: Config,
    server: Server,
    now: Instant,
    /// All there ever were.
    peers: Vec<Peer>,
    next: u32,
    /// Requests that were deferred, with their peers and numbers.
    deferred: Vec<(Token, usize, u32)>,
    spent: Vec<Token>,
    /// Until when it shuts down.
    shutdown: Option<Instant>,
    taken: u64,
}

impl World {
    fn step(&mut self, (what, whom, much): Op) {
        let open: Vec<usize> = (0..self.peers.len()).filter(|&at| self.peers[at].open).collect();
        let peer = usize::from(whom).checked_rem(open.len()).map(|at| open[at]);
        match (what % 20, peer) {
            (0, _) => self.accept(),
            (1..=4, Some(peer)) => self.ask(peer, METHODS[usize::from(whom / 8) % METHODS.len()], much),
            (5..=7, Some(peer)) => drop(self.deliver(peer, usize::from(much))),
            (8 | 9, _) => drop(self.take(1 + usize::from(much % 8))),
            (10 | 11, _) => self.answer(whom, much),
            (12 | 13, Some(peer)) => drop(self.send(peer, usize::from(much) * 4)),
            (14, _) => self.pass(Duration::from_millis(u64::from(much) * 16)),
            (15, Some(peer)) if !self.peers[peer].ended => {
                let peer = &mut self.peers[peer];
                peer.wire.extend(b"\xffgarbage");
                peer.sent += 8;
                peer.ended = self.config.mode == Mode::Strict;
            }
            (16, Some(peer)) if much.is_multiple_of(4) => self.peers[peer].ended = true,
            (17, Some(peer)) if much.is_multiple_of(4) => {
                self.peers[peer].open = false;
                self.server.handle(self.now, Input::Closed(self.peers[peer].conn, Fault::Reset));
            }
            (18, _) if much < 16 => {
                let until = self.now + Duration::from_millis(u64::from(whom) * 16);
                self.shutdown = Some(self.shutdown.map_or(until, |before| before.min(until)));
                self.server.shutdown(self.now, until);
            }
            (19, _) => self.complete_late(whom),
            _ => self.server.handle(self.now, Input::Tick),
        }
        self.run();
    }

    fn accept(&mut self) {
        let standing = self.peers.iter().filter(|peer| peer.open).count();
        let room = self.shutdown.is_none() && standing < self.config.connections.get() as usize;
        let accepted = self.server.accept(self.now, machine::Peer::UNKNOWN);
        assert_eq!(accepted.is_some(), room, "a connection more than there may be, or one less");
        self.peers.extend(accepted.map(|conn| Peer {
            conn,
            open: true,
            reads: true,
            ended: false,
            told_end: false,
            wire: VecDeque::new(),
            ends: VecDeque::new(),
            sent: 0,
            read: 0,
            partial: None,
            last_traffic: self.now,
            asked: VecDeque::new(),
            heard: Vec::new(),
        }));
    }

    fn ask(&mut self, peer: usize, method: &'static str, much: u8) {
        let (peer, number) = (&mut self.peers[peer], self.next);
        if peer.ended {
            return;
        }
        self.next += 1;
        let mut content = number.to_le_bytes().to_vec();
        content.resize(4 + usize::from(much) * 2, b'.');
        let mut frame = Vec::new();
        encode_request(&mut frame, WireId::new(number, 0, 0), method, &content, &Limits::default())
            .expect("content within the limit");
        peer.sent += frame.len();
        peer.ends.push_back(peer.sent);
        peer.wire.extend(&frame);
        peer.asked.push_back(Asked { number, method, content, end: peer.sent, lent: false });
    }

    fn deliver(&mut self, peer: usize, most: usize) -> bool {
        let (now, peer) = (self.now, &mut self.peers[peer]);
        if !peer.open || !peer.reads {
            return false;
        }
        let bytes: Vec<u8> = peer.wire.iter().copied().take(most).collect();
        let n = self.server.feed(now, peer.conn, &bytes);
        if n > 0 {
            peer.read(n, now);
        }
        let ends = peer.ended && peer.wire.is_empty() && !core::mem::replace(&mut peer.told_end, true);
        if ends {
            self.server.handle(now, Input::ReadClosed(peer.conn));
        }
        n > 0 || ends
    }

    /// The application takes requests, and answers each by its method.
    fn take(&mut self, most: usize) -> bool {
        for taken in 0..most {
            let Some(Request { method, content, responder }) = self.server.event() else { return taken > 0 };
            let at = self.peers.iter().position(|peer| peer.open && peer.conn == responder.conn());
            let at = at.expect("a request of a connection that stands");
            let mut waiting = self.peers[at].asked.iter_mut().filter(|asked| asked.method != "ping");
            let asked = waiting.find(|asked| !asked.lent).expect("a request that was sent");
            assert_eq!((method, content), (asked.method, &asked.content[..]), "not the next one");
            asked.lent = true;
            let number = asked.number;
            self.taken += 1;
            match method {
                "echo" => responder.reply(content).expect("content within the limit"),
                "fail" => responder.fail("NOW", "no").expect("a short error"),
                "later" => self.deferred.push((responder.defer(), at, number)),
                _ => drop(responder),
            }
        }
        true
    }

    fn answer(&mut self, whom: u8, how: u8) {
        let Some(at) = usize::from(whom).checked_rem(self.deferred.len()) else { return };
        let (token, peer, number) = self.deferred.swap_remove(at);
        let peer = &self.peers[peer];
        assert!(!peer.open || peer.is_owed(number), "it was answered before");
        let result = match how % 4 {
            0 => self.server.fail(self.now, token, "LATER", "no"),
            1 => self.server.reply(self.now, token, &[b'.'; LARGEST as usize + 1]),
            _ => self.server.reply(self.now, token, b"later"),
        };
        match result {
            Ok(()) => assert!(peer.open && how % 4 != 1),
            Err(ReplyError::Gone) => assert!(!peer.open, "{token:?} is owed an answer"),
            Err(ReplyError::Misuse(_)) => assert!(peer.open && how % 4 == 1),
        }
        self.spent.push(token);
    }

    /// The transport takes bytes, and the peer reads the answers in them.
    fn send(&mut self, peer: usize, most: usize) -> bool {
        let (now, peer) = (self.now, &mut self.peers[peer]);
        let mut bufs = [&[][..]; 4];
        let n = self.server.send_bufs(peer.conn, &mut bufs);
        let mut bytes = bufs[..n].concat();
        bytes.truncate(most);
        if bytes.is_empty() || !peer.open {
            return false;
        }
        self.server.handle(now, Input::Sent(peer.conn, bytes.len()));
        peer.last_traffic = now;
        peer.heard.extend(bytes);
        while let Ok(Step::Frame(head)) = decode_response(&peer.heard, &Limits::default(), Mode::Strict) {
            let number = head.id.slot();
            let at = peer.asked.iter().position(|asked| asked.number == number);
            let asked = peer.asked.remove(at.expect("asked, and not answered before")).expect("it is there");
            let content = peer.heard[head.content.clone()].to_vec();
            peer.heard.drain(..head.content.end);
            assert!(asked.lent || asked.method == "ping", "answered before anybody has seen it");
            let is = |code: &str| content.starts_with(format!(r#"{{"error":{{"code":"{code}""#).as_bytes());
            assert!(match asked.method {
                "echo" => content == asked.content,
                "drop" => is(code::EXECUTION_FAILED),
                "fail" => is("NOW"),
                "later" => content == b"later" || is("LATER") || is(code::INTERNAL_ERROR),
                _ => content.starts_with(br#"{"timestamp":"#),
            });
        }
        true
    }

    /// For a connection that is gone, and answers to what is answered.
    fn complete_late(&mut self, whom: u8) {
        let gone: Vec<ConnId> = self.peers.iter().filter(|peer| !peer.open).map(|peer| peer.conn).collect();
        if let Some(at) = usize::from(whom).checked_rem(gone.len()) {
            let conn = gone[at];
            for input in late_inputs(conn) {
                self.server.handle(self.now, input);
            }
        }
        if let Some(at) = usize::from(whom).checked_rem(self.spent.len()) {
            assert_eq!(self.server.reply(self.now, self.spent[at], b""), Err(ReplyError::Gone));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.server.deadline().filter(|&at| at <= end) {
            assert!(at > self.now, "due without anything to do: {:?}", self.server.deadline_reason());
            self.now = at;
            self.server.handle(self.now, Input::Tick);
            self.run();
        }
        self.now = end;
    }

    fn run(&mut self) {
        for _ in 0..1_000 {
            while let Some(action) = self.server.poll() {
                self.act(action);
            }
            if self.server.deadline().is_none_or(|at| at > self.now) {
                return self.check();
            }
            self.server.handle(self.now, Input::Tick);
        }
        panic!("the server does not come to rest: {:?}", self.server.deadline_reason());
    }

    fn act(&mut self, action: Action) {
        let of = |conn| self.peers.iter().position(|peer| peer.open && peer.conn == conn);
        match action {
            Action::Close(conn) => {
                let at = of(conn).expect("a connection that stands");
                let peer = &mut self.peers[at];
                peer.open = false;
                let since = |at: Instant, least: Duration| at + least <= self.now;
                let over = self.shutdown.is_some_and(|until| until <= self.now);
                let stalled = peer.partial.is_some_and(|at| since(at, self.config.frame_timeout));
                // A peer that does not take its answers is idle, too.
                let works = self.deferred.iter().any(|(_, peer, _)| *peer == at);
                let idle = since(peer.last_traffic, self.config.idle_timeout) && !works;
                let ending = self.shutdown.is_some();
                let owed = peer.asked.iter().any(|asked| asked.lent || !ending && asked.end <= peer.read);
                let through = (ending || peer.ended) && !owed;
                assert!(over || stalled || idle || through, "{conn} is closed");
            }
            Action::Read(conn, on) => {
                let at = of(conn).expect("a connection that stands");
                self.peers[at].reads = on;
            }
            Action::Flush(conn) => assert!(of(conn).is_some(), "a connection that stands"),
            Action::Connect(_) => panic!("a server dials nobody"),
        }
    }

    fn check(&self) {
        let (status, metrics) = (self.server.status(), self.server.metrics());
        let open = self.peers.iter().filter(|peer| peer.open).count();
        assert_eq!(status.connections as usize, open);
        let of = |at: usize| self.deferred.iter().filter(|(_, peer, _)| *peer == at).count();
        let deferred: usize = (0..self.peers.len()).filter(|&at| self.peers[at].open).map(of).sum();
        assert_eq!(status.in_flight as usize, deferred);
        assert!(status.in_flight <= self.config.in_flight_total.get());
        assert!(
            (0..self.peers.len())
                .all(|at| of(at) <= self.config.in_flight.get() as usize || !self.peers[at].open)
        );
        assert_eq!(metrics.requests, self.taken);
        let ended = metrics.answered + metrics.failed + metrics.abandoned;
        assert_eq!(metrics.requests, ended + u64::from(status.in_flight), "each request ends once");
    }

    /// Everybody behaves: all that was asked on a connection that stands is answered.
    fn settle(mut self) {
        let mut busy = true;
        while core::mem::replace(&mut busy, false) {
            for at in 0..self.peers.len() {
                busy |= self.deliver(at, usize::MAX) | self.send(at, usize::MAX);
                self.run();
            }
            busy |= self.take(usize::MAX);
            while !self.deferred.is_empty() {
                self.answer(0, 2);
                busy = true;
            }
            self.run();
        }
        for peer in self.peers.iter().filter(|peer| peer.open) {
            assert!(!peer.ended, "{} is not closed, and its peer has ended", peer.conn);
            let owed: Vec<u32> = peer.asked.iter().map(|asked| asked.number).collect();
            assert!(owed.is_empty() && peer.wire.is_empty(), "{} waits for {owed:?}", peer.conn);
        }
        self.server.shutdown(self.now, self.now + Duration::from_secs(1));
        self.shutdown.get_or_insert(self.now + Duration::from_secs(1));
        self.run();
        assert!(self.server.is_finished() && self.peers.iter().all(|peer| !peer.open));
        assert_eq!(self.server.deadline(), None, "no timer runs after the shutdown");
    }
}

/// Does it all, then lets everything come to rest. The shape chooses the configuration.
///
/// # Panics
/// If a request is lent or answered another way than once and as it was asked, a limit is passed, or something does not
/// come to rest.
pub fn play(shape: u16, ops: &[Op]) {
    let config = config(shape);
    let mut world = World {
        config,
        server: Server::new(config),
        now: Instant::from_millis(1_000),
        peers: Vec::new(),
        next: 0,
        deferred: Vec::new(),
        spent: Vec::new(),
        shutdown: None,
        taken: 0,
    };
    world.accept();
    for &op in ops {
        world.step(op);
    }
    world.settle();
}
