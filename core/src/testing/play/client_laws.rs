//! The service client as a subject of the laws.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use super::limit;
use super::rig::{Frame, Wire};
use crate::cluster::EndpointOptions;
use crate::id::{EndpointId, RequestId};
use crate::policy::fixed::Ratio;
use crate::policy::{concurrency, hedge};
use crate::service::client::{Client, Config, Event, Options, StateEvent};
use crate::testing::laws::{Op, Subject};
use crate::time::Instant;

/// A client of two endpoints, small enough that its limits are reached, and peers that answer what they have heard.
pub struct Surroundings<W> {
    requests: Vec<RequestId>,
    asked: u32,
    heard: BTreeMap<u32, Vec<u8>>,
    unanswered: BTreeMap<u32, Vec<Frame>>,
    /// By tag, the peer that has heard a request, or the last of them.
    asked_of: BTreeMap<u64, u32>,
    wire: PhantomData<W>,
}

/// The line of what no peer has heard; the lines of endpoints come after it.
const UNHEARD: u64 = 1 << 32;

impl<W> Surroundings<W> {
    /// What a peer has heard and not answered.
    pub(super) fn heard_by(&mut self, peer: u32) -> Vec<Frame> {
        self.unanswered.remove(&peer).unwrap_or_default()
    }
}

fn of(endpoint: EndpointId) -> u64 {
    UNHEARD + 1 + u64::from(endpoint.slot())
}

fn small(seed: u64) -> Config {
    let mut config = Config::default();
    let cluster = &mut config.cluster;
    cluster.in_flight = limit(1 + (seed % 3) as u32);
    cluster.max_connections = limit(2);
    cluster.min_connections = (seed % 2) as u32;
    cluster.waiters = limit(3);
    cluster.breaker.recovery = Duration::from_secs(3);
    cluster.max_age = (seed / 2 % 2 == 1).then_some(Duration::from_secs(5));
    cluster.subset = (seed / 4 % 2 == 1).then(|| limit(1));
    cluster.slow_start.window = Duration::from_secs(4);
    cluster.priorities.hold = Duration::from_secs(2);
    if let Some(outliers) = &mut cluster.outliers {
        outliers.sweep = Duration::from_secs(1);
        outliers.consecutive = limit(2);
        outliers.most = Ratio::percent(50);
    }
    if seed / 16 % 4 < 2 {
        config.hedging = Some(hedge::Config { volume: 1, ..Default::default() });
        config.concurrency = Some(concurrency::Config { minimum: limit(6), ..Default::default() });
    }
    config
}

impl<W: Wire + Default> Subject for Surroundings<W> {
    type Machine = Client<W>;

    fn new(seed: u64) -> (Self, Client<W>) {
        let mut client = Client::new(W::default(), small(seed), seed);
        // One level, or one behind the other.
        for n in 0..2 {
            let options = EndpointOptions { priority: n * (seed / 8 % 2) as u8, weight: 1 };
            let address = format!("users-{n}.internal:3001");
            client.add_endpoint_with(Instant::ZERO, &address, options).unwrap();
        }
        let (heard, unanswered, asked_of) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let wire = PhantomData;
        (Surroundings { requests: Vec::new(), asked: 0, heard, unanswered, asked_of, wire }, client)
    }

    fn command(&mut self, client: &mut Client<W>, now: Instant, number: u16) {
        match number % 32 {
            31 if number > 60_000 => client.shutdown(now, now + Duration::from_millis(u64::from(number))),
            24..=30 if !self.requests.is_empty() => {
                let picked = usize::from(number) % self.requests.len();
                client.cancel(now, self.requests[picked]);
            }
            _ => {
                self.asked += 1;
                let timeout = Some(Duration::from_millis(u64::from(number) * 10));
                let options = Options {
                    timeout,
                    idempotent: number.is_multiple_of(2),
                    tag: u64::from(self.asked),
                    key: number.is_multiple_of(3).then_some(u64::from(number)),
                };
                let word = format!("t{}", self.asked);
                self.requests.extend(W::ask(&word, |request| client.request(now, request, options)));
            }
        }
    }

    /// A line for each peer, in which the outcomes of what it has heard stand, for all that no peer has heard, and for
    /// each endpoint.
    fn event(&mut self, event: Event<'_>) -> (u64, String) {
        match event {
            Event::Outcome { tag, outcome, .. } => {
                let line = self.asked_of.get(&tag).map_or(UNHEARD, |&peer| u64::from(peer));
                (line, format!("{tag}: {outcome:?}"))
            }
            Event::State(state) => match state {
                StateEvent::Connected { endpoint, .. } => (of(endpoint), String::from("connected")),
                StateEvent::Closed { endpoint, cause, .. } => (of(endpoint), format!("closed: {cause:?}")),
                StateEvent::Breaker { endpoint, to } => (of(endpoint), format!("{to:?}")),
                other => (UNHEARD, format!("{other:?}")),
            },
        }
    }

    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String> {
        let heard = self.heard.entry(peer).or_default();
        heard.extend(bytes);
        let mut frames = Vec::new();
        while let Some((frame, len)) = W::frame(heard) {
            heard.drain(..len);
            frames.push(format!("{:?}", frame.tag));
            self.asked_of.extend(frame.tag.map(|tag| (tag, peer)));
            self.unanswered.entry(peer).or_default().push(frame);
        }
        frames
    }

    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8> {
        let frames = self.unanswered.entry(peer).or_default();
        let count = frames.len().min(usize::from(number % 4));
        let text = if number.is_multiple_of(5) { "err down" } else { "{}" };
        let mut bytes: Vec<u8> = frames.drain(..count).flat_map(|frame| W::answer(&frame, text)).collect();
        if number.is_multiple_of(41) {
            bytes.extend(b"garbage");
        }
        bytes
    }
}

/// Whether one that waits is sent, on the place of one that was answered, before the garbage behind that answer ends
/// the connection, depends on when the runtime writes, and so on the cuts. Garbage in pieces is tested with the decoders.
pub fn without_garbage(ops: &[Op]) -> Vec<Op> {
    // The kit hands a sixteenth of the number on to the peer that speaks.
    let quiet = |number: u16| if (number / 16).is_multiple_of(41) { number ^ 16 } else { number };
    ops.iter().map(|&(kind, number)| (kind, quiet(number))).collect()
}
