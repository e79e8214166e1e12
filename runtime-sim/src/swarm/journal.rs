//! What is kept of a world while it runs: the first law that was broken, a hash of everything, and figures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_core::time::Instant;

use super::law::{Law, Stats, Violation};

/// More than this at one point of time is a loop without an end.
const MOST_AT_ONCE: u64 = 200_000;

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) stats: Stats,
    /// Whether nothing goes wrong any more.
    pub(super) is_recovering: bool,
    /// When who serves must have closed, once it is to.
    pub(super) closing: Option<Instant>,
    /// Drivers that have come to their end.
    pub(super) finished: u32,
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

/// What all who live in a world have seen: of every request, what became of it.
pub(super) trait Book {
    fn journal(&mut self) -> &mut Journal;

    /// Whether anything has not ended yet.
    fn is_busy(&self) -> bool;

    /// Whether the last `count` requests of each of so many callers were answered well; if not, who made one that was not, and
    /// what became of it.
    fn last_answered(&self, callers: u32, count: usize) -> Result<(), (String, String)>;
}

/// A book, to all who write into it.
#[derive(Debug)]
pub(super) struct Shared<B>(Arc<Mutex<B>>);

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<B> Shared<B> {
    pub(super) fn new(book: B) -> Self {
        Shared(Arc::new(Mutex::new(book)))
    }

    pub(super) fn open(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
