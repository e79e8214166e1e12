//! What can be said about a service client.

use core::num::{NonZeroU8, NonZeroU32};
use core::time::Duration;

use crate::cluster;
use crate::policy::gcra::Quota;
use crate::policy::{concurrency, hedge, retry_budget, throttle};

/// The options of a client.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Connections, selection, breakers, the wait queue.
    pub cluster: cluster::Config,
    /// How long a request may take if its caller does not say.
    pub timeout: Duration,
    /// How often a request is tried, the first time included.
    pub attempts: NonZeroU8,
    /// Refuses requests here when the service refuses too many: none by default.
    pub throttle: Option<throttle::Config>,
    /// Finds out how many requests the service can take at once, and refuses more: none by default. Retries and hedges go
    /// on with the permit of their request. Its lease is of no matter here: a request that ends gives its permit back.
    pub concurrency: Option<concurrency::Config>,
    /// How often requests may be made: as often as one likes by default.
    pub rate_limit: Option<Quota>,
    /// Sends a second copy of an idempotent request that is slow to another endpoint, and takes the first answer: off by
    /// default. A copy counts as one of the `attempts`, is paid for by the retry budget, and overtakes nobody who waits;
    /// there are at most two at a time.
    pub hedging: Option<hedge::Config>,
    /// How many of the requests may be tried again.
    pub retry_budget: retry_budget::Config,
    /// Bytes that parts of answers may hold, on all connections together, at least 512 KiB. Beyond it, one answer at a
    /// time is read to its end, and reading the others pauses.
    pub receive_budget: NonZeroU32,
    /// Ended requests that wait to be told; above it, no more are taken.
    pub outcomes: NonZeroU32,
}
crate::saved!(struct Config {
    cluster, timeout, attempts, throttle, concurrency, rate_limit, hedging, retry_budget, receive_budget,
    outcomes
});

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster: cluster::Config::default(),
            timeout: Duration::from_secs(5),
            attempts: NonZeroU8::new(3).expect("a limit above zero"),
            throttle: None,
            concurrency: None,
            rate_limit: None,
            hedging: None,
            retry_budget: retry_budget::Config::default(),
            receive_budget: NonZeroU32::new(64 << 20).expect("a limit above zero"),
            outcomes: NonZeroU32::new(65_536).expect("a limit above zero"),
        }
    }
}
