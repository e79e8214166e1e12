//! Asks a few endpoints how busy they are, and sends calls where the answers are good: Prequal.
//!
//! After B. Wydrowski, R. Kleinberg, S. M. Rumble, A. Archer, "Load is not what you should balance: Introducing
//! Prequal", NSDI 2024. With every call, three endpoints drawn at random are probed. Their answers (requests in flight
//! there, and what a call took lately) stand in a pool of 16 for a second at most. A pick looks at the pool: probes
//! above a quantile of the requests in flight are *hot*; of those that are cold the fastest wins, and if all are hot,
//! the least busy. What is in the pool wears out: each pick removes one probe, the oldest and the worst in turn, a probe
//! is used a limited number of times, and a picked endpoint counts as busier by one.
//!
//! It shines from about 16 endpoints on; with few endpoints that are bound by their CPU, round robin was faster. A probe
//! never overrides health: it counts only while its endpoint is a candidate.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::balance::prequal::{Config, Prequal};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let (now, mut rng) = (Instant::from_millis(1), Pcg::new(1, 1));
//! let mut prequal = Prequal::new(Config::default());
//!
//! // Per call: whom to probe, as positions below the number of candidates.
//! assert_eq!(prequal.targets(&mut rng, 20).count(), 3);
//! // Answers come in: slot, requests in flight there, latency there.
//! prequal.answered(now, 4, 2, Duration::from_millis(30));
//! prequal.answered(now, 7, 2, Duration::from_millis(5));
//! // The pick is a position; slots and positions are the same in this example.
//! assert_eq!(prequal.pick(now, &mut rng, 20, |slot| Some(slot as usize)), Some(7));
//! ```

use core::time::Duration;

use super::random;
use crate::policy::fixed::{ONE, Ratio, exp2_neg};
use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// Probes in the pool, at most.
pub const POOL: usize = 16;
/// Probes per call, at most.
pub const PROBES: usize = 8;
/// Answers whose requests in flight the quantile is taken of: four pools.
const RECENT: usize = 64;

/// What a [`Prequal`] is made of; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A probe with more requests in flight than this quantile of the recent answers is hot, in Q32 up to
    /// [`ONE`]. 0 looks at requests in flight alone, one at latency alone. Default 2⁻⁰·²⁵ ≈ 0.84.
    pub quantile: u64,
    /// Probes per call, from 1 to [`PROBES`]. Default 3.
    pub probes: u8,
    /// Probes that a call takes out of the pool, from 0 to [`POOL`]. Default 1.
    pub remove: u8,
    /// How long a probe is good for. Default 1 s.
    pub age: Duration,
    /// How much more is put into the pool by reuse than is taken out: δ. Default 1.
    pub surplus: Ratio,
}
crate::saved!(struct Config { quantile, probes, remove, age, surplus });

impl Default for Config {
    fn default() -> Self {
        Config {
            quantile: exp2_neg(ONE / 4),
            probes: 3,
            remove: 1,
            age: Duration::from_secs(1),
            surplus: Ratio::ONE,
        }
    }
}

/// What an endpoint said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    slot: u32,
    /// Requests in flight there, and those sent there since.
    in_flight: u32,
    /// In nanoseconds.
    latency: u64,
    at: Instant,
    /// Picks made by it.
    uses: u32,
}
crate::saved!(struct Probe { slot, in_flight, latency, at, uses });

/// Picks by probes, and says whom to probe. Allocates nothing.
#[derive(Clone, Debug)]
pub struct Prequal {
    config: Config,
    /// The oldest first; the first `len` are in use.
    pool: [Probe; POOL],
    len: usize,
    recent: Recent,
    /// Whether the next removal takes the worst, and not the oldest.
    worst_next: bool,
}
crate::saved!(struct Prequal { config, pool, len, recent, worst_next });

impl Prequal {
    /// A balancer that has no answers yet.
    pub const fn new(config: Config) -> Self {
        let none = Probe { slot: 0, in_flight: 0, latency: 0, at: Instant::ZERO, uses: 0 };
        Prequal { config, pool: [none; POOL], len: 0, recent: Recent::new(), worst_next: false }
    }

    /// The different positions below `len` to probe, once per call, in no order: of equal answers the first wins.
    pub fn targets(&self, rng: &mut Pcg, len: usize) -> impl Iterator<Item = usize> + use<> {
        let len = super::bounded(len);
        let wanted = u32::from(self.config.probes).clamp(1, PROBES as u32).min(len);
        let (mut drawn, mut n) = ([0; PROBES], 0);
        // Floyd's algorithm in its form for permutations (Bentley, "A Sample of Brilliance", 1987): no draw is wasted, every
        // order of every subset is as likely.
        for last in len - wanted..len {
            let at = rng.below(last + 1);
            let (place, drawn_now) = match drawn[..n].iter().position(|&before| before == at) {
                Some(before) => (before + 1, last),
                None => (0, at),
            };
            drawn.copy_within(place..n, place + 1);
            drawn[place] = drawn_now;
            n += 1;
        }
        drawn.into_iter().take(n).map(|at| at as usize)
    }

    /// An endpoint has answered a probe: requests in flight there, and what a call at that number took lately. It
    /// takes the place of an older answer of the same endpoint, or of the oldest of a full pool.
    pub fn answered(&mut self, now: Instant, slot: u32, in_flight: u32, latency: Duration) {
        self.recent.add(in_flight);
        self.forget(slot);
        if self.len == POOL {
            self.remove(0);
        }
        self.pool[self.len] = Probe { slot, in_flight, latency: nanos(latency), at: now, uses: 0 };
        self.len += 1;
    }

    /// How many answers there are, those that are too old not counted.
    pub fn probes(&self, now: Instant) -> usize {
        self.pool[..self.len].iter().filter(|probe| now.since(probe.at) <= self.config.age).count()
    }

    /// An endpoint has gone, and its slot may be given to another.
    pub fn forget(&mut self, slot: u32) {
        self.keep(|probe| probe.slot != slot);
    }

    /// The position for the next call, of `len` candidates; `position` tells where a slot stands, if it is one of
    /// them. Any of them with equal chance, as long as there are not two probes; `None` if there is no candidate.
    pub fn pick(
        &mut self,
        now: Instant,
        rng: &mut Pcg,
        len: usize,
        position: impl Fn(u32) -> Option<usize>,
    ) -> Option<usize> {
        self.pick_probed(now, rng, len, position).or_else(|| random::pick(rng, len))
    }

    /// The position for the next call by what the probes say, without drawing from `rng` to choose; `None` as long as there
    /// are not two of them.
    pub fn pick_probed(
        &mut self,
        now: Instant,
        rng: &mut Pcg,
        len: usize,
        position: impl Fn(u32) -> Option<usize>,
    ) -> Option<usize> {
        let age = self.config.age;
        self.keep(|probe| now.since(probe.at) <= age && position(probe.slot).is_some());
        if self.len < 2 {
            return None;
        }
        let threshold = self.threshold();
        let best = (0..self.len).min_by_key(|&at| self.pool[at].rank(threshold))?;
        let picked = position(self.pool[best].slot);
        let budget = self.budget(rng, len);
        let probe = &mut self.pool[best];
        probe.in_flight = probe.in_flight.saturating_add(1);
        probe.uses += 1;
        if probe.uses >= budget {
            self.remove(best);
        }
        self.wear(threshold);
        picked
    }

    /// Takes probes out of the pool: the oldest, for it is wrong by now, and the worst in turn, for the pool would fill
    /// with those that nobody picks.
    fn wear(&mut self, threshold: u32) {
        for _ in 0..self.config.remove {
            let worst = (0..self.len).max_by_key(|&at| self.pool[at].rank(threshold));
            let Some(worst) = worst else { return };
            self.remove(if self.worst_next { worst } else { 0 });
            self.worst_next = !self.worst_next;
        }
    }

    /// How often a probe may be used: b = max(1, (1 + δ) / ((1 − m/n) · r_probe − r_remove)), m the size of the pool
    /// and n the number of endpoints, rounded up or down by chance so that it is b on average. With so few
    /// endpoints that the divisor is not positive, only age and removal end a probe.
    fn budget(&self, rng: &mut Pcg, endpoints: usize) -> u32 {
        let n = i128::from(super::bounded(endpoints));
        let (probes, remove) =
            (i128::from(self.config.probes.clamp(1, PROBES as u8)), i128::from(self.config.remove));
        // Both sides of the fraction times n, and times 1,000 for the thousandths of δ.
        let divisor = 1_000 * ((n - POOL as i128) * probes - n * remove);
        if divisor <= 0 {
            return u32::MAX;
        }
        let dividend = n * (1_000 + i128::from(self.config.surplus.as_per_mille()));
        let (whole, rest) = (dividend / divisor, dividend % divisor);
        let up = i128::from(rng.next_u32()) * divisor < rest << 32;
        u32::try_from(whole + i128::from(up)).unwrap_or(u32::MAX).max(1)
    }

    /// More requests in flight than this are hot.
    fn threshold(&self) -> u32 {
        self.recent.quantile(self.config.quantile.min(ONE))
    }

    fn remove(&mut self, at: usize) {
        self.pool.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    fn keep(&mut self, fit: impl Fn(&Probe) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            if fit(&self.pool[at]) {
                self.pool[kept] = self.pool[at];
                kept += 1;
            }
        }
        self.len = kept;
    }
}

impl Probe {
    /// The least is the best: cold before hot, the cold by latency, the hot by requests in flight.
    const fn rank(&self, threshold: u32) -> (bool, u64) {
        if self.in_flight > threshold { (true, self.in_flight as u64) } else { (false, self.latency) }
    }
}

/// The last numbers of requests in flight, as they came and in order.
#[derive(Clone, Debug)]
struct Recent {
    came: [u32; RECENT],
    sorted: [u32; RECENT],
    len: usize,
    next: usize,
}
crate::saved!(struct Recent { came, sorted, len, next });

impl Recent {
    const fn new() -> Self {
        Recent { came: [0; RECENT], sorted: [0; RECENT], len: 0, next: 0 }
    }

    fn add(&mut self, value: u32) {
        if self.len == RECENT {
            let at = self.sorted.partition_point(|&other| other < self.came[self.next]);
            self.sorted.copy_within(at + 1.., at);
            self.len -= 1;
        }
        let at = self.sorted[..self.len].partition_point(|&other| other < value);
        self.sorted.copy_within(at..self.len, at + 1);
        self.sorted[at] = value;
        self.len += 1;
        self.came[self.next] = value;
        self.next = (self.next + 1) % RECENT;
    }

    /// The nearest rank at or below `q` in Q32.
    fn quantile(&self, q: u64) -> u32 {
        let last = self.len.saturating_sub(1) as u64;
        self.sorted[((q * last) >> 32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(5_000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A pool of these answers: requests in flight and latency in ms, the slots counted from 0.
    fn pool(answers: &[(u32, u64)]) -> Prequal {
        let mut prequal = Prequal::new(Config::default());
        for (slot, &(in_flight, latency)) in (0..).zip(answers) {
            prequal.answered(START, slot, in_flight, ms(latency));
        }
        prequal
    }

    fn slots(prequal: &Prequal) -> Vec<u32> {
        prequal.pool[..prequal.len].iter().map(|probe| probe.slot).collect()
    }

    fn pick(prequal: &mut Prequal, now: Instant) -> Option<usize> {
        prequal.pick(now, &mut Pcg::new(1, 1), 100, |slot| Some(slot as usize))
    }

    #[test]
    fn the_fastest_of_the_cold_wins() {
        assert_eq!(pick(&mut pool(&[(1, 30), (2, 10), (3, 20), (9, 1)]), START), Some(1));
    }

    #[test]
    fn the_least_busy_wins_if_all_are_hot() {
        let mut prequal = pool(&[(9, 1), (7, 50), (8, 2)]);
        // The endpoints were idle a moment ago, so all of these are above the quantile.
        (0..60).for_each(|_| prequal.recent.add(0));
        assert_eq!(pick(&mut prequal, START), Some(1));
    }

    #[test]
    fn the_quantile_is_2_to_the_minus_a_quarter() {
        let mut recent = Recent::new();
        (0..RECENT as u32).for_each(|n| recent.add(n));
        assert_eq!(recent.quantile(Config::default().quantile), 52); // ⌊0.8409 · 63⌋
        assert_eq!((recent.quantile(0), recent.quantile(ONE)), (0, 63));
    }

    #[test]
    fn each_pick_removes_the_oldest_and_the_worst_in_turn() {
        let mut prequal = pool(&[(1, 20), (1, 90), (1, 50), (1, 10), (1, 60)]);
        prequal.config.surplus = Ratio::percent(10_000); // nothing is used up
        assert_eq!(pick(&mut prequal, START), Some(3));
        assert_eq!(slots(&prequal), [1, 2, 3, 4]);
        // The one picked has one more in flight than the quantile now: it is hot, and the worst.
        assert_eq!(pick(&mut prequal, START), Some(2));
        assert_eq!(slots(&prequal).len(), 3);
        assert_eq!(slots(&prequal)[0], 1);
    }

    #[test]
    fn below_two_probes_it_picks_any() {
        let mut rng = Pcg::new(5, 1);
        let mut picked = BTreeSet::new();
        for _ in 0..200 {
            picked.insert(pool(&[(0, 1)]).pick(START, &mut rng, 4, |slot| Some(slot as usize)));
        }
        assert_eq!(picked.len(), 4);
    }

    #[test]
    fn a_probe_is_good_for_a_second() {
        let mut prequal = pool(&[(1, 30), (1, 10)]);
        assert_eq!((prequal.probes(START + ms(1_000)), prequal.probes(START + ms(1_001))), (2, 0));
        assert_eq!(prequal.clone().pick(START + ms(1_000), &mut Pcg::new(1, 1), 100, |_| Some(77)), Some(77));
        pick(&mut prequal, START + ms(1_001));
        assert_eq!(prequal.len, 0);
    }

    #[test]
    fn a_probe_never_overrides_health() {
        let mut prequal = pool(&[(0, 1), (1, 30), (1, 20)]);
        let out = |slot: u32| (slot != 0).then_some(slot as usize);
        assert_eq!(prequal.pick(START, &mut Pcg::new(1, 1), 100, out), Some(2));
    }

    #[test]
    fn a_picked_endpoint_counts_as_busier_by_one() {
        let mut prequal = pool(&[(1, 90), (1, 10), (5, 50), (5, 60)]);
        prequal.config = Config { remove: 0, ..prequal.config };
        prequal.config.surplus = Ratio::percent(10_000);
        pick(&mut prequal, START);
        assert!(prequal.pool[..4].iter().any(|probe| probe.slot == 1 && probe.in_flight == 2));
    }

    #[test]
    fn the_reuse_budget_is_that_of_the_paper_on_average() {
        let prequal = Prequal::new(Config::default());
        let many = Prequal::new(Config { probes: 8, ..Config::default() });
        let mut rng = Pcg::new(8, 1);
        assert_eq!(many.budget(&mut rng, 1_000), 1); // 2 / 6.9 is below one
        let mut average = |n| (0..10_000u32).map(|_| prequal.budget(&mut rng, n)).sum::<u32>();
        assert_eq!(average(32), 40_000); // 2 / (½ · 3 − 1) = 4
        assert!(average(100).abs_diff(13_158) < 250); // 2 / (0.84 · 3 − 1) = 1.316
        assert_eq!(prequal.budget(&mut rng, 24), u32::MAX);
        assert_eq!(prequal.budget(&mut rng, 3), u32::MAX);
    }

    #[test]
    fn a_probe_that_is_used_up_leaves_the_pool() {
        let mut prequal = pool(&[(1, 90), (1, 10), (1, 50)]);
        // Among a million endpoints a probe is good for one pick.
        prequal.pick(START, &mut Pcg::new(1, 1), 1_000_000, |slot| Some(slot as usize));
        assert_eq!(slots(&prequal), [2]);
    }

    #[test]
    fn it_shuns_the_slow_endpoint_that_round_robin_feeds() {
        // Twenty endpoints, of which one takes 50 times as long; probes tell the truth at once.
        let mut prequal = Prequal::new(Config::default());
        let mut rng = Pcg::new(6, 1);
        let mut slow = 0;
        for call in 0..100_000u64 {
            let now = START + ms(call);
            let targets: Vec<usize> = prequal.targets(&mut rng, 20).collect();
            for at in targets {
                prequal.answered(now, at as u32, 1, ms(if at == 7 { 500 } else { 10 }));
            }
            slow += u32::from(prequal.pick(now, &mut rng, 20, |slot| Some(slot as usize)) == Some(7));
        }
        assert!(slow < 100, "{slow} of 100,000");
    }

    #[test]
    fn over_a_million_picks_equal_endpoints_share_alike() {
        let mut prequal = Prequal::new(Config::default());
        let mut rng = Pcg::new(6, 1);
        let mut shares = [0u32; 20];
        for call in 0..1_000_000u64 {
            let now = START + ms(call);
            let targets: Vec<usize> = prequal.targets(&mut rng, 20).collect();
            targets.iter().for_each(|&at| prequal.answered(now, at as u32, 1, ms(10)));
            shares[prequal.pick(now, &mut rng, 20, |slot| Some(slot as usize)).unwrap()] += 1;
        }
        // A probe serves more than one pick, so the deviation is above that of a million draws, which is 218.
        assert!(shares.iter().all(|share| share.abs_diff(50_000) < 1_000), "{shares:?}");
    }

    quickcheck! {
        fn targets_are_different_and_as_many_as_there_are(seed: u64, len: u8, probes: u8) -> bool {
            let prequal = Prequal::new(Config { probes, ..Config::default() });
            let targets: Vec<usize> = prequal.targets(&mut Pcg::new(seed, 1), len.into()).collect();
            let wanted = usize::from(probes).clamp(1, PROBES).min(len.into());
            targets.iter().collect::<BTreeSet<_>>().len() == wanted
                && targets.len() == wanted
                && targets.iter().all(|at| *at < len.into())
        }

        fn the_quantile_of_recent_answers_is_that_of_sorting_them(values: Vec<u32>, q: u32) -> bool {
            let mut recent = Recent::new();
            values.iter().for_each(|&value| recent.add(value));
            let mut last: Vec<u32> = values.iter().rev().take(RECENT).copied().collect();
            last.sort_unstable();
            let rank = (u64::from(q) * last.len().saturating_sub(1) as u64) >> 32;
            recent.quantile(q.into()) == last.get(rank as usize).copied().unwrap_or(0)
        }

        fn the_pool_keeps_its_bounds_and_one_probe_per_endpoint(
            steps: Vec<(bool, u8, u8, u8)>, seed: u64
        ) -> bool {
            let mut prequal = Prequal::new(Config::default());
            let mut rng = Pcg::new(seed, 1);
            let mut now = START;
            steps.into_iter().all(|(answer, gap, slot, load)| {
                now = now + ms(gap.into());
                if answer {
                    prequal.answered(now, slot.into(), load.into(), ms(load.into()));
                } else if prequal.pick(now, &mut rng, 256, |slot| Some(slot as usize)).is_none() {
                    return false;
                }
                let different: BTreeSet<u32> = slots(&prequal).into_iter().collect();
                different.len() == prequal.len && prequal.pool[..prequal.len].is_sorted_by_key(|probe| probe.at)
            })
        }

        fn every_target_is_as_likely_in_every_place(seed: u64) -> bool {
            let prequal = Prequal::new(Config::default());
            let mut rng = Pcg::new(seed, 1);
            let mut shares = [[0u32; 6]; 3];
            for _ in 0..6_000 {
                (0..).zip(prequal.targets(&mut rng, 6)).for_each(|(place, at): (usize, _)| shares[place][at] += 1);
            }
            // 1,000 expected, a standard deviation of 29.
            shares.as_flattened().iter().all(|share| share.abs_diff(1_000) < 6 * 29)
        }
    }
}
