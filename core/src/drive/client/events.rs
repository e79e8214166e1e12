//! Changes of connections.

use alloc::sync::Arc;

use crate::drive::hub;
use crate::service::client::StateEvent;

/// Changes of the connections of all services of a client, from now on; it ends when the client is gone.
pub type Events = hub::Events<ServiceEvent>;

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
    /// What else is known of it, for people: of a handshake that failed, what is wrong with which certificate.
    pub detail: Option<Arc<str>>,
}

impl hub::Event for ServiceEvent {
    fn missed(count: u64, last: Self) -> Self {
        ServiceEvent { event: StateEvent::Missed(count), detail: None, ..last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::hub::{Hub, LIMIT};
    use core::task::{Context, Poll, Waker};

    fn event(n: u64) -> ServiceEvent {
        let event = StateEvent::Missed(n);
        ServiceEvent { service: "users".into(), shard: 0, endpoint: None, event, detail: None }
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
            hub.publish(|| event(n)).wake();
        }
        for n in 0..LIMIT as u64 {
            assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(n))));
        }
        assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(5))));
        assert_eq!(next(&mut events), Poll::Pending);
        drop(hub);
        assert_eq!(next(&mut events), Poll::Ready(None));
    }

    #[test]
    fn a_gap_is_told_in_its_place() {
        let hub = Hub::default();
        let mut events = hub.listen();
        for n in 0..LIMIT as u64 + 2 {
            hub.publish(|| event(n)).wake();
        }
        assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(0))));
        // There is room, but this one comes after those that are lost.
        hub.publish(|| event(9_999)).wake();
        for n in 1..LIMIT as u64 {
            assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(n))));
        }
        assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(3))));
        hub.publish(|| event(10_000)).wake();
        assert_eq!(next(&mut events), Poll::Ready(Some(StateEvent::Missed(10_000))));
    }
}
