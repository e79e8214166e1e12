//! Events for whoever listens: bounded, in their order, and never in the way.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::block_on;
use super::wake::register;

/// Events that wait for a listener, at most.
pub(super) const LIMIT: usize = 1_024;

/// What passes through a hub.
pub trait Event: Sized {
    /// Says that so many were not taken up in time, and are lost; `last` was the last of them.
    fn missed(count: u64, last: Self) -> Self;
}

/// Where all events pass.
#[derive(Debug)]
pub(super) struct Hub<E> {
    listeners: Mutex<Vec<Weak<Queue<E>>>>,
    /// How many there are, to be known without the lock.
    count: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Queue<E> {
    state: Mutex<State<E>>,
    /// The hub's.
    count: Arc<AtomicUsize>,
}

impl<E> Drop for Queue<E> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct State<E> {
    events: VecDeque<E>,
    /// How many did not fit behind those, and the last of them.
    missed: u64,
    last_missed: Option<E>,
    waker: Option<Waker>,
    closed: bool,
}

/// The events from now on, 1,024 of which are kept for a listener that is late; then one says how many were missed.
#[derive(Debug)]
pub struct Events<E> {
    queue: Arc<Queue<E>>,
}

/// Those to wake, once no lock is held.
#[derive(Default)]
#[must_use = "whoever listens is woken by `wake`"]
pub(super) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(super) fn add(&mut self, more: Wakes) {
        self.0.extend(more.0);
    }

    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl<E> Hub<E> {
    pub(super) fn listen(&self) -> Events<E> {
        let state =
            State { events: VecDeque::new(), missed: 0, last_missed: None, waker: None, closed: false };
        self.count.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue { state: Mutex::new(state), count: self.count.clone() });
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&queue));
        Events { queue }
    }

    /// Whether anybody listens: what happens a million times a second need not be told otherwise.
    pub(super) fn is_listened_to(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Tells an event, which is made once for each who listens.
    pub(super) fn publish(&self, event: impl Fn() -> E) -> Wakes {
        let mut wakes = Wakes::default();
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            let mut state = lock(&listener.state);
            // After a gap, nothing more is queued until somebody was told of the gap, in its place.
            if state.events.len() < LIMIT && state.missed == 0 {
                state.events.push_back(event());
            } else {
                state.missed += 1;
                state.last_missed = Some(event());
            }
            wakes.0.extend(state.waker.take());
        }
        wakes
    }

    /// There will be no more.
    pub(super) fn close(&self) {
        let mut wakes = Wakes::default();
        for listener in lock(&self.listeners).drain(..).filter_map(|listener| listener.upgrade()) {
            let mut state = lock(&listener.state);
            state.closed = true;
            wakes.0.extend(state.waker.take());
        }
        wakes.wake();
    }
}

impl<E> Default for Hub<E> {
    fn default() -> Self {
        Hub { listeners: Mutex::default(), count: Arc::default() }
    }
}

impl<E> Drop for Hub<E> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<E: Event> Events<E> {
    /// The next event; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<E> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for code without async: blocks this thread.
    pub fn wait(&mut self) -> Option<E> {
        block_on(self.next())
    }

    /// As [`next`](Self::next), for those who write futures by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<E>> {
        let _replaced;
        let mut state = lock(&self.queue.state);
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if let Some(last) = state.last_missed.take() {
            return Poll::Ready(Some(E::missed(mem::take(&mut state.missed), last)));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        _replaced = register(&mut state.waker, cx.waker());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
