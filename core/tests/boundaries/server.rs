//! The service server.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::error;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::service::server::{Config, ReplyError, Token};
use plimsoll_core::time::Instant;

use crate::server_support::{World, answers_in, request};
use crate::{Fault, Player, jumped, strike_everywhere};
use Step::{Accept, Act, Ask, Begin, Defer, Echo, Fail, GoOn, Pass, ReadAnswers, Reply, Shutdown};

/// Connections and requests are numbered in the order in which they come.
#[derive(Clone, Debug)]
enum Step {
    Accept,
    /// Over which connection, and so many bytes of content.
    Ask(usize, usize),
    /// The same, of which only so many bytes come now.
    Begin(usize, usize, usize),
    GoOn,
    /// The application answers one request, with its content.
    Echo,
    Defer,
    /// The application answers the first request that it has put off.
    Reply,
    Fail,
    /// A peer reads so many bytes of its answers.
    ReadAnswers(usize, usize),
    /// The runtime takes all actions.
    Act,
    Pass(u64),
    Shutdown(u64),
}

struct Peer {
    conn: ConnId,
    open: bool,
    /// What was sent and not read.
    wire: Vec<u8>,
    heard: Vec<u8>,
    reads: bool,
}

struct Callers {
    world: World,
    peers: Vec<Peer>,
    /// How often each request was answered, by its number.
    answered: BTreeMap<u32, u32>,
    /// Over which connection each was sent.
    asked: Vec<usize>,
    tokens: Vec<Token>,
    rest: Option<(usize, Vec<u8>)>,
    shuts_down: bool,
}

impl Callers {
    fn new(config: Config) -> Self {
        Callers {
            world: World::new(config),
            peers: Vec::new(),
            answered: BTreeMap::new(),
            asked: Vec::new(),
            tokens: Vec::new(),
            rest: None,
            shuts_down: false,
        }
    }

    fn accept(&mut self) {
        let conn = self.world.server.accept(self.world.now, plimsoll_core::machine::Peer::UNKNOWN);
        let open = conn.is_some();
        let conn = conn.unwrap_or(ConnId::new(u32::MAX, u32::MAX));
        self.peers.push(Peer { conn, open, wire: Vec::new(), heard: Vec::new(), reads: true });
    }

    fn ask(&mut self, peer: usize, content: usize) -> Vec<u8> {
        let number = self.asked.len() as u32;
        self.asked.push(peer);
        request(number, "get", &format!("\"{}\"", "x".repeat(content)))
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) {
        self.peers[peer].wire.extend_from_slice(bytes);
        self.deliver();
    }

    fn send_rest(&mut self) {
        if let Some((peer, bytes)) = self.rest.take() {
            self.send(peer, &bytes);
        }
    }

    fn deliver(&mut self) -> bool {
        let mut busy = false;
        for peer in self.peers.iter_mut().filter(|peer| peer.open && peer.reads) {
            let n = self.world.server.feed(self.world.now, peer.conn, &peer.wire);
            peer.wire.drain(..n);
            busy |= n > 0;
        }
        busy
    }

    fn act(&mut self) -> bool {
        let actions = self.world.actions();
        for action in &actions {
            let peer = self.peers.iter_mut().find(|peer| peer.open && peer.conn == action.conn());
            match (action, peer) {
                (Action::Read(_, on), Some(peer)) => peer.reads = *on,
                (Action::Close(_), Some(peer)) => peer.open = false,
                _ => {}
            }
        }
        !actions.is_empty()
    }

    fn read_answers(&mut self, at: usize, most: usize) -> bool {
        let peer = &mut self.peers[at];
        let mut bytes = if peer.open { self.world.unsent(peer.conn) } else { Vec::new() };
        bytes.truncate(most);
        if bytes.is_empty() {
            return false;
        }
        self.world.handle(Input::Sent(peer.conn, bytes.len()));
        peer.heard.extend(bytes);
        true
    }

    fn answer_one(&mut self, well: bool) {
        if self.tokens.is_empty() {
            return;
        }
        let (token, now) = (self.tokens.remove(0), self.world.now);
        let server = &mut self.world.server;
        let result = if well { server.reply(now, token, b"{}") } else { server.fail(now, token, "NO", "no") };
        assert!(matches!(result, Ok(()) | Err(ReplyError::Gone)), "{result:?}");
    }

    /// Everybody does what there is to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = self.act() | self.deliver() | self.world.echo();
            if !self.tokens.is_empty() {
                self.answer_one(true);
                busy = true;
            }
            for peer in 0..self.peers.len() {
                busy |= self.read_answers(peer, usize::MAX);
            }
            if !busy && self.world.server.deadline().is_none_or(|at| at > self.world.now) {
                return;
            }
            self.world.handle(Input::Tick);
        }
        panic!("it does not come to rest: {:?}", self.world.server.deadline_reason());
    }

    /// How often each request was answered, by what the peers have heard.
    fn count_answers(&mut self) {
        for peer in &mut self.peers {
            let heard = std::mem::take(&mut peer.heard);
            // Of a connection that was cut off, the last answer may be there in part.
            let whole = if peer.open { heard.len() } else { whole_answers(&heard) };
            for (number, _) in answers_in(&heard[..whole]) {
                *self.answered.entry(number).or_default() += 1;
            }
        }
    }
}

/// The length of the whole answers at the start.
fn whole_answers(bytes: &[u8]) -> usize {
    use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_response};
    let mut at = 0;
    while let Ok(Step::Frame(head)) = decode_response(&bytes[at..], &Limits::default(), Mode::Strict) {
        at += head.content.end;
    }
    at
}

impl Player for Callers {
    type Step = Step;

    fn play(&mut self, step: &Step) {
        match *step {
            Accept => self.accept(),
            Ask(peer, content) => {
                let bytes = self.ask(peer, content);
                self.send(peer, &bytes);
            }
            Begin(peer, content, now) => {
                let bytes = self.ask(peer, content);
                self.send(peer, &bytes[..now]);
                self.rest = Some((peer, bytes[now..].to_vec()));
            }
            GoOn => self.send_rest(),
            Echo => _ = self.world.echo(),
            Defer => self.tokens.extend(self.world.defer()),
            Reply => self.answer_one(true),
            Fail => self.answer_one(false),
            ReadAnswers(peer, most) => _ = self.read_answers(peer, most),
            Act => _ = self.act(),
            Pass(millis) => {
                self.world.sleep(millis);
                self.act();
            }
            Shutdown(millis) => {
                self.shuts_down = true;
                let now = self.world.now;
                self.world.server.shutdown(now, now + Duration::from_millis(millis));
            }
        }
    }

    fn targets(&self) -> Vec<Fault> {
        (0..self.peers.len()).filter(|at| self.peers[*at].open).map(Fault::Disconnect).collect()
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cancel(_) => {}
            Fault::Disconnect(at) => {
                self.peers[at].open = false;
                self.world.handle(Input::Closed(self.peers[at].conn, error::Fault::Reset));
            }
            Fault::Timeout => {
                let now = self.world.now;
                self.world.now = self.world.server.deadline().map_or(now, |at| at.max(now));
                self.world.handle(Input::Tick);
            }
            Fault::Forwards | Fault::Backwards => self.world.now = jumped(self.world.now, fault),
        }
    }

    fn finish(mut self) {
        self.settle();
        self.send_rest();
        self.settle();
        let asked = self.asked.clone();
        if !self.shuts_down {
            let newcomer = self.peers.len();
            self.accept();
            let bytes = self.ask(newcomer, 10);
            self.send(newcomer, &bytes);
            self.settle();
            self.count_answers();
            assert_eq!(self.answered.get(&(asked.len() as u32)), Some(&1), "a newcomer is served");
        }
        self.count_answers();
        for (number, peer) in (0..).zip(&asked) {
            let times = self.answered.get(&number).copied().unwrap_or(0);
            let owed = self.peers[*peer].open && !self.shuts_down;
            assert!(times <= 1 && (times == 1 || !owed), "request {number} was answered {times} times");
        }
        let status = self.world.server.status();
        assert_eq!((status.in_flight, status.unsent, status.paused), (0, 0, 0), "{status:?}");
        let now = self.world.now;
        self.world.server.shutdown(now, now + Duration::from_secs(1));
        self.settle();
        self.world.sleep(1_000);
        self.settle();
        let status = self.world.server.status();
        assert_eq!((status.connections, status.in_flight, status.unsent), (0, 0, 0), "{status:?}");
        assert!(self.world.server.is_finished());
        assert_eq!(self.world.server.deadline(), None::<Instant>);
    }
}

fn config() -> Config {
    let limit = |n| NonZeroU32::new(n).expect("a limit");
    Config {
        in_flight: limit(2),
        in_flight_total: limit(3),
        unsent: Band::new(100, 400).expect("low is below high"),
        receive_budget: limit(1),
        ..Config::default()
    }
}

#[test]
fn a_server_whose_peers_do_not_read_leaves_nothing_behind() {
    let trace = [
        Accept,
        Accept,
        Ask(0, 300),
        Ask(0, 300),
        Ask(1, 10),
        Echo,
        Echo,
        Act,
        Ask(0, 10),
        Echo,
        ReadAnswers(0, 200),
        Act,
        ReadAnswers(0, 10_000),
        Act,
        Echo,
        Ask(0, 10),
        Echo,
        ReadAnswers(1, 10_000),
        ReadAnswers(0, 10_000),
    ];
    strike_everywhere("backpressure", || Callers::new(config()), &trace);
}

#[test]
fn a_server_that_answers_later_leaves_nothing_behind() {
    let trace = [
        Accept,
        Accept,
        Ask(0, 10),
        Ask(0, 20),
        Ask(0, 30),
        Ask(1, 10),
        Ask(1, 20),
        Defer,
        Defer,
        Defer,
        Defer,
        Act,
        Reply,
        Act,
        Defer,
        Fail,
        Act,
        Reply,
        Defer,
        ReadAnswers(0, 50),
        Reply,
        Reply,
        Act,
        ReadAnswers(0, 10_000),
    ];
    strike_everywhere("deferred answers", || Callers::new(config()), &trace);
}

#[test]
fn a_big_request_in_parts_leaves_nothing_behind() {
    let trace = [
        Accept,
        Accept,
        Begin(0, 400_000, 12),
        Act,
        Pass(1_000),
        GoOn,
        Echo,
        Begin(1, 300_000, 290_000),
        Ask(0, 10),
        GoOn,
        Echo,
        ReadAnswers(0, 1_000_000),
        Echo,
        Act,
        ReadAnswers(1, 1_000_000),
    ];
    let budget = NonZeroU32::new(4 << 20).expect("a limit");
    let roomy = Config { receive_budget: budget, ..config() };
    strike_everywhere("big request", || Callers::new(roomy), &trace);
    // Without room for both, one goes on and then the other.
    strike_everywhere("big request, scarce room", || Callers::new(config()), &trace);
}

#[test]
fn a_server_that_drains_leaves_nothing_behind() {
    let trace = [
        Accept,
        Accept,
        Ask(0, 10),
        Ask(0, 20),
        Ask(1, 30),
        Defer,
        Echo,
        Shutdown(5_000),
        Act,
        Accept,
        Ask(1, 10),
        Reply,
        Act,
        ReadAnswers(0, 10_000),
        Act,
        Pass(4_000),
        ReadAnswers(1, 10_000),
        Act,
        Pass(2_000),
        Act,
    ];
    strike_everywhere("drain of a server", || Callers::new(config()), &trace);
}
