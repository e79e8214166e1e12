//! What can be said about the project service: where it is, and how the cluster machine treats its endpoints. The keys
//! are those of [`cluster::Config`] and of the policies in it, and so are the defaults but for a few.

use std::mem::take;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use plimsoll_core::cluster::{self, EndpointOptions};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::{Ratio, backoff, breaker, ewma, heartbeat, outlier, panic, priority, slow_start};

use super::file::{
    BreakerTable, DiscoveryTable, EndpointTable, Key, LatencyTable, OutliersTable, PanicTable,
    PrioritiesTable, ProjectTable, SlowStartTable,
};
use super::guards::{GuardTables, Guards};
use super::units::{Interval, Size, Span};
use super::values::{BreakerMode, PanicMode, StrategyName, UwAddress, UwAddresses};
use super::{ConfigError, Flags, Layers, Origin};

/// A lost connection is dialled again within so long. Until that dial fails, requests wait for it.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// A service that stays away is dialled after so long at most: what has come back is used soon, and one dial in a while
/// costs nobody anything.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(5);
/// The breaker of the project service in the gateway that this one inherits from.
const RECOVERY: Duration = Duration::from_secs(45);
const PROBES: NonZeroU32 = count(5);

/// Each may list some thirty endpoints, and all are told in one answer.
const MAX_EXPLAIN: u32 = 1_000;

const fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

/// The project service and the pools of connections to it.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Where it listens; none means the embedded service.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) request_timeout: Span,
    /// So many decisions are kept to be asked about; none are explained if it is 0.
    pub(crate) explain: u32,
    pub(crate) cluster: cluster::Config,
    pub(crate) guards: Guards,
}

impl Project {
    /// Each address as `host:port`, and what is said of it.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (String, EndpointOptions)> {
        let options =
            |endpoint: &Endpoint| EndpointOptions { weight: endpoint.weight, priority: endpoint.priority };
        self.endpoints.iter().map(move |endpoint| (endpoint.address.target().into(), options(endpoint)))
    }
}

/// One address that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: UwAddress,
    /// Its share of the requests in proportion to the others, by the strategies that go by weight.
    pub(crate) weight: u32,
    /// 0 is asked first.
    pub(crate) priority: u8,
}

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Of this project.
    Own,
    /// Of the service discovery that this gateway inherits.
    Discovery,
}

impl Layers<'_> {
    pub(super) fn discovery(&mut self, file: DiscoveryTable) -> Result<Profile, ConfigError> {
        self.table("discovery");
        let enabled = self.take("enabled", None, "SERVICE_DISCOVERY_ENABLED", file.enabled, false)?;
        Ok(if enabled { Profile::Discovery } else { Profile::Own })
    }

    pub(super) fn project(
        &mut self,
        profile: Profile,
        flags: &Flags,
        mut file: ProjectTable,
    ) -> Result<Project, ConfigError> {
        let (endpoints, breaker) = (take(&mut file.endpoints), take(&mut file.breaker));
        let (outliers, panic) = (take(&mut file.outliers), take(&mut file.panic));
        let (priorities, slow_start) = (take(&mut file.priorities), take(&mut file.slow_start));
        let latency = take(&mut file.latency);
        let guards = GuardTables {
            throttle: file.throttle.take(),
            adaptive_concurrency: file.adaptive_concurrency.take(),
            rate_limit: file.rate_limit.take(),
            hedging: file.hedging.take(),
        };
        self.table("services.project");
        let address = self.optional(
            "address",
            flags.project_service.clone(),
            "PROJECT_SERVICE_UW",
            file.address.take(),
        )?;
        let strategy = self.strategy(profile, file.strategy.take())?;
        let explain = self.take("explain", None, "PROJECT_EXPLAIN", file.explain.take(), 0)?;
        if explain > MAX_EXPLAIN {
            return Err(self.wrong("explain", &format!("at most {MAX_EXPLAIN} decisions are kept")));
        }
        let request_timeout =
            self.span("request_timeout", "PROJECT_REQUEST_TIMEOUT", file.request_timeout.take(), 15)?;
        let pool = self.pool(file)?;
        Ok(Project {
            endpoints: self.endpoints(address, endpoints)?,
            request_timeout,
            explain,
            cluster: cluster::Config {
                strategy,
                breaker: self.breaker(profile, request_timeout, breaker)?,
                outliers: self.outliers(outliers),
                panic: self.panic(panic),
                priorities: self.priorities(priorities)?,
                slow_start: self.slow_start(slow_start)?,
                ewma: self.latency(latency),
                ..pool
            },
            guards: self.guards(guards)?,
        })
    }

    fn strategy(&mut self, profile: Profile, file: Key<StrategyName>) -> Result<Strategy, ConfigError> {
        let found = self.find(None, "LOAD_BALANCING_STRATEGY", file)?;
        let (strategy, origin) = found.unwrap_or(match profile {
            Profile::Own => (StrategyName(Strategy::P2cEwma), Origin::Default),
            Profile::Discovery => (StrategyName(Strategy::HealthBased), Origin::Discovery),
        });
        Ok(self.show("strategy", strategy, origin).0)
    }

    /// How many connections there are, and when they come and go.
    fn pool(&mut self, file: ProjectTable) -> Result<cluster::Config, ConfigError> {
        let default = cluster::Config::default();
        let connect_timeout =
            self.span("connect_timeout", "PROJECT_CONNECTION_TIMEOUT", file.connect_timeout, 5)?;
        let max_connections =
            self.count("max_connections", "PROJECT_MAX_CONNECTIONS", file.max_connections, 15)?;
        let min_connections =
            self.count("min_connections", "PROJECT_MIN_CONNECTIONS", file.min_connections, 1)?;
        if min_connections > max_connections {
            let message = format!("is above max_connections ({max_connections})");
            return Err(self.wrong("min_connections", &message));
        }
        let pool = cluster::Config {
            connect_timeout: connect_timeout.get(),
            max_connections: count(max_connections),
            min_connections,
            in_flight: self.only_file("in_flight", file.in_flight, default.in_flight),
            grow_at: self.only_file("grow_at", file.grow_at, default.grow_at),
            burst: self.only_file("burst", file.burst, default.burst),
            idle_close: self.length("idle_close", file.idle_close, default.idle_close),
            max_age: self.maybe("max_age", file.max_age).map(Span::get),
            subset: self.maybe("subset", file.subset),
            dial_stagger: self.length("dial_stagger", file.dial_stagger, default.dial_stagger),
            backoff: self.backoff(file.reconnect_delay, file.max_reconnect_delay)?,
            heartbeat: self.heartbeat(file.health_check_interval, file.health_check_timeout)?,
            waiters: self.only_file("waiting_requests", file.waiting_requests, default.waiters),
            waiting_bytes: self.size("waiting_bytes", file.waiting_bytes, default.waiting_bytes),
            ..default
        };
        Ok(pool)
    }

    fn backoff(&mut self, delay: Key<Span>, cap: Key<Span>) -> Result<backoff::Config, ConfigError> {
        let base = self.length("reconnect_delay", delay, RECONNECT_DELAY);
        let cap = self.length("max_reconnect_delay", cap, MAX_RECONNECT_DELAY.max(base));
        if cap < base {
            return Err(self.wrong("max_reconnect_delay", "is below reconnect_delay"));
        }
        Ok(backoff::Config { base, cap, ..backoff::Config::default() })
    }

    fn heartbeat(
        &mut self,
        interval: Key<Interval>,
        timeout: Key<Span>,
    ) -> Result<heartbeat::Config, ConfigError> {
        let default = heartbeat::Config::default();
        let usual = Interval(Span::of(default.interval));
        let interval =
            self.take("health_check_interval", None, "HEALTH_CHECK_INTERVAL", interval, usual)?.0.get();
        let timeout = self.length("health_check_timeout", timeout, default.timeout);
        Ok(heartbeat::Config { interval, timeout })
    }

    /// Those of the file, unless somebody with more to say has named addresses.
    fn endpoints(
        &mut self,
        address: Option<UwAddresses>,
        file: Vec<EndpointTable>,
    ) -> Result<Vec<Endpoint>, ConfigError> {
        if let Some(UwAddresses(addresses)) = address {
            let (origin, _) = &self.origins["address"];
            if let (Origin::File(_), Some(first)) = (origin, file.first()) {
                let place = self.source.place(first.address.span().start);
                return Err(ConfigError(format!(
                    "{place}: name addresses by `address` or by `endpoints`, not both"
                )));
            }
            if !file.is_empty() {
                self.shown += "# services.project.endpoints in the file is not used: address wins\n";
            }
            let endpoint = |address| Endpoint { address, weight: 1, priority: 0 };
            return distinct(addresses.into_iter().map(endpoint).collect());
        }
        let mut endpoints = Vec::with_capacity(file.len());
        for EndpointTable { address, weight, priority } in file {
            self.title("[[services.project.endpoints]]");
            let (address, origin) = self.placed(address);
            let address = self.show("address", address, origin);
            let weight = self.only_file("weight", weight, 1);
            let priority = self.only_file("priority", priority, 0);
            if usize::from(priority) >= priority::LEVELS {
                let message =
                    format!("priorities go from 0, which is asked first, to {}", priority::LEVELS - 1);
                return Err(self.wrong("priority", &message));
            }
            if endpoints.iter().any(|known: &Endpoint| known.address == address) {
                return Err(self.wrong("address", "is named twice"));
            }
            endpoints.push(Endpoint { address, weight, priority });
        }
        Ok(endpoints)
    }

    fn breaker(
        &mut self,
        profile: Profile,
        request_timeout: Span,
        file: BreakerTable,
    ) -> Result<breaker::Config, ConfigError> {
        let default = breaker::Config::default();
        self.table("services.project.breaker");
        let kind = self.file_or(
            "mode",
            file.mode,
            match profile {
                Profile::Own => (BreakerMode::Rate, Origin::Default),
                Profile::Discovery => (BreakerMode::Count, Origin::Discovery),
            },
        );
        let failures =
            count(self.count("failure_threshold", "CIRCUIT_BREAKER_THRESHOLD", file.failure_threshold, 5)?);
        let mode = match kind {
            BreakerMode::Count => {
                self.unused("success_rate", file.success_rate)?;
                self.unused("volume", file.volume)?;
                breaker::Mode::Count { failures }
            }
            BreakerMode::Rate => breaker::Mode::Rate {
                consecutive: failures,
                success: self.only_file("success_rate", file.success_rate, Ratio::percent(80).into()).get(),
                volume: self.only_file("volume", file.volume, count(20)),
            },
        };
        let recovery = self.length("recovery_timeout", file.recovery_timeout, RECOVERY);
        let multiplier =
            self.only_file("recovery_multiplier", file.recovery_multiplier, default.multiplier.into()).get();
        if multiplier < Ratio::ONE {
            return Err(self.wrong("recovery_multiplier", "must be at least 1, which is no growth"));
        }
        let recovery_cap = self.length("recovery_cap", file.recovery_cap, default.recovery_cap.max(recovery));
        if recovery_cap < recovery {
            return Err(self.wrong("recovery_cap", "is below recovery_timeout"));
        }
        Ok(breaker::Config {
            mode,
            period: self.length("monitoring_period", file.monitoring_period, default.period),
            recovery,
            multiplier,
            recovery_cap,
            success_threshold: self.only_file("success_threshold", file.success_threshold, PROBES),
            lease: request_timeout.get(),
        })
    }

    fn outliers(&mut self, file: OutliersTable) -> Option<outlier::Config> {
        let default = outlier::Config::default();
        self.table("services.project.outliers");
        let enabled = self.only_file("enabled", file.enabled, true);
        let config = outlier::Config {
            consecutive: self.only_file("consecutive", file.consecutive, default.consecutive),
            sweep: self.length("sweep", file.sweep, default.sweep),
            deviations: self.only_file("deviations", file.deviations, default.deviations.into()).get(),
            success_hosts: self.only_file("success_hosts", file.success_hosts, default.success_hosts),
            success_volume: self.only_file("success_volume", file.success_volume, default.success_volume),
            failures: self.only_file("failures", file.failures, default.failures.into()).get(),
            failure_volume: self.only_file("failure_volume", file.failure_volume, default.failure_volume),
            base: self.length("base", file.base, default.base),
            longest: self.length("longest", file.longest, default.longest),
            most: self.only_file("most", file.most, default.most.into()).get(),
        };
        enabled.then_some(config)
    }

    fn panic(&mut self, file: PanicTable) -> panic::Config {
        let default = panic::Config::default();
        self.table("services.project.panic");
        panic::Config {
            threshold: self.only_file("threshold", file.threshold, default.threshold.into()).get(),
            mode: self.only_file("mode", file.mode, PanicMode(default.mode)).0,
        }
    }

    fn priorities(&mut self, file: PrioritiesTable) -> Result<priority::Config, ConfigError> {
        let default = priority::Config::default();
        self.table("services.project.priorities");
        let overprovision =
            self.only_file("overprovision", file.overprovision, default.overprovision.into()).get();
        if overprovision < Ratio::ONE {
            return Err(self.wrong("overprovision", "must be at least 1, which leaves no room"));
        }
        Ok(priority::Config { overprovision, hold: self.length("hold", file.hold, default.hold) })
    }

    fn slow_start(&mut self, file: SlowStartTable) -> Result<slow_start::Config, ConfigError> {
        let default = slow_start::Config::default();
        self.table("services.project.slow_start");
        let enabled = self.only_file("enabled", file.enabled, true);
        let window = self.length("window", file.window, default.window);
        let aggression = self.only_file("aggression", file.aggression, default.aggression.into()).get();
        if aggression == Ratio::per_mille(0) {
            return Err(self.wrong("aggression", "must be above 0; 1 is a straight line"));
        }
        let floor = self.only_file("floor", file.floor, default.floor.into()).get();
        Ok(slow_start::Config { window: if enabled { window } else { Duration::ZERO }, aggression, floor })
    }

    fn latency(&mut self, file: LatencyTable) -> ewma::Config {
        let default = ewma::Config::default();
        self.table("services.project.latency");
        ewma::Config {
            decay: self.length("decay", file.decay, default.decay),
            initial: self.length("initial", file.initial, default.initial),
            penalty: self.length("penalty", file.penalty, default.penalty),
        }
    }

    pub(super) fn length(&mut self, key: &'static str, file: Key<Span>, default: Duration) -> Duration {
        self.only_file(key, file, Span::of(default)).get()
    }

    fn size(&mut self, key: &'static str, file: Key<Size>, default: NonZeroU64) -> NonZeroU64 {
        let size = self.only_file(key, file, Size::bytes(default.get()));
        NonZeroU64::new(size.get()).unwrap_or(default)
    }

    /// A key that means nothing beside another one.
    fn unused<T>(&self, key: &'static str, file: Key<T>) -> Result<(), ConfigError> {
        let Some(spanned) = file else { return Ok(()) };
        let place = self.source.place(spanned.span().start);
        let (_, mode) = &self.origins["mode"];
        Err(ConfigError(format!("{place}: {key}: means nothing with mode = {mode}; remove it")))
    }
}

fn distinct(endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, ConfigError> {
    for (n, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..n].contains(endpoint) {
            return Err(ConfigError(format!("services.project: {} is named twice", endpoint.address)));
        }
    }
    Ok(endpoints)
}
