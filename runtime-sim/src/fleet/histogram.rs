//! Counting times by how long they are.

use std::time::Duration;

use plimsoll_core::metrics::Layout;
use plimsoll_core::time::nanos;

/// A reading is at most 1/32 above the true value.
type Buckets = Layout<5>;

/// A log-linear histogram, as long as its longest time needs: there are thousands of these, and most are nearly empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    max: Duration,
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let bucket = Buckets::bucket_of(nanos(time));
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// The time that so many of 1,000 keep to; zero if there is none at all.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, &n) in self.buckets.iter().enumerate() {
            seen += u64::from(n);
            if seen >= rank {
                return Duration::from_nanos(Buckets::upper_bound(bucket)).min(self.max);
            }
        }
        Duration::ZERO
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_thirty_second_above_the_true_one() {
        let mut histogram = Histogram::default();
        let times: Vec<_> = (0..1_000u64).map(|n| Duration::from_nanos(2_000 + n * n * n)).collect();
        times.iter().for_each(|&time| histogram.record(time));
        for per_mille in [1, 10, 500, 900, 990, 999, 1_000] {
            let (seen, exact) = (histogram.quantile(per_mille), times[per_mille as usize - 1]);
            assert!(exact <= seen && seen <= exact + exact / 32, "{per_mille}: {seen:?}, {exact:?}");
        }
        assert_eq!(histogram.quantile(1_000), histogram.max());
    }

    #[test]
    fn merged_histograms_hold_what_both_held() {
        let (mut all, mut parts) = (Histogram::default(), [Histogram::default(), Histogram::default()]);
        for n in 0..10_000u64 {
            let time = Duration::from_micros(n % 977);
            all.record(time);
            parts[(n % 2) as usize].record(time);
        }
        let [mut one, other] = parts;
        one.merge(&other);
        assert_eq!((one.buckets, one.count, one.max), (all.buckets, all.count, all.max));
        assert_eq!(Histogram::default().quantile(990), Duration::ZERO);
    }
}
