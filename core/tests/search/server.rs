//! A server with small limits: peers ask, in whole and in part, read answers late, close their half and die; the application
//! answers at once, later or not at all, and the server shuts down in the middle of it.

use std::fmt;
use std::time::Duration;

use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{self, Action, Input, Machine};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::service::server::{Config, ReplyError, Request, Server, Token};
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, Step, code, decode_response, encode_request};

use crate::{agree, explore};

const IN_FLIGHT: u32 = 2;
const IN_ALL: u32 = 3;
const DRAIN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Content,
    Unanswered,
}

#[derive(Clone, Debug)]
struct Asked {
    peer: usize,
    lent: bool,
    /// What it is to be answered with, once the application has decided.
    answer: Option<Answer>,
    heard: bool,
}

#[derive(Clone, Debug)]
struct Peer {
    conn: ConnId,
    open: bool,
    half_closed: bool,
    /// The server knows that.
    told: bool,
    reads: bool,
    /// What was sent and not read.
    wire: Vec<u8>,
    heard: Vec<u8>,
}

#[derive(Clone)]
struct Service {
    server: Server,
    now: Instant,
    peers: Vec<Peer>,
    asked: Vec<Asked>,
    /// With the number of the request.
    tokens: Vec<(Token, usize)>,
    /// How many requests are made in all.
    most: usize,
    shuts_down: bool,
}

#[derive(Clone, Debug)]
enum Move {
    Accept,
    Ask(usize),
    /// The peer has sent its bytes, of which the server has read nothing yet: now it reads so many.
    Read(usize, usize),
    Reply,
    Defer,
    Drop,
    ReplyLate(usize),
    Send(usize, usize),
    HalfClose(usize),
    Die(usize),
    Act,
    Pass,
    Shutdown,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Accept => f.write_str("somebody connects"),
            Move::Ask(peer) => write!(f, "peer {peer} asks"),
            Move::Read(peer, most) => write!(f, "the server reads up to {most} bytes of peer {peer}"),
            Move::Reply => f.write_str("the application answers a request"),
            Move::Defer => f.write_str("the application puts a request off"),
            Move::Drop => f.write_str("the application drops a request"),
            Move::ReplyLate(at) => write!(f, "the application answers number {at} of those put off"),
            Move::Send(peer, most) => write!(f, "peer {peer} reads up to {most} bytes"),
            Move::HalfClose(peer) => write!(f, "peer {peer} closes its half"),
            Move::Die(peer) => write!(f, "peer {peer} dies"),
            Move::Act => f.write_str("all actions are taken"),
            Move::Pass => f.write_str("time passes to the deadline"),
            Move::Shutdown => f.write_str("the server shuts down"),
        }
    }
}

impl Service {
    fn new(most: usize) -> Self {
        let config = Config {
            connections: limit(2),
            in_flight: limit(IN_FLIGHT),
            in_flight_total: limit(IN_ALL),
            unsent: Band::new(30, 60).expect("low is below high"),
            ..Config::default()
        };
        Service {
            server: Server::new(config),
            now: Instant::from_millis(1_000),
            peers: Vec::new(),
            asked: Vec::new(),
            tokens: Vec::new(),
            most,
            shuts_down: false,
        }
    }

    /// Two peers, of whom one has had two requests put off.
    fn busy() -> Self {
        let mut service = Self::new(5);
        let asks = [Move::Accept, Move::Accept, Move::Ask(0), Move::Ask(0), Move::Ask(1)];
        let takes = [Move::Read(0, 1_000), Move::Read(1, 1_000), Move::Defer, Move::Defer];
        for step in asks.iter().chain(&takes) {
            service.apply(step).expect("nothing is wrong");
        }
        service
    }

    fn ask(&mut self, peer: usize) {
        let number = self.asked.len();
        self.asked.push(Asked { peer, lent: false, answer: None, heard: false });
        let (id, content) = (WireId::new(number as u32, 0, 0), number.to_string());
        let wire = &mut self.peers[peer].wire;
        encode_request(wire, id, "get", content.as_bytes(), &Limits::default()).expect("a small request");
    }

    fn read(&mut self, at: usize, most: usize) -> bool {
        let peer = &mut self.peers[at];
        if !peer.open || !peer.reads {
            return false;
        }
        let piece = peer.wire.len().min(most);
        let read = self.server.feed(self.now, peer.conn, &peer.wire[..piece]);
        peer.wire.drain(..read);
        if peer.half_closed && peer.wire.is_empty() && !peer.told {
            peer.told = true;
            self.server.handle(self.now, Input::ReadClosed(peer.conn));
            return true;
        }
        read > 0
    }

    /// The application takes one request.
    fn take(&mut self, what: &Move) -> Result<bool, String> {
        let Some(Request { content, responder, .. }) = self.server.event() else { return Ok(false) };
        let number: usize =
            core::str::from_utf8(content).ok().and_then(|text| text.parse().ok()).expect("a number");
        let peer = self.asked[number].peer;
        agree("over which connection it has come", responder.conn(), self.peers[peer].conn)?;
        let first = self.asked.iter().position(|asked| asked.peer == peer && !asked.lent);
        agree("which request of its peer is lent", Some(number), first)?;
        let asked = &mut self.asked[number];
        asked.lent = true;
        match what {
            Move::Defer => self.tokens.push((responder.defer(), number)),
            Move::Drop => {
                asked.answer = Some(Answer::Unanswered);
                drop(responder);
            }
            _ => {
                asked.answer = Some(Answer::Content);
                responder.reply(number.to_string().as_bytes()).map_err(|misuse| misuse.to_string())?;
            }
        }
        Ok(true)
    }

    fn reply_late(&mut self, at: usize) -> Result<(), String> {
        let (token, number) = self.tokens.remove(at);
        let open = self.peers[self.asked[number].peer].open;
        self.asked[number].answer = Some(Answer::Content);
        let (now, content) = (self.now, number.to_string());
        let gone = self.server.reply(now, token, content.as_bytes()) == Err(ReplyError::Gone);
        // The server may have dropped the connection, and the runtime not know yet.
        if gone && open && self.server.deadline() > Some(self.now) {
            return Err(format!("nobody waits for request {number}, whose connection stands"));
        }
        agree("answering twice", self.server.reply(now, token, b""), Err(ReplyError::Gone))
    }

    fn send(&mut self, at: usize, most: usize) -> Result<bool, String> {
        let peer = &mut self.peers[at];
        let mut bufs = [&[][..]; 8];
        let filled = self.server.send_bufs(peer.conn, &mut bufs);
        let mut bytes = bufs[..filled].concat();
        bytes.truncate(most);
        if !peer.open || bytes.is_empty() {
            return Ok(false);
        }
        self.server.handle(self.now, Input::Sent(peer.conn, bytes.len()));
        peer.heard.extend(bytes);
        while let Ok(Step::Frame(head)) = decode_response(&peer.heard, &Limits::default(), Mode::Strict) {
            let number = head.id.slot() as usize;
            let content: Vec<u8> = peer.heard[head.content.clone()].to_vec();
            peer.heard.drain(..head.content.end);
            let asked = &mut self.asked[number];
            agree("who is answered", asked.peer, at)?;
            agree("whether it was answered before", std::mem::replace(&mut asked.heard, true), false)?;
            let expected = match asked.answer {
                Some(Answer::Content) => content == number.to_string().as_bytes(),
                Some(Answer::Unanswered) => content
                    .windows(code::EXECUTION_FAILED.len())
                    .any(|word| word == code::EXECUTION_FAILED.as_bytes()),
                None => false,
            };
            agree("whether it is the answer that was given", expected, true)?;
        }
        Ok(true)
    }

    fn act(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.server.poll() {
            busy = true;
            let peer = self.peers.iter_mut().find(|peer| peer.open && peer.conn == action.conn());
            match (action, peer) {
                (Action::Read(_, on), Some(peer)) => peer.reads = on,
                (Action::Close(_), Some(peer)) => peer.open = false,
                _ => {}
            }
        }
        busy
    }

    /// Everybody does what there is to do; time stands still.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            let mut busy = self.act() | self.take(&Move::Reply)?;
            if !self.tokens.is_empty() {
                self.reply_late(0)?;
                busy = true;
            }
            for peer in 0..self.peers.len() {
                busy |= self.read(peer, 1_000) | self.send(peer, 1_000)?;
            }
            if !busy && self.server.deadline().is_none_or(|at| at > self.now) {
                return Ok(());
            }
            if !busy {
                self.server.handle(self.now, Input::Tick);
            }
        }
        Err(format!("it does not come to rest: {:?}", self.server.deadline_reason()))
    }
}

impl World for Service {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.peers.len() < 3 {
            moves.push(Move::Accept);
        }
        for (at, peer) in self.peers.iter().enumerate().filter(|(_, peer)| peer.open) {
            moves.push(Move::Die(at));
            if !peer.half_closed {
                moves.push(Move::HalfClose(at));
                if self.asked.len() < self.most {
                    moves.push(Move::Ask(at));
                }
            }
            if peer.reads && (!peer.wire.is_empty() || peer.half_closed != peer.told) {
                moves.extend([Move::Read(at, 10), Move::Read(at, 1_000)]);
            }
            if self.server.send_bufs(peer.conn, &mut [&[][..]; 1]) > 0 {
                moves.extend([Move::Send(at, 10), Move::Send(at, 1_000)]);
            }
        }
        if self.server.has_event() {
            moves.extend([Move::Reply, Move::Defer, Move::Drop]);
        }
        moves.extend((0..self.tokens.len()).map(Move::ReplyLate));
        match self.server.deadline() {
            Some(at) if at <= self.now => moves.push(Move::Act),
            Some(_) => moves.push(Move::Pass),
            None => {}
        }
        if !self.shuts_down {
            moves.push(Move::Shutdown);
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Accept => {
                if let Some(conn) = self.server.accept(self.now, machine::Peer::UNKNOWN) {
                    agree("whether it takes connections", self.shuts_down, false)?;
                    let (half_closed, told, wire, heard) = Default::default();
                    self.peers.push(Peer { conn, open: true, half_closed, told, reads: true, wire, heard });
                }
            }
            Move::Ask(peer) => self.ask(peer),
            Move::Read(peer, most) => _ = self.read(peer, most),
            Move::Reply | Move::Defer | Move::Drop => return self.take(step).map(drop),
            Move::ReplyLate(at) => return self.reply_late(at),
            Move::Send(peer, most) => return self.send(peer, most).map(drop),
            Move::HalfClose(peer) => self.peers[peer].half_closed = true,
            Move::Die(peer) => {
                self.peers[peer].open = false;
                self.server.handle(self.now, Input::Closed(self.peers[peer].conn, Fault::Reset));
            }
            Move::Act => _ = self.act(),
            Move::Pass => {
                self.now = self.server.deadline().expect("a deadline");
                self.server.handle(self.now, Input::Tick);
            }
            Move::Shutdown => {
                self.shuts_down = true;
                self.server.shutdown(self.now, self.now + DRAIN);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let status = self.server.status();
        if status.in_flight > IN_ALL || status.connections > 2 {
            return Err(format!("more than allowed: {status:?}"));
        }
        for (at, peer) in self.peers.iter().enumerate() {
            let of_peer = self.tokens.iter().filter(|(_, number)| self.asked[*number].peer == at).count();
            if peer.open && of_peer > IN_FLIGHT as usize {
                return Err(format!("{of_peer} requests of peer {at} are in flight"));
            }
        }
        Ok(())
    }

    /// The application answers and peers read: whatever was asked over a connection that stands is answered, somebody else
    /// is served, and the server shuts down with nothing in its hands.
    fn rest(mut self) -> Result<(), String> {
        self.settle()?;
        if !self.shuts_down {
            let owed = |asked: &Asked| !asked.heard && self.peers[asked.peer].open;
            agree("who is not answered", self.asked.iter().position(owed), None)?;
            // Of two places one must come free for a newcomer.
            if let Some(at) = self.peers.iter().position(|peer| peer.open) {
                self.apply(&Move::Die(at))?;
                self.settle()?;
            }
            let (newcomer, number) = (self.peers.len(), self.asked.len());
            self.apply(&Move::Accept)?;
            agree("whether a newcomer is taken", self.peers.len(), newcomer + 1)?;
            self.ask(newcomer);
            self.settle()?;
            agree("whether a newcomer is answered", self.asked[number].heard, true)?;
            self.apply(&Move::Shutdown)?;
        }
        self.settle()?;
        self.now = self.now + DRAIN;
        self.server.handle(self.now, Input::Tick);
        self.settle()?;
        let status = self.server.status();
        agree("what is left", (status.connections, status.in_flight, status.unsent), (0, 0, 0))?;
        agree("whether it has shut down", (self.server.is_finished(), self.server.deadline()), (true, None))
    }

    fn digest(&self, digest: &mut Digest) {
        digest.add_saved(&self.server);
        digest.add(&(&self.peers, &self.asked, &self.tokens, self.shuts_down));
    }
}

#[test]
fn a_server_answers_what_it_has_taken_and_keeps_its_limits_in_any_order() {
    explore("server, from nothing", &Service::new(4), 6);
    explore("server, busy", &Service::busy(), 4);
}
