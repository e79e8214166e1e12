//! What a service is, to a client.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

use crate::policy::balance::Strategy;
use crate::policy::breaker;
use crate::service::Uw;
use crate::service::client::Config;

/// Where a service is, and how to treat it. Everything has a default but the address; what has no method here is in
/// [`client`](Self::client) and [`protocol`](Self::protocol).
///
/// ```
/// use core::time::Duration;
/// use plimsoll_core::drive::client::ServiceConfig;
///
/// let users = ServiceConfig::new("users-1.internal:3001")
///     .endpoint("users-2.internal:3001")
///     .max_connections(4)
///     .timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Addresses, as `host:port`, with brackets around an IPv6 address.
    pub endpoints: Vec<String>,
    /// All there is to say about pools, timeouts, breakers and queues.
    pub client: Config,
    /// Limits of the wire, and what to do about garbage.
    pub protocol: Uw,
}

impl ServiceConfig {
    /// A service at one address: `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        ServiceConfig {
            endpoints: [address.into()].into(),
            client: Config::default(),
            protocol: Uw::default(),
        }
    }

    /// Another address that serves.
    pub fn endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoints.push(address.into());
        self
    }

    /// Connections per endpoint, at most; 10 by default, 0 counts as 1.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.client.cluster.max_connections = at_least_one(connections);
        self
    }

    /// Connections per endpoint that are kept up without need; 1 by default.
    pub fn min_connections(mut self, connections: u32) -> Self {
        self.client.cluster.min_connections = connections;
        self
    }

    /// How long a request may take if the call does not say; 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client.timeout = timeout;
        self
    }

    /// How long a connection may be silent before it is pinged; 30 s by default.
    pub fn health_check_interval(mut self, interval: Duration) -> Self {
        self.client.cluster.heartbeat.interval = interval;
        self
    }

    /// How long to wait after the first failed dial; 1 s by default, and half as much longer after each further one.
    pub fn reconnect_delay(mut self, delay: Duration) -> Self {
        self.client.cluster.backoff.base = delay;
        self
    }

    /// When an endpoint is given a rest.
    pub fn breaker(mut self, breaker: breaker::Config) -> Self {
        self.client.cluster.breaker = breaker;
        self
    }

    /// How endpoints are chosen; the cheaper of two at random by default.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.client.cluster.strategy = strategy;
        self
    }

    /// Requests on one connection at a time; 1,024 by default, 0 counts as 1.
    pub fn in_flight(mut self, requests: u32) -> Self {
        self.client.cluster.in_flight = at_least_one(requests);
        self
    }

    /// Requests that wait for a place, at most; 1,024 by default, 0 counts as 1.
    pub fn wait_queue(mut self, requests: u32) -> Self {
        self.client.cluster.waiters = at_least_one(requests);
        self
    }

    /// How many shards make sense: each needs a connection of its own.
    pub(super) fn shards(&self, wanted: usize) -> usize {
        wanted.clamp(1, self.client.cluster.max_connections.get() as usize)
    }

    /// The share of shard `at` of `of`: what limits the whole is divided.
    pub(super) fn share(&self, at: usize, of: usize) -> Config {
        let (at, of) = (at as u32, of as u32);
        let part = |whole: u32| whole / of + u32::from(at < whole % of);
        let limit = |whole: NonZeroU32| at_least_one(part(whole.get()));
        let mut config = self.client;
        config.cluster.max_connections = limit(config.cluster.max_connections);
        config.cluster.min_connections = part(config.cluster.min_connections);
        config.cluster.waiters = limit(config.cluster.waiters);
        let bytes = config.cluster.waiting_bytes.get() / u64::from(of);
        config.cluster.waiting_bytes = NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN);
        config.receive_budget = limit(config.receive_budget);
        config.outcomes = limit(config.outcomes);
        config
    }
}

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_what_limits_the_whole() {
        let config =
            ServiceConfig::new("users.internal:1").max_connections(7).min_connections(2).wait_queue(10);
        let shares: Vec<_> = (0..3).map(|at| config.share(at, 3).cluster).collect();
        assert_eq!(shares.iter().map(|share| share.max_connections.get()).sum::<u32>(), 7);
        assert_eq!(shares.iter().map(|share| share.min_connections).sum::<u32>(), 2);
        assert_eq!(shares.iter().map(|share| share.waiters.get()).sum::<u32>(), 10);
        assert_eq!(config.shards(16), 7, "no shard without a connection");
    }
}
