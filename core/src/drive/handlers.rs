//! The handlers of one driver: those that answer at once, and those that wait.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use super::ReadyList;
use super::methods::{Ended, Pool};

/// Handlers polled again in one turn, at most.
const POLLS: usize = 256;

/// Methods by name, and their calls that wait. `C` is what handlers are told besides their parameters, `K` names a call
/// that waits to whoever answers it.
pub(super) struct Handlers<C, K> {
    names: BTreeMap<Arc<str>, usize>,
    methods: Vec<Option<Method<C>>>,
    /// Places in `methods` that are free.
    vacant: Vec<usize>,
    parked: Vec<Option<Parked<K>>>,
    wakers: Vec<Waker>,
    free: Vec<usize>,
    ready: ReadyList,
    /// Calls that were woken; from `next` on they are still to be polled.
    woken: Vec<u32>,
    next: usize,
    /// What the last handler has written.
    out: Vec<u8>,
}

struct Method<C> {
    pool: Box<dyn Pool<C>>,
    /// How many of its calls wait.
    waiting: usize,
    /// It has no name any more, and its place is free once none of its calls waits.
    removed: bool,
}

/// A call that waits.
struct Parked<K> {
    key: K,
    method: usize,
    /// In the pool.
    at: usize,
}

/// A call that has begun to wait, and is to be [parked](Handlers::park).
#[must_use]
pub(super) struct Waiting {
    slot: usize,
    method: usize,
    at: usize,
}

impl<C, K> Handlers<C, K> {
    pub(super) fn new() -> Self {
        Handlers {
            names: BTreeMap::new(),
            methods: Vec::new(),
            vacant: Vec::new(),
            parked: Vec::new(),
            wakers: Vec::new(),
            free: Vec::new(),
            ready: ReadyList::new(),
            woken: Vec::new(),
            next: 0,
            out: Vec::new(),
        }
    }

    /// Adds a method; one of the same name is replaced, and its calls that wait go on.
    pub(super) fn add(&mut self, name: Arc<str>, pool: Box<dyn Pool<C>>) {
        self.remove(&name);
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.methods.push(None);
            self.methods.len() - 1
        });
        self.methods[at] = Some(Method { pool, waiting: 0, removed: false });
        self.names.insert(name, at);
    }

    /// Forgets a method, whose calls that wait go on.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(at) = self.names.remove(name) {
            live(&mut self.methods, at).removed = true;
            self.vacate(at);
        }
    }

    fn vacate(&mut self, at: usize) {
        if live(&mut self.methods, at).removed && live(&mut self.methods, at).waiting == 0 {
            self.methods[at] = None;
            self.vacant.push(at);
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<(&Arc<str>, usize)> {
        self.names.get_key_value(name).map(|(name, &at)| (name, at))
    }

    /// See [`Pool::is_raw`].
    pub(super) fn is_raw(&mut self, method: usize) -> bool {
        live(&mut self.methods, method).pool.is_raw()
    }

    /// What the last handler has written.
    pub(super) fn out(&self) -> &[u8] {
        &self.out
    }

    /// Starts a call. `Err`: it waits.
    pub(super) fn start(&mut self, method: usize, content: &[u8], ctx: C) -> Result<Ended, Waiting> {
        let slot = self.next_slot();
        let pool = &mut live(&mut self.methods, method).pool;
        let cx = &mut Context::from_waker(&self.wakers[slot]);
        let started = pool.start(content, ctx, cx, &mut self.out);
        started.map_err(|at| Waiting { slot, method, at })
    }

    /// The place where the next call is parked, if it waits: its waker is needed before that is known.
    fn next_slot(&mut self) -> usize {
        if let Some(&slot) = self.free.last() {
            return slot;
        }
        let slot = self.parked.len();
        self.parked.push(None);
        self.wakers.push(self.ready.waker(slot as u32));
        self.free.push(slot);
        slot
    }

    /// Keeps a call that waits, right after it was started; the place is for [`give_up`](Self::give_up).
    pub(super) fn park(&mut self, waiting: Waiting, key: K) -> usize {
        let Waiting { slot, method, at } = waiting;
        self.free.pop();
        live(&mut self.methods, method).waiting += 1;
        self.parked[slot] = Some(Parked { key, method, at });
        slot
    }

    /// Drops a call that waits.
    pub(super) fn give_up(&mut self, slot: usize) -> Option<K> {
        let Parked { key, method, at } = self.parked.get_mut(slot)?.take()?;
        live(&mut self.methods, method).pool.give_up(at);
        self.left(slot, method);
        Some(key)
    }

    fn left(&mut self, slot: usize, method: usize) {
        self.free.push(slot);
        live(&mut self.methods, method).waiting -= 1;
        self.vacate(method);
    }

    /// Polls calls that were woken; `ended` is told which has ended, how, and what it has written.
    pub(super) fn poll_woken(&mut self, mut ended: impl FnMut(K, bool, Ended, &[u8])) {
        if self.next == self.woken.len() {
            self.ready.take(&mut self.woken);
            self.next = 0;
        }
        let end = self.woken.len().min(self.next + POLLS);
        for at in self.next..end {
            let slot = self.woken[at] as usize;
            let Some(Some(Parked { method, at, .. })) = self.parked.get(slot) else { continue };
            let (cx, pool) =
                (&mut Context::from_waker(&self.wakers[slot]), &mut live(&mut self.methods, *method).pool);
            let Poll::Ready(how) = pool.poll(*at, cx, &mut self.out) else { continue };
            let raw = pool.is_raw();
            if let Some(Parked { key, method, .. }) = self.parked[slot].take() {
                self.left(slot, method);
                ended(key, raw, how, &self.out);
            }
        }
        self.next = end;
    }

    /// Before the driver sleeps: whom to wake. `true`: a call can go on already.
    pub(super) fn arm(&mut self, driver: &Waker) -> bool {
        self.next < self.woken.len() || self.ready.arm(driver)
    }
}

fn live<C>(methods: &mut [Option<Method<C>>], at: usize) -> &mut Method<C> {
    methods[at].as_mut().expect("it has a name, or a call of it waits")
}
