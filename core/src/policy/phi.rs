//! How sure it is that a silent peer is dead: the φ accrual failure detector (N. Hayashibara, X. Défago, R. Yared,
//! T. Katayama, "The φ Accrual Failure Detector", SRDS 2004).
//!
//! φ = −log₁₀ of the probability that a heartbeat comes later than this, were the peer alive: at φ = 8 one suspicion in
//! 10⁸ is wrong. The time between heartbeats is taken as normally distributed, with mean and deviation of the last
//! [`Config::samples`], a deviation of at least [`Config::min_deviation`] (a peer that is as regular as a clock may be
//! late by a little), and [`Config::pause`] for what stops a healthy process.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::phi::{Config, Phi};
//! use plimsoll_core::time::Instant;
//!
//! let mut phi = Phi::new(Config::default(), Duration::from_secs(1), Instant::ZERO);
//! let mut now = Instant::ZERO;
//! for _ in 0..100 {
//!     now = now + Duration::from_secs(1);
//!     phi.heartbeat(now);
//! }
//! assert!(phi.is_alive(now + Duration::from_millis(4_000))); // it may pause for 3 s
//! assert!(!phi.is_alive(phi.deadline()));
//! assert!(phi.level(now) < 1 && phi.level(phi.deadline()) >= 8);
//! ```
//!
//! Any byte proves that the peer lives ([`received`](Phi::received)); only heartbeats say how far apart they come. Were
//! both the same, a burst of answers would teach microseconds, and the quiet after it would look like death; were bytes
//! not counted, a peer too busy to send heartbeats would be declared dead (moleculerjs/moleculer#891).

use alloc::vec::Vec;
use core::time::Duration;

use crate::time::{Instant, nanos};

/// What a [`Phi`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// From this φ on the peer counts as dead; from 1 to [`MAX_LEVEL`]. Default 8.
    pub threshold: u32,
    /// How many heartbeats it remembers, 4 bytes each, taken once; from 1 to 1,000. Default 1,000.
    pub samples: u16,
    /// What the deviation counts as at least; not below 1 µs. Default 100 ms.
    pub min_deviation: Duration,
    /// How long a healthy peer may stop for. Default 3 s.
    pub pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threshold: 8,
            samples: 1_000,
            min_deviation: Duration::from_millis(100),
            pause: Duration::from_secs(3),
        }
    }
}

/// The highest φ that is told apart.
pub const MAX_LEVEL: u32 = 88;

/// Watches one peer.
#[derive(Clone, Debug)]
pub struct Phi {
    /// How many deviations above the mean the threshold lies, in Q16.
    limit: i64,
    min_deviation: u64,
    pause: Duration,
    intervals: Intervals,
    /// The last sign of life, and the last heartbeat.
    seen: Instant,
    beat: Instant,
}

impl Phi {
    /// A peer that has been heard now, and is expected to send a heartbeat each `expected`.
    pub fn new(config: Config, expected: Duration, now: Instant) -> Self {
        let mut intervals = Intervals::new(config.samples.clamp(1, 1_000));
        intervals.push(micros(expected));
        Phi {
            limit: deviations_at(config.threshold.clamp(1, MAX_LEVEL)),
            min_deviation: nanos(config.min_deviation).max(1_000),
            pause: config.pause,
            intervals,
            seen: now,
            beat: now,
        }
    }

    /// A heartbeat has arrived. How long it took is not remembered if the peer was given up by then: the hole of an
    /// outage says nothing about how it beats.
    pub fn heartbeat(&mut self, now: Instant) {
        if self.is_alive(now) {
            self.intervals.push(micros(now.since(self.beat)));
        }
        self.beat = self.beat.max(now);
        self.received(now);
    }

    /// Anything has arrived.
    pub fn received(&mut self, now: Instant) {
        self.seen = self.seen.max(now);
    }

    /// Whether φ is below the threshold.
    pub fn is_alive(&self, now: Instant) -> bool {
        now < self.deadline()
    }

    /// When φ reaches the threshold if nothing arrives before.
    pub fn deadline(&self) -> Instant {
        let late = (i128::from(self.limit) * i128::from(self.deviation()) + 0xffff) >> 16;
        let wait = i128::from(self.intervals.mean()) + i128::from(nanos(self.pause)) + late;
        self.seen + Duration::from_nanos(wait.clamp(1, i128::from(u64::MAX)) as u64)
    }

    /// φ, rounded down; at most [`MAX_LEVEL`].
    pub fn level(&self, now: Instant) -> u32 {
        (self.level_q16(now) >> 16) as u32
    }

    /// φ in Q16; off by less than 0.001 for the mean and deviation it goes by.
    pub fn level_q16(&self, now: Instant) -> u64 {
        let expected = i128::from(self.intervals.mean()) + i128::from(nanos(self.pause));
        let late = i128::from(nanos(now.since(self.seen))) - expected;
        let deviations = (late << 16).div_euclid(i128::from(self.deviation()));
        phi(deviations.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// In nanoseconds.
    fn deviation(&self) -> u64 {
        self.intervals.deviation().max(self.min_deviation)
    }
}

/// The last intervals in microseconds, their sum and the sum of their squares: all exact.
#[derive(Clone, Debug)]
struct Intervals {
    ring: Vec<u32>,
    limit: usize,
    oldest: usize,
    sum: u64,
    squares: u128,
}

impl Intervals {
    fn new(limit: u16) -> Self {
        let limit = usize::from(limit);
        Intervals { ring: Vec::with_capacity(limit), limit, oldest: 0, sum: 0, squares: 0 }
    }

    fn push(&mut self, interval: u32) {
        if self.ring.len() < self.limit {
            self.ring.push(interval);
        } else {
            let old = core::mem::replace(&mut self.ring[self.oldest], interval);
            self.oldest = (self.oldest + 1) % self.limit;
            self.sum -= u64::from(old);
            self.squares -= u128::from(old) * u128::from(old);
        }
        self.sum += u64::from(interval);
        self.squares += u128::from(interval) * u128::from(interval);
    }

    /// In nanoseconds.
    fn mean(&self) -> u64 {
        self.sum * 1_000 / self.ring.len() as u64
    }

    /// In nanoseconds, rounded down to microseconds.
    fn deviation(&self) -> u64 {
        let n = self.ring.len() as u128;
        let variance = n * self.squares - u128::from(self.sum) * u128::from(self.sum);
        (variance.isqrt() / n) as u64 * 1_000
    }
}

/// At most 71 minutes.
fn micros(interval: Duration) -> u32 {
    u32::try_from(nanos(interval) / 1_000).unwrap_or(u32::MAX)
}

/// Eighths of a deviation before the table begins: below −4 deviations φ is 0, 0.00001 too little.
const BELOW: i64 = 32;

/// −log₁₀ of the upper tail of the normal distribution, in Q16, from −4 to 20 deviations in eighths. Between two of
/// them a straight line is too high by at most (1/8)² / 8 / ln 10 < 0.00085.
#[rustfmt::skip]
const TAIL: [u32; 193] = [
    1, 2, 3, 4, 7, 11, 16, 25, 38, 58, 85, 124, 177, 251, 350, 482, 655, 879, 1164, 1522, 1968, 2515, 3178,
    3973, 4917, 6025, 7315, 8801, 10_501, 12_429, 14_601, 17_029, 19_728, 22_711, 25_987, 29_570, 33_469,
    37_693, 42_250, 47_150, 52_399, 58_004, 63_972, 70_307, 77_016, 84_104, 91_573, 99_430, 107_677,
    116_317, 125_355, 134_793, 144_633, 154_879, 165_532, 176_595, 188_069, 199_956, 212_258, 224_977,
    238_114, 251_671, 265_648, 280_047, 294_868, 310_114, 325_785, 341_881, 358_404, 375_355, 392_734,
    410_542, 428_779, 447_446, 466_544, 486_074, 506_035, 526_429, 547_255, 568_515, 590_208, 612_336,
    634_897, 657_894, 681_326, 705_193, 729_496, 754_235, 779_410, 805_022, 831_071, 857_556, 884_480,
    911_840, 939_639, 967_875, 996_550, 1_025_663, 1_055_214, 1_085_204, 1_115_633, 1_146_501, 1_177_809,
    1_209_555, 1_241_741, 1_274_367, 1_307_432, 1_340_937, 1_374_882, 1_409_267, 1_444_093, 1_479_359,
    1_515_065, 1_551_211, 1_587_799, 1_624_827, 1_662_295, 1_700_205, 1_738_556, 1_777_348, 1_816_580,
    1_856_254, 1_896_370, 1_936_926, 1_977_925, 2_019_364, 2_061_245, 2_103_568, 2_146_333, 2_189_539,
    2_233_187, 2_277_277, 2_321_809, 2_366_783, 2_412_199, 2_458_057, 2_504_357, 2_551_099, 2_598_283,
    2_645_910, 2_693_979, 2_742_491, 2_791_444, 2_840_841, 2_890_679, 2_940_961, 2_991_684, 3_042_851,
    3_094_460, 3_146_511, 3_199_006, 3_251_943, 3_305_323, 3_359_145, 3_413_411, 3_468_119, 3_523_270,
    3_578_864, 3_634_901, 3_691_381, 3_748_304, 3_805_670, 3_863_479, 3_921_731, 3_980_427, 4_039_565,
    4_099_147, 4_159_171, 4_219_639, 4_280_550, 4_341_904, 4_403_702, 4_465_943, 4_528_627, 4_591_754,
    4_655_325, 4_719_339, 4_783_796, 4_848_697, 4_914_042, 4_979_829, 5_046_060, 5_112_735, 5_179_853,
    5_247_415, 5_315_420, 5_383_868, 5_452_760, 5_522_096, 5_591_875, 5_662_098, 5_732_764, 5_803_874,
];

/// φ at so many deviations (Q16) above the mean, in Q16. Never falls as they rise.
fn phi(deviations: i64) -> u64 {
    let place = deviations.saturating_add(BELOW << 13);
    if place < 0 {
        return 0;
    }
    let (index, within) = ((place >> 13) as usize, (place & 0x1fff) as u64);
    let Some(&right) = TAIL.get(index + 1) else { return u64::from(TAIL[TAIL.len() - 1]) };
    let (left, right) = (u64::from(TAIL[index]), u64::from(right));
    left + (((right - left) * within) >> 13)
}

/// The fewest deviations (Q16) at which φ is `level`.
fn deviations_at(level: u32) -> i64 {
    let (mut below, mut at) = (-(BELOW << 13), (TAIL.len() as i64 - 1 - BELOW) << 13);
    while at - below > 1 {
        let middle = below + (at - below) / 2;
        if phi(middle) >> 16 < u64::from(level) { below = middle } else { at = middle }
    }
    at
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const SECOND: Duration = Duration::from_secs(1);

    /// −log₁₀ Q(y) by the series of the error function below 2, by Laplace's continued fraction above.
    fn exact(y: f64) -> f64 {
        if y < 0.0 {
            let other_tail = 10.0f64.powf(-exact(-y));
            return -(-other_tail).ln_1p() / core::f64::consts::LN_10;
        }
        let density = (-y * y / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt();
        if y < 2.0 {
            let (mut term, mut sum) = (y, y);
            for k in 1..200 {
                term *= y * y / f64::from(2 * k + 1);
                sum += term;
            }
            return -(0.5 - density * sum).log10();
        }
        let fraction = (1..400).rev().fold(y, |below, k| y + f64::from(k) / below);
        let log_density = -y * y / 2.0 - (2.0 * core::f64::consts::PI).sqrt().ln();
        -(log_density - fraction.ln()) / core::f64::consts::LN_10
    }

    fn steady(beats: u64, gap: Duration) -> (Phi, Instant) {
        let mut phi = Phi::new(Config::default(), gap, Instant::ZERO);
        let mut now = Instant::ZERO;
        for _ in 0..beats {
            now = now + gap;
            phi.heartbeat(now);
        }
        (phi, now)
    }

    #[test]
    fn the_table_is_the_tail_of_the_normal_distribution() {
        for (i, &entry) in TAIL.iter().enumerate() {
            let y = (i as f64 - BELOW as f64) / 8.0;
            assert!((f64::from(entry) / 65_536.0 - exact(y)).abs() < 1.0 / 65_536.0, "{y}");
        }
        assert_eq!(TAIL[TAIL.len() - 1] >> 16, MAX_LEVEL);
    }

    quickcheck! {
        fn phi_keeps_its_error_bound(deviations: i64) -> bool {
            let deviations = deviations % (20 << 16);
            let y = deviations as f64 / 65_536.0;
            (phi(deviations) as f64 / 65_536.0 - exact(y)).abs() < 0.001
        }

        fn phi_never_falls(deviations: i64, more: u32) -> bool {
            phi(deviations) <= phi(deviations.saturating_add(i64::from(more)))
        }

        fn dead_at_the_deadline_and_not_before(gaps: alloc::vec::Vec<u32>, threshold: u8) -> bool {
            let config = Config { threshold: 1 + u32::from(threshold) % 20, ..Config::default() };
            let mut phi = Phi::new(config, SECOND, Instant::ZERO);
            let mut now = Instant::ZERO;
            for gap in gaps {
                now = now + Duration::from_nanos(u64::from(gap));
                phi.heartbeat(now);
            }
            let end = phi.deadline();
            let before = Instant::from_nanos(end.as_nanos() - 1);
            phi.level(end) == config.threshold
                && phi.level(before) < config.threshold
                && phi.is_alive(before)
                && !phi.is_alive(end)
        }

        fn running_sums_are_those_of_the_last(values: alloc::vec::Vec<u32>, limit: u8) -> bool {
            let limit = usize::from(limit % 16) + 1;
            let mut intervals = Intervals::new(limit as u16);
            (0..values.len()).all(|at| {
                intervals.push(values[at]);
                let last = &values[(at + 1).saturating_sub(limit)..=at];
                let sum: u64 = last.iter().map(|&v| u64::from(v)).sum();
                let squares: u128 = last.iter().map(|&v| u128::from(v) * u128::from(v)).sum();
                (sum, squares) == (intervals.sum, intervals.squares) && intervals.ring.len() == last.len()
            })
        }
    }

    #[test]
    fn a_steady_peer_is_given_its_pause_and_five_and_a_half_deviations() {
        let (phi, now) = steady(2_000, SECOND);
        let wait = phi.deadline().since(now).as_millis();
        assert!((4_560..4_563).contains(&wait), "1 s + 3 s + 5.61 × 100 ms, not {wait} ms");
    }

    #[test]
    fn a_busy_peer_whose_heartbeats_are_late_is_not_declared_dead() {
        let (mut phi, mut now) = steady(100, SECOND);
        for _ in 0..300 {
            now = now + Duration::from_millis(100);
            phi.received(now); // answers, but no heartbeat for 30 s
            assert!(phi.is_alive(now));
        }
    }

    #[test]
    fn a_burst_of_bytes_does_not_make_the_quiet_after_it_look_like_death() {
        let (mut phi, mut now) = steady(10, Duration::from_secs(30));
        for _ in 0..5_000 {
            now = now + Duration::from_micros(10);
            phi.received(now);
        }
        assert!(phi.is_alive(now + Duration::from_secs(30)));
    }

    #[test]
    fn an_outage_is_not_remembered_as_a_slow_heartbeat() {
        let (mut phi, now) = steady(100, SECOND);
        let before = phi.deadline().since(now);
        let back = now + Duration::from_secs(600);
        phi.heartbeat(back);
        assert_eq!(phi.deadline().since(back), before);
    }

    #[test]
    fn irregular_peers_are_given_more_time() {
        let mut phi = Phi::new(Config::default(), SECOND, Instant::ZERO);
        let mut now = Instant::ZERO;
        for beat in 0..1_000 {
            now = now + Duration::from_millis(if beat % 2 == 0 { 200 } else { 1_800 });
            phi.heartbeat(now);
        }
        let wait = phi.deadline().since(now).as_millis();
        assert!((8_480..8_500).contains(&wait), "1 s + 3 s + 5.61 × 800 ms, not {wait} ms");
    }
}
