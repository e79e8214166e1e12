//! When to ask a second endpoint without waiting for the first: hedged requests (J. Dean, L. A. Barroso, "The Tail at
//! Scale", CACM 2013; gRFC A6).
//!
//! A call that is slower than most (by default 95 % of those of the last minutes) is sent once more, to another endpoint,
//! and the first answer counts. That costs one call in twenty and cuts off the tail. It is done only for a call that may
//! run twice, only where there is another endpoint, and out of the same [`RetryBudget`] as retries: when a service as a
//! whole turns slow, hedging would double its load.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::hedge::{Answer, Call, Config, Hedging, Refusal};
//! use plimsoll_core::policy::retry_budget::{self, RetryBudget};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::from_millis(1_000);
//! let mut budget = RetryBudget::new(retry_budget::Config::default(), now);
//! let mut hedging = Hedging::new(Config::default(), now);
//! for millis in 1..=100 {
//!     hedging.record(now, Duration::from_millis(millis));
//! }
//! let call = Call { sent: now, is_idempotent: true, has_other_endpoint: true, hedges: 0 };
//! let Answer::Wait(until) = hedging.ask(now, &call, &mut budget) else { panic!() };
//! assert!((95..107).contains(&until.since(now).as_millis()));
//! assert_eq!(hedging.ask(until, &call, &mut budget), Answer::Hedge);
//! let call = Call { is_idempotent: false, ..call };
//! assert_eq!(hedging.ask(until, &call, &mut budget), Answer::Never(Refusal::NotIdempotent));
//! ```

use core::fmt;
use core::time::Duration;

use super::fixed::Ratio;
use super::retry_budget::RetryBudget;
use crate::metrics::Histogram;
use crate::time::Instant;

/// When a call is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A call that is slower than this share of all is hedged. Default 95 %.
    pub percentile: Ratio,
    /// How many calls must be known before that means something. Default 100.
    pub volume: u32,
    /// It waits at least so long. Default 1 ms.
    pub least: Duration,
    /// How often a call is hedged at most. Default 1.
    pub hedges: u32,
    /// How long a latency counts: at least this, at most twice. Default 60 s.
    pub period: Duration,
}
crate::saved!(struct Config { percentile, volume, least, hedges, period });

impl Default for Config {
    fn default() -> Self {
        Config {
            percentile: Ratio::percent(95),
            volume: 100,
            least: Duration::from_millis(1),
            hedges: 1,
            period: Duration::from_secs(60),
        }
    }
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was sent last: first, or as its last hedge.
    pub sent: Instant,
    /// Whether it may run twice.
    pub is_idempotent: bool,
    /// Whether an endpoint may be picked that it was not sent to.
    pub has_other_endpoint: bool,
    /// How often it was hedged.
    pub hedges: u32,
}

/// What to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send it once more, to another endpoint; it is paid for.
    Hedge,
    /// Ask again then.
    Wait(Instant),
    /// Wait for what was sent.
    Never(Refusal),
}

/// Why a call is not hedged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It must not run twice.
    NotIdempotent,
    /// It was sent to every endpoint there is.
    NoOtherEndpoint,
    /// It was hedged as often as is allowed.
    Enough,
    /// Too few calls are known to say what is slow.
    TooFewCalls,
    /// The retry budget is spent.
    BudgetSpent,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotIdempotent => "not hedged: the call must not run twice",
            Refusal::NoOtherEndpoint => "not hedged: there is no other endpoint",
            Refusal::Enough => "not hedged: the call was hedged as often as is allowed",
            Refusal::TooFewCalls => "not hedged: too few calls are known to say what is slow",
            Refusal::BudgetSpent => "not hedged: the retry budget is spent",
        })
    }
}

/// Knows what is slow for one service.
#[derive(Clone, Debug)]
pub struct Hedging {
    config: Config,
    /// Of this period, and of the one before.
    current: Histogram,
    previous: Histogram,
    period_end: Instant,
    /// Read off both, each time enough has come to them: reading costs more than recording.
    delay: Option<Duration>,
    until_reading: u32,
}
crate::saved!(struct Hedging { config, current, previous, period_end, delay, until_reading });

impl Hedging {
    /// Nothing is known yet.
    pub fn new(config: Config, now: Instant) -> Self {
        Hedging {
            config,
            current: Histogram::default(),
            previous: Histogram::default(),
            period_end: now + config.period,
            delay: None,
            until_reading: config.volume,
        }
    }

    /// A call was answered so long after it was sent. Do not record one that lost against its hedge and was cancelled,
    /// nor failures: both look faster than the endpoint is.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        if now >= self.period_end {
            self.turn(now);
        }
        self.current.record(latency);
        self.until_reading = self.until_reading.saturating_sub(1);
        if self.until_reading == 0 {
            self.read();
        }
    }

    /// After which time a call is slow; at most 12.5 % above the percentile. `None` as long as too few are known.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// What to do about a call now. The budget is drawn on only for [`Answer::Hedge`].
    pub fn ask(&self, now: Instant, call: &Call, budget: &mut RetryBudget) -> Answer {
        let refusal = if !call.is_idempotent {
            Refusal::NotIdempotent
        } else if call.hedges >= self.config.hedges {
            Refusal::Enough
        } else if !call.has_other_endpoint {
            Refusal::NoOtherEndpoint
        } else {
            let Some(delay) = self.delay else { return Answer::Never(Refusal::TooFewCalls) };
            let due = call.sent + delay;
            if now < due {
                return Answer::Wait(due);
            }
            if budget.withdraw(now) {
                return Answer::Hedge;
            }
            Refusal::BudgetSpent
        };
        Answer::Never(refusal)
    }

    fn turn(&mut self, now: Instant) {
        let is_recent = now < self.period_end + self.config.period;
        let ended = core::mem::take(&mut self.current);
        self.previous = if is_recent { ended } else { Histogram::default() };
        self.period_end = now + self.config.period;
        self.read();
    }

    fn read(&mut self) {
        const READING: u32 = 64;
        let mut both = self.previous.clone();
        both.merge(&self.current);
        let is_enough = both.count() >= u64::from(self.config.volume);
        self.delay = both
            .quantile(self.config.percentile.as_per_mille())
            .filter(|_| is_enough)
            .map(|delay| delay.max(self.config.least));
        self.until_reading = if is_enough { READING } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::retry_budget;
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(1_000);

    fn call() -> Call {
        Call { sent: START, is_idempotent: true, has_other_endpoint: true, hedges: 0 }
    }

    fn budget(per_second: u32) -> RetryBudget {
        let config = retry_budget::Config { per_second, ratio: Ratio::per_mille(0), ..Default::default() };
        RetryBudget::new(config, START)
    }

    fn after(latencies: impl IntoIterator<Item = u64>) -> Hedging {
        let mut hedging = Hedging::new(Config::default(), START);
        latencies.into_iter().for_each(|ms| hedging.record(START, Duration::from_millis(ms)));
        hedging
    }

    #[test]
    fn the_budget_bounds_hedges_and_waiting_costs_nothing() {
        let (hedging, mut budget) = (after([10; 200]), budget(1));
        let late = START + Duration::from_millis(20);
        (0..100).for_each(|_| assert!(matches!(hedging.ask(START, &call(), &mut budget), Answer::Wait(_))));
        let answers: Vec<Answer> = (0..12).map(|_| hedging.ask(late, &call(), &mut budget)).collect();
        assert_eq!(answers[..10], [Answer::Hedge; 10]);
        assert_eq!(answers[10..], [Answer::Never(Refusal::BudgetSpent); 2]);
    }

    #[test]
    fn what_must_not_run_twice_or_has_nowhere_to_go_is_never_hedged() {
        let (hedging, mut budget) = (after([10; 200]), budget(10));
        let late = START + Duration::from_secs(9);
        let mut ask = |call| hedging.ask(late, &call, &mut budget);
        let never = |why| Answer::Never(why);
        assert_eq!(ask(Call { is_idempotent: false, ..call() }), never(Refusal::NotIdempotent));
        assert_eq!(ask(Call { has_other_endpoint: false, ..call() }), never(Refusal::NoOtherEndpoint));
        assert_eq!(ask(Call { hedges: 1, ..call() }), never(Refusal::Enough));
        assert_eq!(ask(call()), Answer::Hedge);
        assert_eq!(budget.balance(late), 99, "only the last was paid for");
    }

    #[test]
    fn nothing_is_slow_as_long_as_little_is_known() {
        let (hedging, mut budget) = (after([10; 99]), budget(10));
        let late = START + Duration::from_secs(9);
        assert_eq!(hedging.ask(late, &call(), &mut budget), Answer::Never(Refusal::TooFewCalls));
        assert_eq!(after([0; 100]).delay(), Some(Duration::from_millis(1)), "the least");
    }

    #[test]
    fn what_was_slow_long_ago_is_forgotten() {
        let mut hedging = after([1_000; 1_000]);
        let mut now = START;
        for _ in 0..2_000 {
            now = now + Duration::from_millis(100);
            hedging.record(now, Duration::from_millis(10));
        }
        assert_eq!(hedging.delay(), Some(Duration::from_millis(10)));
        hedging.record(now + Duration::from_secs(3_600), Duration::from_millis(10));
        assert_eq!(hedging.delay(), None, "after an hour of silence nothing is known");
    }

    #[test]
    fn what_is_known_reaches_back_into_the_period_before_and_no_further() {
        let mut hedging = after([50; 100]);
        let (period, slow) = (Config::default().period, Duration::from_millis(50));
        hedging.record(START + period, slow);
        assert!(hedging.delay() >= Some(slow), "the period before counts");
        hedging.record(START + 2 * period, slow);
        assert_eq!(hedging.delay(), None, "two calls are left");
    }

    quickcheck! {
        fn one_call_in_twenty_is_slow(latencies: Vec<u16>) -> bool {
            let latencies: Vec<u64> = latencies.into_iter().map(|ms| u64::from(ms) + 2).cycle().take(164).collect();
            let Some(delay) = after(latencies.iter().copied()).delay() else { return latencies.is_empty() };
            let slower = latencies.iter().filter(|&&ms| Duration::from_millis(ms) > delay).count();
            slower <= latencies.len() / 20
        }
    }
}
