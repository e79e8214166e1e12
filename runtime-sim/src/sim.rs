//! A world, and who lets its time pass.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_core::time::Instant;

use crate::executor::Executor;
use crate::faults::Faults;
use crate::host::Host;
use crate::network::Change;
use crate::world::World;

/// A world in virtual time: hosts, the network between them, and all that runs there. Nothing happens but in
/// [`run_until`](Self::run_until) and its like, on the thread that calls them; the same seed, and the same calls, give the
/// same history to the nanosecond.
pub struct Sim {
    world: World,
    executor: Executor,
    events: u64,
    /// Hosts on which each turn takes so long.
    slow: BTreeMap<u32, Duration>,
}

impl Sim {
    /// A world without hosts. All chance in it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut executor = Executor::default();
        let world = World::new(seed, executor.spawner());
        Sim { world, executor, events: 0, slow: BTreeMap::new() }
    }

    /// The host of this name, which is made when it is first asked for.
    pub fn host(&self, name: &str) -> Host {
        let id = self.world.lock().network.host(name);
        Host { world: self.world.clone(), id }
    }

    /// What can go wrong in it, to whoever lets it.
    pub fn faults(&self) -> Faults {
        Faults::new(self.world.clone())
    }

    /// The time since it began.
    pub fn now(&self) -> Instant {
        self.world.lock().now
    }

    /// What has happened so far: arrivals, alarms.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// All that has happened so far, as a number: what happened when, and every byte that was written. Two runs with the same
    /// number had the same history.
    pub fn history(&self) -> u64 {
        self.world.lock().history.hash()
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
        let Sim { world, executor, slow, .. } = self;
        let changes = world.lock().network.take_changes();
        for change in changes {
            match change {
                Change::Crashed(host) => executor.kill(host),
                Change::Paused(host) => executor.hold(host),
                Change::Resumed(host) => executor.release(host),
                Change::Slowed(host, Duration::ZERO) => _ = slow.remove(&host),
                Change::Slowed(host, turn) => _ = slow.insert(host, turn),
            }
        }
        let has_run = |host| match slow.get(&host) {
            Some(&turn) => {
                world.pause(host, turn);
                false
            }
            None => true,
        };
        if executor.run_woken(has_run) {
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
