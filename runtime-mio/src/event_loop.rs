//! The loop, and the runtime that it is to drivers.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll};
use plimsoll_core::drive::{Clock, ReadyList, block_on};
use plimsoll_core::policy::dial::MemoryConfig;

use crate::names::Names;
use crate::reactor::{Reactor, Timer, WAKE};

/// Events taken at a time; what does not fit comes with the next turn.
const EVENTS: usize = 1_024;
/// The index in the ready list that says that drivers were handed in; each driver's is its place and one.
const SPAWNED: u32 = 0;

thread_local! {
    /// The loop whose turn this thread is in, by the address of what it shares; 0: none.
    static TURNING: Cell<usize> = const { Cell::new(0) };
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for sockets and timers, and lets drivers go on. Own one and call [`turn`](Self::turn), or let
/// [`Mio::start`] run one on a thread.
///
/// Dropping it ends its drivers: whoever waits for them is told that they are gone.
pub struct Loop {
    poll: Poll,
    events: Events,
    shared: Arc<Shared>,
    handle: Weak<Handle>,
    ready: ReadyList,
    /// Exchanged with the ready list.
    woken: Vec<u32>,
    tasks: Vec<Place>,
    free: Vec<u32>,
}

struct Place {
    waker: Waker,
    task: Option<Task>,
}

struct Shared {
    reactor: Arc<Reactor>,
    names: Arc<Names>,
    /// Handed in and not yet begun; `None` once the loop is gone.
    spawned: Mutex<Option<Vec<Task>>>,
    has_spawned: Waker,
    alarm: Arc<Alarm>,
}

/// Ends the loop's sleep.
struct Alarm {
    waker: mio::Waker,
    /// Awake, the loop looks at its ready list before it sleeps.
    asleep: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It fails if the loop's descriptors are gone, and then nobody sleeps.
            let _ = self.waker.wake();
        }
    }
}

impl Loop {
    /// A loop with nothing to do.
    ///
    /// # Errors
    /// What the operating system says, out of file descriptors mostly.
    pub fn new() -> io::Result<Loop> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE)?;
        let mut ready = ReadyList::new();
        let shared = Shared {
            reactor: Arc::new(Reactor::new(Clock::start(), poll.registry().try_clone()?)),
            names: Arc::default(),
            spawned: Mutex::new(Some(Vec::new())),
            has_spawned: ready.waker(SPAWNED),
            alarm: Arc::new(Alarm { waker, asleep: AtomicBool::new(false) }),
        };
        Ok(Loop {
            poll,
            events: Events::with_capacity(EVENTS),
            shared: Arc::new(shared),
            handle: Weak::new(),
            ready,
            woken: Vec::new(),
            tasks: Vec::new(),
            free: Vec::new(),
        })
    }

    /// What clients and servers are made with that are to run on this loop.
    pub fn handle(&mut self) -> Mio {
        if let Some(handle) = self.handle.upgrade() {
            return Mio { handle, dial: MemoryConfig::default() };
        }
        let handle = Arc::new(Handle { shared: self.shared.clone() });
        self.handle = Arc::downgrade(&handle);
        Mio { handle, dial: MemoryConfig::default() }
    }

    /// Waits until something happens, for `timeout` at most (`None`: for as long as it takes), and lets every driver
    /// go on that can. A signal ends the wait, too.
    ///
    /// # Errors
    /// What the operating system says to waiting; the loop is of no use then.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.alarm.asleep.store(true, Ordering::SeqCst);
        // After that: whoever sets a timer now, on another thread, ends the sleep.
        let next = self.shared.reactor.expire();
        let alarm = Waker::from(self.shared.alarm.clone());
        let timeout = if self.ready.arm(&alarm) {
            Some(Duration::ZERO)
        } else {
            let left = next.map(|at| at.since(self.shared.reactor.clock.now()));
            timeout.into_iter().chain(left).min()
        };
        let polled = self.poll.poll(&mut self.events, timeout);
        self.shared.alarm.asleep.store(false, Ordering::SeqCst);
        match polled {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            self.shared.reactor.deliver(event);
        }
        self.shared.reactor.expire();
        let turning = TURNING.replace(address(&self.shared));
        self.run_woken();
        TURNING.set(turning);
        Ok(())
    }

    /// Whether no driver is left.
    pub fn is_empty(&self) -> bool {
        self.tasks.len() == self.free.len() && lock(&self.shared.spawned).as_ref().is_none_or(Vec::is_empty)
    }

    /// Turns until no driver is left, nor any handle that could bring one.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> io::Result<()> {
        while self.handle.strong_count() > 0 || !self.is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    fn run_woken(&mut self) {
        self.ready.take(&mut self.woken);
        for at in 0..self.woken.len() {
            match self.woken[at].checked_sub(SPAWNED + 1) {
                Some(place) => self.resume(place),
                None => self.adopt(),
            }
        }
    }

    fn adopt(&mut self) {
        let spawned = lock(&self.shared.spawned).as_mut().map(std::mem::take);
        for task in spawned.into_iter().flatten() {
            let place = self.free.pop().unwrap_or_else(|| {
                let place = self.tasks.len() as u32;
                self.tasks.push(Place { waker: self.ready.waker(place + SPAWNED + 1), task: None });
                place
            });
            self.tasks[place as usize].task = Some(task);
            self.resume(place);
        }
    }

    fn resume(&mut self, place: u32) {
        let Place { waker, task: slot } = &mut self.tasks[place as usize];
        let Some(task) = slot else { return };
        if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            *slot = None;
            self.free.push(place);
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let spawned = lock(&self.shared.spawned).take();
        drop(spawned);
    }
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loop").field("drivers", &(self.tasks.len() - self.free.len())).finish_non_exhaustive()
    }
}

/// A [`Loop`], to whoever wants to run something on it. Cheap to clone; [`Loop::run`] ends when all are gone and all
/// drivers have ended.
#[derive(Clone)]
pub struct Mio {
    handle: Arc<Handle>,
    pub(crate) dial: MemoryConfig,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The last one: the loop may want to end.
        self.shared.has_spawned.wake_by_ref();
    }
}

impl Mio {
    /// A loop on a thread of its own, which ends when all handles are gone and all drivers have ended.
    ///
    /// # Errors
    /// As [`Loop::new`], and if there can be no more threads.
    pub fn start() -> io::Result<Mio> {
        let mut event_loop = Loop::new()?;
        let mio = event_loop.handle();
        // If waiting fails, the loop is dropped, and all who wait for its drivers are told that they are gone.
        thread::Builder::new().name("plimsoll-mio".into()).spawn(move || event_loop.run())?;
        Ok(mio)
    }

    /// Dials in another way than that of [`MemoryConfig::default`]: head starts, and how long what was learnt counts.
    pub fn dialling(self, dial: MemoryConfig) -> Self {
        Mio { dial, ..self }
    }

    /// Runs a driver to its end. If the loop is gone, it is dropped.
    pub(crate) fn adopt(&self, driver: Task) {
        if let Some(spawned) = &mut *lock(&self.handle.shared.spawned) {
            spawned.push(driver);
        }
        self.handle.shared.has_spawned.wake_by_ref();
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.handle.shared.reactor
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.handle.shared.names
    }

    /// A timer that any thread may wait for: the loop is told, which may be asleep for longer.
    pub(crate) fn timer(&self, length: Duration) -> Timer {
        let Shared { reactor, alarm, .. } = &*self.handle.shared;
        let mut timer = Timer::new(reactor.clone());
        timer.set(reactor.clock.now() + length);
        alarm.wake_by_ref();
        timer
    }

    /// Blocks until `future` is ready.
    ///
    /// # Panics
    /// In a turn of this very loop, which would wait for itself for ever.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        assert!(
            TURNING.get() != address(&self.handle.shared),
            "a handler has waited for the loop that it runs on: give that client a loop of its own"
        );
        block_on(future)
    }
}

impl std::fmt::Debug for Mio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mio").finish_non_exhaustive()
    }
}

fn address(shared: &Arc<Shared>) -> usize {
    Arc::as_ptr(shared).addr()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
