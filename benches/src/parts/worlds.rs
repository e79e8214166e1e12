//! Fleets in virtual time, and the plainest loop that could take them forward.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::cluster::StateEvent;
use plimsoll_core::drive::{Driver, Host, ListenOptions, Runtime};
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Request, Server, Token};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::testing::fleet::exponential;
use plimsoll_core::time::Instant;
use plimsoll_sim::Sim;

/// How long a server takes for a request, on average.
const SERVICE: Duration = Duration::from_millis(2);
/// In what time the clients join.
const JOINING: Duration = Duration::from_secs(10);
/// When the load begins: all connections stand by then.
const WARM_UP: Duration = Duration::from_secs(20);
/// How far a fleet is taken before it is looked at whether it has lived enough.
const STEP: Duration = Duration::from_micros(500);

/// How large a fleet is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Clients, each with a rate of its own.
    pub clients: u32,
    /// Servers of all clients.
    pub servers: u32,
    /// So many of them each client uses, as clients of large fleets do; 0: all.
    pub subset: u32,
    /// Requests a second, of all clients together.
    pub rate: u32,
}

/// Clients that are each connected to many servers, requests of 64 bytes at random times whatever becomes of them, and
/// servers that take a random time to answer. Drivers and machines are those that ship, without handles.
pub struct Fleet {
    sim: Sim,
    due: u64,
    counts: Arc<Counts>,
}

impl Fleet {
    /// A fleet whose connections stand, and whose load is about to begin.
    pub fn new(size: Size) -> Self {
        let mut sim = Sim::new(1);
        let counts = Arc::new(Counts::default());
        for server in 0..size.servers {
            let host = sim.host(&format!("users-{server}.internal"));
            let options = ListenOptions::default();
            let listening = sim.block_on(host.listen("0.0.0.0:80", &options, 1));
            let (shares, _) = listening.expect("every host has ports of its own");
            for share in shares {
                let serving = Serving { rng: Pcg::new(1, server.into()), due: BinaryHeap::new() };
                host.spawn(Driver::new(Server::new(server::Config::default()), serving, share));
            }
        }
        for client in 0..size.clients {
            let host = sim.host(&format!("web-{client}.internal"));
            let mut machine = Client::new(Uw::default(), config(size), client.into());
            for server in 0..size.servers {
                let address = format!("users-{server}.internal:80");
                machine.add_endpoint(Instant::ZERO, &address).expect("an address within the limit");
            }
            let asking = Asking {
                rng: Pcg::new(2, client.into()),
                mean: Duration::from_secs(1) * size.clients / size.rate,
                next: Instant::ZERO + WARM_UP,
                counts: counts.clone(),
            };
            host.spawn(Driver::new(machine, asking, host.connector()));
            // One after another: a dial under way takes ten times the memory of a connection that stands.
            sim.run_for(JOINING / size.clients);
        }
        sim.run_until(Instant::ZERO + WARM_UP);
        Fleet { due: sim.events(), sim, counts }
    }

    /// Lives through so many events more, taken over all calls.
    pub fn live(&mut self, events: u64) {
        self.due += events;
        while self.sim.events() < self.due {
            self.sim.run_for(STEP);
        }
    }

    /// Lives for so long.
    pub fn live_for(&mut self, length: Duration) {
        self.sim.run_for(length);
        self.due = self.sim.events();
    }

    /// What has happened since its first host came.
    pub fn events(&self) -> u64 {
        self.sim.events()
    }

    /// Connections that have come to stand.
    pub fn connected(&self) -> u64 {
        self.counts.connected.load(Ordering::Relaxed)
    }

    /// Requests: all, those that were answered, and those that failed.
    pub fn requests(&self) -> [u64; 3] {
        let Counts { asked, answered, failed, .. } = &*self.counts;
        [asked, answered, failed].map(|count| count.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

fn config(size: Size) -> Config {
    let mut config = Config::default();
    config.cluster.max_connections = NonZeroU32::MIN;
    config.cluster.max_endpoints = NonZeroU32::new(size.servers).unwrap_or(NonZeroU32::MIN);
    config.cluster.subset = NonZeroU32::new(size.subset);
    config
}

/// Answers each request with its content, a while later.
struct Serving {
    rng: Pcg,
    due: BinaryHeap<Reverse<(Instant, Token)>>,
}

impl Host<Server> for Serving {
    fn commands(&mut self, now: Instant, machine: &mut Server) {
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, token))) = self.due.pop() else { return };
            // Whoever asked may be gone.
            let _ = machine.reply(now, token, &[b'1'; 64]);
        }
    }

    fn event(&mut self, now: Instant, request: Request<'_>) {
        let at = now + exponential(&mut self.rng, SERVICE);
        self.due.push(Reverse((at, request.responder.defer())));
    }

    fn publish(&mut self, _: Instant, _: &mut Server) {}

    fn arm(&mut self, _: &Waker) -> bool {
        false
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }
}

/// Asks at random times.
struct Asking {
    rng: Pcg,
    mean: Duration,
    next: Instant,
    counts: Arc<Counts>,
}

impl Host<Client<Uw>> for Asking {
    fn commands(&mut self, now: Instant, machine: &mut Client<Uw>) {
        while self.next <= now {
            self.next = self.next + exponential(&mut self.rng, self.mean);
            self.counts.asked.fetch_add(1, Ordering::Relaxed);
            let request = UwRequest { method: "echo", content: &[b'1'; 64] };
            if machine.request(now, &request, Options::default()).is_err() {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn event(&mut self, _: Instant, event: Event<'_>) {
        let counter = match event {
            Event::Outcome { outcome: Outcome::Answer(_), .. } => &self.counts.answered,
            Event::Outcome { .. } => &self.counts.failed,
            Event::State(StateEvent::Connected { .. }) => &self.counts.connected,
            Event::State(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn publish(&mut self, _: Instant, _: &mut Client<Uw>) {}

    fn arm(&mut self, _: &Waker) -> bool {
        false
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// What no simulator can do without: a heap of what happens when, and some lines of memory for each of those to whom it
/// happens. Each event leads to another, at somebody else, a random time later.
pub struct BareLoop {
    due: BinaryHeap<Reverse<(u64, u64, u32)>>,
    hosts: u32,
    /// The first line of all hosts, then the second of all, and so on. Each says how much further the next is: nothing, but no
    /// processor knows before it has read it.
    lines: Vec<[u64; 8]>,
    sequence: u64,
    rng: Pcg,
}

impl BareLoop {
    /// So many hosts, to each of whom something is about to happen, of so many lines of 64 bytes.
    pub fn new(hosts: u32, lines: usize) -> Self {
        let due = (0..hosts).map(|host| Reverse((0, host.into(), host))).collect();
        let lines = vec![[0; 8]; hosts as usize * lines];
        BareLoop { due, hosts, lines, sequence: hosts.into(), rng: Pcg::new(1, 1) }
    }

    /// Lives through so many events more.
    pub fn live(&mut self, events: u64) {
        for _ in 0..events {
            let Some(Reverse((now, _, host))) = self.due.pop() else { return };
            let mut further = 0;
            for lines in self.lines.chunks_exact_mut(self.hosts as usize) {
                let line = &mut lines[(u64::from(host) + further) as usize];
                line[1] += now;
                further = line[0];
            }
            let next = self.rng.below(self.hosts);
            self.due.push(Reverse((now + self.rng.up_to(2_000_000), self.sequence, next)));
            self.sequence += 1;
        }
        black_box(&mut self.lines);
    }
}
