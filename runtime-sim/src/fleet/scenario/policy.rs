//! What the clients of a scenario are configured with. What is not said is as the library has it by default.

use std::num::{NonZeroU8, NonZeroU32};

use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::policy::{
    Ratio, backoff, breaker, concurrency, gcra, health_check, hedge, outlier, panic, retry_budget,
    slow_start, throttle,
};
use plimsoll_core::service::{client, server};
use serde::{Deserialize, Deserializer};

use super::units::{Factor, Length, Share, Switch};
use super::{ScenarioError, in_line};

/// What clients and what is around them are configured with: a table `[policy.NAME]` of a [`Scenario`](super::Scenario), or
/// the same keys by themselves.
///
/// ```
/// use plimsoll_core::policy::balance::Strategy;
/// use plimsoll_core::service::client::Config;
/// use plimsoll_sim::fleet::Policy;
///
/// let mut config = Config::default();
/// Policy::parse("strategy = \"round_robin\"\nejection = false")?.apply(&mut config);
/// assert_eq!(config.cluster.strategy, Strategy::RoundRobin);
/// assert!(config.cluster.outliers.is_none());
/// # Ok::<_, plimsoll_sim::fleet::ScenarioError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    strategy: Option<Named>,
    timeout: Option<Length>,
    /// How often a client tries a request that may run twice, when its connection is lost.
    attempts: Option<NonZeroU8>,
    retry_budget: Option<Switch<RetryBudget>>,
    breaker: Option<Switch<Breaker>>,
    ejection: Option<Switch<Ejection>>,
    hedging: Option<Switch<Hedging>>,
    throttle: Option<Switch<Throttle>>,
    concurrency: Option<Switch<Concurrency>>,
    /// Requests per second and client.
    rate_limit: Option<NonZeroU32>,
    slow_start: Option<Switch<SlowStart>>,
    panic: Option<Switch<Panic>>,
    priorities: Option<Priorities>,
    subset: Option<NonZeroU32>,
    /// Whether servers in other zones count as one priority lower.
    #[serde(default)]
    prefer_own_zone: bool,
    connections: Option<Connections>,
    heartbeat: Option<Heartbeat>,
    backoff: Option<Backoff>,
    /// Requests that wait for a place.
    waiters: Option<NonZeroU32>,
    server: Option<Server>,
    health_checks: Option<Switch<HealthChecks>>,
    caller_retries: Option<Switch<CallerRetries>>,
}

impl Policy {
    /// Reads the keys of a policy, without the head of its table.
    ///
    /// # Errors
    /// [`ScenarioError`]: whatever is not as it should be, with its line, and what is allowed there.
    pub fn parse(text: &str) -> Result<Policy, ScenarioError> {
        toml::from_str(text).map_err(|error| in_line(text, error.span(), error.message().to_owned()))
    }

    /// The options of a client.
    pub(crate) fn client(&self) -> client::Config {
        let mut config = client::Config::default();
        self.apply(&mut config);
        config
    }

    /// Changes what it speaks of in the options of a client, and nothing else.
    pub fn apply(&self, config: &mut client::Config) {
        let cluster = &mut config.cluster;
        set(&mut cluster.strategy, self.strategy.map(|named| named.0));
        set(&mut cluster.subset, self.subset.map(Some));
        set(&mut cluster.waiters, self.waiters);
        set(&mut cluster.breaker.mode, self.breaker.map(|Switch(on)| on.unwrap_or_default().mode()));
        if let Some(Switch(Some(on))) = self.breaker {
            set(&mut cluster.breaker.period, on.period.map(|length| length.0));
            set(&mut cluster.breaker.recovery, on.recovery.map(|length| length.0));
        }
        if let Some(Switch(None)) = self.breaker {
            cluster.breaker.mode = breaker::Mode::Count { failures: NonZeroU32::MAX };
        }
        set(&mut cluster.outliers, self.ejection.map(|Switch(on)| on.map(Ejection::config)));
        set(&mut cluster.slow_start, self.slow_start.map(|Switch(on)| SlowStart::config(on)));
        set(&mut cluster.panic, self.panic.map(|Switch(on)| Panic::config(on)));
        if let Some(priorities) = self.priorities {
            set(&mut cluster.priorities.overprovision, priorities.overprovision.map(|factor| factor.0));
            set(&mut cluster.priorities.hold, priorities.hold.map(|length| length.0));
        }
        if let Some(connections) = self.connections {
            connections.apply(cluster);
        }
        if let Some(heartbeat) = self.heartbeat {
            set(&mut cluster.heartbeat.interval, heartbeat.interval.map(|length| length.0));
            set(&mut cluster.heartbeat.timeout, heartbeat.timeout.map(|length| length.0));
        }
        if let Some(backoff) = self.backoff {
            backoff.apply(&mut cluster.backoff);
        }
        set(&mut config.timeout, self.timeout.map(|length| length.0));
        set(&mut config.attempts, self.attempts);
        set(&mut config.retry_budget, self.retry_budget.map(|Switch(on)| RetryBudget::config(on)));
        set(&mut config.hedging, self.hedging.map(|Switch(on)| on.map(Hedging::config)));
        set(&mut config.throttle, self.throttle.map(|Switch(on)| on.map(Throttle::config)));
        set(&mut config.concurrency, self.concurrency.map(|Switch(on)| on.map(Concurrency::config)));
        let second = std::time::Duration::from_secs(1);
        set(&mut config.rate_limit, self.rate_limit.map(|rate| Some(gcra::Quota::new(rate, second))));
    }

    /// The options of a server.
    pub(crate) fn server(&self) -> server::Config {
        let mut config = server::Config::default();
        if let Some(server) = self.server {
            set(&mut config.in_flight, server.in_flight);
            let unsent =
                server.unsent_bytes.and_then(|high| Band::new(u64::from(high.get()) / 4, high.get().into()));
            set(&mut config.unsent, unsent);
        }
        config
    }

    /// Whether a client calls servers of its own zone as long as they can carry that.
    pub(crate) fn prefers_own_zone(&self) -> bool {
        self.prefer_own_zone
    }

    /// How clients ask servers whether they are well; `None`: not at all.
    pub(crate) fn health_checks(&self) -> Option<health_check::Config> {
        self.health_checks.and_then(|Switch(on)| on.map(HealthChecks::config))
    }

    /// What callers do about a call that has failed.
    pub(crate) fn caller_retries(&self) -> Option<CallerRetries> {
        self.caller_retries.and_then(|Switch(on)| on)
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[derive(Clone, Copy, Debug)]
struct Named(Strategy);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Named).map_err(serde::de::Error::custom)
    }
}

/// Turned off, every retry may be made.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryBudget {
    ratio: Option<Factor>,
    per_second: Option<u32>,
    ttl: Option<Length>,
}

impl RetryBudget {
    pub(crate) fn config(on: Option<Self>) -> retry_budget::Config {
        let mut config = retry_budget::Config::default();
        match on {
            Some(RetryBudget { ratio, per_second, ttl }) => {
                set(&mut config.ratio, ratio.map(|ratio| ratio.0));
                set(&mut config.per_second, per_second);
                set(&mut config.ttl, ttl.map(|ttl| ttl.0));
            }
            None => config.per_second = 1_000_000,
        }
        config
    }
}

/// Of each endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    consecutive: Option<NonZeroU32>,
    success: Option<Share>,
    volume: Option<NonZeroU32>,
    period: Option<Length>,
    recovery: Option<Length>,
}

impl Breaker {
    fn mode(self) -> breaker::Mode {
        let usual = breaker::Config::default().mode;
        let breaker::Mode::Rate { consecutive, success, volume } = usual else { return usual };
        breaker::Mode::Rate {
            consecutive: self.consecutive.unwrap_or(consecutive),
            success: self.success.map_or(success, |share| share.0),
            volume: self.volume.unwrap_or(volume),
        }
    }
}

/// Of endpoints that serve worse than the others.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ejection {
    consecutive: Option<NonZeroU32>,
    sweep: Option<Length>,
    deviations: Option<Factor>,
    success_hosts: Option<u32>,
    success_volume: Option<NonZeroU32>,
    failures: Option<Share>,
    failure_volume: Option<NonZeroU32>,
    base: Option<Length>,
    longest: Option<Length>,
    most: Option<Share>,
}

impl Ejection {
    fn config(self) -> outlier::Config {
        let mut config = outlier::Config::default();
        set(&mut config.consecutive, self.consecutive);
        set(&mut config.sweep, self.sweep.map(|length| length.0));
        set(&mut config.deviations, self.deviations.map(|factor| factor.0));
        set(&mut config.success_hosts, self.success_hosts);
        set(&mut config.success_volume, self.success_volume);
        set(&mut config.failures, self.failures.map(|share| share.0));
        set(&mut config.failure_volume, self.failure_volume);
        set(&mut config.base, self.base.map(|length| length.0));
        set(&mut config.longest, self.longest.map(|length| length.0));
        set(&mut config.most, self.most.map(|share| share.0));
        config
    }
}

/// A second copy of what is slow.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hedging {
    percentile: Option<Share>,
    volume: Option<u32>,
    least: Option<Length>,
}

impl Hedging {
    fn config(self) -> hedge::Config {
        let mut config = hedge::Config::default();
        set(&mut config.percentile, self.percentile.map(|share| share.0));
        set(&mut config.volume, self.volume);
        set(&mut config.least, self.least.map(|length| length.0));
        config
    }
}

/// Refuses here what the service would refuse.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Throttle {
    factor: Option<Factor>,
    most: Option<Share>,
    window: Option<Length>,
}

impl Throttle {
    fn config(self) -> throttle::Config {
        let mut config = throttle::Config::default();
        set(&mut config.factor, self.factor.map(|factor| factor.0));
        set(&mut config.most, self.most.map(|share| share.0));
        set(&mut config.window, self.window.map(|length| length.0));
        config
    }
}

/// Finds out how many requests the service can take at once.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Concurrency {
    minimum: Option<NonZeroU32>,
    maximum: Option<u32>,
    samples: Option<NonZeroU32>,
    window: Option<Length>,
    remeasure: Option<Length>,
    tolerance: Option<Factor>,
}

impl Concurrency {
    fn config(self) -> concurrency::Config {
        let mut config = concurrency::Config::default();
        set(&mut config.minimum, self.minimum);
        set(&mut config.maximum, self.maximum);
        set(&mut config.samples, self.samples);
        set(&mut config.window, self.window.map(|length| length.0));
        set(&mut config.remeasure, self.remeasure.map(|length| length.0));
        set(&mut config.tolerance, self.tolerance.map(|factor| factor.0));
        config
    }
}

/// Turned off, a fresh endpoint gets its full share at once.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowStart {
    window: Option<Length>,
    aggression: Option<Factor>,
    floor: Option<Share>,
}

impl SlowStart {
    fn config(on: Option<Self>) -> slow_start::Config {
        let mut config = slow_start::Config::default();
        match on {
            Some(SlowStart { window, aggression, floor }) => {
                set(&mut config.window, window.map(|length| length.0));
                set(&mut config.aggression, aggression.map(|factor| factor.0));
                set(&mut config.floor, floor.map(|share| share.0));
            }
            None => config.window = std::time::Duration::ZERO,
        }
        config
    }
}

/// Turned off, what is out stays out, however few are left.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panic {
    threshold: Option<Share>,
    /// Whether it means that calls go nowhere, instead of everywhere.
    #[serde(default)]
    refuses: bool,
}

impl Panic {
    fn config(on: Option<Self>) -> panic::Config {
        let mut config = panic::Config::default();
        match on {
            Some(Panic { threshold, refuses }) => {
                set(&mut config.threshold, threshold.map(|share| share.0));
                config.mode = if refuses { panic::Mode::None } else { panic::Mode::All };
            }
            None => config.threshold = Ratio::per_mille(0),
        }
        config
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Priorities {
    overprovision: Option<Factor>,
    hold: Option<Length>,
}

/// To each endpoint.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connections {
    min: Option<u32>,
    max: Option<NonZeroU32>,
    in_flight: Option<NonZeroU32>,
    grow_at: Option<u32>,
    stagger: Option<Length>,
    connect_timeout: Option<Length>,
    idle_close: Option<Length>,
    max_age: Option<Length>,
}

impl Connections {
    fn apply(self, cluster: &mut plimsoll_core::cluster::Config) {
        set(&mut cluster.min_connections, self.min);
        set(&mut cluster.max_connections, self.max);
        set(&mut cluster.in_flight, self.in_flight);
        set(&mut cluster.grow_at, self.grow_at);
        set(&mut cluster.dial_stagger, self.stagger.map(|length| length.0));
        set(&mut cluster.connect_timeout, self.connect_timeout.map(|length| length.0));
        set(&mut cluster.idle_close, self.idle_close.map(|length| length.0));
        set(&mut cluster.max_age, self.max_age.map(|length| Some(length.0)));
    }
}

/// Of connections that are silent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    interval: Option<Length>,
    timeout: Option<Length>,
}

/// Between two dials that fail.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backoff {
    base: Option<Length>,
    multiplier: Option<Factor>,
    cap: Option<Length>,
    jitter: Option<bool>,
}

impl Backoff {
    pub(crate) fn apply(self, config: &mut backoff::Config) {
        set(&mut config.base, self.base.map(|length| length.0));
        set(&mut config.multiplier, self.multiplier.map(|factor| factor.0));
        set(&mut config.cap, self.cap.map(|length| length.0));
        let jitter = |on| if on { backoff::Jitter::Full } else { backoff::Jitter::None };
        set(&mut config.jitter, self.jitter.map(jitter));
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    /// Requests of a connection that it works on or keeps waiting; it reads no further there.
    in_flight: Option<NonZeroU32>,
    /// Bytes of answers that wait to be sent on a connection; it reads no further there.
    unsent_bytes: Option<NonZeroU32>,
}

/// Each client connects to each server now and then, and asks how it is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthChecks {
    interval: Option<Length>,
    timeout: Option<Length>,
    rise: Option<NonZeroU32>,
    fall: Option<NonZeroU32>,
}

impl HealthChecks {
    fn config(self) -> health_check::Config {
        let mut config = health_check::Config::default();
        set(&mut config.interval, self.interval.map(|length| length.0));
        set(&mut config.timeout, self.timeout.map(|length| length.0));
        set(&mut config.rise, self.rise);
        set(&mut config.fall, self.fall);
        config
    }
}

/// What is above a client: an application, or people, who call again when a call has failed.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallerRetries {
    times: Option<NonZeroU8>,
    backoff: Option<Backoff>,
    budget: Option<Switch<RetryBudget>>,
}

impl CallerRetries {
    /// How often a call is made again at most.
    pub(crate) fn times(&self) -> u8 {
        self.times.map_or(2, NonZeroU8::get)
    }

    /// How long a caller waits before it does so; at once, if nothing is said.
    pub(crate) fn backoff(&self) -> backoff::Config {
        let mut config = backoff::Config::default();
        match self.backoff {
            Some(backoff) => backoff.apply(&mut config),
            None => config.cap = std::time::Duration::ZERO,
        }
        config
    }

    /// What pays for it; `None`: nobody asks.
    pub(crate) fn budget(&self) -> Option<retry_budget::Config> {
        let Switch(on) = self.budget?;
        on.map(|on| RetryBudget::config(Some(on)))
    }
}
