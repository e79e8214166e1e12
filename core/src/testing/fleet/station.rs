//! A server that works: a real [`Server`] machine, and behind it workers that take time, fail, or are overrun.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::machine::Machine;
use crate::policy::Ratio;
use crate::policy::fixed::log2_neg;
use crate::rng::Pcg;
use crate::service::server::{Config, Request, Server, Token};
use crate::time::{Instant, nanos};
use crate::wire::uw::code;

/// ln 2 in Q32.
const LN_2: u128 = 2_977_044_472;

/// A time from the exponential distribution, by inversion in integers; at most 22 times the mean.
pub fn exponential(rng: &mut Pcg, mean: Duration) -> Duration {
    let log2 = log2_neg(u64::from(rng.next_u32()) + 1);
    let ln = (u128::from(log2) * LN_2) >> 32;
    Duration::from_nanos(((u128::from(nanos(mean)) * ln) >> 32) as u64)
}

/// What a server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Requests that it works on at a time.
    pub workers: u32,
    /// Requests that wait for a worker, at most; the next is answered OVERLOADED.
    pub queue: u32,
    /// How long a worker takes for a request on average; the times are exponentially distributed.
    pub mean: Duration,
}

/// What is wrong with a server, or with the way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Healthy,
    /// Work that is begun takes so many times as long.
    Slow(u32),
    /// Such a share of the answers is INTERNAL_ERROR, after the usual work.
    Failing(Ratio),
    /// Every request is answered INTERNAL_ERROR at once, without work.
    FailsFast,
    /// Requests arrive, answers never come back.
    Mute,
    /// Requests never arrive; what it has to say would come back.
    Deaf,
}

/// Work that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) until: Instant,
    pub(super) token: Token,
}

#[derive(Debug)]
pub(super) struct Station {
    pub(super) server: Server,
    pub(super) condition: Condition,
    work: Work,
    rng: Pcg,
    busy: u32,
    queue: VecDeque<Token>,
}

/// What becomes of a request on its arrival.
enum Admission {
    Begin,
    Queue,
    Refuse(&'static str),
}

impl Station {
    pub(super) fn new(work: Work, rng: Pcg) -> Self {
        Station {
            server: Server::new(Config::default()),
            condition: Condition::Healthy,
            work,
            rng,
            busy: 0,
            queue: VecDeque::new(),
        }
    }

    /// Takes the requests that have arrived. Whether there were any.
    pub(super) fn take(&mut self, now: Instant, mut begun: impl FnMut(Begun)) -> bool {
        let mut busy = false;
        loop {
            let admission = self.admission();
            let Some(Request { responder, .. }) = self.server.event() else { return busy };
            busy = true;
            match admission {
                Admission::Refuse(code) => _ = responder.fail(code, ""),
                Admission::Queue => self.queue.push_back(responder.defer()),
                Admission::Begin => {
                    let token = responder.defer();
                    begun(self.begin(now, token));
                }
            }
        }
    }

    fn admission(&self) -> Admission {
        if self.condition == Condition::FailsFast {
            Admission::Refuse(code::INTERNAL_ERROR)
        } else if self.busy < self.work.workers {
            Admission::Begin
        } else if (self.queue.len() as u64) < u64::from(self.work.queue) {
            Admission::Queue
        } else {
            Admission::Refuse(code::OVERLOADED)
        }
    }

    fn begin(&mut self, now: Instant, token: Token) -> Begun {
        self.busy += 1;
        let usual = exponential(&mut self.rng, self.work.mean);
        let factor = if let Condition::Slow(factor) = self.condition { factor } else { 1 };
        Begun { until: now + usual.saturating_mul(factor), token }
    }

    /// Work is done: answers it, and begins what waits. Nobody may wait for the answer any more, which the worker could not
    /// know: version 1 of the wire has no cancellation.
    pub(super) fn finish(&mut self, now: Instant, token: Token, begun: impl FnOnce(Begun)) {
        let fails = match self.condition {
            Condition::Failing(share) => self.rng.below(1_000) < share.as_per_mille(),
            _ => false,
        };
        _ = match fails {
            true => self.server.fail(now, token, code::INTERNAL_ERROR, ""),
            false => self.server.reply(now, token, b"{}"),
        };
        self.busy -= 1;
        if let Some(next) = self.queue.pop_front() {
            begun(self.begin(now, next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_its_tail() {
        let (mut rng, mean) = (Pcg::new(1, 1), Duration::from_millis(10));
        let (mut sum, mut above) = (Duration::ZERO, 0u32);
        for _ in 0..100_000 {
            let time = exponential(&mut rng, mean);
            sum += time;
            above += u32::from(time > 3 * mean);
        }
        // Five standard deviations of a mean of 100,000 are 1.6 %; of a share of e⁻³ (4,979), 344.
        assert!((sum / 100_000).abs_diff(mean) < Duration::from_micros(160), "{sum:?}");
        assert!(above.abs_diff(4_979) < 344, "{above}");
    }
}
