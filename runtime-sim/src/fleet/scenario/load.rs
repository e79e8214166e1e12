//! How many calls come when, and what they are like.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::rng::Pcg;
use plimsoll_core::testing::fleet::exponential;
use plimsoll_core::time::Instant;
use serde::Deserialize;
use toml::Spanned;

use super::units::{Length, Share};
use super::{Problem, at};

/// Steps that a ramp is made of.
const RAMP_STEPS: u32 = 20;
/// Bytes that a request or an answer may have.
const MOST_BYTES: u32 = 1 << 20;
/// Calls per second, of all clients together.
const MOST_RATE: u32 = 10_000_000;

/// The calls of all clients together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// Calls per second, each at a time of its own, however those before it fare.
    pub(crate) rate: Option<Spanned<u32>>,
    #[serde(default)]
    pub(crate) step: Vec<Step>,
    /// Instead of a rate: callers who wait for their answer before they call again.
    pub(crate) callers: Option<Callers>,
    /// How many of the calls may run twice.
    pub(crate) idempotent: Option<Share>,
    /// Bytes of a request, and of an answer.
    #[serde(default = "small")]
    pub(crate) request_bytes: Spanned<u32>,
    #[serde(default = "small")]
    pub(crate) answer_bytes: Spanned<u32>,
}

/// Another rate, from then on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: Spanned<Length>,
    pub(crate) rate: Spanned<u32>,
    /// So long it takes to get there, evenly.
    pub(crate) ramp: Option<Length>,
}

/// A closed loop.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Callers {
    /// Of each client.
    pub(crate) count: NonZeroU32,
    /// How long one thinks between two calls, on average.
    pub(crate) think: Length,
}

fn small() -> Spanned<u32> {
    Spanned::new(0..0, 64)
}

impl Load {
    pub(super) fn check(&self, whole: &Spanned<Load>) -> Result<(), Problem> {
        if self.rate.is_some() == self.callers.is_some() {
            return at(whole, "a load has either a `rate` of calls per second, or `callers`");
        }
        if let (Some(step), Some(_)) = (self.step.first(), &self.callers) {
            return at(&step.at, "steps change the `rate`, and `callers` have none");
        }
        for rate in self.rate.iter().chain(self.step.iter().map(|step| &step.rate)) {
            if *rate.get_ref() > MOST_RATE {
                return at(rate, format!("a rate is at most {MOST_RATE}"));
            }
        }
        for bytes in [&self.request_bytes, &self.answer_bytes] {
            if !(2..=MOST_BYTES).contains(bytes.get_ref()) {
                return at(bytes, format!("a body has from 2 to {MOST_BYTES} bytes"));
            }
        }
        for pair in self.step.windows(2) {
            if pair[0].at.get_ref().0 + pair[0].ramp.map_or(Duration::ZERO, |ramp| ramp.0)
                > pair[1].at.get_ref().0
            {
                return at(&pair[1].at, "it begins before the step before it has ended");
            }
        }
        Ok(())
    }

    /// The rate of all, by time, until none come any more.
    pub(crate) fn profile(&self, end: Instant) -> Profile {
        let mut rate = self.rate.as_ref().map_or(0, |rate| *rate.get_ref());
        let mut rates = vec![(Instant::ZERO, rate)];
        for Step { at, rate: to, ramp } in &self.step {
            let (at, to) = (Instant::ZERO + at.get_ref().0, *to.get_ref());
            let (from, steps) = (i64::from(rate), if ramp.is_some() { RAMP_STEPS } else { 1 });
            let each = ramp.map_or(Duration::ZERO, |ramp| ramp.0) / steps;
            for step in 1..=steps {
                let on_the_way = from + (i64::from(to) - from) * i64::from(step) / i64::from(steps);
                rates.push((at + each * (step - 1), on_the_way as u32));
            }
            rate = to;
        }
        rates.retain(|&(at, _)| at < end);
        rates.push((end, 0));
        Profile { rates }
    }
}

/// How many calls come per second, from when on.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    rates: Vec<(Instant, u32)>,
}

impl Profile {
    /// When the next call comes after `now`, of a client that makes `share` of `of` calls; `None` if there is none.
    ///
    /// The gaps of a Poisson process do not remember: where the rate changes, one is drawn anew.
    pub(crate) fn next(&self, now: Instant, share: u64, of: u64, rng: &mut Pcg) -> Option<Instant> {
        let at = self.rates.partition_point(|&(from, _)| from <= now).checked_sub(1)?;
        let mut from = now;
        for (at, &(_, rate)) in self.rates.iter().enumerate().skip(at) {
            let until = self.rates.get(at + 1).map(|&(until, _)| until);
            let calls = u128::from(rate) * u128::from(share);
            if let Some(mean) = (1_000_000_000 * u128::from(of)).checked_div(calls) {
                let next =
                    from + exponential(rng, Duration::from_nanos(mean.min(u128::from(u64::MAX / 64)) as u64));
                if until.is_none_or(|until| next < until) {
                    return Some(next);
                }
            }
            from = until?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In milliseconds.
    const END: u64 = 40_000;

    fn calls(load: &str, share: u64, of: u64) -> Vec<Instant> {
        let load: Load = toml::from_str(load).unwrap();
        let (profile, mut rng) = (load.profile(Instant::from_millis(END)), Pcg::new(1, 1));
        let mut calls = vec![Instant::ZERO];
        while let Some(next) = profile.next(calls[calls.len() - 1], share, of, &mut rng) {
            calls.push(next);
        }
        calls
    }

    fn between(calls: &[Instant], from: u64, to: u64) -> usize {
        let at = |seconds| calls.partition_point(|&at| at < Instant::from_millis(seconds * 1_000));
        at(to) - at(from)
    }

    #[test]
    fn calls_come_at_the_rate_of_their_time() {
        let calls = calls(
            "rate = 1000\nstep = [{ at = \"10s\", rate = 0 }, { at = \"20s\", rate = 3000, ramp = \"10s\" }]",
            1,
            1,
        );
        // Five standard deviations of 10,000 are 500; of 30,000, 866. On the ramp there are 15,750 in its twenty steps.
        assert!(between(&calls, 0, 10).abs_diff(10_000) < 500);
        assert_eq!(between(&calls, 10, 20), 0);
        assert!(between(&calls, 20, 30).abs_diff(15_750) < 628);
        assert!(between(&calls, 30, 40).abs_diff(30_000) < 866);
        assert_eq!(between(&calls, 40, 1_000), 0);
    }

    #[test]
    fn a_client_makes_its_share_of_the_calls() {
        let calls = calls("rate = 1000", 1, 4);
        assert!(between(&calls, 0, 40).abs_diff(10_000) < 500);
    }
}
