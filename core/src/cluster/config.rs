//! What can be said about a cluster.

use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

use crate::policy::balance::Strategy;
use crate::policy::{backoff, breaker, ewma, heartbeat, outlier, panic, priority, slow_start};

/// How a cluster dials, chooses and gives up. The defaults are the UW client's.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Endpoints, at most.
    pub max_endpoints: NonZeroU32,
    /// Connections per endpoint, at most.
    pub max_connections: NonZeroU32,
    /// Connections per endpoint that are kept up without need; at most `max_connections` count.
    pub min_connections: u32,
    /// Requests on one connection at a time, at most.
    pub in_flight: NonZeroU32,
    /// Another connection is dialled when the least loaded one has more than so many requests.
    pub grow_at: u32,
    /// Requests that go to the connection chosen last, while bytes for it wait to be sent. Choosing anew for
    /// every request scatters a burst over many small writes.
    pub burst: u32,
    /// At least so long between two dials to one endpoint.
    pub dial_stagger: Duration,
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// A connection above the minimum is closed when it was not used for so long.
    pub idle_close: Duration,
    /// When a silent connection is pinged, and when it is dead.
    pub heartbeat: heartbeat::Config,
    /// How long to wait before dialling an endpoint again after a failure.
    pub backoff: backoff::Config,
    /// When an endpoint is given a rest.
    pub breaker: breaker::Config,
    /// How the round-trip times of an endpoint are averaged.
    pub ewma: ewma::Config,
    /// How endpoints are chosen. `consistent_hash` goes by the [`key`](super::Want::key) of a request, and chooses at
    /// random without one. `prequal` asks endpoints how busy they are, from 16 of them on and where the wire
    /// [can](crate::service::Protocol::probe); otherwise, and while nobody has told, it chooses as `p2c_ewma`.
    pub strategy: Strategy,
    /// At what age a connection is replaced by a new one, a tenth more or less by chance, so that load finds its way to
    /// endpoints that have come since. For the time of the change its endpoint has one more than `max_connections`, and as
    /// many more as still have requests to end. `None`: never.
    pub max_age: Option<Duration>,
    /// How many endpoints of each priority level are used at all, by rendezvous hashing; for fleets that are so large that
    /// not every client should be connected to every endpoint. Every cluster draws its own, so that the shards of a handle
    /// differ. `None`: all.
    pub subset: Option<NonZeroU32>,
    /// When an endpoint is left out because it serves worse than the others. `None`: never.
    pub outliers: Option<outlier::Config>,
    /// What to do when so many endpoints are out that the others may not carry the load. Those behind an open breaker stay
    /// out even in panic: what a breaker knows, it has seen itself, and its probes are the way back.
    pub panic: panic::Config,
    /// How priority levels fail over and back.
    pub priorities: priority::Config,
    /// How the share of an endpoint grows that is fresh, or back after it was out.
    pub slow_start: slow_start::Config,
    /// Requests that wait for a place, at most.
    pub waiters: NonZeroU32,
    /// Bytes of the requests that wait, at most.
    pub waiting_bytes: NonZeroU64,
}
crate::saved!(struct Config {
    max_endpoints, max_connections, min_connections, in_flight, grow_at, burst, dial_stagger, connect_timeout,
    idle_close, heartbeat, backoff, breaker, ewma, strategy, max_age, subset, outliers, panic, priorities,
    slow_start, waiters, waiting_bytes
});

const fn non_zero(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a limit above zero")
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_endpoints: non_zero(16_384),
            max_connections: non_zero(10),
            min_connections: 1,
            in_flight: non_zero(1_024),
            grow_at: 32,
            burst: 64,
            dial_stagger: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(5),
            idle_close: Duration::from_secs(300),
            heartbeat: heartbeat::Config::default(),
            backoff: backoff::Config::default(),
            breaker: breaker::Config::default(),
            ewma: ewma::Config::default(),
            strategy: Strategy::default(),
            max_age: None,
            subset: None,
            outliers: Some(outlier::Config::default()),
            panic: panic::Config::default(),
            priorities: priority::Config::default(),
            slow_start: slow_start::Config::default(),
            waiters: non_zero(1_024),
            waiting_bytes: NonZeroU64::new(16 << 20).expect("a limit above zero"),
        }
    }
}
