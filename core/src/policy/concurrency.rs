//! How many calls a service can take at once, found out by watching it: an adaptive concurrency limit after Envoy's gradient
//! controller and Netflix's concurrency-limits.
//!
//! When a service is given more than it can work on, calls queue and answers slow down. From time to time the limit goes
//! down to [`Config::minimum`] for [`Config::samples`] answers: their mean is what an answer takes without a queue. After
//! that, each window of answers moves the limit to limit × gradient + √limit, where the gradient (0.5 to 2) is the time
//! without a queue, and a quarter more, over the time now. The root is the queue that is allowed, for bursts.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::concurrency::{Concurrency, Config, Outcome};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let mut now = Instant::from_millis(1);
//! let mut limit = Concurrency::new(Config::default(), now, Pcg::new(1, 1));
//! let permits: Vec<_> = (0..3).map(|_| limit.admit(now).unwrap()).collect();
//! assert_eq!(limit.admit(now).unwrap_err().limit, 3); // it is measuring
//! now = now + Duration::from_millis(10);
//! for permit in permits {
//!     limit.settle(now, permit, Outcome::Served);
//! }
//! ```

use core::num::NonZeroU32;
use core::time::Duration;

use thiserror::Error;

use super::buckets::Buckets;
use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// What a [`Concurrency`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The limit never falls below this, and is this while measuring. Default 3.
    pub minimum: NonZeroU32,
    /// It never rises above this; below `minimum` it counts as that. Default 1,000.
    pub maximum: u32,
    /// Answers in a measurement, and in a window at least. Default 50.
    pub samples: NonZeroU32,
    /// A window lasts at least so long. Default 100 ms.
    pub window: Duration,
    /// The longest time from one measurement to the next; each is drawn from its last sixth, or many clients would
    /// measure together (envoyproxy/envoy#8337). Default 60 s.
    pub remeasure: Duration,
    /// How much slower than without a queue an answer may be. Default 25 %.
    pub tolerance: Ratio,
    /// A permit that is not settled for so long gives its place back: a call that was dropped half-way would keep it
    /// for ever, and a few of those would stop all others. A tenth of this less at worst, so take what is well above the
    /// longest call. Default 60 s.
    pub lease: Duration,
}
crate::saved!(struct Config { minimum, maximum, samples, window, remeasure, tolerance, lease });

impl Default for Config {
    fn default() -> Self {
        Config {
            minimum: const { NonZeroU32::new(3).unwrap() },
            maximum: 1_000,
            samples: const { NonZeroU32::new(50).unwrap() },
            window: Duration::from_millis(100),
            remeasure: Duration::from_secs(60),
            tolerance: Ratio::percent(25),
            lease: Duration::from_secs(60),
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The service did the work; how long that took says how busy it is.
    Served,
    /// The service refused it or let it time out: too much, however fast it said so.
    Dropped,
    /// It says nothing: cancelled, lost, or a failure that is no overload.
    Ignored,
}

/// As many calls are out as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("concurrency limit reached: {limit} calls are in flight")]
pub struct Limited {
    /// How many may be.
    pub limit: u32,
}

/// Leave to make one call. Settle it exactly once: it holds its place until then, or until its lease ends. It can be
/// cloned so that whoever holds it can be saved; only one of the clones is to be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a permit that is not settled keeps its place until its lease ends"]
pub struct Permit {
    started: Instant,
    epoch: u32,
    /// The bucket of leases that it is counted in.
    lease: Instant,
}
crate::saved!(struct Permit { started, epoch, lease });

impl Permit {
    /// The call begins only now: the time that it has waited for a connection says nothing about the service.
    pub fn restart(&mut self, now: Instant) {
        self.started = self.started.max(now);
    }
}

/// Limits the calls in flight to one service, or to one endpoint.
#[derive(Clone, Debug)]
pub struct Concurrency {
    config: Config,
    rng: Pcg,
    limit: u32,
    in_flight: u32,
    /// Those in flight by when they were admitted.
    leases: Buckets<u32>,
    /// What counts belongs to the present phase; a call that began in another was slowed by another limit.
    epoch: u32,
    phase: Phase,
    /// Nanoseconds of an answer without a queue.
    floor: u64,
    window: Window,
}
crate::saved!(struct Concurrency { config, rng, limit, in_flight, leases, epoch, phase, floor, window });

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The limit to go on with afterwards.
    Measuring { then: u32 },
    /// Until the next measurement.
    Adapting { until: Instant },
}
crate::saved!(enum Phase { 0 = Measuring { then }, 1 = Adapting { until } });

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    samples: u32,
    sum: u64,
    drops: u32,
    /// Whether the limit was reached: only then does it mean anything to raise it.
    is_limiting: bool,
}
crate::saved!(struct Window { since, samples, sum, drops, is_limiting });

impl Window {
    const fn new(since: Instant) -> Self {
        Window { since, samples: 0, sum: 0, drops: 0, is_limiting: false }
    }
}

impl Concurrency {
    /// A service about which nothing is known: it begins with a measurement. `rng` is kept.
    pub fn new(config: Config, now: Instant, rng: Pcg) -> Self {
        let minimum = config.minimum.get();
        let config = Config { maximum: config.maximum.max(minimum), ..config };
        Concurrency {
            config,
            rng,
            limit: minimum,
            in_flight: 0,
            leases: Buckets::new(config.lease),
            epoch: 0,
            phase: Phase::Measuring { then: minimum },
            floor: 0,
            window: Window::new(now),
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// [`Limited`] if the limit is reached.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Limited> {
        if let Phase::Adapting { until } = self.phase
            && now >= until
        {
            self.measure(now);
        }
        self.end_leases(now);
        if self.in_flight >= self.limit {
            self.window.is_limiting = true;
            return Err(Limited { limit: self.limit });
        }
        *self.end_leases(now) += 1;
        self.in_flight += 1;
        self.window.is_limiting |= self.in_flight == self.limit;
        Ok(Permit { started: now, epoch: self.epoch, lease: self.leases.current() })
    }

    /// A call has ended. What a call of an earlier epoch took is not counted: it may have waited in the queue that the
    /// measurement is there to avoid (envoyproxy/envoy#11579). One whose lease has ended still counts: it has only lost
    /// its place.
    pub fn settle(&mut self, now: Instant, permit: Permit, outcome: Outcome) {
        self.end_leases(now);
        if let Some(lease) = self.leases.named(permit.lease) {
            *lease = lease.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if permit.epoch != self.epoch {
            return;
        }
        match outcome {
            Outcome::Served => {
                self.window.samples += 1;
                self.window.sum = self.window.sum.saturating_add(nanos(now.since(permit.started)));
            }
            Outcome::Dropped => self.window.drops = self.window.drops.saturating_add(1),
            Outcome::Ignored => {}
        }
        if self.window.samples.saturating_add(self.window.drops) >= self.config.samples.get() {
            self.end_window(now);
        }
    }

    /// How many calls may be in flight.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many were when it was last asked or told.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What an answer takes without a queue; `None` before the first measurement.
    pub fn floor(&self) -> Option<Duration> {
        (self.floor > 0).then(|| Duration::from_nanos(self.floor))
    }

    /// Whether the limit is held down to measure.
    pub fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// The leases that begin now; those that have ended until then give their places back.
    fn end_leases(&mut self, now: Instant) -> &mut u32 {
        let in_flight = &mut self.in_flight;
        self.leases.at(now, |ended| *in_flight -= ended)
    }

    fn end_window(&mut self, now: Instant) {
        let mean = self.window.sum.checked_div(u64::from(self.window.samples)).map(|mean| mean.max(1));
        match self.phase {
            Phase::Measuring { then } => {
                // With nothing but drops there is nothing to go by: it stays at the minimum, and goes on measuring.
                if let Some(mean) = mean {
                    self.floor = mean;
                    self.limit = then;
                    self.epoch = self.epoch.wrapping_add(1);
                    self.phase = Phase::Adapting { until: now + self.next_measurement() };
                }
            }
            Phase::Adapting { .. } => {
                if now.since(self.window.since) < self.config.window {
                    return;
                }
                self.limit = self.adapted(mean);
            }
        }
        self.window = Window::new(now);
    }

    /// The limit after a window whose answers took `mean`.
    fn adapted(&self, mean: Option<u64>) -> u32 {
        let limit = u64::from(self.limit);
        let Some(mean) = mean.filter(|_| self.window.drops == 0) else {
            // Drops come back at once and take no time: they must count as slow, not as fast
            // (Netflix/concurrency-limits#176).
            return self.clamped(limit * 9 / 10);
        };
        let allowed = u128::from(self.floor) + u128::from(self.config.tolerance.of(self.floor));
        let scaled = (u128::from(limit) * allowed / u128::from(mean))
            .clamp(u128::from(limit / 2), 2 * u128::from(limit));
        let next = scaled as u64 + limit.isqrt();
        if next > limit && !self.window.is_limiting {
            // Fast answers to few calls say nothing about many (Netflix/concurrency-limits#134).
            return self.limit;
        }
        self.clamped(next)
    }

    fn clamped(&self, limit: u64) -> u32 {
        limit.clamp(u64::from(self.config.minimum.get()), u64::from(self.config.maximum)) as u32
    }

    fn measure(&mut self, now: Instant) {
        self.phase = Phase::Measuring { then: self.limit };
        self.limit = self.config.minimum.get();
        self.epoch = self.epoch.wrapping_add(1);
        self.window = Window::new(now);
    }

    fn next_measurement(&mut self) -> Duration {
        let longest = nanos(self.config.remeasure);
        Duration::from_nanos(longest - self.rng.up_to(longest / 6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    /// A service with so many workers, each of which takes 10 ms a call, before which calls queue.
    struct Service {
        limit: Concurrency,
        now: Instant,
        workers: usize,
        queue: VecDeque<Permit>,
    }

    const MS: Duration = Duration::from_millis(1);

    impl Service {
        fn new(workers: usize, config: Config) -> Self {
            let limit = Concurrency::new(config, Instant::ZERO, Pcg::new(1, 1));
            Service { limit, now: Instant::ZERO, workers, queue: VecDeque::new() }
        }

        /// Rounds of 10 ms: up to `offered` calls are in flight, and each worker ends one.
        fn run(&mut self, rounds: u32, offered: u32) {
            for _ in 0..rounds {
                while self.limit.in_flight() < offered {
                    let Ok(permit) = self.limit.admit(self.now) else { break };
                    self.queue.push_back(permit);
                }
                self.now = self.now + 10 * MS;
                for _ in 0..self.workers {
                    let Some(permit) = self.queue.pop_front() else { break };
                    self.limit.settle(self.now, permit, Outcome::Served);
                }
            }
        }
    }

    #[test]
    fn it_finds_what_the_service_can_do_and_leaves_little_in_the_queue() {
        let mut service = Service::new(40, Config::default());
        service.run(1_000, 100_000);
        assert_eq!(service.limit.floor(), Some(10 * MS));
        assert!((40..70).contains(&service.limit.limit()), "{}", service.limit.limit());
    }

    #[test]
    fn it_follows_a_service_that_loses_most_of_its_workers() {
        let mut service = Service::new(100, Config::default());
        service.run(1_000, 100_000);
        service.workers = 10;
        service.run(1_000, 100_000);
        assert!((10..30).contains(&service.limit.limit()), "{}", service.limit.limit());
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_what_limits() {
        // Netflix/concurrency-limits#134
        let mut service = Service::new(40, Config::default());
        service.run(100_000, 5);
        assert_eq!(service.limit.limit(), 7, "one step above the 5 that are offered");
    }

    #[test]
    fn a_window_halves_or_doubles_the_limit_at_most_but_for_the_headroom() {
        let mut service = Service::new(40, Config::default());
        service.run(1_000, 100_000);
        service.limit.limit = 101;
        service.limit.window.is_limiting = true;
        assert_eq!(service.limit.adapted(Some(u64::MAX)), 50 + 10);
        assert_eq!(service.limit.adapted(Some(1)), 202 + 10);
        service.limit.window.drops = 1;
        assert_eq!(service.limit.adapted(Some(1)), 90, "a tenth less after a drop");
    }

    #[test]
    fn it_never_exceeds_the_maximum() {
        let mut service = Service::new(usize::MAX, Config { maximum: 64, ..Config::default() });
        service.run(1_000, 1_000);
        assert_eq!(service.limit.limit(), 64);
    }

    #[test]
    fn instant_drops_do_not_look_fast() {
        // Netflix/concurrency-limits#176
        let mut service = Service::new(40, Config::default());
        service.run(500, 100_000);
        let before = service.limit.limit();
        for _ in 0..50 {
            service.now = service.now + 10 * MS;
            for _ in 0..20 {
                let Ok(permit) = service.limit.admit(service.now) else { break };
                service.limit.settle(service.now, permit, Outcome::Dropped);
            }
        }
        assert!(service.limit.limit() < before * 2 / 3, "{} of {before}", service.limit.limit());
    }

    #[test]
    fn a_service_that_sheds_what_is_too_much_is_not_sent_more_and_more() {
        // All that it serves is fast; only the drops say that it is full.
        let mut service = Service::new(20, Config::default());
        for _ in 0..1_000 {
            let mut shed = Vec::new();
            while let Ok(permit) = service.limit.admit(service.now) {
                if service.queue.len() < service.workers {
                    service.queue.push_back(permit);
                } else {
                    shed.push(permit);
                }
            }
            shed.into_iter().for_each(|permit| service.limit.settle(service.now, permit, Outcome::Dropped));
            service.run(1, 0);
        }
        assert!((15..40).contains(&service.limit.limit()), "{}", service.limit.limit());
    }

    #[test]
    fn answers_of_an_old_epoch_do_not_ratchet_the_measurement() {
        // envoyproxy/envoy#11579
        let mut limit = Concurrency::new(Config::default(), Instant::ZERO, Pcg::new(1, 1));
        let mut now = Instant::ZERO;
        let one = |limit: &mut Concurrency, now: &mut Instant, outcome| {
            let permit = limit.admit(*now).unwrap();
            *now = *now + 10 * MS;
            limit.settle(*now, permit, outcome);
        };
        (0..50).for_each(|_| one(&mut limit, &mut now, Outcome::Served));
        assert!(!limit.is_measuring());
        let old = limit.admit(now).unwrap();
        now = now + Duration::from_secs(60);
        one(&mut limit, &mut now, Outcome::Served);
        assert!(limit.is_measuring());
        limit.settle(now, old, Outcome::Served); // it took a minute, most of it in a queue
        (0..49).for_each(|_| one(&mut limit, &mut now, Outcome::Served));
        assert_eq!((limit.is_measuring(), limit.floor()), (false, Some(10 * MS)));
        assert_eq!(limit.in_flight(), 0);
    }

    #[test]
    fn clients_that_began_together_measure_apart() {
        // envoyproxy/envoy#8337
        let mut next: Vec<u64> = (0..100)
            .map(|seed| {
                let mut limit = Concurrency::new(Config::default(), Instant::ZERO, Pcg::new(seed, 1));
                limit.next_measurement().as_secs()
            })
            .collect();
        next.sort_unstable();
        next.dedup();
        assert!(next.len() >= 9 && next.iter().all(|seconds| (50..=60).contains(seconds)), "{next:?}");
    }

    #[test]
    fn a_measurement_goes_on_with_the_limit_from_before() {
        let mut service = Service::new(40, Config { lease: Duration::MAX, ..Config::default() });
        service.run(1_000, 100_000);
        let before = service.limit.limit();
        service.now = service.now + Duration::from_secs(60);
        service.limit.admit(service.now).unwrap_err();
        assert_eq!((service.limit.limit(), service.limit.is_measuring()), (3, true));
        service.run(30, 100_000);
        assert!(!service.limit.is_measuring() && service.limit.limit().abs_diff(before) < before / 3);
    }

    #[test]
    fn a_permit_that_never_comes_back_gives_its_place_back_when_its_lease_ends() {
        let mut limit = Concurrency::new(Config::default(), Instant::ZERO, Pcg::new(1, 1));
        let lost: Vec<Permit> = (0..3).map(|_| limit.admit(Instant::ZERO).unwrap()).collect();
        assert!(limit.admit(Instant::from_millis(53_999)).is_err());
        let now = Instant::from_millis(60_000);
        let kept: Vec<Permit> = (0..3).map(|_| limit.admit(now).unwrap()).collect();
        assert!(limit.admit(now).is_err());
        // Late, but not lost: they have no place to give back.
        lost.into_iter().for_each(|permit| limit.settle(now, permit, Outcome::Ignored));
        assert_eq!(limit.in_flight(), 3);
        kept.into_iter().for_each(|permit| limit.settle(now, permit, Outcome::Ignored));
        assert_eq!(limit.in_flight(), 0);
    }

    #[test]
    fn what_waited_for_a_connection_is_measured_from_when_it_was_sent() {
        let mut limit = Concurrency::new(Config::default(), Instant::ZERO, Pcg::new(1, 1));
        let mut now = Instant::ZERO;
        for _ in 0..50 {
            let mut permit = limit.admit(now).unwrap();
            now = now + 90 * MS;
            permit.restart(now);
            now = now + 10 * MS;
            limit.settle(now, permit, Outcome::Served);
        }
        assert_eq!(limit.floor(), Some(10 * MS));
    }

    quickcheck! {
        fn a_place_is_held_for_nine_tenths_of_its_lease_and_never_longer(steps: Vec<(u8, u16)>) -> bool {
            let lease = Duration::from_secs(10);
            let maximum = 1_000;
            let config = Config { minimum: NonZeroU32::new(maximum).unwrap(), maximum, lease, ..Config::default() };
            let mut limit = Concurrency::new(config, Instant::ZERO, Pcg::new(1, 1));
            let mut now = Instant::ZERO;
            let mut out = Vec::new();
            steps.into_iter().all(|(what, gap)| {
                now = now + Duration::from_millis(u64::from(gap) % 3_000);
                if what % 3 == 0 && !out.is_empty() {
                    let (_, permit) = out.swap_remove(usize::from(what) % out.len());
                    limit.settle(now, permit, Outcome::Ignored);
                } else {
                    out.push((now, limit.admit(now).unwrap()));
                }
                let held = |least: u64| {
                    let least = Duration::from_millis(least);
                    out.iter().filter(|(since, _)| now.since(*since) < least).count() as u32
                };
                (held(9_000)..=held(10_000)).contains(&limit.in_flight())
            })
        }

        fn never_more_in_flight_than_were_allowed_nor_out_of_bounds(steps: Vec<(u8, u16)>) -> bool {
            let lease = Duration::MAX;
            let config = Config { samples: NonZeroU32::new(4).unwrap(), maximum: 50, lease, ..Config::default() };
            let mut limit = Concurrency::new(config, Instant::ZERO, Pcg::new(1, 1));
            let mut now = Instant::ZERO;
            let mut out = Vec::new();
            steps.into_iter().all(|(what, gap)| {
                now = now + Duration::from_millis(u64::from(gap));
                match (what % 8, out.pop()) {
                    (0, Some(permit)) => limit.settle(now, permit, Outcome::Dropped),
                    (1, Some(permit)) => limit.settle(now, permit, Outcome::Ignored),
                    (2..4, Some(permit)) => limit.settle(now, permit, Outcome::Served),
                    (_, kept) => {
                        out.extend(kept);
                        let before = out.len();
                        out.extend(limit.admit(now).ok());
                        assert_eq!(out.len() > before, before < limit.limit() as usize);
                    }
                }
                limit.in_flight() as usize == out.len() && (3..=50).contains(&limit.limit())
            })
        }
    }
}
