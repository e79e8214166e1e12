//! Changes of connections, for whoever listens: bounded, and never in the way.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::service::client::StateEvent;

/// Events that wait for a listener, at most.
const LIMIT: usize = 1_024;

/// A change in the connections of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEvent {
    /// The service.
    pub service: Arc<str>,
    /// Which driver of the service; connection ids are its own.
    pub shard: usize,
    /// The address of the endpoint that it is about.
    pub endpoint: Option<Arc<str>>,
    /// What happened.
    pub event: StateEvent,
}

/// Where all events pass; one for all services of a client.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listeners: Mutex<Vec<Weak<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<ServiceEvent>,
    /// How many did not fit since the last one that did, and the last of them.
    missed: u64,
    last_missed: Option<ServiceEvent>,
    waker: Option<Waker>,
    closed: bool,
}

/// The events from now on. One that is not taken up keeps the latest [`StateEvent::Missed`] instead of what did not fit.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Hub {
    pub(super) fn listen(&self) -> Events {
        let queue = Arc::new(Queue::default());
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&queue));
        Events { queue }
    }

    pub(super) fn publish(&self, event: impl Fn() -> ServiceEvent) {
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            listener.push(event());
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for listener in lock(&self.listeners).drain(..).filter_map(|listener| listener.upgrade()) {
            let waker = {
                let mut state = lock(&listener.state);
                state.closed = true;
                state.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Queue {
    fn push(&self, event: ServiceEvent) {
        let waker = {
            let mut state = lock(&self.state);
            if state.events.len() >= LIMIT {
                state.missed += 1;
                state.last_missed = Some(event);
            } else {
                state.events.push_back(event);
            }
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Events {
    /// The next event; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<ServiceEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for those who write futures by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ServiceEvent>> {
        let mut state = lock(&self.queue.state);
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if let Some(last) = state.last_missed.take() {
            let event = StateEvent::Missed(mem::take(&mut state.missed));
            return Poll::Ready(Some(ServiceEvent { event, ..last }));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64) -> ServiceEvent {
        ServiceEvent { service: "users".into(), shard: 0, endpoint: None, event: StateEvent::Missed(n) }
    }

    fn next(events: &mut Events) -> Poll<Option<StateEvent>> {
        let next = events.poll_next(&mut Context::from_waker(Waker::noop()));
        next.map(|event| event.map(|event| event.event))
    }

    #[test]
    fn what_nobody_takes_is_counted_and_the_rest_is_in_order() {
        let hub = Hub::default();
        let mut events = hub.listen();
        for n in 0..LIMIT as u64 + 5 {
            hub.publish(|| event(n));
        }
        for n in 0..LIMIT as u64 {
            assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(n))));
        }
        assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(5))));
        assert_eq!(next(&mut events), Poll::Pending);
        drop(hub);
        assert_eq!(next(&mut events), Poll::Ready(None));
    }
}
