//! Results that are kept, of methods whose results may be.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::time::Instant;

/// How much a client keeps of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Results, of all methods. 1,024.
    pub entries: NonZeroU32,
    /// Bytes of results, and of the parameters that they belong to. 4 MiB.
    pub bytes: NonZeroU32,
}

impl Default for CacheLimits {
    fn default() -> Self {
        const fn limit(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("a limit is not zero")
        }
        CacheLimits { entries: limit(1_024), bytes: limit(4 << 20) }
    }
}

/// The results of calls, by service, method and parameters. Nothing is kept of a method that was not opted in.
#[derive(Debug)]
pub(super) struct Cache {
    limits: CacheLimits,
    /// How long the results of each method are kept; by service, then by method.
    methods: BTreeMap<String, BTreeMap<String, Duration>>,
    results: Mutex<Results>,
}

/// Where a result belongs.
#[derive(Debug)]
pub(super) struct Place {
    key: Box<[u8]>,
    kept: Duration,
}

#[derive(Debug, Default)]
struct Results {
    by_key: BTreeMap<Arc<[u8]>, Kept>,
    /// Those that came first, first.
    by_age: BTreeSet<(u64, Arc<[u8]>)>,
    came: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    result: Arc<[u8]>,
    until: Instant,
    came: u64,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Cache { limits, methods: BTreeMap::new(), results: Mutex::default() }
    }

    pub(super) fn set_limits(&mut self, limits: CacheLimits) {
        self.limits = limits;
    }

    /// Has results of a method kept for so long.
    pub(super) fn opt_in(&mut self, service: &str, method: &str, kept: Duration) {
        self.methods.entry(service.into()).or_default().insert(method.into(), kept);
    }

    /// Where the result of a call belongs; `None` if it is not to be kept.
    pub(super) fn place(&self, service: &str, method: &str, params: &[u8]) -> Option<Place> {
        let kept = *self.methods.get(service)?.get(method)?;
        let mut key = Vec::with_capacity(8 + service.len() + method.len() + params.len());
        // Lengths, so that no two calls can share a key.
        for name in [service, method] {
            key.extend_from_slice(&u32::try_from(name.len()).ok()?.to_be_bytes());
            key.extend_from_slice(name.as_bytes());
        }
        key.extend_from_slice(params);
        Some(Place { key: key.into(), kept })
    }

    /// The result that is kept there, if it is fresh.
    pub(super) fn find(&self, now: Instant, place: &Place) -> Option<Arc<[u8]>> {
        let mut results = self.lock();
        let kept = results.by_key.get(&*place.key)?;
        if now < kept.until {
            return Some(kept.result.clone());
        }
        results.remove(&place.key);
        None
    }

    /// Keeps a result, in the place of those that came first if there is no room. One that is too large is not kept.
    pub(super) fn keep(&self, now: Instant, place: Place, result: &[u8]) {
        let limit = self.limits.bytes.get() as usize;
        let bytes = place.key.len() + result.len();
        if bytes > limit {
            return;
        }
        let mut results = self.lock();
        results.remove(&place.key);
        while results.bytes + bytes > limit || results.by_key.len() >= self.limits.entries.get() as usize {
            let Some((_, oldest)) = results.by_age.first().cloned() else { return };
            results.remove(&oldest);
        }
        let key: Arc<[u8]> = place.key.into();
        let came = results.came;
        results.came += 1;
        results.bytes += bytes;
        results.by_age.insert((came, key.clone()));
        results.by_key.insert(key, Kept { result: result.into(), until: now + place.kept, came });
    }

    pub(super) fn clear(&self) {
        *self.lock() = Results::default();
    }

    fn lock(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Results {
    fn remove(&mut self, key: &[u8]) {
        if let Some((key, kept)) = self.by_key.remove_entry(key) {
            self.bytes -= key.len() + kept.result.len();
            self.by_age.remove(&(kept.came, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn cache(entries: u32, bytes: u32) -> Cache {
        let limits = CacheLimits { entries: entries.try_into().unwrap(), bytes: bytes.try_into().unwrap() };
        let mut cache = Cache::new(limits);
        cache.opt_in("users", "get", Duration::from_secs(1));
        cache
    }

    fn place(cache: &Cache, n: u32) -> Place {
        cache.place("users", "get", format!("{n}").as_bytes()).expect("it is opted in")
    }

    fn keep(cache: &Cache, at: u64, n: u32, result: &[u8]) {
        cache.keep(Instant::from_millis(at), place(cache, n), result);
    }

    fn find(cache: &Cache, at: u64, n: u32) -> Option<Arc<[u8]>> {
        cache.find(Instant::from_millis(at), &place(cache, n))
    }

    #[test]
    fn a_result_is_found_by_service_method_and_parameters_while_it_is_fresh() {
        let mut cache = cache(8, 1_000);
        keep(&cache, 0, 1, b"one");
        assert_eq!(find(&cache, 999, 1).as_deref(), Some(&b"one"[..]));
        assert_eq!(find(&cache, 0, 2), None);
        assert_eq!(find(&cache, 1_000, 1), None, "its time is over");
        assert_eq!(cache.lock().bytes, 0, "and its room is free");
        assert!(cache.place("users", "set", b"1").is_none(), "it is not opted in");
        // Names that run into each other are not the same.
        cache.opt_in("user", "sget", Duration::from_secs(1));
        keep(&cache, 0, 1, b"one");
        let other = cache.place("user", "sget", b"1").unwrap();
        assert_eq!(cache.find(Instant::ZERO, &other), None);
    }

    #[test]
    fn those_that_came_first_make_room() {
        let cache = cache(3, 1_000);
        for n in 0..4 {
            keep(&cache, 0, n, b"x");
        }
        assert_eq!(find(&cache, 0, 0), None);
        assert!((1..4).all(|n| find(&cache, 0, n).is_some()));
        // One that comes again is the latest.
        keep(&cache, 0, 1, b"y");
        keep(&cache, 0, 4, b"x");
        assert_eq!(find(&cache, 0, 2), None);
        assert_eq!(find(&cache, 0, 1).as_deref(), Some(&b"y"[..]));
    }

    #[test]
    fn bytes_are_bounded_and_what_is_too_large_is_not_kept() {
        let cache = cache(1_000, 100);
        for n in 0..100 {
            keep(&cache, 0, n % 10, &[b'x'; 20]);
            let results = cache.lock();
            let held: usize = results.by_key.iter().map(|(key, kept)| key.len() + kept.result.len()).sum();
            assert_eq!((held, results.by_age.len()), (results.bytes, results.by_key.len()));
            assert!(held <= 100);
        }
        keep(&cache, 0, 11, &[b'x'; 100]);
        assert_eq!(find(&cache, 0, 11), None);
        assert!(find(&cache, 0, 9).is_some(), "nothing had to go for it");
        cache.clear();
        assert_eq!(find(&cache, 0, 9), None);
    }
}
