//! How fast a fleet lives: clients that are each connected to many endpoints, requests of 64 bytes at random times whatever
//! becomes of them, and servers that take a random time to answer. Drivers and machines are those that ship, without
//! handles.
//!
//! `cargo run --release -p plimsoll-sim --example events -- CLIENTS ENDPOINTS REQUESTS_PER_SECOND SECONDS SUBSET`, where a
//! subset is how many of the endpoints each client uses, as clients of large fleets do; 0: all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
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
use plimsoll_core::time::Instant;
use plimsoll_sim::Sim;

/// What a request takes, on average.
const SERVICE: Duration = Duration::from_millis(2);
/// In what time the clients join.
const JOINING: Duration = Duration::from_secs(10);
/// When the load begins: all connections stand by then.
const WARM_UP: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let [clients, endpoints, rate, seconds, subset] = arguments[..] else {
        return Err("CLIENTS ENDPOINTS REQUESTS_PER_SECOND SECONDS SUBSET".into());
    };
    let counts = Arc::new(Counts::default());
    let mut sim = Sim::new(1);
    for endpoint in 0..endpoints {
        let host = sim.host(&format!("users-{endpoint}.internal"));
        let (mut shares, _) = sim.block_on(host.listen("0.0.0.0:80", &ListenOptions::default(), 1))?;
        let transport = shares.pop().ok_or("one share was asked for")?;
        let serving = Serving { rng: Pcg::new(1, endpoint), due: BinaryHeap::new() };
        host.spawn(Driver::new(Server::new(server::Config::default()), serving, transport));
    }
    for client in 0..clients {
        let host = sim.host(&format!("web-{client}.internal"));
        let mut machine = Client::new(Uw::default(), config(endpoints, subset), client);
        for endpoint in 0..endpoints {
            machine.add_endpoint(Instant::ZERO, &format!("users-{endpoint}.internal:80"))?;
        }
        let asking = Asking {
            rng: Pcg::new(2, client),
            mean: Duration::from_nanos(1_000_000_000 * clients / rate),
            next: Instant::ZERO + WARM_UP,
            counts: counts.clone(),
        };
        host.spawn(Driver::new(machine, asking, host.connector()));
        // One after another: a dial under way takes ten times the memory of a connection that stands.
        sim.run_for(JOINING / clients as u32);
    }
    sim.run_until(Instant::ZERO + WARM_UP);
    let (built, memory) = (processor_time(), resident());
    let connections = counts.connected.load(Ordering::Relaxed);
    println!(
        "{connections} connections, {} events in {built:.1?}, {} MiB, {} bytes a connection",
        sim.events(),
        memory >> 20,
        memory / connections.max(1)
    );
    let (before, began) = (sim.events(), processor_time());
    sim.run_for(Duration::from_secs(seconds));
    let (took, events) = (processor_time() - began, sim.events() - before);
    let [asked, answered, failed] =
        [&counts.asked, &counts.answered, &counts.failed].map(|count| count.load(Ordering::Relaxed));
    println!("{asked} requests: {answered} answered, {failed} failed");
    println!(
        "{events} events in {took:.2?} of a processor: {:.0} a second; {:.1} a request; {} MiB",
        events as f64 / took.as_secs_f64(),
        events as f64 / asked as f64,
        resident() >> 20
    );
    Ok(())
}

fn config(endpoints: u64, subset: u64) -> Config {
    let mut config = Config::default();
    config.cluster.max_connections = NonZeroU32::MIN;
    config.cluster.max_endpoints = NonZeroU32::new(endpoints as u32).unwrap_or(NonZeroU32::MIN);
    config.cluster.subset = NonZeroU32::new(subset as u32);
    config
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// What this thread has had of a processor: the figure is of one, however busy the machine is.
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// A random time with this mean, as one that has no memory: exponentially distributed.
fn exponential(rng: &mut Pcg, mean: Duration) -> Duration {
    let share = f64::from(rng.next_u32().max(1)) / f64::from(u32::MAX);
    mean.mul_f64(-share.ln())
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
