//! A world, and who lets its time pass.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_core::time::Instant;

use crate::executor::Executor;
use crate::host::Host;
use crate::network::Link;
use crate::world::World;

/// A world in virtual time: hosts, the network between them, and all that runs there. Nothing happens but in
/// [`run_until`](Self::run_until) and its like, on the thread that calls them; the same seed, and the same calls, give the
/// same history to the nanosecond.
pub struct Sim {
    world: World,
    executor: Executor,
    events: u64,
}

impl Sim {
    /// A world without hosts. All chance in it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut executor = Executor::default();
        let world = World::new(seed, executor.spawner());
        Sim { world, executor, events: 0 }
    }

    /// The host of this name, which is made when it is first asked for.
    pub fn host(&self, name: &str) -> Host {
        let id = self.world.lock().network.host(name);
        Host { world: self.world.clone(), id }
    }

    /// What can go wrong in it, to whoever lets it.
    pub fn faults(&self) -> Faults {
        Faults { world: self.world.clone() }
    }

    /// The time since it began.
    pub fn now(&self) -> Instant {
        self.world.lock().now
    }

    /// What has happened so far: arrivals, alarms.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Lets everything happen that happens until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while self.step(end) {}
        self.world.lock().advance(end);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, length: Duration) {
        self.run_until(self.now() + length);
    }

    /// Lets time pass until `future` is ready. It runs outside all hosts, as what watches them.
    ///
    /// # Panics
    /// If nothing will ever happen any more, and it still waits.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        loop {
            if woken.0.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            let goes_on = self.step(Instant::MAX) || woken.0.load(Ordering::Acquire);
            assert!(goes_on, "at {:?} it waits for what will never happen", self.now());
        }
    }

    /// Runs all that can run, or else lets the next thing happen. `false`: there is none until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let (crashed, resumed, paused) = {
            let network = &mut self.world.lock().network;
            (network.take_crashed(), network.take_resumed(), network.paused())
        };
        crashed.into_iter().for_each(|host| self.executor.kill(host));
        resumed.into_iter().for_each(|host| self.executor.wake_host(host));
        if self.executor.run_woken(|host| paused.is_empty() || !paused.contains(&host)) {
            return true;
        }
        let mut state = self.world.lock();
        let Some(next) = state.next().filter(|&next| next <= end) else { return false };
        self.events += state.advance(next);
        true
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("now", &self.now()).field("events", &self.events).finish_non_exhaustive()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// What can go wrong in a world, now; a task that [sleeps](plimsoll_core::drive::Timer::sleep) lets it happen later.
#[derive(Clone, Debug)]
pub struct Faults {
    world: World,
}

impl Faults {
    /// What every way is like that has no [link](Self::link) of its own.
    pub fn usual_link(&self, link: Link) {
        self.world.lock().network.set_usual(link);
    }

    /// What the way between two hosts is like, to and fro, for what is sent from now on. Windows are those of the time of
    /// the dial.
    pub fn link(&self, a: &Host, b: &Host, link: Link) {
        let mut state = self.world.lock();
        state.network.set_link(a.id, b.id, link);
        state.network.set_link(b.id, a.id, link);
    }

    /// Nothing that `from` says reaches `to` any more, until the way is [healed](Self::heal). Connections stand.
    pub fn cut(&self, from: &Host, to: &Host) {
        self.world.lock().network.cut(from.id, to.id);
    }

    /// [Cuts](Self::cut) both ways.
    pub fn partition(&self, a: &Host, b: &Host) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Both ways are free again, and what was said meanwhile arrives.
    pub fn heal(&self, a: &Host, b: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.heal(a.id, b.id, &mut scene);
        network.heal(b.id, a.id, &mut scene);
    }

    /// Resets all connections between two hosts.
    pub fn reset(&self, a: &Host, b: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.reset_between(a.id, b.id, &mut scene);
    }

    /// The host is gone at once, with all that runs there, and says nothing to anybody: whoever is connected to it hears
    /// silence.
    pub fn crash(&self, host: &Host) {
        self.world.lock().network.crash(host.id);
    }

    /// All that runs on the host is gone at once; its kernel stays, closes its connections, and refuses those that come.
    pub fn kill(&self, host: &Host) {
        self.world.lock().network.kill(host.id);
    }

    /// A crashed host comes back, with nothing running; whoever still speaks to what was there is told by a reset.
    pub fn restart(&self, host: &Host) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.restart(host.id, &mut scene);
    }

    /// Nothing runs on the host for so long, as in a long collection of garbage; its kernel goes on.
    pub fn pause(&self, host: &Host, length: Duration) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        let until = scene.now + length;
        network.pause(host.id, until, &mut scene);
    }

    /// By how many milliseconds the wall clock of the host is wrong from now on.
    pub fn skew(&self, host: &Host, ms: i64) {
        self.world.lock().network.set_skew(host.id, ms);
    }

    /// From now on `name` means these hosts, in this order; nobody, if there is none.
    pub fn resolve_to(&self, name: &str, hosts: &[&Host]) {
        let hosts: Vec<u32> = hosts.iter().map(|host| host.id).collect();
        self.world.lock().network.rename(name, &hosts);
    }
}
