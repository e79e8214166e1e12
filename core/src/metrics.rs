//! Counting without stopping: a latency histogram and a rate, both of fixed size.

use core::time::Duration;

use crate::time::{Instant, nanos};

/// Which bucket of a log-linear histogram a value is in (the layout of HdrHistogram, Tene 2012): there are `2^SUB_BITS` to
/// each power of two, so that what is read from one is at most that part of the true value too high. Values below 1,024 ns
/// share as many of equal width, those from 2^40 ns (18 minutes) on share the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout<const SUB_BITS: u32>;

/// Values below this power of two share buckets of equal width.
const FIRST_POWER: u32 = 10;
/// Values from this power of two on share the last bucket.
const LAST_POWER: u32 = 40;

impl<const SUB_BITS: u32> Layout<SUB_BITS> {
    /// How many buckets there are.
    pub const BUCKETS: usize = ((LAST_POWER - FIRST_POWER + 1) << SUB_BITS) as usize + 1;

    /// That of a value in nanoseconds; below [`BUCKETS`](Self::BUCKETS).
    pub const fn bucket_of(nanos: u64) -> usize {
        let power = if nanos == 0 { 0 } else { nanos.ilog2() };
        if power < FIRST_POWER {
            return (nanos >> (FIRST_POWER - SUB_BITS)) as usize;
        }
        if power >= LAST_POWER {
            return Self::BUCKETS - 1;
        }
        let sub = (nanos >> (power - SUB_BITS)) & ((1 << SUB_BITS) - 1);
        (((power - FIRST_POWER + 1) as usize) << SUB_BITS) + sub as usize
    }

    /// The greatest value in a bucket, in nanoseconds.
    pub const fn upper_bound(bucket: usize) -> u64 {
        let (row, sub) = ((bucket >> SUB_BITS) as u32, bucket as u64 & ((1 << SUB_BITS) - 1));
        if row == 0 {
            return ((sub + 1) << (FIRST_POWER - SUB_BITS)) - 1;
        }
        if bucket >= Self::BUCKETS - 1 {
            return u64::MAX;
        }
        (((1 << SUB_BITS) + sub + 1) << (row - 1 + FIRST_POWER - SUB_BITS)) - 1
    }
}

/// Eight buckets per power of two.
type Eighths = Layout<3>;
const BUCKETS: usize = Eighths::BUCKETS;

/// A log-linear latency histogram, with 8 buckets per power of two.
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
        self.buckets[Eighths::bucket_of(value)] += 1;
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
                return Some(Duration::from_nanos(Eighths::upper_bound(index).clamp(self.min, self.max)));
            }
        }
        None
    }

    /// How many values lie at or below `bound` (a bound inside a bucket counts the whole bucket).
    pub fn at_most(&self, bound: Duration) -> u64 {
        self.buckets[..=Eighths::bucket_of(nanos(bound))].iter().sum()
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

    fn is_in_its_bucket<const SUB_BITS: u32>(value: u64) -> bool {
        let bucket = Layout::<SUB_BITS>::bucket_of(value);
        let upper = Layout::<SUB_BITS>::upper_bound(bucket);
        let lower = if bucket == 0 { 0 } else { Layout::<SUB_BITS>::upper_bound(bucket - 1) + 1 };
        bucket < Layout::<SUB_BITS>::BUCKETS
            && (lower..=upper).contains(&value)
            && (upper == u64::MAX || upper - lower <= lower.max(1_024) >> SUB_BITS)
    }

    quickcheck! {
        fn a_value_lies_within_its_bucket_which_is_a_small_part_of_it(value: u64) -> bool {
            is_in_its_bucket::<3>(value) && is_in_its_bucket::<5>(value)
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
