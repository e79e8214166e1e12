//! What breakers do.

use alloc::sync::Arc;
use core::time::Duration;

use crate::drive::hub;
use crate::policy::breaker::State;

/// What the breakers do from now on; it ends when the breakers are gone.
pub type Events = hub::Events<BreakerEvent>;

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

impl hub::Event for BreakerEvent {
    fn missed(count: u64, _: Self) -> Self {
        BreakerEvent::Missed(count)
    }
}
