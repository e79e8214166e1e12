//! Fleets in virtual time, and the plainest loop that could take them forward.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::{Driver, Host, ListenOptions, Runtime};
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::client::{Client, Config, Event, Options};
use plimsoll_core::service::server::{self, Request, Server, Token};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_sim::Sim;

/// How long a server takes, on average.
const SERVICE: Duration = Duration::from_millis(2);
/// In what time the clients join, and when the load begins.
const JOINING: Duration = Duration::from_secs(10);
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
    /// So many of them each client uses.
    pub subset: u32,
    /// Requests a second, of all clients together.
    pub rate: u32,
}

/// Clients and servers, as they ship and without handles; all connections stand.
pub struct Fleet {
    sim: Sim,
    due: u64,
}

impl Fleet {
    /// A fleet under load.
    pub fn new(size: Size) -> Self {
        let mut sim = Sim::new(1);
        for server in 0..size.servers {
            let host = sim.host(&format!("users-{server}.internal"));
            let options = ListenOptions::default();
            let listening = sim.block_on(host.listen("0.0.0.0:80", &options, 1));
            let (shares, _) = listening.expect("every host has ports of its own");
            for share in shares {
                let serving = Serving { rng: Pcg::new(1, server.into()), due: BinaryHeap::new() };
                host.drive(Driver::new(Server::new(server::Config::default()), serving, share));
            }
        }
        for client in 0..size.clients {
            let host = sim.host(&format!("web-{client}.internal"));
            let mut machine = Client::new(Uw::default(), config(size), client.into());
            for server in 0..size.servers {
                let address = format!("users-{server}.internal:80");
                machine.add_endpoint(Instant::ZERO, &address).expect("an address within the limit");
            }
            let mean = Duration::from_secs(1) * size.clients / size.rate;
            let asking = Asking { rng: Pcg::new(2, client.into()), mean, next: Instant::ZERO + WARM_UP };
            host.drive(Driver::new(machine, asking, host.connector()));
            sim.run_for(JOINING / size.clients);
        }
        sim.run_until(Instant::ZERO + WARM_UP);
        Fleet { due: sim.events(), sim }
    }

    /// Lives through so many events more, taken over all calls.
    pub fn live(&mut self, events: u64) {
        self.due += events;
        while self.sim.events() < self.due {
            self.sim.run_for(STEP);
        }
    }
}

fn config(size: Size) -> Config {
    let mut config = Config::default();
    config.cluster.max_connections = NonZeroU32::MIN;
    config.cluster.max_endpoints = NonZeroU32::new(size.servers).unwrap_or(NonZeroU32::MIN);
    config.cluster.subset = NonZeroU32::new(size.subset);
    config
}

/// Some time up to twice the mean.
fn about(rng: &mut Pcg, mean: Duration) -> Duration {
    Duration::from_nanos(rng.up_to(2 * mean.as_nanos() as u64))
}

struct Serving {
    rng: Pcg,
    due: BinaryHeap<Reverse<(Instant, Token)>>,
}

impl Host<Server> for Serving {
    fn commands(&mut self, now: Instant, machine: &mut Server) {
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, token))) = self.due.pop() else { return };
            machine.reply(now, token, &[b'1'; 64]).expect("nobody goes away");
        }
    }

    fn event(&mut self, now: Instant, request: Request<'_>) {
        let at = now + about(&mut self.rng, SERVICE);
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

struct Asking {
    rng: Pcg,
    mean: Duration,
    next: Instant,
}

impl Host<Client<Uw>> for Asking {
    fn commands(&mut self, now: Instant, machine: &mut Client<Uw>) {
        while self.next <= now {
            self.next = self.next + about(&mut self.rng, self.mean);
            let request = UwRequest { method: "echo", content: &[b'1'; 64] };
            machine.request(now, &request, Options::default()).expect("there is room for all");
        }
    }

    fn event(&mut self, _: Instant, _: Event<'_>) {}

    fn publish(&mut self, _: Instant, _: &mut Client<Uw>) {}

    fn arm(&mut self, _: &Waker) -> bool {
        false
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// What no simulator can do without: a heap of what happens when, and a line of memory for each of those to whom it
/// happens. Each event leads to another, at somebody else, a random time later.
pub struct BareLoop {
    due: BinaryHeap<Reverse<(u64, u64, u32)>>,
    hosts: Vec<[u64; 8]>,
    sequence: u64,
    rng: Pcg,
}

impl BareLoop {
    /// So many hosts, to each of whom something is about to happen.
    pub fn new(hosts: u32) -> Self {
        let due = (0..hosts).map(|host| Reverse((0, host.into(), host))).collect();
        BareLoop { due, hosts: vec![[0; 8]; hosts as usize], sequence: hosts.into(), rng: Pcg::new(1, 1) }
    }

    /// Lives through so many events more.
    pub fn live(&mut self, events: u64) {
        for _ in 0..events {
            let Some(Reverse((now, _, host))) = self.due.pop() else { return };
            self.hosts[host as usize][0] += now;
            let next = self.rng.below(self.hosts.len() as u32);
            self.due.push(Reverse((now + self.rng.up_to(2_000_000), self.sequence, next)));
            self.sequence += 1;
        }
        black_box(&self.hosts);
    }
}
