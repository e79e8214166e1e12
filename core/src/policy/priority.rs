//! Which priority levels take calls: failover to the next as one fails, and failback after a while.
//!
//! Level 0 takes everything while it is healthy enough. `overprovision` says what enough is: with the factor 1.4,
//! 72 % of a level's endpoints carry all of its calls; below, each level takes what its healthy endpoints can, and the
//! rest spills to the next (Envoy, "Priority levels"). If all levels together are too weak, they share in proportion.
//!
//! Worse counts at once; better counts only after `hold`, and then as the worst of that time, so that a level that comes
//! and goes does not drag the traffic along. While no level counts for anything, better counts at once.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::priority::{Config, Priorities};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::from_millis(1);
//! let mut levels = Priorities::new(Config::default());
//! levels.update(now, 0, 10, 10); // all ten endpoints of level 0
//! levels.update(now, 1, 10, 10);
//! assert_eq!(levels.shares()[..2], [1_000, 0]);
//!
//! levels.update(now, 0, 5, 10);
//! assert_eq!(levels.shares()[..2], [700, 300]);
//!
//! levels.update(now, 0, 10, 10);
//! assert_eq!(levels.shares()[..2], [700, 300]);
//! levels.tick(now + Duration::from_secs(10));
//! assert_eq!(levels.shares()[..2], [1_000, 0]);
//! ```

use core::time::Duration;

use super::fixed::Ratio;
use crate::rng::Pcg;
use crate::time::Instant;

/// Levels, at most: 0, the most wanted, to 7. A number above counts as 7.
pub const LEVELS: usize = 8;

/// All of the traffic, in the unit of shares.
const WHOLE: u32 = 1_000;

/// How levels fail over and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many times its present load an endpoint can carry; from 1. Default 1.4.
    pub overprovision: Ratio,
    /// How long a level must be better before it takes more. Default 10 s.
    pub hold: Duration,
}
crate::saved!(struct Config { overprovision, hold });

impl Default for Config {
    fn default() -> Self {
        Config { overprovision: Ratio::per_mille(1_400), hold: Duration::from_secs(10) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// What it counts for: what it can carry of all traffic, in thousandths.
    counted: u32,
    /// What it can carry now.
    capacity: u32,
    recovering: Option<Recovery>,
    /// Whether it has had endpoints before: a level that is seen for the first time counts at once.
    known: bool,
}
crate::saved!(struct Level { counted, capacity, recovering, known });

/// A level that is better than it counts for.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    /// When it has been better for long enough.
    until: Instant,
    /// The least it could carry since.
    least: u32,
}
crate::saved!(struct Recovery { until, least });

/// The levels of one service.
#[derive(Clone, Debug)]
pub struct Priorities {
    config: Config,
    levels: [Level; LEVELS],
    shares: [u32; LEVELS],
}
crate::saved!(struct Priorities { config, levels, shares });

impl Priorities {
    /// Levels without endpoints. Level 0 takes everything, until one has any.
    pub const fn new(config: Config) -> Self {
        let level = Level { counted: 0, capacity: 0, recovering: None, known: false };
        let mut shares = [0; LEVELS];
        shares[0] = WHOLE;
        Priorities { config, levels: [level; LEVELS], shares }
    }

    /// A level has `total` endpoints, `available` of them fit for calls.
    pub fn update(&mut self, now: Instant, level: u8, available: u32, total: u32) {
        self.tick(now);
        let until = now + self.config.hold;
        let factor = Ratio::per_mille(self.config.overprovision.as_per_mille().max(1_000));
        let healthy = u64::from(available.min(total)) * u64::from(WHOLE);
        let capacity = factor.of(healthy) / u64::from(total.max(1));
        let level = &mut self.levels[usize::from(level).min(LEVELS - 1)];
        level.observe(capacity.min(u64::from(WHOLE)) as u32, until);
        level.known |= total > 0;
        if self.is_nobody_well() {
            // Nobody serves whom the hold would spare a change.
            self.levels.iter_mut().for_each(Level::count_at_once);
        }
        self.share();
    }

    /// Whether no level counts for anything. Level 0 has the whole share then, and whoever has anybody may take it.
    pub fn is_nobody_well(&self) -> bool {
        self.levels.iter().all(|level| level.counted == 0)
    }

    /// When a level fails back.
    pub fn deadline(&self) -> Option<Instant> {
        self.levels.iter().filter_map(|level| level.recovering).map(|recovery| recovery.until).min()
    }

    /// Lets those fail back that have been better for long enough. Early or repeated, it changes nothing.
    pub fn tick(&mut self, now: Instant) {
        let hold = self.config.hold;
        let mut changed = false;
        for level in &mut self.levels {
            changed |= level.settle(now, hold);
        }
        if changed {
            self.share();
        }
    }

    /// What each level takes of the calls, in thousandths; their sum is 1,000.
    pub const fn shares(&self) -> &[u32; LEVELS] {
        &self.shares
    }

    /// The level of the next call, drawn by the shares.
    pub fn pick(&self, rng: &mut Pcg) -> u8 {
        if self.shares[0] == WHOLE {
            return 0;
        }
        let mut drawn = rng.below(WHOLE);
        let mut level = 0;
        while level < LEVELS - 1 && drawn >= self.shares[level] {
            drawn -= self.shares[level];
            level += 1;
        }
        level as u8
    }

    fn share(&mut self) {
        let counted = self.levels.map(|level| level.counted);
        let sum: u32 = counted.iter().sum();
        let mut left = WHOLE;
        for (share, counted) in self.shares.iter_mut().zip(counted) {
            // Too weak together, all take more than they can carry; if none carries anything, it is level 0's panic.
            let can = if sum < WHOLE { (counted * WHOLE).checked_div(sum).unwrap_or(0) } else { counted };
            *share = can.min(left);
            left -= *share;
        }
        // What rounding left over.
        let first = counted.iter().position(|counted| *counted > 0).unwrap_or(0);
        self.shares[first] += left;
    }
}

impl Level {
    fn observe(&mut self, capacity: u32, until: Instant) {
        self.capacity = capacity;
        if capacity <= self.counted || !self.known {
            self.count_at_once();
            return;
        }
        let recovery = self.recovering.get_or_insert(Recovery { until, least: capacity });
        recovery.least = recovery.least.min(capacity);
    }

    fn count_at_once(&mut self) {
        (self.counted, self.recovering) = (self.capacity, None);
    }

    /// Counts what has lasted for long enough; what is better still begins a time of its own.
    fn settle(&mut self, now: Instant, hold: Duration) -> bool {
        let Some(recovery) = self.recovering.filter(|recovery| recovery.until <= now) else { return false };
        self.counted = recovery.least;
        self.recovering =
            (self.capacity > self.counted).then(|| Recovery { until: now + hold, least: self.capacity });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(5_000);

    fn after(ms: u64) -> Instant {
        START + Duration::from_millis(ms)
    }

    fn with(available: &[u32]) -> Priorities {
        let mut levels = Priorities::new(Config::default());
        for (level, &available) in (0..).zip(available) {
            levels.update(START, level, available, 100);
        }
        levels
    }

    quickcheck! {
        fn the_shares_are_a_whole_at_all_times(updates: Vec<(u16, u8, u32, u32)>) -> bool {
            let mut levels = Priorities::new(Config::default());
            let mut now = START;
            updates.into_iter().all(|(gap, level, available, total)| {
                now = now + Duration::from_millis(u64::from(gap));
                levels.update(now, level, available, total);
                levels.shares().iter().sum::<u32>() == WHOLE
            })
        }

        fn no_level_takes_more_than_it_can_while_others_could(available: Vec<u8>) -> bool {
            let available: Vec<u32> = available.iter().take(LEVELS).map(|n| u32::from(n % 101)).collect();
            let levels = with(&available);
            let can: Vec<u32> = available.iter().map(|n| (n * 14).min(WHOLE)).collect();
            can.iter().sum::<u32>() < WHOLE
                || levels.shares().iter().zip(can.iter().chain([&0; LEVELS])).all(|(share, can)| share <= can)
        }

        fn a_level_takes_calls_only_if_those_before_it_are_full(available: Vec<u8>) -> bool {
            let available: Vec<u32> = available.iter().take(LEVELS).map(|n| u32::from(n % 101)).collect();
            let levels = with(&available);
            let last = levels.shares().iter().rposition(|share| *share > 0).unwrap_or(0);
            (0..last).all(|before| levels.shares()[before] >= (available[before] * 14).min(WHOLE))
        }

        fn an_early_or_repeated_tick_changes_nothing(updates: Vec<(u16, u8, u8)>, early: u16) -> bool {
            let mut levels = Priorities::new(Config::default());
            let mut now = START;
            for (gap, level, available) in updates {
                now = now + Duration::from_millis(u64::from(gap));
                levels.update(now, level % 3, u32::from(available), 255);
            }
            let early = now + Duration::from_millis(u64::from(early));
            let (shares, deadline) = (*levels.shares(), levels.deadline());
            if deadline.is_none_or(|deadline| early < deadline) {
                levels.tick(early);
                (*levels.shares(), levels.deadline()) == (shares, deadline)
            } else {
                levels.tick(early);
                let shares = *levels.shares();
                levels.tick(early);
                *levels.shares() == shares
            }
        }
    }

    #[test]
    fn with_72_percent_a_level_still_carries_everything() {
        assert_eq!(with(&[72, 100]).shares()[..2], [1_000, 0]);
        assert_eq!(with(&[71, 100]).shares()[..2], [994, 6]);
        assert_eq!(with(&[0, 25, 100]).shares()[..3], [0, 350, 650]);
    }

    #[test]
    fn levels_too_weak_together_share_in_proportion() {
        assert_eq!(with(&[20, 20]).shares()[..2], [500, 500]);
        assert_eq!(with(&[0, 0]).shares()[..2], [1_000, 0]);
        assert_eq!(with(&[0, 1]).shares()[..2], [0, 1_000]);
        // What rounding leaves over does not go to a level that has nobody.
        assert_eq!(with(&[0, 10, 10, 10]).shares()[..4], [0, 334, 333, 333]);
    }

    #[test]
    fn a_level_that_relapses_begins_its_hold_anew() {
        let mut levels = with(&[0, 100]);
        levels.update(after(0), 0, 100, 100);
        levels.update(after(9_000), 0, 0, 100);
        levels.update(after(9_500), 0, 100, 100);
        levels.tick(after(10_000));
        assert_eq!(levels.shares()[..2], [0, 1_000]);
        assert_eq!(levels.deadline(), Some(after(19_500)));
        levels.tick(after(19_500));
        assert_eq!(levels.shares()[..2], [1_000, 0]);
        assert_eq!(levels.deadline(), None);
    }

    #[test]
    fn what_was_worst_during_the_hold_is_what_counts_after_it() {
        let mut levels = with(&[0, 100]);
        levels.update(after(0), 0, 100, 100);
        levels.update(after(5_000), 0, 10, 100);
        levels.update(after(6_000), 0, 100, 100);
        levels.tick(after(10_000));
        assert_eq!(levels.shares()[..2], [140, 860]);
        levels.tick(after(20_000));
        assert_eq!(levels.shares()[..2], [1_000, 0]);
    }

    #[test]
    fn while_nobody_serves_who_is_back_counts_at_once() {
        let mut levels = with(&[0, 0]);
        assert!(levels.is_nobody_well());
        levels.update(after(0), 1, 50, 100);
        assert_eq!((levels.shares()[..2].to_vec(), levels.is_nobody_well()), (alloc::vec![0, 1_000], false));
        levels.update(after(0), 0, 100, 100);
        assert_eq!(levels.shares()[..2], [0, 1_000], "now somebody serves");
        levels.update(after(1_000), 1, 0, 100);
        assert_eq!(levels.shares()[..2], [1_000, 0], "and now nobody would");
        assert_eq!(levels.deadline(), None);
    }

    #[test]
    fn a_pick_draws_by_the_shares() {
        let levels = with(&[50, 10, 100]);
        let mut rng = Pcg::new(4, 1);
        let mut picks = [0u32; LEVELS];
        for _ in 0..100_000 {
            picks[usize::from(levels.pick(&mut rng))] += 1;
        }
        // 700, 140 and 160 thousandths; five standard deviations of the first are 725.
        let expected = [70_000u32, 14_000, 16_000, 0, 0, 0, 0, 0];
        assert!(picks.iter().zip(expected).all(|(n, wanted)| n.abs_diff(wanted) <= 725), "{picks:?}");
    }
}
