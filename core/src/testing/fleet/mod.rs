//! A fleet in virtual time: clients, servers and the network between them in one process, all of them the machines that
//! ship. Same seed, same history, to the nanosecond.
//!
//! Calls come as an open loop: they arrive when they arrive, however badly those before them fare, as the users of a
//! service do. (A closed loop slows down with a slow server, and hides what it costs.)
//!
//! These are the machines alone, under a network that only delays: enough to compare strategies, and nothing that needs an
//! operating system. With drivers around them, and everything that can go wrong, `plimsoll-sim` has fleets.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::testing::fleet::{Condition, Config, Fleet};
//! use plimsoll_core::time::Instant;
//!
//! let mut fleet = Fleet::new(Config { servers: 3, ..Config::default() });
//! fleet.offer(300);
//! fleet.run_until(Instant::from_millis(2_000));
//! fleet.set_condition(1, Condition::Slow(50));
//! fleet.run_until(Instant::from_millis(4_000));
//!
//! // Nobody noticed: the calls went to the others.
//! let (all, good) = (fleet.calls().len(), fleet.calls().iter().filter(|call| call.is_good()).count());
//! assert!(good * 100 > all * 97, "{good} of {all}");
//! ```

mod network;
mod station;
pub mod trial;

use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

pub use station::{Condition, Work, exponential};

use crate::machine::{Input, Machine};
use crate::rng::Pcg;
use crate::sched::Timers;
use crate::service::client::{self, Client, Event, Options, Outcome};
use crate::service::server::Token;
use crate::service::{Uw, UwRequest};
use crate::time::Instant;
use crate::wire::uw::{self, Limits, Mode, Step};
use network::Network;
use station::{Begun, Station};

/// What a fleet is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Clients; each call comes from one of them, by chance.
    pub clients: u32,
    /// What each of them is configured with, selection and timeout among it.
    pub client: client::Config,
    /// Servers; all clients know all of them.
    pub servers: u32,
    /// What each of them can do.
    pub work: Work,
    /// From here to there.
    pub latency: Duration,
    /// Where all chance comes from.
    pub seed: u64,
}

impl Default for Config {
    /// One client with its defaults, ten servers that serve 200 calls a second each, half a millisecond between.
    fn default() -> Self {
        Config {
            clients: 1,
            client: client::Config::default(),
            servers: 10,
            work: Work { workers: 2, queue: 64, mean: Duration::from_millis(10) },
            latency: Duration::from_micros(500),
            seed: 1,
        }
    }
}

/// One call, from its arrival to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it came.
    pub arrived: Instant,
    /// When and how it ended.
    pub end: Option<(Instant, End)>,
    /// The server it was sent to, the last one if there were more.
    pub server: Option<u32>,
    /// How often it was sent.
    pub sent: u32,
    /// How often it has ended: once, or the machines are broken.
    pub ends: u32,
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered well.
    Good,
    /// Answered with an error.
    Failed,
    /// Not answered in time.
    TimedOut,
    /// Its connection was lost.
    Lost,
    /// The client did not take it.
    Refused,
}

impl Call {
    /// Whether it was answered well.
    pub fn is_good(&self) -> bool {
        matches!(self.end, Some((_, End::Good)))
    }

    /// From its arrival to its end.
    pub fn took(&self) -> Option<Duration> {
        self.end.map(|(at, _)| at.since(self.arrived))
    }
}

/// Clients, servers and their network, at one point of virtual time.
#[derive(Debug)]
pub struct Fleet {
    now: Instant,
    clients: Vec<Client<Uw>>,
    stations: Vec<Station>,
    network: Network,
    /// When each machine wants to be ticked, by node: the clients first, then the servers.
    timers: Timers,
    /// Work that is being done, by its end and its number; at which server.
    works: Works,
    works_begun: u64,
    rng: Pcg,
    /// Between two calls on average, and when the next one comes.
    load: Option<(Duration, Instant)>,
    calls: Vec<Call>,
}

impl Fleet {
    /// A fleet whose clients begin to dial.
    pub fn new(config: Config) -> Self {
        let mut rng = Pcg::new(config.seed, 0);
        let mut network = Network::new(config.latency);
        let addresses: Vec<_> = (1..=config.servers).map(|n| format!("users-{n}.internal:3001")).collect();
        let mut fleet = Fleet {
            now: Instant::ZERO,
            clients: Vec::new(),
            stations: Vec::new(),
            timers: Timers::new(),
            works: BinaryHeap::new(),
            works_begun: 0,
            load: None,
            calls: Vec::new(),
            network: {
                (0..config.clients).for_each(|_| _ = network.add(None));
                addresses.iter().for_each(|address| _ = network.add(Some(address.clone())));
                network
            },
            rng: Pcg::new(rng.next_u64(), 0),
        };
        for _ in 0..config.servers {
            fleet.stations.push(Station::new(config.work, Pcg::new(rng.next_u64(), 1)));
        }
        for node in 0..config.clients {
            let mut client = Client::new(Uw::default(), config.client, rng.next_u64());
            for address in &addresses {
                client.add_endpoint(fleet.now, address).expect("the address is one, and there is room");
            }
            fleet.clients.push(client);
            fleet.settle(node);
        }
        fleet
    }

    /// From now on so many calls come per second, each at a time of its own (a Poisson process); none at 0.
    pub fn offer(&mut self, per_second: u32) {
        let gap = Duration::from_secs(1).checked_div(per_second);
        self.load = gap.map(|gap| (gap, self.now + exponential(&mut self.rng, gap)));
    }

    /// From now on this is wrong with a server.
    pub fn set_condition(&mut self, server: u32, condition: Condition) {
        self.stations[server as usize].condition = condition;
        let node = self.clients.len() as u32 + server;
        let (deaf, mute) = (condition == Condition::Deaf, condition == Condition::Mute);
        self.network.cut(self.now, node, deaf, mute);
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// All calls that came so far, in their order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The clients.
    pub fn clients(&self) -> &[Client<Uw>] {
        &self.clients
    }

    /// Lets everything happen that happens until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while let Some(at) = self.next().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = self.now.max(end);
    }

    fn next(&self) -> Option<Instant> {
        let work = self.works.peek().map(|Reverse((at, ..))| *at);
        let call = self.load.map(|(_, at)| at);
        [self.network.next(), self.timers.next(), work, call].into_iter().flatten().min()
    }

    /// Does one of the things that are due.
    fn step(&mut self) {
        let now = self.now;
        if let Some(node) = self.network.receiver(now) {
            match self.client_or_server(node) {
                Ok(client) => self.network.deliver(now, &mut self.clients[client]),
                Err(server) => self.network.deliver(now, &mut self.stations[server].server),
            }
            self.settle(node);
        } else if let Some(node) = self.timers.pop_due(now) {
            match self.client_or_server(node) {
                Ok(client) => self.clients[client].handle(now, Input::Tick),
                Err(server) => self.stations[server].server.handle(now, Input::Tick),
            }
            self.settle(node);
        } else if let Some(&Reverse((at, _, node, token))) = self.works.peek()
            && at <= now
        {
            self.works.pop();
            self.finish(node, token);
        } else if let Some((gap, at)) = self.load
            && at <= now
        {
            self.load = Some((gap, at + exponential(&mut self.rng, gap)));
            self.call();
        }
    }

    fn client_or_server(&self, node: u32) -> Result<usize, usize> {
        let (node, clients) = (node as usize, self.clients.len());
        if node < clients { Ok(node) } else { Err(node - clients) }
    }

    /// A call comes: one of the clients is asked, with a key that no other call has.
    fn call(&mut self) {
        let client = self.rng.below(self.clients.len() as u32);
        let tag = self.calls.len() as u64;
        self.calls.push(Call { arrived: self.now, end: None, server: None, sent: 0, ends: 0 });
        let content = format!("{tag}");
        let request = UwRequest { method: "work", content: content.as_bytes() };
        let options = Options { tag, key: Some(self.rng.next_u64()), ..Options::default() };
        if self.clients[client as usize].request(self.now, &request, options).is_err() {
            end(&mut self.calls, self.now, tag, End::Refused);
        }
        self.settle(client);
    }

    /// Work is done.
    fn finish(&mut self, node: u32, token: Token) {
        let Err(server) = self.client_or_server(node) else { return };
        let (works, number) = (&mut self.works, &mut self.works_begun);
        self.stations[server].finish(self.now, token, |begun| begin(works, number, node, begun));
        self.settle(node);
    }

    /// Does what a machine wants, until it wants nothing more now.
    fn settle(&mut self, node: u32) {
        let deadline = match self.client_or_server(node) {
            Ok(client) => {
                while self.attend_client(client, node) {}
                self.clients[client].deadline()
            }
            Err(server) => {
                while self.attend_server(server, node) {}
                self.stations[server].server.deadline()
            }
        };
        self.timers.set(node, deadline);
    }

    fn attend_client(&mut self, at: usize, node: u32) -> bool {
        let (now, client, calls) = (self.now, &mut self.clients[at], &mut self.calls);
        let mut busy = self.network.read(now, node, client);
        while let Some(event) = client.event() {
            busy = true;
            if let Event::Outcome { tag, outcome, .. } = event {
                end(calls, now, tag, End::from(outcome));
            }
        }
        let clients = self.clients.len() as u32;
        let client = &mut self.clients[at];
        busy | self.network.act(now, node, client, |to, segment| note_sent(calls, to - clients, segment))
    }

    fn attend_server(&mut self, at: usize, node: u32) -> bool {
        let (now, station) = (self.now, &mut self.stations[at]);
        let (works, number) = (&mut self.works, &mut self.works_begun);
        let mut busy = self.network.read(now, node, &mut station.server);
        busy |= station.take(now, |begun| begin(works, number, node, begun));
        busy | self.network.act(now, node, &mut station.server, |_, _| {})
    }
}

impl From<Outcome<'_>> for End {
    fn from(outcome: Outcome<'_>) -> End {
        match outcome {
            Outcome::Answer(_) => End::Good,
            Outcome::Remote { .. } => End::Failed,
            Outcome::Timeout { .. } => End::TimedOut,
            Outcome::Lost { .. } | Outcome::Protocol(_) | Outcome::Cancelled => End::Lost,
        }
    }
}

type Works = BinaryHeap<Reverse<(Instant, u64, u32, Token)>>;

/// Work is begun at a server.
fn begin(works: &mut Works, number: &mut u64, node: u32, begun: Begun) {
    works.push(Reverse((begun.until, *number, node, begun.token)));
    *number += 1;
}

fn end(calls: &mut [Call], now: Instant, tag: u64, how: End) {
    let call = &mut calls[tag as usize];
    call.end = Some((now, how));
    call.ends += 1;
}

/// Requests leave for a server: a segment holds whole frames, because all that a client has is taken at once.
fn note_sent(calls: &mut [Call], server: u32, mut segment: &[u8]) {
    while let Ok(Step::Frame(head)) = uw::decode_request(segment, &Limits::default(), Mode::Strict) {
        let tag = core::str::from_utf8(&segment[head.content.clone()]).ok().and_then(|tag| tag.parse().ok());
        if let Some(call) = tag.and_then(|tag: usize| calls.get_mut(tag)) {
            call.server = Some(server);
            call.sent += 1;
        }
        segment = &segment[head.content.end..];
    }
}
