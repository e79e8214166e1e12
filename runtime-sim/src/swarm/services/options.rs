//! How the clients and servers of a world differ from the defaults.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::policy::{breaker, concurrency, hedge, outlier, panic, throttle};
use plimsoll_core::service::client::Config;
use plimsoll_core::service::server;

/// Something about the clients or servers of a world that is not as it is by default. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is an option of a client's or server's configuration, of that name")]
pub enum Feature {
    Strategy(Strategy),
    InFlight(u32),
    Connections {
        least: u32,
        most: u32,
        grow_at: u32,
    },
    Waiters(u32),
    Burst(u32),
    Dials {
        stagger: u32,
        timeout: u32,
    },
    IdleClose(u32),
    Heartbeat {
        interval: u32,
        timeout: u32,
    },
    Backoff {
        base: u32,
        cap: u32,
    },
    Breaker {
        failures: u32,
        recovery: u32,
        cap: u32,
        probes: u32,
        lease: u32,
    },
    NoBreaker,
    Outliers {
        failures: u32,
        percent: u32,
        sweep: u32,
        base: u32,
    },
    NoOutliers,
    MaxAge(u32),
    Subset(u32),
    PanicNone,
    SlowStart(u32),
    Timeout(u32),
    Attempts(u8),
    RetryBudget {
        percent: u32,
        per_second: u32,
    },
    Throttle,
    Concurrency(u32),
    RateLimit(u32),
    Hedging {
        volume: u32,
        percent: u32,
    },
    Outcomes(u32),
    Explain,
    /// In so many of a thousand steps a caller gives one of its requests up.
    Fickle(u32),
    /// In so many of a thousand steps a machine is told of connections that are long gone, or ticked for nothing.
    Echoes(u32),
    /// Endpoints are of this many priority levels, in turn.
    Levels(u32),
    /// The server of this place is written by hand, and lies in so many of a thousand answers.
    Rogue {
        server: u32,
        per_mille: u32,
    },
    /// All speak RESP, whose answers bear no ids, to servers that are written by hand.
    Resp,
    ServerInFlight(u32),
    ServerUnsent(u32),
    ServerIdle(u32),
}

/// All of them together.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) client: Config,
    pub(super) server: server::Config,
    pub(super) fickle: u32,
    pub(super) echoes: u32,
    pub(super) explains: bool,
    pub(super) levels: u32,
    pub(super) rogues: Vec<(u32, u32)>,
    pub(super) speaks_resp: bool,
}

fn ms(n: u32) -> Duration {
    Duration::from_millis(n.into())
}

fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

impl Options {
    pub(super) fn new(features: impl Iterator<Item = Feature>) -> Self {
        let mut options = Options {
            client: Config::default(),
            server: server::Config::default(),
            fickle: 0,
            echoes: 0,
            explains: false,
            levels: 1,
            rogues: Vec::new(),
            speaks_resp: false,
        };
        features.for_each(|feature| options.apply(feature));
        options
    }

    fn apply(&mut self, feature: Feature) {
        let (client, server) = (&mut self.client, &mut self.server);
        let cluster = &mut client.cluster;
        match feature {
            Feature::Strategy(strategy) => cluster.strategy = strategy,
            Feature::InFlight(n) => cluster.in_flight = some(n),
            Feature::Connections { least, most, grow_at } => {
                cluster.min_connections = least;
                cluster.max_connections = some(most);
                cluster.grow_at = grow_at;
            }
            Feature::Waiters(n) => cluster.waiters = some(n),
            Feature::Burst(n) => cluster.burst = n,
            Feature::Dials { stagger, timeout } => {
                (cluster.dial_stagger, cluster.connect_timeout) = (ms(stagger), ms(timeout));
            }
            Feature::IdleClose(n) => cluster.idle_close = ms(n),
            Feature::Heartbeat { interval, timeout } => {
                (cluster.heartbeat.interval, cluster.heartbeat.timeout) = (ms(interval), ms(timeout));
            }
            Feature::Backoff { base, cap } => {
                (cluster.backoff.base, cluster.backoff.cap) = (ms(base), ms(cap))
            }
            Feature::Breaker { failures, recovery, cap, probes, lease } => {
                cluster.breaker.mode = breaker::Mode::Count { failures: some(failures) };
                (cluster.breaker.recovery, cluster.breaker.recovery_cap) = (ms(recovery), ms(cap));
                (cluster.breaker.success_threshold, cluster.breaker.lease) = (some(probes), ms(lease));
            }
            Feature::NoBreaker => cluster.breaker.mode = breaker::Mode::Count { failures: NonZeroU32::MAX },
            Feature::Outliers { failures, percent, sweep, base } => {
                cluster.outliers = Some(outlier::Config {
                    consecutive: some(failures),
                    most: Ratio::percent(percent),
                    sweep: ms(sweep),
                    base: ms(base),
                    longest: ms(base) * 4,
                    ..outlier::Config::default()
                });
            }
            Feature::NoOutliers => cluster.outliers = None,
            Feature::MaxAge(n) => cluster.max_age = Some(ms(n)),
            Feature::Subset(n) => cluster.subset = Some(some(n)),
            Feature::PanicNone => cluster.panic.mode = panic::Mode::None,
            Feature::SlowStart(n) => cluster.slow_start.window = ms(n),
            Feature::Timeout(n) => client.timeout = ms(n),
            Feature::Attempts(n) => client.attempts = NonZeroU8::new(n).unwrap_or(NonZeroU8::MIN),
            Feature::RetryBudget { percent, per_second } => {
                (client.retry_budget.ratio, client.retry_budget.per_second) =
                    (Ratio::percent(percent), per_second);
            }
            Feature::Throttle => client.throttle = Some(throttle::Config::default()),
            Feature::Concurrency(least) => {
                client.concurrency = Some(concurrency::Config {
                    minimum: some(least),
                    maximum: 64,
                    ..concurrency::Config::default()
                });
            }
            Feature::RateLimit(n) => {
                client.rate_limit = Some(Quota::new(some(n), Duration::from_secs(1)));
            }
            Feature::Hedging { volume, percent } => {
                let percentile = Ratio::percent(percent);
                client.hedging = Some(hedge::Config { volume, percentile, ..hedge::Config::default() });
            }
            Feature::Outcomes(n) => client.outcomes = some(n),
            Feature::Explain => self.explains = true,
            Feature::Fickle(n) => self.fickle = n,
            Feature::Echoes(n) => self.echoes = n,
            Feature::Levels(n) => self.levels = n.clamp(1, 8),
            Feature::Rogue { server, per_mille } => self.rogues.push((server, per_mille)),
            Feature::Resp => self.speaks_resp = true,
            Feature::ServerInFlight(n) => server.in_flight = some(n),
            Feature::ServerUnsent(n) => {
                let (low, high) = (u64::from(n) / 4, u64::from(n));
                server.unsent = Band::new(low, high).unwrap_or(server.unsent);
            }
            Feature::ServerIdle(n) => server.idle_timeout = ms(n),
        }
    }

    /// The longest time after the end of all faults until new requests must succeed: everything that may have to be
    /// waited for, one after the other.
    pub(super) fn recovery(&self) -> Duration {
        let Config { cluster, timeout, throttle, concurrency, .. } = &self.client;
        let ejection =
            cluster.outliers.map_or(Duration::ZERO, |outliers| outliers.longest + 2 * outliers.sweep);
        // What is refused here counts as asked, so that the share that passes only doubles from window to window.
        let guard = throttle.map_or(Duration::ZERO, |throttle| 6 * throttle.window)
            + concurrency.map_or(Duration::ZERO, |limit| limit.remeasure);
        let breaker = cluster.breaker.recovery_cap + cluster.breaker.lease;
        let silence = cluster.heartbeat.interval + cluster.heartbeat.timeout;
        let dial = cluster.backoff.cap + 2 * cluster.connect_timeout + cluster.dial_stagger;
        breaker + ejection + guard + silence + dial + *timeout + Duration::from_secs(10)
    }
}
