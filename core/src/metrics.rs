//! Counting without stopping: a latency histogram and a rate, both of fixed size.

use core::time::Duration;

use crate::time::{Instant, nanos};

/// Buckets per power of two: a reading is at most 12.5 % above the true value.
const SUB: u32 = 8;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// Values below this power of two (1,024 ns) share one bucket each `2^10 / 8` wide.
const FIRST_POWER: u32 = 10;
/// Values from 2^40 ns (18 minutes) on share the last bucket.
const LAST_POWER: u32 = 40;
const BUCKETS: usize = ((LAST_POWER - FIRST_POWER + 1) * SUB) as usize + 1;

/// A log-linear latency histogram (the layout of HdrHistogram, Tene 2012, with 8 buckets per power of two).
/// Recording is a handful of instructions; readings are at most 12.5 % too high, exact below 128 ns steps.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum_nanos: u128,
    min: u64,
    max: u64,
}
crate::saved!(struct Histogram { buckets, count, sum_nanos, min, max });

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; BUCKETS], count: 0, sum_nanos: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let value = nanos(value);
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
        self.sum_nanos += u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values, in nanoseconds.
    pub fn sum_nanos(&self) -> u128 {
        self.sum_nanos
    }

    /// The smallest value; `None` if there is none.
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min))
    }

    /// The largest value; `None` if there is none.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// The mean; `None` if there is no value.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum_nanos.checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The value below or at which `per_mille` of 1,000 values lie, at most 12.5 % too high; `None` if there is
    /// no value.
    pub fn quantile(&self, per_mille: u32) -> Option<Duration> {
        let rank = (u128::from(self.count) * u128::from(per_mille.min(1_000))).div_ceil(1_000).max(1) as u64;
        let mut seen = 0;
        for (index, &n) in self.buckets.iter().enumerate() {
            seen += n;
            if n > 0 && seen >= rank {
                return Some(Duration::from_nanos(upper_bound(index).clamp(self.min, self.max)));
            }
        }
        None
    }

    /// How many values lie at or below `bound` (a bound inside a bucket counts the whole bucket).
    pub fn at_most(&self, bound: Duration) -> u64 {
        self.buckets[..=bucket_of(nanos(bound))].iter().sum()
    }

    /// Adds what another histogram has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_nanos += other.sum_nanos;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

fn bucket_of(value: u64) -> usize {
    let power = value.max(1).ilog2();
    if power < FIRST_POWER {
        return (value >> (FIRST_POWER - SUB_BITS)) as usize;
    }
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    let sub = (value >> (power - SUB_BITS)) & u64::from(SUB - 1);
    ((power - FIRST_POWER + 1) * SUB) as usize + sub as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let sub = u64::from(SUB);
    if bucket < sub {
        return ((bucket + 1) << (FIRST_POWER - SUB_BITS)) - 1;
    }
    if bucket as usize == BUCKETS - 1 {
        return u64::MAX;
    }
    let power = FIRST_POWER + (bucket / sub) as u32 - 1;
    ((sub + bucket % sub + 1) << (power - SUB_BITS)) - 1
}

/// Slots of a tenth of a second each; one more than a second holds, since the current one is not yet full.
const SLOTS: u64 = 11;
const SLOT_NANOS: u64 = 100_000_000;

/// Events per second over the last whole second, computed when it is read, so that no timer runs for it.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    counts: [u32; SLOTS as usize],
    slot: u64,
}
crate::saved!(struct Rate { counts, slot });

impl Rate {
    /// Counts one event.
    pub fn record(&mut self, now: Instant) {
        self.forget_until(now);
        let count = &mut self.counts[(self.slot % SLOTS) as usize];
        *count = count.saturating_add(1);
    }

    /// Events in the ten full tenths of a second before the current one.
    pub fn per_second(&self, now: Instant) -> u64 {
        let current = now.as_nanos() / SLOT_NANOS;
        (1..SLOTS)
            .filter_map(|back| current.checked_sub(back))
            .filter(|&slot| slot <= self.slot && slot + SLOTS > self.slot)
            .map(|slot| u64::from(self.counts[(slot % SLOTS) as usize]))
            .sum()
    }

    /// Adds what another rate, told of the same times, has counted.
    pub fn merge(&mut self, other: &Rate) {
        self.forget_until(Instant::from_nanos(other.slot.saturating_mul(SLOT_NANOS)));
        for slot in (self.slot.saturating_sub(SLOTS - 1)..=self.slot).filter(|&slot| slot <= other.slot) {
            if slot + SLOTS > other.slot {
                let index = (slot % SLOTS) as usize;
                self.counts[index] = self.counts[index].saturating_add(other.counts[index]);
            }
        }
    }

    fn forget_until(&mut self, now: Instant) {
        let current = now.as_nanos() / SLOT_NANOS;
        if current <= self.slot {
            return;
        }
        for slot in (self.slot + 1..=current).rev().take(SLOTS as usize) {
            self.counts[(slot % SLOTS) as usize] = 0;
        }
        self.slot = current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn a_value_lies_within_its_bucket_and_an_eighth(value: u64) -> bool {
            let bucket = bucket_of(value);
            let upper = upper_bound(bucket);
            let lower = if bucket == 0 { 0 } else { upper_bound(bucket - 1) + 1 };
            (lower..=upper).contains(&value) && (upper == u64::MAX || upper - lower <= lower.max(1_024) / 8)
        }

        fn quantiles_agree_with_a_sorted_list(values: Vec<u32>, per_mille: u32) -> bool {
            let per_mille = per_mille % 1_001;
            let mut histogram = Histogram::default();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            values.iter().for_each(|&v| histogram.record(Duration::from_nanos(u64::from(v))));
            let Some(reading) = histogram.quantile(per_mille) else { return values.is_empty() };
            let rank = (sorted.len() * per_mille as usize).div_ceil(1_000).max(1);
            let exact = u64::from(sorted[rank - 1]);
            let reading = nanos(reading);
            reading >= exact && reading <= exact + exact.max(1_024) / 8
        }

        fn merged_histograms_are_as_one_that_was_told_of_all(values: Vec<(bool, u64)>) -> bool {
            let (mut parts, mut whole) = ([Histogram::default(), Histogram::default()], Histogram::default());
            for (part, nanos) in values {
                parts[usize::from(part)].record(Duration::from_nanos(nanos));
                whole.record(Duration::from_nanos(nanos));
            }
            let [mut merged, other] = parts;
            merged.merge(&other);
            std::format!("{merged:?}") == std::format!("{whole:?}")
        }

        fn merged_rates_are_as_one_that_was_told_of_all(gaps: Vec<(bool, u16)>, later: u16) -> bool {
            let (mut parts, mut whole) = ([Rate::default(), Rate::default()], Rate::default());
            let mut now = Instant::ZERO;
            for (part, gap) in gaps {
                now = now + Duration::from_millis(u64::from(gap) % 400);
                parts[usize::from(part)].record(now);
                whole.record(now);
            }
            let later = now + Duration::from_millis(u64::from(later) % 2_000);
            let [mut merged, other] = parts;
            merged.merge(&other);
            merged.per_second(later) == whole.per_second(later)
        }
    }

    #[test]
    fn a_rate_covers_the_last_full_second_and_forgets() {
        let mut rate = Rate::default();
        for i in 0..100 {
            rate.record(Instant::from_millis(i * 10));
        }
        assert_eq!(rate.per_second(Instant::from_millis(1_000)), 100);
        assert_eq!(rate.per_second(Instant::from_millis(1_500)), 50);
        assert_eq!(rate.per_second(Instant::from_millis(2_100)), 0);
        rate.record(Instant::from_millis(60_000));
        assert_eq!(rate.per_second(Instant::from_millis(60_100)), 1);
    }
}
