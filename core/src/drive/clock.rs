//! The only place that reads a clock.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "machines are told the time from here"
)]

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Instant, nanos};

/// The monotonic clock, counted from when it was made, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Clock { epoch: std::time::Instant::now() }
    }

    /// The time since the start.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(nanos(self.epoch.elapsed()))
    }

    /// The wall clock, in milliseconds since 1970; 0 before that.
    pub fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

/// The length of a sleep from `now` to `deadline`, in whole milliseconds, rounded up: a timer that fires early costs
/// a second sleep.
pub(super) fn sleep_for(now: Instant, deadline: Instant) -> Duration {
    Duration::from_millis(deadline.as_nanos().saturating_sub(now.as_nanos()).div_ceil(1_000_000))
}

/// Tells when the wall clock has moved against the monotonic one.
#[derive(Debug, Default)]
pub(super) struct WallWatch {
    told: Option<(Instant, u64)>,
    checked: Instant,
}

impl WallWatch {
    const EVERY: Duration = Duration::from_secs(1);
    const TOLERANCE_MS: u64 = 100;

    /// What to tell the machine, if anything. `read` is asked at most once a second: a clock costs as much as a
    /// small frame.
    pub(super) fn check(&mut self, now: Instant, read: impl FnOnce() -> u64) -> Option<u64> {
        if let Some((at, told)) = self.told {
            if now.since(self.checked) < Self::EVERY {
                return None;
            }
            self.checked = now;
            let wall = read();
            let expected = told.saturating_add(now.since(at).as_millis() as u64);
            if wall.abs_diff(expected) <= Self::TOLERANCE_MS {
                return None;
            }
            self.told = Some((now, wall));
            return Some(wall);
        }
        let wall = read();
        self.checked = now;
        self.told = Some((now, wall));
        Some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_never_shorter_than_what_is_left() {
        for left in [0, 1, 999_999, 1_000_000, 1_000_001] {
            let now = Instant::from_millis(5);
            let deadline = now + Duration::from_nanos(left);
            assert!(now + sleep_for(now, deadline) >= deadline);
        }
        assert_eq!(sleep_for(Instant::from_millis(5), Instant::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_wall_clock_is_told_at_first_and_when_it_jumps() {
        let mut watch = WallWatch::default();
        let at = |ms| Instant::from_millis(ms);
        assert_eq!(watch.check(at(0), || 5_000), Some(5_000));
        assert_eq!(watch.check(at(500), || unreachable!()), None);
        assert_eq!(watch.check(at(1_000), || 6_100), None);
        assert_eq!(watch.check(at(2_000), || 7_101), Some(7_101));
        assert_eq!(watch.check(at(3_000), || 8_101), None);
        assert_eq!(watch.check(at(4_000), || 1_000), Some(1_000), "back into the past");
    }
}
