//! What can be said about a service client.

use core::num::{NonZeroU8, NonZeroU32};
use core::time::Duration;

use crate::cluster;
use crate::policy::retry_budget;

/// The options of a client.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Connections, selection, breakers, the wait queue.
    pub cluster: cluster::Config,
    /// How long a request may take if its caller does not say.
    pub timeout: Duration,
    /// How often a request is tried, the first time included.
    pub attempts: NonZeroU8,
    /// How many of the requests may be tried again.
    pub retry_budget: retry_budget::Config,
    /// Bytes that parts of answers may hold, on all connections together, at least 512 KiB; above it,
    /// reading pauses.
    pub receive_budget: NonZeroU32,
    /// Ended requests that wait to be told; above it, no more are taken.
    pub outcomes: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster: cluster::Config::default(),
            timeout: Duration::from_secs(5),
            attempts: NonZeroU8::new(3).expect("a limit above zero"),
            retry_budget: retry_budget::Config::default(),
            receive_budget: NonZeroU32::new(64 << 20).expect("a limit above zero"),
            outcomes: NonZeroU32::new(65_536).expect("a limit above zero"),
        }
    }
}
