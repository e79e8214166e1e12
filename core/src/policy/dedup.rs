//! Answers that were given lately, to be given again: a cache that is bounded in entries, bytes and time.
//!
//! When it is full, SIEVE decides what goes (Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): entries stand in the
//! order in which they came, a hand moves from the oldest to the newest, spares what was asked for since it last came
//! by, and takes the first that was not. A hit only sets a bit.
//!
//! ```
//! use plimsoll_core::map::Seed;
//! use plimsoll_core::policy::dedup::{Cache, Config};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let now = Instant::from_millis(1);
//! let mut cache = Cache::new(Config::default(), Seed::new(&mut Pcg::new(1, 1)));
//! assert_eq!(cache.get(now, "user 7"), None);
//! cache.insert(now, "user 7", r#"{"name":"Ada"}"#, 14)?;
//! assert_eq!(cache.get(now, "user 7"), Some(&r#"{"name":"Ada"}"#));
//! assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
//! # Ok::<_, plimsoll_core::policy::dedup::NotCached>(())
//! ```

use core::borrow::Borrow;
use core::hash::Hash;
use core::time::Duration;

use thiserror::Error;

use crate::map::{Map, Seed};
use crate::time::Instant;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Answers at most; 0 counts as 1. Default 100.
    pub entries: u32,
    /// Bytes at most, as told with each answer. Default 4 MiB.
    pub bytes: u64,
    /// How long an answer is good. Default 60 s.
    pub time_to_live: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { entries: 100, bytes: 4 << 20, time_to_live: Duration::from_secs(60) }
    }
}

/// The answer was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotCached {
    /// The cache is switched off.
    #[error("not cached: the cache is switched off")]
    Disabled,
    /// It alone is larger than the cache.
    #[error("not cached: the answer has {bytes} bytes, the whole cache holds {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// What has happened so far; `entries` and `bytes` are what is kept now, everything else only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Questions that were answered from here.
    pub hits: u64,
    /// Questions that were not, those asked while it was switched off aside.
    pub misses: u64,
    /// Answers that were put in.
    pub inserted: u64,
    /// Answers that had to go for others.
    pub evicted: u64,
    /// Answers that were found to be too old.
    pub expired: u64,
    /// Answers that are kept.
    pub entries: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// Keeps answers by key.
#[derive(Clone, Debug)]
pub struct Cache<K, V> {
    config: Config,
    is_enabled: bool,
    entries: Map<K, Entry<V>>,
    newest: Option<u32>,
    oldest: Option<u32>,
    /// Where to look next for what to take; `None` is at the oldest.
    hand: Option<u32>,
    stats: Stats,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    expires: Instant,
    was_asked: bool,
    newer: Option<u32>,
    older: Option<u32>,
}

impl<K: Hash + Eq, V> Cache<K, V> {
    /// An empty cache, switched on.
    pub fn new(config: Config, seed: Seed) -> Self {
        let config = Config { entries: config.entries.max(1), ..config };
        Cache {
            config,
            is_enabled: true,
            entries: Map::new(config.entries, seed),
            newest: None,
            oldest: None,
            hand: None,
            stats: Stats::default(),
        }
    }

    /// The answer, if one is kept that is still good.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, now: Instant, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if !self.is_enabled {
            return None;
        }
        let found = self.entries.find(key);
        let Some(slot) = found.filter(|&slot| self.is_good(now, slot)) else {
            self.stats.misses += 1;
            if let Some(slot) = found {
                self.stats.expired += 1;
                self.take_out(slot);
            }
            return None;
        };
        self.stats.hits += 1;
        self.entries.get_mut(slot).map(|entry| {
            entry.was_asked = true;
            &entry.value
        })
    }

    /// Whether [`get`](Self::get) would answer; counts nothing.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, now: Instant, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.is_enabled && self.entries.find(key).is_some_and(|slot| self.is_good(now, slot))
    }

    /// Keeps an answer of so many bytes, instead of the one that the key has.
    ///
    /// # Errors
    /// [`NotCached`]; then the key has no answer any more.
    pub fn insert(&mut self, now: Instant, key: K, value: V, bytes: u64) -> Result<(), NotCached> {
        if let Some(old) = self.entries.find(&key) {
            self.take_out(old);
        }
        if !self.is_enabled {
            return Err(NotCached::Disabled);
        }
        let limit = self.config.bytes;
        if bytes > limit {
            return Err(NotCached::TooLarge { bytes, limit });
        }
        while self.entries.is_full() || self.stats.bytes + bytes > limit {
            self.evict(now);
        }
        let expires = now + self.config.time_to_live;
        let entry = Entry { value, bytes, expires, was_asked: false, newer: None, older: self.newest };
        if let Ok(slot) = self.entries.insert(key, entry) {
            self.put_in(slot, bytes);
        }
        Ok(())
    }

    /// Forgets one answer; whether there was one.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.entries.find(key).map(|slot| self.take_out(slot)).is_some()
    }

    /// Forgets all answers.
    pub fn clear(&mut self) {
        self.entries.clear();
        (self.newest, self.oldest, self.hand) = (None, None, None);
        (self.stats.entries, self.stats.bytes) = (0, 0);
    }

    /// Switches it on or off. Switched off it forgets all, since answers grow old unseen.
    pub fn set_enabled(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
        if !is_enabled {
            self.clear();
        }
    }

    /// Whether it is switched on.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn is_good(&self, now: Instant, slot: u32) -> bool {
        self.entries.get(slot).is_some_and(|(_, entry)| now < entry.expires)
    }

    /// Takes one out: the hand spares each at most once a round, so that it finds one within two.
    fn evict(&mut self, now: Instant) {
        let mut at = self.hand.or(self.oldest);
        while let Some(slot) = at {
            let Some(entry) = self.entries.get_mut(slot) else { return };
            let newer = entry.newer;
            let is_expired = now >= entry.expires;
            if is_expired || !entry.was_asked {
                self.stats.expired += u64::from(is_expired);
                self.stats.evicted += u64::from(!is_expired);
                self.hand = newer;
                self.take_out(slot);
                return;
            }
            entry.was_asked = false;
            at = newer.or(self.oldest);
        }
    }

    fn put_in(&mut self, slot: u32, bytes: u64) {
        match self.newest.replace(slot).and_then(|second| self.entries.get_mut(second)) {
            Some(second) => second.newer = Some(slot),
            None => self.oldest = Some(slot),
        }
        self.stats.inserted += 1;
        self.stats.entries += 1;
        self.stats.bytes += bytes;
    }

    fn take_out(&mut self, slot: u32) {
        let Some((_, entry)) = self.entries.remove(slot) else { return };
        if self.hand == Some(slot) {
            self.hand = entry.newer;
        }
        match entry.newer.and_then(|newer| self.entries.get_mut(newer)) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        match entry.older.and_then(|older| self.entries.get_mut(older)) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        self.stats.entries -= 1;
        self.stats.bytes -= entry.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Pcg;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const NOW: Instant = Instant::from_millis(1_000);

    fn cache(entries: u32, bytes: u64) -> Cache<u32, u64> {
        let config = Config { entries, bytes, ..Config::default() };
        Cache::new(config, Seed::new(&mut Pcg::new(1, 1)))
    }

    fn kept(cache: &Cache<u32, u64>) -> Vec<u32> {
        (0..100).filter(|key| cache.contains(NOW, key)).collect()
    }

    #[test]
    fn what_was_answered_once_is_seen_to_hit() {
        let mut cache = cache(10, 1_000);
        assert_eq!(cache.get(NOW, &1), None);
        cache.insert(NOW, 1, 11, 100).unwrap();
        (0..9).for_each(|_| assert_eq!(cache.get(NOW, &1), Some(&11)));
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.entries, stats.bytes), (9, 1, 1, 100));
    }

    #[test]
    fn an_answer_is_good_for_its_time_and_not_longer() {
        let mut cache = cache(10, 1_000);
        cache.insert(NOW, 1, 11, 100).unwrap();
        assert_eq!(cache.get(NOW + Duration::from_nanos(59_999_999_999), &1), Some(&11));
        assert!(!cache.contains(NOW + Duration::from_secs(60), &1));
        assert_eq!(cache.get(NOW + Duration::from_secs(60), &1), None);
        assert_eq!((cache.stats().expired, cache.stats().bytes), (1, 0));
    }

    #[test]
    fn the_hand_spares_what_was_asked_for_and_goes_on_from_where_it_stands() {
        // The order of the paper's figure: A to G came in this order; A, B and G were asked for.
        let mut cache = cache(7, 1_000);
        (1..=7).for_each(|key| cache.insert(NOW, key, 0, 1).unwrap());
        [1, 2, 7].iter().for_each(|key| _ = cache.get(NOW, key));
        cache.insert(NOW, 8, 0, 1).unwrap();
        assert_eq!(kept(&cache), [1, 2, 4, 5, 6, 7, 8], "1 and 2 are spared, 3 goes");
        cache.get(NOW, &1);
        cache.insert(NOW, 9, 0, 1).unwrap();
        assert_eq!(kept(&cache), [1, 2, 5, 6, 7, 8, 9], "the hand goes on at 4");
    }

    #[test]
    fn one_pass_over_many_does_not_push_out_what_is_asked_for() {
        let mut cache = cache(20, 1_000_000);
        (0..10).for_each(|key| cache.insert(NOW, key, 0, 1).unwrap());
        for scan in 100..1_100 {
            (0..10).for_each(|key| assert!(cache.get(NOW, &key).is_some()));
            cache.insert(NOW, scan, 0, 1).unwrap();
        }
        assert_eq!(cache.stats().hits, 10_000);
    }

    #[test]
    fn bytes_are_a_limit_of_their_own() {
        let mut cache = cache(10, 100);
        (1..=5).for_each(|key| cache.insert(NOW, key, 0, 30).unwrap());
        assert_eq!(kept(&cache), [3, 4, 5]);
        assert_eq!(cache.insert(NOW, 3, 0, 101), Err(NotCached::TooLarge { bytes: 101, limit: 100 }));
        assert_eq!(kept(&cache), [4, 5], "an answer that is out of date is not kept either");
        cache.insert(NOW, 6, 0, 100).unwrap();
        assert_eq!((kept(&cache), cache.stats().bytes), (alloc::vec![6], 100));
    }

    #[test]
    fn switched_off_it_keeps_and_answers_nothing() {
        let mut cache = cache(10, 100);
        cache.insert(NOW, 1, 0, 1).unwrap();
        cache.set_enabled(false);
        assert_eq!(
            (cache.get(NOW, &1).copied(), cache.contains(NOW, &1), cache.is_enabled()),
            (None, false, false)
        );
        assert_eq!(cache.insert(NOW, 1, 0, 1), Err(NotCached::Disabled));
        cache.set_enabled(true);
        assert_eq!(cache.get(NOW, &1), None);
        cache.insert(NOW, 1, 5, 1).unwrap();
        cache.set_enabled(true);
        assert_eq!(cache.get(NOW, &1), Some(&5));
        cache.clear();
        assert_eq!((cache.get(NOW, &1).copied(), cache.stats().entries), (None, 0));
    }

    quickcheck! {
        fn what_is_kept_is_what_was_put_in_last_and_within_the_limits(
            steps: Vec<(u8, u8, u8)>, entries: u8, bytes: u8
        ) -> bool {
            let entries = u32::from(entries) % 12 + 1;
            let mut cache = cache(entries, u64::from(bytes));
            let mut model: BTreeMap<u32, (u64, Instant)> = BTreeMap::new();
            let mut now = NOW;
            steps.into_iter().enumerate().all(|(n, (key, size, gap))| {
                now = now + Duration::from_secs(u64::from(gap) % 16);
                let key = u32::from(key) % 24;
                match size % 4 {
                    0 => {
                        let kept = cache.entries.find(&key).is_some();
                        assert_eq!(cache.remove(&key), kept);
                        assert!(!cache.contains(now, &key));
                    }
                    1 => {
                        let good = model.get(&key).filter(|&&(_, at)| now.since(at) < Duration::from_secs(60));
                        let answer = cache.get(now, &key).copied();
                        assert!(answer.is_none() || answer == good.map(|&(value, _)| value));
                    }
                    _ => {
                        model.insert(key, (n as u64, now));
                        let fits = cache.insert(now, key, n as u64, u64::from(size)).is_ok();
                        assert_eq!(fits, size <= bytes);
                        assert_eq!(cache.contains(now, &key), fits);
                    }
                }
                let mut listed = Vec::new();
                let mut at = cache.oldest;
                while let Some(slot) = at {
                    let (_, entry) = cache.entries.get(slot).unwrap();
                    listed.push(entry.bytes);
                    at = entry.newer;
                }
                let stats = cache.stats();
                listed.len() == cache.entries.len()
                    && listed.len() == stats.entries as usize
                    && listed.iter().sum::<u64>() == stats.bytes
                    && stats.entries <= entries
                    && stats.bytes <= u64::from(bytes)
            })
        }
    }
}
