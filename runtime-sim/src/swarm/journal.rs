//! What is kept of a world while it runs: the first law that was broken, a hash of everything, and figures.

use plimsoll_core::time::Instant;

use super::law::{Law, Stats, Violation};

/// More than this at one point of time is a loop without an end.
const MOST_AT_ONCE: u64 = 200_000;

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) stats: Stats,
    violation: Option<Violation>,
    now: Instant,
    at_once: u64,
}

impl Journal {
    /// Something happened: goes into the hash.
    pub(super) fn note(&mut self, now: Instant, kind: u64, detail: u64) {
        for part in [now.as_nanos(), kind, detail] {
            // The mixing step of MurmurHash3's 64-bit finalizer (A. Appleby, 2011), a part at a time.
            let mut hash = self.stats.hash ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            self.stats.hash = hash ^ (hash >> 33);
        }
    }

    /// A machine has had a turn.
    ///
    /// # Panics
    /// If there is no end to them: nothing else would stop the world.
    pub(super) fn turned(&mut self, now: Instant, who: &str) {
        self.at_once = if now == self.now { self.at_once + 1 } else { 0 };
        self.now = now;
        if self.at_once > MOST_AT_ONCE {
            let what = format!("{MOST_AT_ONCE} turns, and no time passes");
            self.broken(Law::Progress, now, who.into(), what);
            panic!("{who} makes no progress");
        }
    }

    /// A law is broken; the first one counts.
    pub(super) fn broken(&mut self, law: Law, at: Instant, who: String, what: String) {
        self.violation.get_or_insert(Violation { law, at, who, what });
    }

    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}
