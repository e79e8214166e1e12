//! The service client: takes requests, and sees each to exactly one end.
//!
//! ```
//! use plimsoll_core::machine::{Action, Input, Machine};
//! use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
//! use plimsoll_core::service::{Uw, UwRequest};
//! use plimsoll_core::time::Instant;
//! use plimsoll_core::wire::uw;
//!
//! let now = Instant::ZERO;
//! let mut client = Client::new(Uw::default(), Config::default(), 42);
//! client.add_endpoint(now, "users.internal:3001").unwrap();
//!
//! // The client wants a connection. A runtime dials it; here, we say that it stands.
//! let Some(Action::Connect(conn)) = client.poll() else { panic!() };
//! assert_eq!(client.target(conn), Some("users.internal:3001"));
//! client.handle(now, Input::Connected(conn));
//!
//! let request = UwRequest { method: "getUserProfile", content: br#"{"userId":"12345"}"# };
//! let id = client.request(now, &request, Options::default()).unwrap();
//!
//! // It wants to send. What a runtime would write to the socket:
//! assert_eq!(client.poll(), Some(Action::Flush(conn)));
//! let mut bufs = [&[][..]; 8];
//! let n = client.send_bufs(conn, &mut bufs);
//! let sent = bufs[..n].concat();
//! client.handle(now, Input::Sent(conn, sent.len()));
//!
//! // What a runtime would read: the answer, under the id that the request bore.
//! let wire_id = plimsoll_core::wire::WireId(sent[3..19].try_into().unwrap());
//! let mut answer = Vec::new();
//! uw::encode_response(&mut answer, wire_id, br#"{"name":"Ada"}"#, &uw::Limits::default()).unwrap();
//! client.feed(now, conn, &answer);
//!
//! let event = core::iter::from_fn(|| match client.event()? {
//!     Event::Outcome { id, outcome: Outcome::Answer(content), .. } => Some(Some((id, content.to_vec()))),
//!     _ => Some(None),
//! });
//! assert!(event.flatten().eq([(id, br#"{"name":"Ada"}"#.to_vec())]));
//! ```

mod admission;
mod answers;
mod api;
mod config;
mod ending;
mod hedging;
mod machine;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod pending;
mod pings;
mod recording;
mod requests;
mod taking;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU32;

pub use admission::Admission;
pub use api::{Event, Failures, Metrics, Options, Outcome, Rejections, RequestError};
pub use config::Config;

pub use crate::cluster::{CloseCause, StateEvent, Status};

use crate::buf::pool::ObjectPool;
use crate::buf::{Receiver, SendPool, SendQueue};
use crate::cluster::explain::Explanation;
use crate::cluster::{self, Cluster, EndpointOptions, EndpointStatus};
use crate::error::{Misuse, ProtocolError};
use crate::id::{ConnId, EndpointId, RequestId};
use crate::machine::Action;
use crate::policy::RetryBudget;
use crate::policy::breaker::{self, Breaker};
use crate::policy::health_check::Level as Health;
use crate::policy::hedge::Hedging;
use crate::record::kinds::Kind;
use crate::record::{self, Recorder};
use crate::rng::Pcg;
use crate::save::{Save, Snapshot};
use crate::sched::ReadyList;
use crate::service::Protocol;
use crate::time::Instant;
use answers::Next;
use ending::Ended;
#[cfg(feature = "testing")]
use requests::State;
use requests::{Line, Requests};

/// Frames and send chunks that are kept for reuse, at most.
const SPARE_FRAMES: usize = 200;
const SPARE_CHUNKS: usize = 64;
/// The capacity of a new frame: most never grow, so that which of them a request gets is of no matter.
const FRAME_BYTES: usize = 512;
/// A frame with more capacity than this is not kept for reuse.
const SPARE_FRAME_BYTES: usize = 8 * 1024;

/// A client of one service: a [machine](crate::machine::Machine) that any runtime drives.
#[derive(Clone, Debug)]
pub struct Client<P: Protocol> {
    protocol: P,
    config: Config,
    admission: Admission,
    cluster: Cluster,
    requests: Requests,
    links: Vec<Link>,
    receiver: Receiver,
    /// By slot, how far the decoder has come with what is not yet whole.
    progress: Vec<P::Progress>,
    send_pool: SendPool,
    frames: ObjectPool<Vec<u8>>,
    budget: RetryBudget,
    /// What is slow, if slow requests are to have a second copy.
    hedging: Option<Hedging>,
    /// Connections (by slot) with received bytes that nobody has looked at.
    ready: ReadyList,
    /// The answer that is lent next, settled already.
    next: Option<Next>,
    /// A connection whose peer broke the rules; ended at the next call, since its bytes may still be lent.
    doomed: Option<(u32, ProtocolError)>,
    outcomes: VecDeque<Ended>,
    /// The content of the last ended request, while it is lent.
    lent: Vec<u8>,
    /// Requests of a lost connection that are tried again; empty between calls.
    again: Vec<u32>,
    actions: VecDeque<Action>,
    metrics: Metrics,
    now: Instant,
    /// The wall clock, in milliseconds since 1970, and when it was told.
    wall: (Instant, u64),
    draining: Option<Instant>,
    log: Option<Box<Recorder>>,
}
// Spare frames are not saved; nothing is lent, and nobody is tried again, between calls.
crate::saved!(impl[P: Protocol<Progress: Save> + Save] struct Client<P> {
    protocol, config, admission, cluster, requests, links, receiver, progress, send_pool, budget, hedging,
    ready, next, doomed, outcomes, actions, metrics, now, wall, draining;
    rebuilt frames = spare_frames(), lent = Vec::new(), again = Vec::new(), log = None
});

/// To be restored with the wire that it was saved with.
impl<P: Protocol<Progress: Save> + Save> Snapshot for Client<P> {
    const KIND: [u8; 8] = *b"client  ";
}

/// A connection, as far as its bytes go.
#[derive(Clone, Debug)]
struct Link {
    conn: ConnId,
    send: SendQueue,
    line: Line,
    /// The ping, and the question for its load, that it has not answered.
    ping: Option<u32>,
    probe: Option<u32>,
    /// The runtime knows that there are bytes to send.
    flushing: bool,
    /// Answers to the greeting that are still to come; `None` as long as it is dialled. It stands at none.
    unwelcomed: Option<u32>,
    reading: bool,
    /// Undrained events fill its buffer, and the cluster knows.
    full: bool,
    /// The runtime has dropped the socket itself.
    gone: bool,
}
crate::saved!(struct Link { conn, send, line, ping, probe, flushing, unwelcomed, reading, full, gone });

fn spare_frames() -> ObjectPool<Vec<u8>> {
    let clear = |frame: &mut Vec<u8>| {
        frame.clear();
        frame.shrink_to(SPARE_FRAME_BYTES);
    };
    ObjectPool::new(|| Vec::with_capacity(FRAME_BYTES), clear, 0, SPARE_FRAMES)
}

impl<P: Protocol> Client<P> {
    /// A client without endpoints; all its chance comes from `seed`.
    pub fn new(protocol: P, config: Config, seed: u64) -> Self {
        let mut rng = Pcg::new(seed, 0);
        Client {
            protocol,
            cluster: Cluster::new(config.cluster, rng.next_u64()),
            requests: Requests::new(rng.next_u64()),
            admission: Admission::new(&config, &mut rng),
            links: Vec::new(),
            receiver: Receiver::new(config.receive_budget.get() as usize),
            progress: Vec::new(),
            send_pool: SendPool::new(SPARE_CHUNKS),
            frames: spare_frames(),
            budget: RetryBudget::new(config.retry_budget, Instant::ZERO),
            hedging: config.hedging.map(|hedging| Hedging::new(hedging, Instant::ZERO)),
            config,
            ready: ReadyList::new(),
            next: None,
            doomed: None,
            outcomes: VecDeque::new(),
            lent: Vec::new(),
            again: Vec::new(),
            actions: VecDeque::new(),
            metrics: Metrics::default(),
            now: Instant::ZERO,
            wall: (Instant::ZERO, 0),
            draining: None,
            log: None,
        }
    }

    /// Adds an address (`host:port`) that serves.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`]; [`Misuse::TooManyEndpoints`] at the configured limit.
    pub fn add_endpoint(&mut self, now: Instant, address: &str) -> Result<EndpointId, Misuse> {
        self.add_endpoint_with(now, address, EndpointOptions::default())
    }

    /// Adds an address that serves, of which more is known.
    ///
    /// # Errors
    /// As [`add_endpoint`](Self::add_endpoint).
    pub fn add_endpoint_with(
        &mut self,
        now: Instant,
        address: &str,
        options: EndpointOptions,
    ) -> Result<EndpointId, Misuse> {
        let added = self.with_cluster(now, |cluster, now| cluster.add_endpoint_with(now, address, options));
        if self.log.is_some() {
            self.note_endpoint(address, options, added);
        }
        added
    }

    /// See [`Cluster::set_weight`].
    pub fn set_weight(&mut self, now: Instant, endpoint: EndpointId, weight: u32) -> bool {
        let known = self.with_cluster(now, |cluster, now| cluster.set_weight(now, endpoint, weight));
        self.note_change(Kind::SetWeight, endpoint, weight.into(), known)
    }

    /// See [`Cluster::remove_endpoint`].
    pub fn remove_endpoint(&mut self, now: Instant, endpoint: EndpointId) -> bool {
        let known = self.with_cluster(now, |cluster, now| cluster.remove_endpoint(now, endpoint));
        self.note_change(Kind::RemoveEndpoint, endpoint, 0, known)
    }

    /// See [`Cluster::drain_endpoint`].
    pub fn drain_endpoint(&mut self, now: Instant, endpoint: EndpointId) -> bool {
        let known = self.with_cluster(now, |cluster, now| cluster.drain_endpoint(now, endpoint));
        self.note_change(Kind::DrainEndpoint, endpoint, 0, known)
    }

    /// See [`Cluster::resume_endpoint`].
    pub fn resume_endpoint(&mut self, now: Instant, endpoint: EndpointId) -> bool {
        let known = self.with_cluster(now, |cluster, now| cluster.resume_endpoint(now, endpoint));
        self.note_change(Kind::ResumeEndpoint, endpoint, 0, known)
    }

    /// See [`Cluster::set_health`].
    pub fn set_health(&mut self, now: Instant, endpoint: EndpointId, health: Health) -> bool {
        let known = self.with_cluster(now, |cluster, now| cluster.set_health(now, endpoint, health));
        self.note_change(Kind::SetHealth, endpoint, record::of_health(health), known)
    }

    /// See [`Cluster::scale`].
    pub fn scale(&mut self, now: Instant, connections: u32) {
        self.with_cluster(now, |cluster, now| cluster.scale(now, connections));
        self.note(Kind::Scale, [connections.into()]);
    }

    fn with_cluster<T>(&mut self, now: Instant, act: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        let now = self.begin(now);
        let result = act(&mut self.cluster, now);
        self.catch_up();
        result
    }

    /// A frame that is needed no more; of a request that kept none, there is nothing to keep.
    fn keep_for_reuse(&mut self, frame: Vec<u8>) {
        if frame.capacity() > 0 {
            self.frames.release(frame);
        }
    }

    fn flush(&mut self, slot: u32) {
        let link = &mut self.links[slot as usize];
        if !link.flushing {
            link.flushing = true;
            self.actions.push_back(Action::Flush(link.conn));
        }
    }

    /// Gives a request up: its place is free at once, and it ends as [`Outcome::Cancelled`]. `false` if it has ended.
    pub fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        let now = self.begin(now);
        let slot = self.requests.find(id);
        if let Some(slot) = slot {
            self.give_up(now, slot, breaker::Outcome::Ignored, |_| ending::How::Cancelled);
            self.catch_up();
        }
        self.note(Kind::Cancel, [id.slot().into(), id.generation().into(), slot.is_some().into()]);
        slot.is_some()
    }

    /// Takes no more requests, sees those it has taken to their end, and closes. At `deadline`, what is left ends as
    /// [`Outcome::Lost`].
    pub fn shutdown(&mut self, now: Instant, deadline: Instant) {
        let now = self.begin(now);
        self.draining = Some(self.draining.map_or(deadline, |earlier| earlier.min(deadline)));
        self.cluster.drain(now);
        self.catch_up();
        self.note(Kind::Shutdown, [deadline.as_nanos()]);
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts from nothing again.
    pub fn reset_metrics(&mut self) {
        self.metrics.reset();
        self.note(Kind::ResetMetrics, []);
    }

    /// How things stand; walks over all connections.
    pub fn status(&self) -> Status {
        self.cluster.status()
    }

    /// The endpoints and their addresses.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &str)> {
        self.cluster.endpoints()
    }

    /// How each endpoint stands, in the order of their slots.
    pub fn endpoint_status(&self) -> impl Iterator<Item = EndpointStatus<'_>> {
        self.cluster.endpoint_status(self.now)
    }

    /// See [`Cluster::set_explain`].
    pub fn set_explain(&mut self, kept: Option<NonZeroU32>) {
        self.cluster.set_explain(kept);
    }

    /// See [`Cluster::explanations`].
    pub fn explanations(&self) -> impl DoubleEndedIterator<Item = &Explanation> {
        self.cluster.explanations()
    }

    /// The guards that every request passes, for those who want to look at them.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The breaker of an endpoint.
    pub fn breaker(&self, endpoint: EndpointId) -> Option<&Breaker> {
        self.cluster.breaker(endpoint)
    }

    /// Begins whatever happens now, which may be no earlier than what happened before; and does first what the last
    /// look at an event has left to do, so that a waiter that has a place by now is not taken for one that waits.
    fn begin(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        if self.cluster.has_actions() || self.doomed.is_some() {
            self.catch_up();
        }
        self.now
    }

    /// Does what the cluster wants, ends what is doomed, and looks for the next answer.
    fn catch_up(&mut self) {
        // Between two answers of a burst nothing of it is due.
        let looks_ahead = self.next.is_none() && self.ready.peek().is_some();
        let is_due = self.cluster.has_actions() || self.doomed.is_some() || self.draining.is_some();
        if is_due || looks_ahead || !self.receiver.is_settled() {
            self.catch_up_now();
        }
    }

    fn catch_up_now(&mut self) {
        loop {
            if let Some((slot, error)) = self.doomed.take() {
                self.metrics.protocol_errors += 1;
                let conn = self.links[slot as usize].conn;
                self.cluster.end(self.now, conn, CloseCause::Protocol(error));
            }
            while let Some(action) = self.cluster.poll() {
                self.carry_out(action);
            }
            if self.draining.is_some() {
                self.cluster.close_drained(self.now);
            }
            self.look_ahead();
            if self.doomed.is_none() && !self.cluster.has_actions() {
                break;
            }
        }
        self.relieve();
    }

    fn carry_out(&mut self, action: cluster::Action) {
        match action {
            cluster::Action::Dial(conn) => self.dial(conn),
            cluster::Action::Close(conn, cause) => self.close(conn, cause),
            cluster::Action::Ping(conn) => self.ping(conn),
            cluster::Action::Probe(conn) => self.probe(conn),
            cluster::Action::Assign { waiter, place } => self.put(place, waiter),
        }
    }

    fn dial(&mut self, conn: ConnId) {
        let link = Link {
            conn,
            send: SendQueue::default(),
            line: Line::default(),
            ping: None,
            probe: None,
            flushing: false,
            unwelcomed: None,
            reading: true,
            full: false,
            gone: false,
        };
        // A whole new link: nothing of the slot's last tenant may be left.
        match self.links.get_mut(conn.index()) {
            Some(old) => *old = link,
            None => self.links.push(link),
        }
        self.receiver.open(conn.slot());
        match self.progress.get_mut(conn.index()) {
            Some(old) => *old = P::Progress::default(),
            None => self.progress.push(P::Progress::default()),
        }
        self.metrics.dials += 1;
        self.actions.push_back(Action::Connect(conn));
    }
}

#[cfg(feature = "testing")]
impl<P: Protocol> Client<P> {
    /// Tells a search what makes this state another than others: everything but what was counted, what is kept for reuse,
    /// and the guards.
    pub fn digest(&self, digest: &mut crate::testing::search::Digest) {
        digest.add(&self.cluster).add(&self.requests).add(&self.links);
        for link in self.links.iter().filter(|link| self.cluster.has_conn(link.conn)) {
            digest.add(&self.receiver.bytes(link.conn.slot()));
        }
        digest.add(&(&self.ready, &self.next, &self.doomed, &self.outcomes, &self.actions, &self.draining));
    }

    /// Recounts everything that is counted as it changes.
    ///
    /// # Panics
    /// If a count is wrong.
    pub fn audit(&self) {
        self.cluster.audit();
        let awaited = |slot: &u32| {
            let has_caller = !matches!(self.requests.get(*slot).state, State::Ghost { .. });
            has_caller && self.requests.owner(*slot) == *slot
        };
        if let Some(limit) = self.admission.concurrency() {
            assert_eq!(limit.in_flight() as usize, self.requests.taken().filter(awaited).count(), "permits");
        }
        let mut waiting = 0;
        for slot in self.requests.taken() {
            let copy = self.requests.copy_of(slot);
            let on_conn = match self.requests.get(slot).state {
                State::Placed(place) => place.conn,
                State::Ghost { conn, .. } => conn,
                State::Carried => {
                    assert!(copy.is_some(), "nothing is left of request {slot}");
                    continue;
                }
                State::Free | State::Waiting => {
                    assert!(copy.is_none(), "request {slot} waits, and has a copy");
                    waiting += 1;
                    continue;
                }
            };
            assert!(self.cluster.has_conn(on_conn), "request {slot} is on {on_conn}, which is gone");
            let mut line = self.links[on_conn.index()].line.first();
            while line.is_some_and(|other| other != slot) {
                line = line.and_then(|other| self.requests.after(other));
            }
            assert!(line.is_some(), "request {slot} is not in the line of {on_conn}");
            if let Some(copy) = copy {
                let state = self.requests.get(copy).state;
                let State::Placed(place) = state else { panic!("copy {copy} of {slot}: {state:?}") };
                assert_ne!(place.conn, on_conn, "both copies of {slot}");
            }
        }
        assert_eq!(waiting, self.cluster.status().waiting, "requests that wait");
    }
}
