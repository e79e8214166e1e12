//! How long work takes: times drawn by chance, in integers alone, so that every platform draws the same.

use std::time::Duration;

use plimsoll_core::policy::fixed::{ONE, exp2_neg};
use plimsoll_core::rng::Pcg;
use plimsoll_core::testing::fleet::exponential;
use plimsoll_core::time::nanos;

/// log₂ e, in Q32.
const LOG2_E: i128 = 6_196_328_019;
/// No work takes longer: 10 minutes.
const LONGEST: u64 = 600_000_000_000;

/// Where times come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// All the same.
    Constant(Duration),
    /// Exponential, with this mean.
    Exponential(Duration),
    /// Log-normal: e to the power of a normal number with deviation `sigma`, in thousandths, times the median.
    LogNormal { median: Duration, sigma: u32 },
    /// By quantiles, the first at 0 and the last at 1,000,000, and evenly between two of them.
    Quantiles(Vec<(u32, Duration)>),
}

impl Distribution {
    /// The next time.
    pub(crate) fn draw(&self, rng: &mut Pcg) -> Duration {
        match self {
            Distribution::Constant(time) => *time,
            Distribution::Exponential(mean) => exponential(rng, *mean),
            Distribution::LogNormal { median, sigma } => log_normal(rng, *median, *sigma),
            Distribution::Quantiles(table) => by_quantiles(rng, table),
        }
    }
}

/// The normal number is the sum of twelve even ones less six: its deviation is 1, and it ends at 6.
fn log_normal(rng: &mut Pcg, median: Duration, sigma: u32) -> Duration {
    let sum: i128 = (0..12).map(|_| i128::from(rng.next_u32())).sum();
    let normal = sum - 6 * i128::from(ONE);
    let log2 = (normal * i128::from(sigma) / 1_000 * LOG2_E) >> 32;
    let doublings = -(-log2).div_euclid(i128::from(ONE));
    let rest = exp2_neg((doublings * i128::from(ONE) - log2) as u64);
    let base = (u128::from(nanos(median)) * u128::from(rest)) >> 32;
    let time = if doublings >= 0 { base << doublings.min(63) } else { base >> (-doublings).min(127) };
    Duration::from_nanos(time.min(u128::from(LONGEST)) as u64)
}

fn by_quantiles(rng: &mut Pcg, table: &[(u32, Duration)]) -> Duration {
    // In millionths of a millionth, so that the rarest stretch has times of its own.
    let drawn = rng.up_to(1_000_000_000_000 - 1);
    let above = table.partition_point(|&(quantile, _)| u64::from(quantile) * 1_000_000 <= drawn);
    let (Some(&(low, from)), Some(&(high, to))) = (table.get(above - 1), table.get(above)) else {
        return table.last().map_or(Duration::ZERO, |&(_, time)| time);
    };
    let width = u128::from(high - low) * 1_000_000;
    let within = u128::from(drawn) - u128::from(low) * 1_000_000;
    from + Duration::from_nanos((u128::from(nanos(to.saturating_sub(from))) * within / width) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sorted(distribution: &Distribution) -> Vec<Duration> {
        let mut rng = Pcg::new(1, 1);
        let mut times: Vec<_> = (0..100_000).map(|_| distribution.draw(&mut rng)).collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn log_normal_times_have_their_median_and_its_tail() {
        let times = sorted(&Distribution::LogNormal { median: 10 * MS, sigma: 1_000 });
        // e to the power of 1 and of 2, above the median and below; a share of 15.87 % and 2.275 % lies beyond.
        for (rank, expected) in [(50_000, 10_000), (84_135, 27_183), (97_725, 73_891), (15_865, 3_679)] {
            let (seen, expected) = (times[rank], Duration::from_micros(expected));
            assert!(seen.abs_diff(expected) < expected / 20, "{rank}: {seen:?}, {expected:?}");
        }
    }

    #[test]
    fn times_by_quantiles_have_these_quantiles() {
        let table = vec![(0, MS), (500_000, 5 * MS), (990_000, 40 * MS), (1_000_000, 1_000 * MS)];
        let times = sorted(&Distribution::Quantiles(table));
        for (rank, expected) in
            [(0, 1_000), (25_000, 3_000), (50_000, 5_000), (98_000, 39_286), (99_500, 520_000)]
        {
            let (seen, expected) = (times[rank], Duration::from_micros(expected));
            assert!(seen.abs_diff(expected) < expected / 12, "{rank}: {seen:?}, {expected:?}");
        }
    }
}
