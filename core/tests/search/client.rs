//! A client with up to three connections and four requests, some of which wait: answered, cancelled, timed out, lost and
//! tried again in every order, while nobody, or not everybody, looks at what the client has to say.

use std::fmt;
use std::time::Duration;

use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, EndpointId, RequestId};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Mode;
use plimsoll_core::policy::{concurrency, hedge};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
use plimsoll_core::testing::play::rig::{Frame, Toy, Wire, limit, steady};
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::{agree, explore};

const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any backoff, and less than what is left of a request that has just been made.
const SOON: Duration = Duration::from_secs(2);
const START: Instant = Instant::from_millis(1_000);

/// What tells of the past only, or what a round of endpoints does not go by.
const TOLD: [&str; 9] =
    ["config", "stats", "states", "missed", "explainer", "score", "ewma", "rng", "version"];

fn config() -> Config {
    let mut config = steady();
    config.timeout = TIMEOUT;
    config.cluster.strategy = Strategy::RoundRobin;
    config.cluster.in_flight = limit(1);
    config.cluster.grow_at = 0;
    config.cluster.dial_stagger = Duration::ZERO;
    config.cluster.waiters = limit(4);
    config.cluster.backoff.base = Duration::from_millis(100);
    config.cluster.backoff.cap = Duration::from_millis(200);
    config.cluster.breaker.mode = Mode::Count { failures: limit(u32::MAX) };
    config.cluster.outliers = None;
    config
}

#[derive(Clone)]
struct Peer {
    conn: ConnId,
    stands: bool,
    /// All that it has received, and how much of that was whole frames.
    bytes: Vec<u8>,
    taken: usize,
    /// What it has not answered.
    frames: Vec<Frame>,
    /// What it has sent and the client has not read.
    outbox: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Asked {
    id: RequestId,
    since: Instant,
    idempotent: bool,
    /// How often it was written.
    written: u32,
    has_ended: bool,
}

#[derive(Clone)]
struct Pool<W: Wire> {
    client: Client<W>,
    now: Instant,
    /// Of each endpoint, at most.
    connections: u32,
    /// Of each connection, at most.
    in_flight: u32,
    /// How many requests may be made in all.
    most: usize,
    peers: Vec<Peer>,
    /// By tag.
    asked: Vec<Asked>,
    endpoints: Vec<EndpointId>,
    /// How many endpoints there ever were.
    added: u32,
    /// Whether endpoints come and go.
    moves_endpoints: bool,
}

#[derive(Clone, Debug)]
enum Move {
    Request,
    Cancel(usize),
    Connected(ConnId),
    Refused(ConnId),
    Lost(ConnId),
    Write(ConnId),
    Answer(ConnId),
    Read(ConnId),
    TakeEvent,
    TakeActions,
    Pass,
    Remove(EndpointId),
    Add,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Request => f.write_str("a request is made"),
            Move::Cancel(tag) => write!(f, "request {tag} is cancelled"),
            Move::Connected(conn) => write!(f, "connection {conn} stands"),
            Move::Refused(conn) => write!(f, "connection {conn} is refused"),
            Move::Lost(conn) => write!(f, "connection {conn} is lost"),
            Move::Write(conn) => write!(f, "connection {conn} takes what there is to send"),
            Move::Answer(conn) => write!(f, "the peer of connection {conn} answers its first request"),
            Move::Read(conn) => write!(f, "connection {conn} is read again"),
            Move::TakeEvent => f.write_str("one event is taken"),
            Move::TakeActions => f.write_str("all actions are taken"),
            Move::Pass => f.write_str("time passes to the deadline"),
            Move::Remove(endpoint) => write!(f, "endpoint {endpoint} is removed"),
            Move::Add => f.write_str("an endpoint is added"),
        }
    }
}

impl<W: Wire + Default> Pool<W> {
    fn of(most: usize, endpoints: usize, connections: u32) -> Self {
        Self::with(config(), most, endpoints, connections)
    }

    fn with(mut config: Config, most: usize, endpoints: usize, connections: u32) -> Self {
        config.cluster.max_connections = limit(connections);
        let mut pool = Pool {
            client: Client::new(W::default(), config, 42),
            connections,
            in_flight: config.cluster.in_flight.get(),
            now: START,
            most,
            peers: Vec::new(),
            asked: Vec::new(),
            endpoints: Vec::new(),
            added: 0,
            moves_endpoints: endpoints > 1,
        };
        (0..endpoints).for_each(|_| pool.add());
        pool
    }

    /// Two endpoints with a connection each, and a second copy for whatever takes longer than 10 ms.
    fn hedged() -> Self {
        let mut config = config();
        config.cluster.in_flight = limit(2);
        config.hedging = Some(hedge::Config { volume: 2, ..Default::default() });
        config.concurrency =
            Some(concurrency::Config { minimum: limit(100), maximum: 100, ..Default::default() });
        let mut pool = Self::with(config, 4, 2, 1);
        for _ in 0..2 {
            pool.request().expect("it is taken");
            pool.settle().expect("nothing is wrong");
            pool.now = pool.now + Duration::from_millis(10);
            pool.answer_all().expect("it is answered");
        }
        pool.request().expect("it is taken");
        pool.request().expect("it is taken");
        pool.settle().expect("nothing is wrong");
        pool
    }

    /// All connections stand and are busy, and so many requests wait.
    fn busy(connections: u32, waiting: u32) -> Self {
        let mut pool = Self::of((connections + waiting) as usize, 1, connections);
        for _ in 0..pool.most {
            pool.request().expect("it is taken");
            pool.settle().expect("nothing is wrong");
        }
        let busy = (pool.client.status().in_flight, pool.client.status().waiting);
        assert_eq!(busy, (connections, waiting));
        pool
    }

    fn add(&mut self) {
        let address = format!("users-{}.internal:3001", self.added);
        self.added += 1;
        self.endpoints.push(self.client.add_endpoint(self.now, &address).expect("an address"));
    }
}

impl<W: Wire> Pool<W> {
    fn request(&mut self) -> Result<(), String> {
        let tag = self.asked.len();
        let idempotent = tag % 2 == 1;
        let options = Options { idempotent, tag: tag as u64, ..Options::default() };
        let (client, now) = (&mut self.client, self.now);
        let taken = W::ask(&format!("t{tag}"), |request| client.request(now, request, options));
        match taken {
            Ok(id) => {
                self.asked.push(Asked { id, since: now, idempotent, written: 0, has_ended: false });
                Ok(())
            }
            Err(_) if self.endpoints.is_empty() => Ok(()),
            Err(error) => Err(format!("a request is refused: {error}")),
        }
    }

    fn peer(&mut self, conn: ConnId) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.conn == conn).expect("a connection")
    }

    fn take_actions(&mut self) {
        while let Some(action) = self.client.poll() {
            match action {
                Action::Connect(conn) => {
                    let (bytes, outbox) = (Vec::new(), Vec::new());
                    self.peers.push(Peer {
                        conn,
                        stands: false,
                        bytes,
                        taken: 0,
                        frames: Vec::new(),
                        outbox,
                    });
                }
                Action::Close(conn) => self.peers.retain(|peer| peer.conn != conn),
                Action::Read(..) | Action::Flush(_) => {}
            }
        }
    }

    fn write(&mut self, conn: ConnId) -> Result<bool, String> {
        let mut bufs = [&[][..]; 8];
        let filled = self.client.send_bufs(conn, &mut bufs);
        let bytes = bufs[..filled].concat();
        if bytes.is_empty() {
            return Ok(false);
        }
        self.client.handle(self.now, Input::Sent(conn, bytes.len()));
        let peer = self.peers.iter_mut().find(|peer| peer.conn == conn).expect("a connection");
        peer.bytes.extend(bytes);
        while let Some((frame, len)) = W::frame(&peer.bytes[peer.taken..]) {
            peer.taken += len;
            if let Some(tag) = frame.tag {
                let asked = &mut self.asked[tag as usize];
                asked.written += 1;
                if asked.written > 1 && !asked.idempotent {
                    return Err(format!("request {tag} may not be repeated, and was sent twice"));
                }
            }
            peer.frames.push(frame);
        }
        Ok(true)
    }

    fn answer(&mut self, conn: ConnId) {
        let peer = self.peer(conn);
        let frame = peer.frames.remove(0);
        peer.outbox.extend(W::answer(&frame, &frame.tag.map_or("{}".into(), |tag| format!("{tag}"))));
        self.read(conn);
    }

    /// Whether the client has read anything.
    fn read(&mut self, conn: ConnId) -> bool {
        let peer = self.peers.iter_mut().find(|peer| peer.conn == conn).expect("a connection");
        let read = self.client.feed(self.now, conn, &peer.outbox);
        peer.outbox.drain(..read);
        read > 0
    }

    /// Takes one event, and says whether there was any.
    fn take_event(&mut self) -> Result<bool, String> {
        let Some(event) = self.client.event() else { return Ok(false) };
        let Event::Outcome { id, tag, outcome } = event else { return Ok(true) };
        let asked = &mut self.asked[tag as usize];
        agree("whose outcome it is", id, asked.id)?;
        if std::mem::replace(&mut asked.has_ended, true) {
            return Err(format!("request {tag} has ended twice"));
        }
        match outcome {
            Outcome::Answer(content) if !content.ends_with(tag.to_string().as_bytes()) => {
                Err(format!("request {tag} was given the answer to another: {content:?}"))
            }
            Outcome::Timeout { sent: false } | Outcome::Lost { sent: false } if asked.written > 0 => {
                Err(format!("request {tag} was written, and its outcome denies it"))
            }
            Outcome::Timeout { .. } if self.now.since(asked.since) < TIMEOUT => {
                Err(format!("request {tag} has timed out too early"))
            }
            _ => Ok(true),
        }
    }

    /// Everything that can happen without failure happens, until nothing more does; time stands still.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            self.take_actions();
            let mut busy = false;
            while self.take_event()? {
                busy = true;
            }
            for conn in self.peers.iter().map(|peer| peer.conn).collect::<Vec<_>>() {
                if !self.peer(conn).stands {
                    self.peer(conn).stands = true;
                    self.client.handle(self.now, Input::Connected(conn));
                    busy = true;
                }
                busy |= self.write(conn)? | self.read(conn);
            }
            if !busy && self.client.deadline().is_none_or(|at| at > self.now) {
                return Ok(());
            }
            if !busy {
                self.client.handle(self.now, Input::Tick);
            }
        }
        Err(format!("it does not come to rest: {:?}", self.client.deadline_reason()))
    }

    /// As `settle`, and whatever is asked is answered, until all requests have ended.
    fn answer_all(&mut self) -> Result<(), String> {
        let limit = self.now + SOON;
        loop {
            self.settle()?;
            let waiting = self.peers.iter().find(|peer| peer.stands && !peer.frames.is_empty());
            if let Some(conn) = waiting.map(|peer| peer.conn) {
                self.answer(conn);
                continue;
            }
            if self.asked.iter().all(|asked| asked.has_ended) {
                return Ok(());
            }
            match self.client.deadline() {
                Some(at) if at <= limit => {
                    self.now = at;
                    self.client.handle(at, Input::Tick);
                }
                _ => break,
            }
        }
        let of_whom = self.asked.iter().position(|asked| !asked.has_ended);
        let status = self.client.status();
        Err(format!("request {of_whom:?} waits for ever: {status:?}"))
    }
}

impl<W: Wire + Default> World for Pool<W> {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.asked.len() < self.most {
            moves.push(Move::Request);
        }
        let cancels = |(tag, asked): (usize, &Asked)| (!asked.has_ended).then_some(Move::Cancel(tag));
        moves.extend(self.asked.iter().enumerate().filter_map(cancels));
        for peer in &self.peers {
            if !peer.stands {
                moves.extend([Move::Connected(peer.conn), Move::Refused(peer.conn)]);
                continue;
            }
            moves.push(Move::Lost(peer.conn));
            if self.client.send_bufs(peer.conn, &mut [&[][..]; 1]) > 0 {
                moves.push(Move::Write(peer.conn));
            }
            if !peer.outbox.is_empty() {
                moves.push(Move::Read(peer.conn));
            }
            if !peer.frames.is_empty() {
                moves.push(Move::Answer(peer.conn));
            }
        }
        if self.client.has_event() {
            moves.push(Move::TakeEvent);
        }
        match self.client.deadline() {
            Some(at) if at <= self.now => moves.push(Move::TakeActions),
            Some(_) => moves.push(Move::Pass),
            None => {}
        }
        if self.moves_endpoints {
            moves.extend(self.endpoints.iter().map(|endpoint| Move::Remove(*endpoint)));
            if self.endpoints.len() < 2 && self.added < 4 {
                moves.push(Move::Add);
            }
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        let now = self.now;
        match *step {
            Move::Request => return self.request(),
            Move::Cancel(tag) => {
                let id = self.asked[tag].id;
                self.client.cancel(now, id);
                return agree("cancelling twice", self.client.cancel(now, id), false);
            }
            Move::Connected(conn) => {
                self.peer(conn).stands = true;
                self.client.handle(now, Input::Connected(conn));
            }
            Move::Refused(conn) | Move::Lost(conn) => {
                let fault = if self.peer(conn).stands { Fault::Reset } else { Fault::Refused };
                self.peers.retain(|peer| peer.conn != conn);
                self.client.handle(now, Input::Closed(conn, fault));
            }
            Move::Write(conn) => return self.write(conn).map(drop),
            Move::Answer(conn) => self.answer(conn),
            Move::Read(conn) => drop(self.read(conn)),
            Move::TakeEvent => return self.take_event().map(drop),
            Move::TakeActions => self.take_actions(),
            Move::Pass => {
                self.now = self.client.deadline().expect("a deadline");
                self.client.handle(self.now, Input::Tick);
            }
            Move::Remove(endpoint) => {
                self.endpoints.retain(|other| *other != endpoint);
                self.client.remove_endpoint(now, endpoint);
            }
            Move::Add => self.add(),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let status = self.client.status();
        // Those of an endpoint that was removed stay until their requests have ended.
        let most = self.connections * self.added;
        if status.connections + status.dialing > most
            || status.in_flight > status.connections * self.in_flight
        {
            return Err(format!("more than allowed: {status:?}"));
        }
        if self.client.deadline_reason() != Some("actions wait") {
            self.client.audit();
        }
        Ok(())
    }

    /// Everybody answers, and dials succeed: every request ends, nothing of it is left, and another one is served.
    fn rest(mut self) -> Result<(), String> {
        // Those whose time is over soon would hide that they wait for nothing.
        while let Some(at) = self.client.deadline().filter(|at| {
            self.asked.iter().any(|asked| !asked.has_ended && asked.since + TIMEOUT <= *at + SOON)
                && *at <= self.now + SOON
        }) {
            self.now = self.now.max(at);
            self.take_actions();
            while self.take_event()? {}
            self.client.handle(self.now, Input::Tick);
            if self.asked.iter().all(|asked| asked.has_ended || self.now < asked.since + TIMEOUT) {
                break;
            }
        }
        if self.endpoints.is_empty() {
            self.add();
        }
        self.answer_all()?;
        self.request()?;
        self.answer_all()?;
        let status = self.client.status();
        agree("what is left in flight and waiting", (status.in_flight, status.waiting), (0, 0))?;
        let permits = self.client.admission().concurrency().map_or(0, |limit| limit.in_flight());
        agree("permits that are out", permits, 0)?;
        self.client.audit();
        self.client.shutdown(self.now, self.now + SOON);
        self.settle()?;
        agree("whether it has shut down", (self.client.is_finished(), self.client.deadline()), (true, None))
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&TOLD);
        self.client.digest(digest);
        let asked = self.asked.iter().map(|asked| (asked.has_ended, asked.written));
        digest.add(&asked.collect::<Vec<_>>()).add(&self.endpoints);
        for peer in &self.peers {
            digest.add(&(peer.conn, peer.stands, &peer.frames, peer.bytes.len() - peer.taken, &peer.outbox));
        }
    }
}

#[test]
fn a_pool_loses_no_request_and_no_place_in_any_order_from_the_first_request_on() {
    explore("client, from nothing", &Pool::<Uw>::of(4, 1, 3), 7);
}

#[test]
fn a_pool_loses_no_request_and_no_place_in_any_order_once_it_is_busy() {
    explore("client, 3 connections, 4 waiters", &Pool::<Uw>::busy(3, 4), 3);
    explore("client, 2 connections, 2 waiters", &Pool::<Uw>::busy(2, 2), 4);
}

#[test]
fn a_pool_on_a_wire_without_ids_loses_no_request_and_no_place() {
    explore("client without ids, 2 connections, 2 waiters", &Pool::<Toy>::busy(2, 2), 4);
}

#[test]
fn a_pool_whose_endpoints_come_and_go_loses_no_request_and_no_place() {
    explore("client, 2 endpoints", &Pool::<Uw>::of(3, 2, 1), 6);
}

#[test]
fn requests_with_a_second_copy_end_once_and_leave_nothing() {
    explore("client, hedged", &Pool::<Uw>::hedged(), 4);
    explore("client, hedged, without ids", &Pool::<Toy>::hedged(), 4);
}
