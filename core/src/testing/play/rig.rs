//! A client in virtual time: a runtime, a network and peers that do exactly what a test says.
//!
//! After every step it checks what must always hold: an action that waits is due at once and a tick never leaves
//! anything due (laws 1 and 3), each request ends at most once, a request that may not be repeated is seen by at most
//! one peer and by none if it "was not sent", and no limit is passed.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub use super::wires::{Frame, Polite, Toy, Wire};
use crate::error::{Fault, ProtocolError};
use crate::id::{ConnId, EndpointId, RequestId};
use crate::machine::{Action, Input, Machine};
use crate::service::client::{Client, CloseCause, Config, Event, Options, Outcome, RequestError, StateEvent};
use crate::time::Instant;

pub const ADDRESS: &str = "users.internal:3001";

/// An outcome, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Answer(String),
    Remote(String, String),
    Timeout { sent: bool },
    Lost { sent: bool },
    Protocol(ProtocolError),
    Cancelled,
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    Succeeds,
    Fails,
    Hangs,
}

/// The far end of a connection.
#[derive(Debug, Default)]
pub struct Peer {
    pub target: String,
    pub open: bool,
    /// The client wants to be read to.
    pub reads: bool,
    /// The client has said that there are bytes to send.
    pub flush: bool,
    /// All that came, and how much of it was taken as whole frames.
    pub bytes: Vec<u8>,
    pub taken: usize,
    pub frames: Vec<Frame>,
    /// What it has sent and the client has not taken.
    pub outbox: Vec<u8>,
}

pub struct Rig<W: Wire> {
    pub client: Client<W>,
    pub config: Config,
    pub now: Instant,
    /// All connections there ever were.
    pub peers: BTreeMap<ConnId, Peer>,
    /// What becomes of the dials that come.
    pub dial: Dial,
    /// How many bytes the transport takes from now on, on all connections together.
    pub window: usize,
    /// Whether events are drained.
    pub drains: bool,
    pub actions: Vec<Action>,
    pub done: BTreeMap<RequestId, Done>,
    /// Ended requests in the order of their ends.
    pub order: Vec<RequestId>,
    pub states: Vec<StateEvent>,
    /// When each dial was begun.
    pub dials: Vec<(Instant, ConnId)>,
    taken: BTreeMap<RequestId, (u64, bool)>,
    idempotent: BTreeSet<u64>,
    next_tag: u64,
}

impl<W: Wire + Default> Rig<W> {
    pub fn new(config: Config) -> Self {
        Self::over(W::default(), config)
    }

    /// One endpoint, and its first connection stands.
    pub fn connected(config: Config) -> (Self, ConnId) {
        let mut rig = Self::new(config);
        rig.add(ADDRESS);
        let conn = rig.open()[0];
        (rig, conn)
    }
}

impl<W: Wire> Rig<W> {
    pub fn over(protocol: W, config: Config) -> Self {
        Rig {
            client: Client::new(protocol, config, 42),
            config,
            now: Instant::from_millis(1_000),
            peers: BTreeMap::new(),
            dial: Dial::Succeeds,
            window: usize::MAX,
            drains: true,
            actions: Vec::new(),
            done: BTreeMap::new(),
            order: Vec::new(),
            states: Vec::new(),
            dials: Vec::new(),
            taken: BTreeMap::new(),
            idempotent: BTreeSet::new(),
            next_tag: 0,
        }
    }

    pub fn add(&mut self, address: &str) -> EndpointId {
        let endpoint = self.client.add_endpoint(self.now, address).expect("an address");
        self.run();
        endpoint
    }

    pub fn remove(&mut self, endpoint: EndpointId) -> bool {
        let removed = self.client.remove_endpoint(self.now, endpoint);
        self.run();
        removed
    }

    pub fn try_request(&mut self, options: Options) -> Result<RequestId, RequestError> {
        let tag = self.next_tag;
        self.next_tag += 1;
        if options.idempotent {
            self.idempotent.insert(tag);
        }
        let options = Options { tag, ..options };
        let (client, now) = (&mut self.client, self.now);
        let taken = W::ask(&format!("t{tag}"), |request| client.request(now, request, options));
        if let Ok(id) = taken {
            assert!(self.taken.insert(id, (tag, options.idempotent)).is_none(), "{id} was given twice");
        }
        self.run();
        taken
    }

    pub fn request(&mut self) -> RequestId {
        self.try_request(Options::default()).expect("a request that is taken")
    }

    pub fn request_with(&mut self, options: Options) -> RequestId {
        self.try_request(options).expect("a request that is taken")
    }

    pub fn request_within(&mut self, millis: u64) -> RequestId {
        self.request_with(Options { timeout: Some(Duration::from_millis(millis)), ..Options::default() })
    }

    pub fn idempotent(&mut self) -> RequestId {
        self.request_with(Options { idempotent: true, ..Options::default() })
    }

    pub fn cancel(&mut self, id: RequestId) -> bool {
        let cancelled = self.client.cancel(self.now, id);
        self.run();
        cancelled
    }

    pub fn shutdown_within(&mut self, millis: u64) {
        self.client.shutdown(self.now, self.now + Duration::from_millis(millis));
        self.run();
    }

    pub fn handle(&mut self, input: Input) {
        self.client.handle(self.now, input);
        self.run();
    }

    /// The connection is gone.
    pub fn drop_conn(&mut self, conn: ConnId) {
        self.peers.get_mut(&conn).expect("a connection").open = false;
        self.handle(Input::Closed(conn, Fault::Reset));
    }

    /// The connections that stand, as the network sees it.
    pub fn open(&self) -> Vec<ConnId> {
        self.open_with(|_| true)
    }

    fn open_with(&self, wanted: impl Fn(&Peer) -> bool) -> Vec<ConnId> {
        self.peers.iter().filter(|(_, peer)| peer.open && wanted(peer)).map(|(&conn, _)| conn).collect()
    }

    /// The last connection that was dialled.
    pub fn last_conn(&self) -> ConnId {
        self.dials.last().expect("a dial").1
    }

    /// Lets the transport take so many more bytes, then none.
    pub fn send_only(&mut self, bytes: usize) {
        self.window = bytes;
        self.run();
    }

    /// The frames that a peer has taken and nobody has looked at.
    pub fn frames(&mut self, conn: ConnId) -> Vec<Frame> {
        core::mem::take(&mut self.peers.get_mut(&conn).expect("a connection").frames)
    }

    /// The tags of the requests that a peer has taken, pings left out.
    pub fn tags(&mut self, conn: ConnId) -> Vec<u64> {
        self.frames(conn).iter().filter_map(|frame| frame.tag).collect()
    }

    pub fn answer(&mut self, conn: ConnId, frame: &Frame, text: &str) {
        self.feed(conn, &W::answer(frame, text));
    }

    /// Answers whatever the peer has taken.
    pub fn answer_all(&mut self, conn: ConnId) {
        for frame in self.frames(conn) {
            self.answer(conn, &frame, "{}");
        }
    }

    /// All peers answer everything.
    pub fn answer_everybody(&mut self) {
        for conn in self.open() {
            self.answer_all(conn);
        }
    }

    /// The peer sends bytes; what the client does not take now it takes when it has room.
    pub fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        self.peers.get_mut(&conn).expect("a connection").outbox.extend_from_slice(bytes);
        self.run();
        let peer = &self.peers[&conn];
        assert!(!self.drains || !peer.open || !peer.reads || peer.outbox.is_empty(), "{conn} takes no bytes");
    }

    /// Time passes until a ping has come; its frame.
    pub fn pass_to_ping(&mut self, conn: ConnId) -> Frame {
        for _ in 0..1_000 {
            let frames = &mut self.peers.get_mut(&conn).expect("a connection").frames;
            if let Some(at) = frames.iter().position(|frame| frame.tag.is_none()) {
                return frames.remove(at);
            }
            self.pass_ms(100);
        }
        panic!("{conn} is not pinged");
    }

    /// Time passes; every deadline on the way is met exactly.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.client.deadline().filter(|&at| at <= end) {
            assert!(at > self.now, "due without anything to do: {:?}", self.client.deadline_reason());
            self.now = at;
            self.handle(Input::Tick);
        }
        self.now = end;
        self.handle(Input::Tick);
    }

    pub fn pass_ms(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// Does what the client wants, until it wants nothing more.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            let mut busy = self.drain_events();
            busy |= self.drain_actions();
            busy |= self.write();
            busy |= self.deliver();
            if !busy {
                if self.client.deadline().is_none_or(|at| at > self.now) {
                    self.check();
                    return;
                }
                self.client.handle(self.now, Input::Tick);
            }
        }
        panic!("the client does not come to rest: {:?}", self.client.deadline_reason());
    }

    fn drain_events(&mut self) -> bool {
        let mut busy = false;
        while self.drains {
            let promised = self.client.has_event();
            let Some(event) = self.client.event() else {
                assert!(!promised, "has_event promised an event");
                break;
            };
            busy = true;
            match event {
                Event::State(state) => self.states.push(state),
                Event::Outcome { id, tag, outcome } => {
                    let done = owned(outcome);
                    let (taken_tag, _) = self.taken.get(&id).expect("an outcome of a request that was taken");
                    assert_eq!(tag, *taken_tag, "the tag of {id}");
                    assert!(self.done.insert(id, done).is_none(), "{id} ended twice");
                    self.order.push(id);
                }
            }
        }
        busy
    }

    fn drain_actions(&mut self) -> bool {
        let mut busy = false;
        loop {
            let Some(action) = self.client.poll() else { return busy };
            busy = true;
            self.actions.push(action);
            match action {
                Action::Connect(conn) => {
                    let target = self.client.target(conn).unwrap_or_default().to_owned();
                    self.dials.push((self.now, conn));
                    let open = self.dial == Dial::Succeeds && !target.is_empty();
                    self.peers.insert(conn, Peer { target, open, reads: true, ..Peer::default() });
                    match self.dial {
                        Dial::Succeeds => self.client.handle(self.now, Input::Connected(conn)),
                        Dial::Fails => self.client.handle(self.now, Input::Closed(conn, Fault::Refused)),
                        Dial::Hangs => {}
                    }
                }
                Action::Close(conn) => {
                    let peer = self.peers.get_mut(&conn).expect("a connection that was dialled");
                    peer.open = false;
                }
                Action::Read(conn, on) => {
                    self.peers.get_mut(&conn).expect("a connection that was dialled").reads = on;
                }
                Action::Flush(conn) => self.peers.get_mut(&conn).expect("a connection").flush = true,
            }
        }
    }

    fn write(&mut self) -> bool {
        let mut busy = false;
        for conn in self.open_with(|peer| peer.flush) {
            while self.peers[&conn].flush {
                let mut bufs = [&[][..]; 2];
                let n = self.client.send_bufs(conn, &mut bufs);
                let mut bytes = bufs[..n].concat();
                assert!(n == 0 || !bytes.is_empty(), "slices to send without a byte in them");
                self.peers.get_mut(&conn).expect("an open connection").flush = n > 0;
                bytes.truncate(self.window);
                if bytes.is_empty() {
                    break;
                }
                busy = true;
                self.window -= if self.window == usize::MAX { 0 } else { bytes.len() };
                self.client.handle(self.now, Input::Sent(conn, bytes.len()));
                let peer = self.peers.get_mut(&conn).expect("an open connection");
                peer.bytes.extend_from_slice(&bytes);
                while let Some((frame, len)) = W::frame(&peer.bytes[peer.taken..]) {
                    peer.taken += len;
                    peer.frames.push(frame);
                }
            }
        }
        busy
    }

    fn deliver(&mut self) -> bool {
        let mut busy = false;
        for conn in self.open_with(|peer| peer.reads && !peer.outbox.is_empty()) {
            let peer = self.peers.get_mut(&conn).expect("an open connection");
            let n = self.client.feed(self.now, conn, &peer.outbox);
            peer.outbox.drain(..n);
            busy |= n > 0;
        }
        busy
    }

    /// What must always hold.
    fn check(&self) {
        let status = self.client.status();
        let cluster = self.config.cluster;
        assert!(status.waiting <= cluster.waiters.get(), "{status:?}");
        let room = u64::from(status.connections) * u64::from(cluster.in_flight.get());
        assert!(u64::from(status.in_flight) <= room, "{status:?}");
        let mut most = u64::from(status.endpoints) * u64::from(cluster.max_connections.get());
        if cluster.max_age.is_some() {
            // Those too old serve until their successors stand, and then finish what they have.
            most = 2 * most + u64::from(status.in_flight);
        }
        assert!(u64::from(status.connections + status.dialing) <= most, "{status:?}");
        let ended = self.done.len() as u64;
        let metrics = self.client.metrics();
        if self.drains && metrics.requests == self.taken.len() as u64 {
            assert_eq!(metrics.succeeded + metrics.failed, ended, "{metrics:?}");
        }
    }

    /// How often each peer has seen each request, looked up in all that was ever sent.
    pub fn check_deliveries(&self) {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for peer in self.peers.values() {
            let mut rest = &peer.bytes[..];
            while let Some((frame, len)) = W::frame(rest) {
                rest = &rest[len..];
                *seen.entry(frame.tag.unwrap_or(u64::MAX)).or_default() += 1;
            }
        }
        for (id, &(tag, idempotent)) in &self.taken {
            let count = seen.get(&tag).copied().unwrap_or(0);
            assert!(idempotent || count <= 1, "{id} may not be repeated and was sent {count} times");
            let most = usize::from(self.config.attempts.get());
            assert!(count <= most, "{id} was sent {count} times");
            let unsent =
                matches!(self.done.get(id), Some(Done::Timeout { sent: false } | Done::Lost { sent: false }));
            assert!(!unsent || count == 0, "{id} was not sent, says its outcome, but was");
        }
    }

    /// Nothing is left but the connections that are kept up.
    pub fn check_rest(&self) {
        let status = self.client.status();
        assert_eq!((status.in_flight, status.waiting), (0, 0), "{status:?}");
        for id in self.taken.keys() {
            assert!(self.done.contains_key(id), "{id} has not ended");
        }
        self.check_deliveries();
    }

    pub fn outcome(&self, id: RequestId) -> Option<&Done> {
        self.done.get(&id)
    }

    #[track_caller]
    pub fn assert_answered(&self, id: RequestId, text: &str) {
        assert_eq!(self.done.get(&id), Some(&Done::Answer(text.to_owned())), "{id}");
    }

    #[track_caller]
    pub fn assert_done(&self, id: RequestId, done: Done) {
        assert_eq!(self.done.get(&id), Some(&done), "{id}");
    }

    /// Why connections have ended, in order.
    pub fn closes(&self) -> Vec<CloseCause> {
        let cause = |state: &StateEvent| match state {
            StateEvent::Closed { cause, .. } => Some(*cause),
            _ => None,
        };
        self.states.iter().filter_map(cause).collect()
    }
}

fn owned(outcome: Outcome<'_>) -> Done {
    match outcome {
        Outcome::Answer(content) => Done::Answer(String::from_utf8_lossy(content).into_owned()),
        Outcome::Remote { code, message } => Done::Remote(code.to_owned(), message.to_owned()),
        Outcome::Timeout { sent } => Done::Timeout { sent },
        Outcome::Lost { sent } => Done::Lost { sent },
        Outcome::Protocol(error) => Done::Protocol(error),
        Outcome::Cancelled => Done::Cancelled,
    }
}

/// A limit above zero.
pub fn limit(n: u32) -> core::num::NonZeroU32 {
    core::num::NonZeroU32::new(n).expect("a limit above zero")
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The defaults without chance in the reconnect delay.
pub fn steady() -> Config {
    let mut config = Config::default();
    config.cluster.backoff.jitter = crate::policy::backoff::Jitter::None;
    config
}
