//! What a call to an endpoint costs lately: Peak-EWMA of the round trip, times the calls in flight.
//!
//! The estimate rises at once to a slower answer and comes down only with time, so that an endpoint that turns
//! slow is avoided after one answer. It is Finagle's `PeakEwma` load metric ("Beyond Round Robin: Load Balancing
//! for Latency", Linkerd blog, 2016), with the decay of 10 s from linkerd/linkerd2#1080.
//!
//! Two things beside. A failure is charged at least the `penalty`, for an endpoint that fails fast would draw all
//! traffic otherwise (linkerd/linkerd2-proxy#4537). And the estimate decays towards zero while nothing is
//! observed, as in Finagle, so that a penalised endpoint is tried again.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::ewma::{Config, PeakEwma};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::from_millis(1_000);
//! let mut load = PeakEwma::new(Config::default(), now);
//! load.succeeded(now, Duration::from_millis(80));
//! assert_eq!(load.estimate(now), Duration::from_millis(80));
//! assert_eq!(load.cost(now, 2), 3 * 80_000_000);
//!
//! load.failed(now, Duration::from_micros(50));
//! assert_eq!(load.estimate(now), Duration::from_secs(1));
//! ```

use core::time::Duration;

use super::fixed::{Decay, scale};
use crate::time::{Instant, nanos};

/// Below this an estimate says nothing more about an endpoint, and the calls in flight decide alone: without
/// it one that was idle for long would cost nothing, however much is sent to it.
const FLOOR: u64 = 1_000;

/// This part of the time constant takes less than 1/4,000 from an estimate, which is not worth computing for each call:
/// where calls are many, the estimate of an endpoint is read twice for every answer of it.
const STEADY: u64 = 4_096;

/// What a [`PeakEwma`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The time constant: after it a peak has come down to 1/e. Default 10 s.
    pub decay: Duration,
    /// The estimate before the first answer. Default 30 ms.
    pub initial: Duration,
    /// What a failed answer is charged at least. It keeps an endpoint away for about
    /// `decay` × ln(`penalty` / usual round trip). Default 1 s.
    pub penalty: Duration,
}
crate::saved!(struct Config { decay, initial, penalty });

impl Default for Config {
    fn default() -> Self {
        Config {
            decay: Duration::from_secs(10),
            initial: Duration::from_millis(30),
            penalty: Duration::from_secs(1),
        }
    }
}

/// The cost of one endpoint.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    decay: Decay,
    /// In nanoseconds, as the other.
    penalty: u64,
    /// So long after an answer the estimate stands as it is.
    steady: u64,
    /// The estimate at `observed`.
    peak: u64,
    observed: Instant,
}
crate::saved!(struct PeakEwma { decay, penalty, steady, peak, observed });

impl PeakEwma {
    /// An endpoint that has not answered yet.
    pub fn new(config: Config, now: Instant) -> Self {
        PeakEwma {
            decay: Decay::new(config.decay),
            penalty: nanos(config.penalty),
            steady: nanos(config.decay) / STEADY,
            peak: nanos(config.initial),
            observed: now,
        }
    }

    /// A good answer came after `rtt`.
    pub fn succeeded(&mut self, now: Instant, rtt: Duration) {
        self.ended(now, nanos(rtt), true);
    }

    /// The call failed after `rtt`: an error of the endpoint, a timeout, a loss.
    pub fn failed(&mut self, now: Instant, rtt: Duration) {
        self.ended(now, nanos(rtt), false);
    }

    /// The call has ended after `rtt` nanoseconds, well or not.
    #[inline]
    pub(crate) fn ended(&mut self, now: Instant, rtt: u64, well: bool) {
        self.observe(now, if well { rtt } else { rtt.max(self.penalty) });
    }

    /// When a call last said something.
    pub fn observed(&self) -> Instant {
        self.observed
    }

    /// The round trip to expect: never rises while nothing is observed. What is taken off it within 1/4,096 of the time
    /// constant is taken off at its end.
    pub fn estimate(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.nanos(now))
    }

    /// What one more call costs, for comparing with other endpoints: the estimate, at least 1 µs, in nanoseconds
    /// × (calls in flight + 1); at most `u64::MAX`.
    #[inline]
    pub fn cost(&self, now: Instant, in_flight: u32) -> u64 {
        self.nanos(now).max(FLOOR).saturating_mul(u64::from(in_flight) + 1)
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let elapsed = now.nanos_since(self.observed);
        if elapsed < self.steady { self.peak } else { scale(self.peak, self.decay.over_nanos(elapsed)) }
    }

    #[inline]
    fn observe(&mut self, now: Instant, rtt: u64) {
        if rtt < self.peak {
            // What the old estimate weighs less, the new answer weighs more. In this form the result lies
            // between the two whatever the rounding.
            let weight = self.decay.over_nanos(now.nanos_since(self.observed));
            self.peak = rtt + scale(self.peak - rtt, weight);
        } else {
            self.peak = rtt;
        }
        self.observed = self.observed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(5_000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(answers: &[(u64, u64)]) -> (PeakEwma, Instant) {
        let mut load = PeakEwma::new(Config { initial: Duration::ZERO, ..Config::default() }, START);
        let mut now = START;
        for &(gap, rtt) in answers {
            now = now + ms(gap);
            load.succeeded(now, ms(rtt));
        }
        (load, now)
    }

    #[test]
    fn it_rises_at_once_and_comes_down_by_1_over_e_in_10_s() {
        let (load, now) = after(&[(0, 10), (1, 1_000)]);
        assert_eq!(load.estimate(now), ms(1_000));
        let (load, now) = after(&[(0, 1_000), (10_000, 0)]);
        assert!(load.estimate(now).abs_diff(Duration::from_micros(367_879)) < Duration::from_micros(3));
    }

    #[test]
    fn it_comes_down_alike_whether_answers_are_many_or_few() {
        let few = after(&[(0, 1_000), (10_000, 10)]);
        let many: Vec<(u64, u64)> = [(0, 1_000)].into_iter().chain((0..1_000).map(|_| (10, 10))).collect();
        let many = after(&many);
        assert!(few.0.estimate(few.1).abs_diff(many.0.estimate(many.1)) < ms(3));
    }

    #[test]
    fn a_fast_error_costs_more_than_a_slow_answer() {
        let (mut failing, now) = after(&[(0, 1)]);
        let (serving, _) = after(&[(0, 200)]);
        failing.failed(now, Duration::from_micros(50));
        assert!(failing.cost(now, 0) > serving.cost(now, 3));
    }

    #[test]
    fn a_failure_slower_than_the_penalty_is_charged_in_full() {
        let (mut load, now) = after(&[(0, 1)]);
        load.failed(now, ms(5_000));
        assert_eq!(load.estimate(now), ms(5_000));
    }

    #[test]
    fn a_penalised_endpoint_is_tried_again_after_a_while() {
        let (mut failed, now) = after(&[(0, 10)]);
        failed.failed(now, ms(1));
        let (mut serving, mut later) = after(&[(0, 10)]);
        while failed.cost(later, 0) >= serving.cost(later, 0) && later < now + ms(100_000) {
            later = later + ms(100);
            serving.succeeded(later, ms(10));
        }
        assert!((44..49).contains(&later.since(now).as_secs()), "10 s × ln(1 s / 10 ms) = 46 s");
    }

    #[test]
    fn one_that_was_idle_for_long_still_costs_more_with_each_call() {
        let (load, now) = after(&[(0, 10)]);
        let later = now + Duration::from_secs(86_400);
        assert_eq!(load.estimate(later), Duration::ZERO);
        assert!(load.cost(later, 1) > load.cost(later, 0));
    }

    #[test]
    fn the_cost_saturates() {
        let load = PeakEwma::new(Config { initial: Duration::MAX, ..Config::default() }, START);
        assert_eq!(load.cost(START, u32::MAX), u64::MAX);
    }

    quickcheck! {
        fn it_is_never_below_the_decay_and_at_most_a_4000th_of_the_peak_above(peak: u32, elapsed: u64) -> bool {
            let (mut load, _) = after(&[]);
            let peak = u64::from(peak);
            load.succeeded(START, Duration::from_nanos(peak));
            // Of ten seconds, the whole and a thousandth: there the steps are.
            [elapsed % 10_000_000_000, elapsed % 10_000_000].into_iter().all(|elapsed| {
                let elapsed = Duration::from_nanos(elapsed);
                let exact = Decay::new(Config::default().decay).apply(peak, elapsed);
                let above = nanos(load.estimate(START + elapsed)).checked_sub(exact);
                above.is_some_and(|above| above <= peak / 4_000 + 1)
            })
        }

        fn between_the_answer_and_the_peak(answers: Vec<(u16, u64)>) -> bool {
            let (mut load, mut now) = after(&[]);
            let mut peak = 0;
            answers.into_iter().all(|(gap, rtt)| {
                now = now + ms(u64::from(gap));
                load.succeeded(now, Duration::from_nanos(rtt));
                peak = peak.max(rtt);
                let estimate = nanos(load.estimate(now));
                rtt <= estimate && estimate <= peak
            })
        }

        fn never_rises_while_nothing_is_observed(rtt: u64, first: u64, more: u64) -> bool {
            let (mut load, now) = after(&[]);
            load.succeeded(now, Duration::from_nanos(rtt));
            let early = now + Duration::from_nanos(first);
            load.estimate(early + Duration::from_nanos(more)) <= load.estimate(early)
        }
    }
}
