//! What a service is, to a client.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

use crate::cluster::EndpointOptions;
#[cfg(feature = "tls")]
use crate::drive::tls::ClientTls;
use crate::policy::balance::Strategy;
use crate::policy::gcra::Quota;
use crate::policy::{breaker, concurrency, hedge, outlier, panic, priority, slow_start, throttle};
use crate::service::Uw;
use crate::service::client::Config;

/// Where a service is, and how to treat it. Everything has a default but the address; what has no method here is in
/// [`client`](Self::client) and [`protocol`](Self::protocol).
///
/// ```
/// use core::time::Duration;
/// use plimsoll_core::drive::client::{EndpointOptions, ServiceConfig};
/// use plimsoll_core::policy::{concurrency, hedge};
///
/// let users = ServiceConfig::new("users-1.internal:3001")
///     .endpoint("users-2.internal:3001")
///     // Far away: only when the other two are too weak.
///     .endpoint_with("users-3.internal:3001", EndpointOptions { priority: 1, ..Default::default() })
///     .max_connections(4)
///     .timeout(Duration::from_secs(2))
///     .adaptive_concurrency(concurrency::Config::default())
///     .hedging(hedge::Config::default());
/// ```
#[derive(Clone, Debug)]
pub struct ServiceConfig<P = Uw> {
    /// Addresses, as `host:port`, with brackets around an IPv6 address. One that is named twice counts once, as it was
    /// named first.
    pub endpoints: Vec<(String, EndpointOptions)>,
    /// All there is to say about pools, timeouts, breakers and queues.
    pub client: Config,
    /// The wire: over UW its limits, and what to do about garbage.
    pub protocol: P,
    /// Whether connections are under TLS, and how.
    #[cfg(feature = "tls")]
    pub tls: Option<ClientTls>,
}

impl ServiceConfig {
    /// A service over UW at one address: `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self::over(Uw::default(), address)
    }
}

impl<P> ServiceConfig<P> {
    /// A service over another wire, at one address.
    pub fn over(protocol: P, address: impl Into<String>) -> Self {
        ServiceConfig {
            endpoints: [(address.into(), EndpointOptions::default())].into(),
            client: Config::default(),
            protocol,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Another address that serves.
    pub fn endpoint(self, address: impl Into<String>) -> Self {
        self.endpoint_with(address, EndpointOptions::default())
    }

    /// Another address that serves, with its weight and its priority level.
    pub fn endpoint_with(mut self, address: impl Into<String>, options: EndpointOptions) -> Self {
        self.endpoints.push((address.into(), options));
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

    /// At what age a connection is replaced by a new one, a tenth more or less by chance; never by default.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.client.cluster.max_age = Some(age);
        self
    }

    /// How many endpoints of each priority level are used at all, for large fleets; 0 counts as 1, all by default. Each
    /// shard chooses its own.
    pub fn subset(mut self, endpoints: u32) -> Self {
        self.client.cluster.subset = Some(at_least_one(endpoints));
        self
    }

    /// When an endpoint is left out because it serves worse than the others; `None` never does.
    pub fn outliers(mut self, outliers: impl Into<Option<outlier::Config>>) -> Self {
        self.client.cluster.outliers = outliers.into();
        self
    }

    /// What to do when too few endpoints are left to carry the load.
    pub fn panic(mut self, panic: panic::Config) -> Self {
        self.client.cluster.panic = panic;
        self
    }

    /// How the share of a fresh endpoint grows.
    pub fn slow_start(mut self, slow_start: slow_start::Config) -> Self {
        self.client.cluster.slow_start = slow_start;
        self
    }

    /// How priority levels fail over and back.
    pub fn priorities(mut self, priorities: priority::Config) -> Self {
        self.client.cluster.priorities = priorities;
        self
    }

    /// Refuses calls here when the service refuses too many; off by default.
    pub fn throttle(mut self, throttle: throttle::Config) -> Self {
        self.client.throttle = Some(throttle);
        self
    }

    /// Finds out how many calls the service can take at once, and refuses more; off by default.
    pub fn adaptive_concurrency(mut self, concurrency: concurrency::Config) -> Self {
        self.client.concurrency = Some(concurrency);
        self
    }

    /// How often calls may be made; as often as one likes by default.
    pub fn rate_limit(mut self, quota: Quota) -> Self {
        self.client.rate_limit = Some(quota);
        self
    }

    /// Sends an idempotent call that is slow to another endpoint as well, and takes the first answer; off by default.
    pub fn hedging(mut self, hedging: hedge::Config) -> Self {
        self.client.hedging = Some(hedging);
        self
    }

    /// Calls over TLS. The certificate of the service must be for the host of the address that is dialled, so that Unix
    /// sockets need [`tls_for`](Self::tls_for).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: alloc::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(ClientTls::new(config));
        self
    }

    /// Calls over TLS. The certificate of the service must be for `name`, whatever address is dialled.
    #[cfg(feature = "tls")]
    pub fn tls_for(
        mut self,
        name: rustls::pki_types::ServerName<'static>,
        config: alloc::sync::Arc<rustls::ClientConfig>,
    ) -> Self {
        self.tls = Some(ClientTls::with_name(config, name));
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
        config.retry_budget.per_second = part(config.retry_budget.per_second);
        config.rate_limit = config.rate_limit.map(|quota| quota.share(at, of));
        config.concurrency = config.concurrency.map(|concurrency| concurrency::Config {
            minimum: limit(concurrency.minimum),
            maximum: part(concurrency.maximum),
            ..concurrency
        });
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
        let quota = Quota::new(NonZeroU32::new(9).unwrap(), Duration::from_secs(1));
        let guarded = config.clone().rate_limit(quota).adaptive_concurrency(concurrency::Config::default());
        let shares: Vec<_> = (0..3).map(|at| guarded.share(at, 3)).collect();
        assert_eq!(shares.iter().map(|share| share.retry_budget.per_second).sum::<u32>(), 10);
        assert!(shares.iter().all(|share| share.rate_limit == Some(quota.share(0, 3))));
        let concurrency = |share: &Config| share.concurrency.expect("it is on");
        assert_eq!(shares.iter().map(|share| concurrency(share).minimum.get()).sum::<u32>(), 3);
        assert_eq!(shares.iter().map(|share| concurrency(share).maximum).sum::<u32>(), 1_000);
        assert_eq!(config.shards(16), 7, "no shard without a connection");
    }
}
