//! Circuit breaker: stops calling what fails, and finds out with a few probes when it serves again.
//!
//! ```text
//!            too many failures                    the recovery time is over
//!  Closed ───────────────────────▶ Open ────────────────────────────────────▶ HalfOpen
//!    ▲                              ▲              one probe fails               │  │
//!    │                              └────────────────────────────────────────────┘  │
//!    └──────────────────────────────────────────────────────────────────────────────┘
//!                                enough probes succeed
//! ```
//!
//! ```
//! use plimsoll_core::policy::breaker::{Breaker, Config, Outcome, State};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let now = Instant::from_millis(1_000);
//! let mut breaker = Breaker::new(Config::default(), Pcg::new(1, 1));
//! for _ in 0..5 {
//!     let permit = breaker.admit(now).unwrap();
//!     breaker.settle(now, permit, Outcome::Failure);
//! }
//! let open = breaker.admit(now).unwrap_err(); // refused at once, without a call
//! assert_eq!(open.retry_at, Instant::from_millis(61_000));
//!
//! let now = open.retry_at;
//! let probe = breaker.admit(now).unwrap();
//! assert_eq!(breaker.state(now), State::HalfOpen);
//! breaker.settle(now, probe, Outcome::Success); // two more, and it closes
//! ```
//!
//! The pattern is M. Nygard's ("Release It!", 2007). What is particular here are the permits. Each names the
//! *generation* it was given in, and a generation ends with every change of state: the result of a call that
//! began before a trip cannot count after it. And the place of a probe is only leased: one that never returns
//! gives it back when its *lease* ends, so that half-open cannot get stuck.
//!
//! Settle each permit once; a permit that is dropped costs nothing but, for a probe, the rest of its lease.

mod probation;

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use thiserror::Error;

use self::probation::Probation;
use super::backoff::{Backoff, Config as Growth, Jitter};
use super::buckets::Buckets;
use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::{Instant, nanos};

pub use self::probation::MAX_PROBES;

/// When failures are too many. Only a failure trips, never a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// So many failures in a row, or too small a share of successes within the period.
    Rate {
        /// Failures without a success between them. Default 5.
        consecutive: NonZeroU32,
        /// The smallest share of successes, from 0 (never trips) to 1. Default 0.8.
        success: Ratio,
        /// How many results the period must hold before the share means something. Default 20.
        volume: NonZeroU32,
    },
    /// So many failures within the period, whatever else succeeds.
    Count {
        /// That many trip.
        failures: NonZeroU32,
    },
}
crate::saved!(enum Mode { 0 = Rate { consecutive, success, volume }, 1 = Count { failures } });

/// What a [`Breaker`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// When it opens. Default [`Mode::Rate`] with 5, 0.8, 20.
    pub mode: Mode,
    /// How long a result counts; it is dropped a tenth of this at a time. Default 300 s.
    pub period: Duration,
    /// How long it stays open the first time; above `recovery_cap` it counts as that. Default 60 s.
    pub recovery: Duration,
    /// By how much that grows each time a probe fails: the n-th is drawn from the grown time divided by this,
    /// to the grown time, so that many clients do not probe together. Below 1 it counts as 1, which is no growth
    /// and no jitter. Default 2.
    pub multiplier: Ratio,
    /// How long it stays open at most. Default 300 s.
    pub recovery_cap: Duration,
    /// How many probes must succeed before it closes, and how many may be out at a time (those at most
    /// [`MAX_PROBES`]). Default 3.
    pub success_threshold: NonZeroU32,
    /// When the place of a probe that has not returned is given to another: the longest a call may take.
    /// Default 30 s.
    pub lease: Duration,
}
crate::saved!(struct Config { mode, period, recovery, multiplier, recovery_cap, success_threshold, lease });

impl Default for Config {
    fn default() -> Self {
        const fn count(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).unwrap()
        }
        Config {
            mode: Mode::Rate { consecutive: count(5), success: Ratio::per_mille(800), volume: count(20) },
            period: Duration::from_secs(300),
            recovery: Duration::from_secs(60),
            multiplier: Ratio::per_mille(2_000),
            recovery_cap: Duration::from_secs(300),
            success_threshold: count(3),
            lease: Duration::from_secs(30),
        }
    }
}

/// Whether calls go through. The numbers are those of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All do.
    Closed = 0,
    /// None does.
    Open = 1,
    /// A few probes do.
    HalfOpen = 2,
}
crate::saved!(enum State { 0 = Closed, 1 = Open, 2 = HalfOpen });

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
        })
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint served.
    Success,
    /// The endpoint failed.
    Failure,
    /// It says nothing about the endpoint: cancelled, or refused on this side.
    Ignored,
}

/// The state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
}

/// No call is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("circuit open: too many calls have failed lately; the next may be tried at {retry_at:?}")]
pub struct Open {
    /// Before this it is of no use to ask again.
    pub retry_at: Instant,
}

/// Leave to make one call; settle it with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe that is not settled keeps its place until its lease ends"]
pub struct Permit {
    generation: u32,
    probe: Option<NonZeroU32>,
}
crate::saved!(struct Permit { generation, probe });

impl Permit {
    /// Whether this call decides if the breaker closes.
    pub const fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// Results within the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// So many calls were served.
    pub successes: u64,
    /// So many failed.
    pub failures: u64,
}
crate::saved!(struct Counts { successes, failures });

/// What has happened so far; everything but `window` and `consecutive_failures` only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that were served.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that said nothing.
    pub ignored: u64,
    /// Calls that were not admitted.
    pub rejected: u64,
    /// Results that came after the state had changed, and changed nothing.
    pub stale: u64,
    /// How often it has opened.
    pub opened: u64,
    /// What the next failure is judged by.
    pub window: Counts,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// When the last of those calls failed.
    pub last_failure: Option<Instant>,
}
crate::saved!(struct Stats {
    succeeded, failed, ignored, rejected, stale, opened, window, consecutive_failures, last_failure
});

/// Guards one endpoint, or one operation.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Config,
    rng: Pcg,
    phase: Phase,
    generation: u32,
    growth: Backoff,
    window: Buckets<Counts>,
    /// The totals; `window` in it stays empty.
    stats: Stats,
}
crate::saved!(struct Breaker { config, rng, phase, generation, growth, window, stats });

#[derive(Clone, Debug)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// Apart, for it is rare and large.
    HalfOpen(Box<Probation>),
}
crate::saved!(enum Phase { 0 = Closed, 1 = Open { until }, 2 = HalfOpen(value) });

impl Breaker {
    /// A closed breaker. `rng` is kept, for the times it stays open.
    pub fn new(config: Config, rng: Pcg) -> Self {
        Breaker {
            config,
            rng,
            phase: Phase::Closed,
            generation: 0,
            growth: growth(&config),
            window: Buckets::new(config.period),
            stats: Stats::default(),
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// [`Open`] while it is open, and while half-open as long as every probe is out.
    #[inline]
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Open> {
        if let Phase::Closed = self.phase {
            return Ok(Permit { generation: self.generation, probe: None });
        }
        self.admit_probe(now)
    }

    #[cold]
    fn admit_probe(&mut self, now: Instant) -> Result<Permit, Open> {
        self.advance(now);
        let place = match &mut self.phase {
            Phase::Closed => Ok(None),
            Phase::Open { until } => Err(*until),
            Phase::HalfOpen(probation) => {
                let lease_end = now + self.config.lease;
                probation.admit(now, lease_end, self.config.success_threshold).map(Some)
            }
        };
        match place {
            Ok(probe) => Ok(Permit { generation: self.generation, probe }),
            Err(retry_at) => {
                self.stats.rejected += 1;
                Err(Open { retry_at })
            }
        }
    }

    /// Whether a call would be admitted now; nothing is counted, and no place is taken.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn check(&self, now: Instant) -> Result<(), Open> {
        let retry_at = match &self.phase {
            Phase::Open { until } if now < *until => Some(*until),
            Phase::HalfOpen(probation) => probation.full_until(now, self.config.success_threshold),
            _ => None,
        };
        retry_at.map_or(Ok(()), |retry_at| Err(Open { retry_at }))
    }

    /// A call has ended. Does nothing if the state has changed since the call was admitted.
    #[inline]
    pub fn settle(&mut self, now: Instant, permit: Permit, outcome: Outcome) -> Option<Transition> {
        if permit.generation != self.generation {
            self.stats.stale += 1;
            return None;
        }
        if let (Phase::Closed, Outcome::Success) = (&self.phase, outcome) {
            self.served(now);
            return None;
        }
        self.settle_otherwise(now, permit, outcome)
    }

    #[inline(never)]
    fn settle_otherwise(&mut self, now: Instant, permit: Permit, outcome: Outcome) -> Option<Transition> {
        if let (Phase::HalfOpen(probation), Some(probe)) = (&mut self.phase, permit.probe) {
            probation.give_back(probe);
        }
        match outcome {
            Outcome::Success => self.succeeded(now),
            Outcome::Failure => self.failed(now),
            Outcome::Ignored => {
                self.stats.ignored += 1;
                None
            }
        }
    }

    /// Time has passed; early and repeated ticks change nothing.
    ///
    /// If [`admit`](Self::admit) was the one to find the recovery time over, the breaker is half-open from then
    /// on, and the next tick (due at once) tells.
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        self.advance(now);
        match &mut self.phase {
            Phase::HalfOpen(probation) => {
                probation.tell().then_some(Transition { from: State::Open, to: State::HalfOpen })
            }
            _ => None,
        }
    }

    /// When to tick next: the recovery time is over, or a lease ends. `None` while closed.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(probation) => probation.deadline(),
        }
    }

    /// Whether calls go through now.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Open { until } if now >= until => State::HalfOpen,
            _ => self.phase.state(),
        }
    }

    /// Closes it and forgets all results, those of calls that are still out too. The totals stay.
    pub fn reset(&mut self) -> Option<Transition> {
        Some(self.close()).filter(|transition| transition.from != State::Closed)
    }

    /// Goes on with another configuration. The state stays, and an open time that has begun; growth starts
    /// anew, and so does the window if its period differs.
    pub fn update(&mut self, config: Config) {
        if config.period != self.config.period {
            self.forget(config.period);
        }
        self.growth = growth(&config);
        self.config = config;
    }

    /// What it is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What has happened so far.
    pub fn stats(&self, now: Instant) -> Stats {
        let mut stats = self.stats;
        stats.window = self.sum(now);
        stats
    }

    fn sum(&self, now: Instant) -> Counts {
        self.window.alive(now).fold(Counts::default(), |sum, bucket| Counts {
            successes: sum.successes + bucket.successes,
            failures: sum.failures + bucket.failures,
        })
    }

    #[inline]
    fn advance(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Open { until } if now >= *until => {
                let since = *until;
                self.enter(Phase::HalfOpen(Box::new(Probation::new(since))));
            }
            Phase::HalfOpen(probation) => probation.end_leases(now),
            _ => {}
        }
    }

    #[inline]
    fn served(&mut self, now: Instant) {
        self.stats.succeeded += 1;
        self.stats.consecutive_failures = 0;
        self.window.at(now, drop).successes += 1;
    }

    fn succeeded(&mut self, now: Instant) -> Option<Transition> {
        if let Phase::HalfOpen(probation) = &mut self.phase {
            self.stats.succeeded += 1;
            self.stats.consecutive_failures = 0;
            return probation.succeeded(self.config.success_threshold).then(|| self.close());
        }
        self.served(now);
        None
    }

    fn failed(&mut self, now: Instant) -> Option<Transition> {
        self.stats.failed += 1;
        self.stats.last_failure = Some(now);
        self.stats.consecutive_failures = self.stats.consecutive_failures.saturating_add(1);
        if let Phase::Closed = self.phase {
            self.window.at(now, drop).failures += 1;
            if !self.is_too_much(now) {
                return None;
            }
        }
        let until = now + self.open_time();
        self.stats.opened += 1;
        Some(self.enter(Phase::Open { until }))
    }

    #[inline]
    /// Only failures ask for the sum of the buckets, so that a success need not keep one.
    fn is_too_much(&self, now: Instant) -> bool {
        let Counts { successes, failures } = self.sum(now);
        match self.config.mode {
            Mode::Count { failures: limit } => failures >= u64::from(limit.get()),
            Mode::Rate { consecutive, success, volume } => {
                let total = successes + failures;
                let share_is_low =
                    u128::from(successes) * 1_000 < u128::from(total) * u128::from(success.as_per_mille());
                self.stats.consecutive_failures >= consecutive.get()
                    || (total >= u64::from(volume.get()) && share_is_low)
            }
        }
    }

    fn open_time(&mut self) -> Duration {
        let is_first = self.growth.attempts() == 0;
        let longest = self.growth.next(&mut self.rng);
        if is_first {
            return longest;
        }
        let shortest = self.config.multiplier.max(Ratio::ONE).divide(nanos(longest));
        Duration::from_nanos(shortest + self.rng.up_to(nanos(longest) - shortest))
    }

    fn close(&mut self) -> Transition {
        self.growth.reset();
        self.forget(self.config.period);
        self.enter(Phase::Closed)
    }

    fn forget(&mut self, period: Duration) {
        self.window = Buckets::new(period);
        self.stats.consecutive_failures = 0;
    }

    #[cold]
    fn enter(&mut self, phase: Phase) -> Transition {
        let from = self.phase.state();
        self.generation = self.generation.wrapping_add(1);
        self.phase = phase;
        Transition { from, to: self.phase.state() }
    }
}

impl Phase {
    fn state(&self) -> State {
        match self {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }
}

fn growth(config: &Config) -> Backoff {
    Backoff::new(Growth {
        base: config.recovery,
        multiplier: config.multiplier,
        cap: config.recovery_cap,
        jitter: Jitter::None,
    })
}
