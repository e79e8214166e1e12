//! Two streams of events.

use crate::drive::hub::{Events, Hub, Wakes};

/// All events, and those that do not come with every call: a flood of calls must not wash away the news that a service is gone.
#[derive(Debug)]
pub(super) struct Feeds<E> {
    all: Hub<E>,
    changes: Hub<E>,
}

impl<E> Feeds<E> {
    pub(super) fn all(&self) -> Events<E> {
        self.all.listen()
    }

    pub(super) fn changes(&self) -> Events<E> {
        self.changes.listen()
    }

    /// What happens with every message, and costs nothing if nobody listens.
    pub(super) fn passing(&self, wakes: &mut Wakes, event: impl Fn() -> E) {
        if self.all.is_listened_to() {
            wakes.add(self.all.publish(event));
        }
    }

    pub(super) fn change(&self, wakes: &mut Wakes, event: impl Fn() -> E) {
        self.passing(wakes, &event);
        if self.changes.is_listened_to() {
            wakes.add(self.changes.publish(event));
        }
    }

    pub(super) fn close(&self) {
        self.all.close();
        self.changes.close();
    }
}

impl<E> Default for Feeds<E> {
    fn default() -> Self {
        Feeds { all: Hub::default(), changes: Hub::default() }
    }
}
