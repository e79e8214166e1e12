//! Wakes a driver to the nanosecond: what an application does has its time, and drivers sleep in whole milliseconds.

use std::task::{Context, Waker};

use plimsoll_core::time::Instant;

use crate::host::{Alarm, Host};

/// An alarm of an application.
pub(super) struct Bell {
    alarm: Alarm,
    set: Option<Instant>,
}

impl Bell {
    pub(super) fn of(host: &Host) -> Bell {
        Bell { alarm: host.alarm(), set: None }
    }

    /// Wakes `driver` then. `true`: it is that late already.
    pub(super) fn rings_at(&mut self, at: Option<Instant>, driver: &Waker) -> bool {
        let Some(at) = at else { return false };
        if self.set != Some(at) {
            self.alarm.set_at(at);
            self.set = Some(at);
        }
        self.alarm.poll(&Context::from_waker(driver)).is_ready()
    }
}
