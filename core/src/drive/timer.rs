//! Time, as a runtime gives it to what is no driver.

use core::future::Future;
use core::time::Duration;

use super::Clock;
use crate::time::Instant;

/// Tells the time.
pub trait Time {
    /// The time now; it never runs backwards.
    fn now(&self) -> Instant;
}

/// Tells the time, and waits.
pub trait Timer: Time {
    /// Is ready after `length`, or a little later.
    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send;
}

impl Time for Clock {
    fn now(&self) -> Instant {
        Clock::now(self)
    }
}
