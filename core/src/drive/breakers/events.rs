//! What breakers do, for whoever listens: bounded, and never in the way.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::drive::block_on;
use crate::policy::breaker::State;

/// Events that wait for a listener, at most.
pub(super) const LIMIT: usize = 1_024;

/// Something that a breaker has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerEvent {
    /// It has opened, lets probes through (told with the first of them), or has closed.
    StateChanged {
        /// The breaker.
        name: Arc<str>,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
    },
    /// A call was refused.
    RequestRejected {
        /// The breaker.
        name: Arc<str>,
        /// Before that it is of no use to ask again.
        retry_after: Duration,
    },
    /// A call has succeeded.
    RequestSucceeded {
        /// The breaker.
        name: Arc<str>,
    },
    /// A call has failed, or took too long.
    RequestFailed {
        /// The breaker.
        name: Arc<str>,
    },
    /// So many events were not taken up in time, and are lost.
    Missed(u64),
}

/// Where all events pass.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listeners: Mutex<Vec<Weak<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<BreakerEvent>,
    /// How many did not fit.
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

/// The events from now on, 1,024 of which are kept for a listener that is late; then one says how many were missed.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

/// Those to wake, once no lock is held.
#[derive(Default)]
pub(super) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Hub {
    pub(super) fn listen(&self) -> Events {
        let queue = Arc::new(Queue::default());
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&queue));
        Events { queue }
    }

    pub(super) fn publish(&self, event: &BreakerEvent, wakes: &mut Wakes) {
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            let mut waiting = lock(&listener.state);
            if waiting.events.len() < LIMIT && waiting.missed == 0 {
                waiting.events.push_back(event.clone());
            } else {
                waiting.missed += 1;
            }
            wakes.0.extend(waiting.waker.take());
        }
    }

    /// There will be no more.
    pub(super) fn close(&self) {
        let mut wakes = Wakes::default();
        for listener in lock(&self.listeners).drain(..).filter_map(|listener| listener.upgrade()) {
            let mut waiting = lock(&listener.state);
            waiting.closed = true;
            wakes.0.extend(waiting.waker.take());
        }
        wakes.wake();
    }
}

impl Events {
    /// The next event; `None` when the breakers are gone.
    pub async fn next(&mut self) -> Option<BreakerEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for code without async: blocks this thread.
    pub fn wait(&mut self) -> Option<BreakerEvent> {
        block_on(self.next())
    }

    /// As [`next`](Self::next), for those who write futures by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BreakerEvent>> {
        let mut waiting = lock(&self.queue.state);
        if let Some(event) = waiting.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if waiting.missed > 0 {
            return Poll::Ready(Some(BreakerEvent::Missed(mem::take(&mut waiting.missed))));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
