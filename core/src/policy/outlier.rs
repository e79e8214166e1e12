//! Which endpoints serve worse than the others, and are left out for a while: outlier ejection after Envoy and gRFC A50.
//!
//! An endpoint is an outlier if its last [`consecutive`](Config::consecutive) answers were failures (found at once), or,
//! looked at each [`sweep`](Config::sweep), if its share of successes lies far below the mean of all, or too large a
//! share of its answers were failures. It is out for [`base`](Config::base) × the times it was ejected, and each sweep in
//! which it serves takes one from those times.
//!
//! However many are outliers, only so many go, the worst first: an ejection happens only if *after* it no more than
//! [`most`](Config::most) of all endpoints are out, those whose breaker is open among them, and one is left. With the
//! default of 10 % nobody is ejected among fewer than ten.
//!
//! ```
//! use plimsoll_core::id::EndpointId;
//! use plimsoll_core::policy::outlier::{Change, Config, Outliers};
//! use plimsoll_core::time::Instant;
//!
//! let mut outliers = Outliers::new(Config::default(), Instant::ZERO);
//! let ids: Vec<_> = (0..10).map(|slot| EndpointId::new(slot, 0)).collect();
//! ids.iter().for_each(|&id| outliers.add(id));
//! (0..4).for_each(|_| assert!(outliers.failed(Instant::ZERO, ids[3], 0).is_none()));
//! assert!(outliers.failed(Instant::ZERO, ids[3], 0).is_some());
//! assert!(outliers.is_ejected(ids[3]));
//! (0..9).for_each(|_| _ = outliers.failed(Instant::ZERO, ids[4], 0));
//! assert!(!outliers.is_ejected(ids[4])); // two of ten would be more than 10 %
//! ```
//!
//! A result costs the same however many endpoints there are; a sweep costs as much as there are slots.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use super::fixed::Ratio;
use crate::id::EndpointId;
use crate::time::{Instant, nanos};

/// Who is an outlier, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Failures in a row that eject. Default 5.
    pub consecutive: NonZeroU32,
    /// How often all are compared; below 1 ms it counts as that. Default 10 s.
    pub sweep: Duration,
    /// How many standard deviations below the mean is too low. Default 1.9.
    pub deviations: Ratio,
    /// How many endpoints must have [`success_volume`](Self::success_volume) for that. Default 5.
    pub success_hosts: u32,
    /// How many answers since the last sweep an endpoint needs to be compared. Default 100.
    pub success_volume: NonZeroU32,
    /// From which share of failures on an endpoint is an outlier by itself. Default 85 %.
    pub failures: Ratio,
    /// How many answers that needs. Default 50.
    pub failure_volume: NonZeroU32,
    /// How long the first ejection lasts at least. Default 30 s.
    pub base: Duration,
    /// How long any lasts at most, to the next sweep. Default 300 s.
    pub longest: Duration,
    /// How many of all may be out. Default 10 %.
    pub most: Ratio,
}
crate::saved!(struct Config {
    consecutive, sweep, deviations, success_hosts, success_volume, failures, failure_volume, base, longest,
    most
});

impl Default for Config {
    fn default() -> Self {
        const fn count(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).unwrap()
        }
        Config {
            consecutive: count(5),
            sweep: Duration::from_secs(10),
            deviations: Ratio::per_mille(1_900),
            success_hosts: 5,
            success_volume: count(100),
            failures: Ratio::percent(85),
            failure_volume: count(50),
            base: Duration::from_secs(30),
            longest: Duration::from_secs(300),
            most: Ratio::percent(10),
        }
    }
}

/// Why an endpoint is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// So many failures in a row.
    Consecutive(u32),
    /// Its share of successes, in thousandths, lies too far below the mean of all.
    SuccessRate(u32),
    /// Its share of failures, in thousandths, is too large.
    FailureShare(u32),
}
crate::saved!(enum Cause { 0 = Consecutive(value), 1 = SuccessRate(value), 2 = FailureShare(value) });

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Consecutive(failures) => write!(f, "{failures} failures in a row"),
            Cause::SuccessRate(rate) => write!(f, "{rate} ‰ successes, far below the mean of all"),
            Cause::FailureShare(share) => write!(f, "{share} ‰ failures"),
        }
    }
}

/// An endpoint is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Which one.
    pub endpoint: EndpointId,
    /// Why.
    pub cause: Cause,
    /// It comes back with the first sweep from then on.
    pub until: Instant,
}

/// What a sweep has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint is out.
    Ejected(Ejection),
    /// An endpoint is back.
    Returned(EndpointId),
}

/// Compares the endpoints of one service.
#[derive(Clone, Debug)]
pub struct Outliers {
    config: Config,
    /// By slot.
    hosts: Vec<Option<Host>>,
    count: u32,
    ejected: u32,
    next_sweep: Instant,
    /// Whether a sweep could find anything to do.
    has_news: bool,
    /// Used within a sweep only; kept for its memory.
    candidates: Vec<Candidate>,
}
// The candidates are empty between sweeps.
crate::saved!(struct Outliers {
    config, hosts, count, ejected, next_sweep, has_news;
    rebuilt candidates = Vec::new()
});

#[derive(Clone, Copy, Debug)]
struct Host {
    generation: u32,
    consecutive: u32,
    successes: u32,
    failures: u32,
    /// How often it was ejected, less the sweeps in which it has served since.
    times: u32,
    out_until: Option<Instant>,
}
crate::saved!(struct Host { generation, consecutive, successes, failures, times, out_until });

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// In Q30.
    success: u64,
    endpoint: EndpointId,
    cause: Cause,
}

impl Host {
    fn volume(&self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    /// In Q30: fine enough, and no product of a sweep leaves 128 bits below 2²⁰ endpoints.
    fn success(&self) -> u64 {
        (u64::from(self.successes) << 30) / u64::from(self.volume()).max(1)
    }

    fn forget(&mut self) {
        (self.consecutive, self.successes, self.failures) = (0, 0, 0);
    }
}

impl Outliers {
    /// A service without endpoints. The first sweep is due after [`Config::sweep`].
    pub fn new(config: Config, now: Instant) -> Self {
        let config = Config { sweep: config.sweep.max(Duration::from_millis(1)), ..config };
        let next_sweep = now + config.sweep;
        Outliers {
            config,
            hosts: Vec::new(),
            count: 0,
            ejected: 0,
            next_sweep,
            has_news: false,
            candidates: Vec::new(),
        }
    }

    /// An endpoint has come. If its slot had another tenant, that one is gone.
    pub fn add(&mut self, endpoint: EndpointId) {
        let slot = endpoint.index();
        if self.hosts.len() <= slot {
            self.hosts.resize(slot + 1, None);
        }
        if let Some(old) = self.hosts[slot] {
            self.remove(EndpointId::new(endpoint.slot(), old.generation));
        }
        let generation = endpoint.generation();
        self.hosts[slot] =
            Some(Host { generation, consecutive: 0, successes: 0, failures: 0, times: 0, out_until: None });
        self.count += 1;
    }

    /// An endpoint has gone.
    pub fn remove(&mut self, endpoint: EndpointId) {
        let Some(host) = self.host(endpoint) else { return };
        self.ejected -= u32::from(host.out_until.is_some());
        self.count -= 1;
        self.hosts[endpoint.index()] = None;
    }

    /// An endpoint has served.
    #[inline]
    pub fn succeeded(&mut self, endpoint: EndpointId) {
        if let Some(host) = self.host(endpoint) {
            host.successes = host.successes.saturating_add(1);
            host.consecutive = 0;
            self.has_news = true;
        }
    }

    /// An endpoint has failed. `open`: how many that are not ejected are out because their breaker is open.
    pub fn failed(&mut self, now: Instant, endpoint: EndpointId, open: u32) -> Option<Ejection> {
        let limit = self.config.consecutive.get();
        let host = self.host(endpoint)?;
        host.failures = host.failures.saturating_add(1);
        host.consecutive = host.consecutive.saturating_add(1);
        let (failures, is_out) = (host.consecutive, host.out_until.is_some());
        self.has_news = true;
        if failures < limit || is_out {
            return None;
        }
        self.eject(now, endpoint.slot(), Cause::Consecutive(failures), open)
    }

    /// Time has passed; early and repeated ticks change nothing. `is_open`: whether an endpoint is out because its breaker
    /// is open, be it ejected or not; `tell` hears of every change, of those that come back first.
    pub fn tick(&mut self, now: Instant, is_open: impl Fn(EndpointId) -> bool, mut tell: impl FnMut(Change)) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + self.config.sweep;
        self.bring_back(now, &mut tell);
        let mut candidates = core::mem::take(&mut self.candidates);
        self.find_outliers(&mut candidates);
        // Counted only now: one that has come back with an open breaker still takes its place below the cap.
        let mut open = self.open_beside_ejected(&is_open);
        for candidate in worst(&mut candidates, self.room(0)) {
            let own = u32::from(is_open(candidate.endpoint));
            if let Some(ejection) = self.eject(now, candidate.endpoint.slot(), candidate.cause, open - own) {
                open -= own;
                tell(Change::Ejected(ejection));
            }
        }
        candidates.clear();
        self.candidates = candidates;
        self.has_news = false;
        for host in self.hosts.iter_mut().flatten() {
            (host.successes, host.failures) = (0, 0);
            self.has_news |= host.times > 0;
        }
    }

    /// Whether a sweep would change anything: somebody is out or was lately, or there are results, and endpoints enough that
    /// one of them may go. Without, nobody has to be woken for it.
    pub fn has_news(&self) -> bool {
        self.has_news && (self.ejected > 0 || self.allowed() > 0)
    }

    /// When to tick next.
    pub fn deadline(&self) -> Instant {
        self.next_sweep
    }

    /// Whether the endpoint is out.
    pub fn is_ejected(&self, endpoint: EndpointId) -> bool {
        self.hosts
            .get(endpoint.index())
            .and_then(Option::as_ref)
            .is_some_and(|host| host.generation == endpoint.generation() && host.out_until.is_some())
    }

    /// How many are out.
    pub fn ejected(&self) -> u32 {
        self.ejected
    }

    fn host(&mut self, endpoint: EndpointId) -> Option<&mut Host> {
        let host = self.hosts.get_mut(endpoint.index())?.as_mut()?;
        (host.generation == endpoint.generation()).then_some(host)
    }

    /// How many more may go out. Whether one may is asked with it counted in, or the cap is exceeded by one
    /// (envoyproxy/envoy#27066) and in a small cluster always by one (#3263).
    fn room(&self, open: u32) -> u32 {
        self.allowed().saturating_sub(self.ejected.saturating_add(open))
    }

    fn allowed(&self) -> u32 {
        self.config.most.of(u64::from(self.count)).min(u64::from(self.count.saturating_sub(1))) as u32
    }

    fn open_beside_ejected(&self, is_open: impl Fn(EndpointId) -> bool) -> u32 {
        let in_use = (0..).zip(&self.hosts).filter_map(|(slot, host)| {
            let host = host.as_ref().filter(|host| host.out_until.is_none())?;
            Some(EndpointId::new(slot, host.generation))
        });
        in_use.filter(|id| is_open(*id)).count() as u32
    }

    fn eject(&mut self, now: Instant, slot: u32, cause: Cause, open: u32) -> Option<Ejection> {
        if self.room(open) == 0 {
            return None;
        }
        let (base, longest) = (nanos(self.config.base), nanos(self.config.longest));
        let host = self.hosts[slot as usize].as_mut()?;
        host.times = host.times.saturating_add(1);
        let time = base.saturating_mul(u64::from(host.times)).min(longest.max(base));
        let until = now + Duration::from_nanos(time);
        host.out_until = Some(until);
        let endpoint = EndpointId::new(slot, host.generation);
        self.ejected += 1;
        self.has_news = true;
        Some(Ejection { endpoint, cause, until })
    }

    fn bring_back(&mut self, now: Instant, tell: &mut impl FnMut(Change)) {
        for (slot, host) in self.hosts.iter_mut().enumerate() {
            let Some(host) = host else { continue };
            match host.out_until {
                Some(until) if now >= until => {
                    // What it answered while it was out was asked before, and is not held against it.
                    host.forget();
                    host.out_until = None;
                    self.ejected -= 1;
                    tell(Change::Returned(EndpointId::new(slot as u32, host.generation)));
                }
                Some(_) => {}
                None => host.times = host.times.saturating_sub(1),
            }
        }
    }

    fn find_outliers(&self, candidates: &mut Vec<Candidate>) {
        let fleet = self.fleet();
        let config = &self.config;
        for (slot, host) in self.hosts.iter().enumerate() {
            let Some(host) = host.filter(|host| host.out_until.is_none()) else { continue };
            let (success, volume) = (host.success(), host.volume());
            let per_mille = ((success * 1_000) >> 30) as u32;
            let failed = u64::from(host.failures) * 1_000;
            let cause = if host.consecutive >= config.consecutive.get() {
                Cause::Consecutive(host.consecutive)
            } else if volume >= config.success_volume.get() && fleet.is_far_above(success, config) {
                Cause::SuccessRate(per_mille)
            } else if volume >= config.failure_volume.get()
                && failed >= u64::from(volume) * u64::from(config.failures.as_per_mille())
            {
                Cause::FailureShare((failed / u64::from(volume)) as u32)
            } else {
                continue;
            };
            let endpoint = EndpointId::new(slot as u32, host.generation);
            candidates.push(Candidate { success, endpoint, cause });
        }
    }

    fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::default();
        let in_use = self.hosts.iter().flatten().filter(|host| host.out_until.is_none());
        for host in in_use.filter(|host| host.volume() >= self.config.success_volume.get()) {
            let success = u128::from(host.success());
            fleet.hosts += 1;
            fleet.sum += success;
            fleet.squares += success * success;
        }
        fleet
    }
}

/// The shares of successes of those that have answered enough.
#[derive(Default)]
struct Fleet {
    hosts: u128,
    sum: u128,
    squares: u128,
}

impl Fleet {
    /// Whether `success` < mean − deviations × σ, without a root: both sides times the number of hosts, and squared.
    fn is_far_above(&self, success: u64, config: &Config) -> bool {
        let own = self.hosts * u128::from(success);
        if self.hosts < u128::from(config.success_hosts) || own >= self.sum {
            return false;
        }
        let below = (self.sum - own) * 1_000;
        let variance = self.hosts * self.squares - self.sum * self.sum;
        let deviations = u128::from(config.deviations.as_per_mille());
        below * below > variance.saturating_mul(deviations * deviations)
    }
}

/// The `n` worst of them, found without sorting the others.
fn worst(candidates: &mut [Candidate], n: u32) -> &[Candidate] {
    let n = candidates.len().min(n as usize);
    if n < candidates.len() {
        candidates.select_nth_unstable_by_key(n, |candidate| (candidate.success, candidate.endpoint.slot()));
    }
    let worst = &mut candidates[..n];
    worst.sort_unstable_by_key(|candidate| (candidate.success, candidate.endpoint.slot()));
    worst
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests;
