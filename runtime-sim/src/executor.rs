//! Tasks, one after another, in the order in which they were woken.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use plimsoll_core::drive::ReadyList;

/// The index in the ready list that says that tasks were handed in; each task's is its place and one.
const SPAWNED: u32 = 0;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes tasks.
#[derive(Clone)]
pub(crate) struct Spawner {
    spawned: Arc<Mutex<Vec<(u32, Task)>>>,
    has_spawned: Waker,
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

impl Spawner {
    /// Runs a task of a host to its end, or to that of the host.
    pub(crate) fn spawn(&self, host: u32, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.spawned).push((host, Box::pin(task)));
        self.has_spawned.wake_by_ref();
    }
}

/// Polls tasks that were woken.
#[derive(Default)]
pub(crate) struct Executor {
    ready: ReadyList,
    woken: Vec<u32>,
    spawned: Arc<Mutex<Vec<(u32, Task)>>>,
    tasks: Vec<Place>,
    free: Vec<u32>,
    /// Hosts on which nothing runs now, and their tasks that were woken meanwhile.
    held: BTreeMap<u32, Vec<u32>>,
}

struct Place {
    waker: Waker,
    task: Option<(u32, Task)>,
    /// Whether it waits for its host to go on.
    is_held: bool,
}

impl Executor {
    pub(crate) fn spawner(&mut self) -> Spawner {
        Spawner { spawned: self.spawned.clone(), has_spawned: self.ready.waker(SPAWNED) }
    }

    /// Polls all that have been woken; `has_run` is told whose each was, and says whether the host goes on. `false`: there
    /// was none.
    pub(crate) fn run_woken(&mut self, mut has_run: impl FnMut(u32) -> bool) -> bool {
        let mut woken = mem::take(&mut self.woken);
        self.ready.take(&mut woken);
        for &index in &woken {
            match index.checked_sub(SPAWNED + 1) {
                Some(place) => self.resume(place, &mut has_run),
                None => self.adopt(),
            }
        }
        let any = !woken.is_empty();
        self.woken = woken;
        any
    }

    fn resume(&mut self, at: u32, has_run: &mut impl FnMut(u32) -> bool) {
        let Place { waker, task: slot, is_held } = &mut self.tasks[at as usize];
        let Some((host, task)) = slot else { return };
        let host = *host;
        if !self.held.is_empty()
            && let Some(woken) = self.held.get_mut(&host)
        {
            if !mem::replace(is_held, true) {
                woken.push(at);
            }
            return;
        }
        if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            *slot = None;
            self.free.push(at);
        }
        if !has_run(host) {
            self.hold(host);
        }
    }

    fn adopt(&mut self) {
        let spawned = mem::take(&mut *lock(&self.spawned));
        for (host, task) in spawned {
            let place = self.free.pop().unwrap_or_else(|| {
                let place = self.tasks.len() as u32;
                let waker = self.ready.waker(place + SPAWNED + 1);
                self.tasks.push(Place { waker, task: None, is_held: false });
                place
            });
            let Place { waker, task: slot, .. } = &mut self.tasks[place as usize];
            *slot = Some((host, task));
            waker.wake_by_ref();
        }
    }

    /// Nothing runs on the host until it is [released](Self::release).
    pub(crate) fn hold(&mut self, host: u32) {
        self.held.entry(host).or_default();
    }

    /// The host goes on, with those that were woken meanwhile.
    pub(crate) fn release(&mut self, host: u32) {
        for at in self.held.remove(&host).unwrap_or_default() {
            let place = &mut self.tasks[at as usize];
            place.is_held = false;
            place.waker.wake_by_ref();
        }
    }

    /// Drops all tasks of a host.
    pub(crate) fn kill(&mut self, host: u32) {
        self.adopt();
        self.release(host);
        for (at, place) in (0..).zip(&mut self.tasks) {
            if place.task.take_if(|(of, _)| *of == host).is_some() {
                self.free.push(at);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
