//! A fleet, one server of which goes wrong for a while: what its callers got.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Call, Condition, Config, End, Fleet};
use crate::time::Instant;

/// The server that goes wrong.
const BAD: u32 = 3;
/// How finely the return to normal is looked at.
const SLICE: Duration = Duration::from_secs(1);

/// One server goes wrong at a time, is well again at another, and the fleet goes on for a while.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The fleet.
    pub config: Config,
    /// Calls per second.
    pub per_second: u32,
    /// What goes wrong.
    pub condition: Condition,
    /// When that begins.
    pub begins: Duration,
    /// When that ends.
    pub ends: Duration,
    /// When the trial does: no more calls come, and those that have come see their ends.
    pub lasts: Duration,
}

/// What callers got. Whatever is not said to be of all is of the calls that came while the server was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls.
    pub offered: u64,
    /// Of these, answered well.
    pub good: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Their connection was lost.
    pub lost: u64,
    /// Not taken.
    pub refused: u64,
    /// The time to a good answer, of half of those that got one.
    pub p50: Duration,
    /// The same of 99 %.
    pub p99: Duration,
    /// The time to any end, of 99 % of those that were taken; a timeout took as long as it is.
    pub p99_of_all: Duration,
    /// Calls that were sent to the bad server.
    pub to_bad: u64,
    /// How long after the server was well again it got half of its fair share for the first time, in whole
    /// seconds; `None` if it did not until the end.
    pub back_after: Option<Duration>,
    /// Of all calls, those that never ended.
    pub unended: u64,
    /// Of all calls, those that ended or were sent more than once.
    pub doubled: u64,
}

impl Trial {
    /// Runs it.
    pub fn run(&self) -> Report {
        let mut fleet = Fleet::new(self.config);
        fleet.offer(self.per_second);
        fleet.run_until(Instant::ZERO + self.begins);
        fleet.set_condition(BAD, self.condition);
        fleet.run_until(Instant::ZERO + self.ends);
        fleet.set_condition(BAD, Condition::Healthy);
        fleet.run_until(Instant::ZERO + self.lasts);
        fleet.offer(0);
        fleet.run_until(Instant::ZERO + self.lasts + 2 * self.config.client.timeout);
        self.report(fleet.calls())
    }

    fn report(&self, calls: &[Call]) -> Report {
        let window = between(calls, self.begins, self.ends);
        let count = |how: End| {
            window.iter().filter(|call| call.end.is_some_and(|(_, end)| end == how)).count() as u64
        };
        let good = times(window, |call| call.is_good());
        let all = times(window, |call| call.sent > 0 || call.end.is_some_and(|(_, end)| end != End::Refused));
        Report {
            offered: window.len() as u64,
            good: count(End::Good),
            failed: count(End::Failed),
            timed_out: count(End::TimedOut),
            lost: count(End::Lost),
            refused: count(End::Refused),
            p50: quantile(&good, 500),
            p99: quantile(&good, 990),
            p99_of_all: quantile(&all, 990),
            to_bad: to_bad(window),
            back_after: self.back_after(calls),
            unended: calls.iter().filter(|call| call.ends == 0).count() as u64,
            doubled: calls.iter().filter(|call| call.ends > 1 || call.sent > 1).count() as u64,
        }
    }

    fn back_after(&self, calls: &[Call]) -> Option<Duration> {
        let servers = u64::from(self.config.servers);
        let mut from = self.ends;
        while from + SLICE <= self.lasts {
            let slice = between(calls, from, from + SLICE);
            if 2 * servers * to_bad(slice) >= slice.len() as u64 {
                return Some(from - self.ends);
            }
            from += SLICE;
        }
        None
    }
}

/// The calls that came between two times.
fn between(calls: &[Call], from: Duration, to: Duration) -> &[Call] {
    let at = |time| calls.partition_point(|call| call.arrived < Instant::ZERO + time);
    &calls[at(from)..at(to)]
}

fn to_bad(calls: &[Call]) -> u64 {
    calls.iter().filter(|call| call.server == Some(BAD)).count() as u64
}

/// How long calls took, the shortest first.
fn times(calls: &[Call], of: impl Fn(&Call) -> bool) -> Vec<Duration> {
    let mut times: Vec<Duration> = calls.iter().filter(|call| of(call)).filter_map(Call::took).collect();
    times.sort_unstable();
    times
}

/// The least time that so many thousandths of them keep to.
fn quantile(sorted: &[Duration], per_mille: u64) -> Duration {
    let rank = (sorted.len() as u64 * per_mille).div_ceil(1_000).max(1);
    sorted.get(rank as usize - 1).copied().unwrap_or_default()
}
