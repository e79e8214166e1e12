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
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    struct Bench {
        outliers: Outliers,
        now: Instant,
        hosts: u32,
        /// How many breakers are open, those of the last hosts.
        open: u32,
    }

    impl Bench {
        fn new(hosts: u32, config: Config) -> Self {
            let mut outliers = Outliers::new(config, Instant::ZERO);
            (0..hosts).for_each(|slot| outliers.add(id(slot)));
            Bench { outliers, now: Instant::ZERO, hosts, open: 0 }
        }

        /// How many are out, beside one, because their breaker is open.
        fn open_beside(&self, one: Option<u32>) -> u32 {
            let open = self.hosts.saturating_sub(self.open)..self.hosts;
            open.filter(|slot| Some(*slot) != one && !self.outliers.is_ejected(id(*slot))).count() as u32
        }

        fn answers(&mut self, slot: u32, successes: u32, failures: u32) {
            // Never five failures in a row, unless there is nothing else.
            for n in 0..successes + failures {
                let all = successes + failures;
                let before = u64::from(n) * u64::from(failures) / u64::from(all);
                if u64::from(n + 1) * u64::from(failures) / u64::from(all) > before {
                    let open = self.open_beside(Some(slot));
                    self.outliers.failed(self.now, id(slot), open);
                } else {
                    self.outliers.succeeded(id(slot));
                }
            }
        }

        fn sweep(&mut self) -> Vec<Change> {
            self.now = self.outliers.deadline();
            let mut changes = Vec::new();
            let first_open = self.hosts.saturating_sub(self.open);
            self.outliers.tick(self.now, |id| id.slot() >= first_open, |change| changes.push(change));
            changes
        }

        fn ejected(&mut self) -> Vec<(u32, Cause)> {
            self.sweep()
                .into_iter()
                .filter_map(|change| match change {
                    Change::Ejected(ejection) => Some((ejection.endpoint.slot(), ejection.cause)),
                    Change::Returned(_) => None,
                })
                .collect()
        }
    }

    fn id(slot: u32) -> EndpointId {
        EndpointId::new(slot, 0)
    }

    fn half() -> Config {
        Config { most: Ratio::percent(50), ..Config::default() }
    }

    #[test]
    fn five_failures_in_a_row_eject_at_once_and_a_success_between_them_does_not() {
        let mut bench = Bench::new(10, Config::default());
        for _ in 0..4 {
            assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None);
        }
        bench.outliers.succeeded(id(1));
        for _ in 0..4 {
            assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None);
        }
        let until = bench.now + Duration::from_secs(30);
        let ejection = Ejection { endpoint: id(1), cause: Cause::Consecutive(5), until };
        assert_eq!(bench.outliers.failed(bench.now, id(1), 0), Some(ejection));
        assert_eq!(bench.outliers.failed(bench.now, id(1), 0), None, "it is out already");
    }

    #[test]
    fn nobody_is_ejected_for_the_sake_of_ejecting_one() {
        // envoyproxy/envoy#3263
        let mut bench = Bench::new(9, Config::default());
        bench.answers(0, 0, 50);
        assert_eq!(bench.ejected(), []);
    }

    #[test]
    fn all_are_never_ejected_whatever_the_cap() {
        // istio/istio#20135
        let mut bench = Bench::new(5, Config { most: Ratio::percent(1_000), ..Config::default() });
        (0..5).for_each(|slot| bench.answers(slot, 0, 60));
        bench.sweep();
        assert_eq!(bench.outliers.ejected(), 4);
    }

    #[test]
    fn endpoints_whose_breaker_is_open_count_against_the_cap() {
        let mut bench = Bench::new(20, Config::default());
        bench.open = 1;
        (0..3).for_each(|slot| bench.answers(slot, 0, 5));
        assert_eq!(bench.outliers.ejected(), 1);
        bench.open = 2;
        bench.answers(7, 0, 60);
        assert_eq!(bench.ejected(), []);
    }

    #[test]
    fn one_that_comes_back_with_an_open_breaker_leaves_its_place_to_nobody() {
        let mut bench = Bench::new(10, Config::default());
        bench.answers(9, 0, 5);
        bench.open = 1;
        (0..2).for_each(|_| assert_eq!(bench.sweep(), []));
        bench.answers(4, 0, 60);
        assert_eq!(bench.sweep(), [Change::Returned(id(9))]);
        // While it is out anyway, its own place is the one it would take.
        bench.answers(9, 0, 60);
        assert!(bench.outliers.is_ejected(id(9)));
    }

    #[test]
    fn far_below_the_mean_is_out_and_a_little_below_is_not() {
        let mut bench = Bench::new(10, Config::default());
        (0..9).for_each(|slot| bench.answers(slot, 98 + slot % 3, 3 - slot % 3));
        bench.answers(9, 80, 21);
        assert_eq!(bench.ejected(), [(9, Cause::SuccessRate(792))]);
        (0..9).for_each(|slot| bench.answers(slot, 98 + slot % 3, 3 - slot % 3));
        assert_eq!(bench.ejected(), []);
    }

    #[test]
    fn too_few_answers_or_hosts_say_nothing() {
        let mut bench = Bench::new(10, Config::default());
        (0..9).for_each(|slot| bench.answers(slot, 100, 0));
        bench.answers(9, 49, 50);
        assert_eq!(bench.ejected(), [], "99 answers");
        let mut bench = Bench::new(10, Config::default());
        (0..3).for_each(|slot| bench.answers(slot, 100, 0));
        bench.answers(9, 50, 50);
        assert_eq!(bench.ejected(), [], "4 hosts");
    }

    #[test]
    fn eighty_five_of_a_hundred_failures_are_out_without_comparison() {
        let patient = Config { consecutive: NonZeroU32::MAX, ..Config::default() };
        let mut bench = Bench::new(10, patient);
        bench.answers(2, 9, 51);
        assert_eq!(bench.ejected(), [(2, Cause::FailureShare(850))]);
        let mut bench = Bench::new(10, patient);
        bench.answers(2, 0, 49);
        bench.answers(3, 10, 50);
        assert_eq!(bench.ejected(), []);
    }

    #[test]
    fn the_worst_go_first() {
        let patient = Config { consecutive: NonZeroU32::MAX, ..Config::default() };
        let mut bench = Bench::new(20, patient);
        for slot in 0..20 {
            bench.answers(slot, slot % 5, 95);
        }
        let slots: Vec<u32> = bench.ejected().into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots, [0, 5]);
    }

    #[test]
    fn each_ejection_lasts_longer_up_to_five_minutes_and_serving_takes_it_back() {
        let mut bench = Bench::new(10, Config::default());
        let mut lengths = Vec::new();
        for _ in 0..12 {
            bench.answers(0, 0, 4);
            let ejection = bench.outliers.failed(bench.now, id(0), 0).unwrap();
            lengths.push(ejection.until.since(bench.now).as_secs());
            while bench.outliers.is_ejected(id(0)) {
                bench.sweep();
            }
        }
        assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
        (0..12).for_each(|_| _ = bench.sweep());
        bench.answers(0, 0, 4);
        assert_eq!(bench.outliers.failed(bench.now, id(0), 0).unwrap().until.since(bench.now).as_secs(), 30);
    }

    #[test]
    fn what_came_in_while_it_was_out_is_not_held_against_it() {
        let mut bench = Bench::new(10, Config::default());
        bench.answers(0, 0, 500);
        (0..3).for_each(|_| _ = bench.sweep());
        assert!(!bench.outliers.is_ejected(id(0)));
        assert_eq!(bench.ejected(), []);
    }

    #[test]
    fn a_late_result_for_a_recycled_slot_is_ignored() {
        let mut bench = Bench::new(10, Config::default());
        bench.answers(0, 0, 5);
        let next = EndpointId::new(0, 1);
        bench.outliers.add(next);
        assert_eq!((bench.outliers.ejected(), bench.outliers.is_ejected(next)), (0, false));
        bench.answers(0, 0, 50);
        assert!(!bench.outliers.is_ejected(next));
        bench.outliers.remove(id(0));
        assert_eq!(bench.outliers.room(0), 1, "there are still ten");
    }

    #[test]
    fn whoever_leaves_lowers_the_cap() {
        let mut bench = Bench::new(20, Config::default());
        bench.outliers.remove(id(19));
        (0..2).for_each(|slot| bench.answers(slot, 0, 5));
        assert_eq!(bench.outliers.ejected(), 1, "two of nineteen would be too many");
    }

    #[test]
    fn a_sweep_is_worth_while_if_there_are_results_or_somebody_was_out() {
        let mut bench = Bench::new(10, Config::default());
        assert!(!bench.outliers.has_news());
        bench.outliers.succeeded(id(1));
        assert!(bench.outliers.has_news());
        bench.sweep();
        assert!(!bench.outliers.has_news());
        bench.answers(0, 0, 5);
        // Out for three sweeps, and one more without a fault.
        let sweeps = (0..10).take_while(|_| bench.outliers.has_news() && bench.sweep().len() < 10).count();
        assert_eq!(sweeps, 4);

        bench.answers(0, 0, 5);
        bench.outliers.remove(id(9));
        assert!(bench.outliers.has_news(), "one is to come back, though of nine none may go");
        let mut few = Bench::new(9, Config::default());
        few.answers(0, 0, 5);
        assert!(!few.outliers.has_news(), "of nine none may go");
    }

    #[test]
    fn at_the_bound_exactly_it_stays() {
        // Of five of which four are equal, the other lies two deviations below the mean.
        for (thousandths, out) in [(2_000, 0), (1_999, 1)] {
            let deviations = Ratio::per_mille(thousandths);
            let mut bench = Bench::new(5, Config { deviations, consecutive: NonZeroU32::MAX, ..half() });
            (0..4).for_each(|slot| bench.answers(slot, 100, 0));
            bench.answers(4, 50, 50);
            assert_eq!(bench.ejected().len(), out, "{thousandths}");
        }
    }

    quickcheck! {
        fn the_cap_holds_over_any_history(steps: Vec<(u8, u8, u8)>, hosts: u8, most: u8) -> bool {
            let hosts = u32::from(hosts) % 40;
            let config = Config { most: Ratio::percent(u32::from(most) % 120), ..half() };
            let mut bench = Bench::new(hosts, config);
            steps.into_iter().all(|(slot, failures, open)| {
                bench.open = u32::from(open) % 4;
                let before = bench.outliers.ejected();
                bench.answers(u32::from(slot) % 50, u32::from(failures) % 7, u32::from(failures));
                if slot % 5 == 0 {
                    bench.sweep();
                }
                let out = bench.outliers.ejected();
                let listed = (0..hosts).filter(|&slot| bench.outliers.is_ejected(id(slot))).count() as u32;
                let all_out = out + bench.open_beside(None);
                listed == out
                    && (out <= before
                        || (all_out * 1_000 <= config.most.as_per_mille() * hosts && all_out < hosts))
            })
        }

        fn the_comparison_agrees_with_floating_point(counts: Vec<(u8, u8)>) -> bool {
            let mut bench = Bench::new(counts.len() as u32, half());
            for (slot, &(successes, failures)) in counts.iter().enumerate() {
                let host = bench.outliers.hosts[slot].as_mut().unwrap();
                (host.successes, host.failures) = (100 + u32::from(successes), u32::from(failures));
            }
            let fleet = bench.outliers.fleet();
            let hosts: Vec<Host> = bench.outliers.hosts.iter().flatten().copied().collect();
            let rate = |host: &Host| f64::from(host.successes) / f64::from(host.volume());
            let n = hosts.len().max(1) as f64;
            let mean = hosts.iter().map(rate).sum::<f64>() / n;
            let variance = hosts.iter().map(|host| (rate(host) - mean).powi(2)).sum::<f64>() / n;
            let bound = mean - 1.9 * variance.sqrt();
            hosts.iter().all(|host| {
                (rate(host) - bound).abs() < 1e-7
                    || fleet.is_far_above(host.success(), &half()) == (hosts.len() >= 5 && rate(host) < bound)
            })
        }
    }
}
