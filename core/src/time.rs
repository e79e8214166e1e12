//! Time as machines know it: a number that only the driver moves.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time, in nanoseconds since an epoch that the driver picks.
///
/// A machine never reads a clock: it is told the time with every input. The range is 584 years; arithmetic
/// saturates at both ends, because a deadline "never" must not wrap into the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);
crate::saved!(struct Instant { 0 });

impl Instant {
    /// The driver's epoch.
    pub const ZERO: Instant = Instant(0);
    /// Later than any time that a driver reaches.
    pub const MAX: Instant = Instant(u64::MAX);

    /// The instant that lies `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// The instant that lies `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// As [`since`](Self::since), in nanoseconds: a `Duration` takes a division to build.
    pub(crate) const fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The wall clock, as a driver tells it now and then (`Input::Wall`), carried on by the monotonic one.
///
/// ```
/// use plimsoll_core::time::{Instant, WallClock};
///
/// let clock = WallClock::new(Instant::from_millis(5), 1_699_005_123_456);
/// assert_eq!(clock.unix_ms(Instant::from_millis(1_005)), 1_699_005_124_456);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    unix_ms: u64,
    at: Instant,
}
crate::saved!(struct WallClock { unix_ms, at });

impl WallClock {
    /// A clock that shows `unix_ms` milliseconds since 1970 at `now`. The default shows 0 at the driver's epoch.
    pub const fn new(now: Instant, unix_ms: u64) -> Self {
        WallClock { unix_ms, at: now }
    }

    /// What it shows at `now`, in milliseconds since 1970.
    pub fn unix_ms(self, now: Instant) -> u64 {
        self.unix_ms.saturating_add(u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX))
    }
}

/// The length of a duration in nanoseconds, at most `u64::MAX` (584 years).
pub const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}
