//! Fractions without floating point, so that every platform computes the same bits.
//!
//! `exp` and `ln` of the standard library differ between platforms in the last bits, and one bit is enough to
//! make a replay choose another endpoint. What is needed here is small: [`Ratio`] for what people configure,
//! and [`Decay`], an exponential decay over time, by a table of 2⁻ˣ and linear interpolation.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::fixed::{Decay, ONE, Ratio};
//!
//! assert_eq!(Ratio::percent(20).of(1_000), 200);
//!
//! let decay = Decay::new(Duration::from_secs(10));
//! assert_eq!(decay.over(Duration::ZERO), ONE);
//! assert_eq!(decay.apply(1_000_000, Duration::from_secs(10)), 367_879); // e⁻¹
//! ```

use core::time::Duration;

use crate::time::nanos;

/// One, as a Q32 number: 32 bits after the binary point.
pub const ONE: u64 = 1 << 32;

/// A factor in thousandths: 1.5 is `Ratio::per_mille(1_500)`. From 0 to 4,294,967.295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);
crate::saved!(struct Ratio { 0 });

impl Ratio {
    /// The factor 1.
    pub const ONE: Ratio = Ratio(1_000);

    /// So many thousandths.
    pub const fn per_mille(thousandths: u32) -> Self {
        Ratio(thousandths)
    }

    /// So many hundredths, up to 429,496,729 of them.
    pub const fn percent(hundredths: u32) -> Self {
        Ratio(hundredths.saturating_mul(10))
    }

    /// The factor in thousandths.
    pub const fn as_per_mille(self) -> u32 {
        self.0
    }

    /// This factor times `value`, rounded down, at most `u64::MAX`.
    pub const fn of(self, value: u64) -> u64 {
        let product = value as u128 * self.0 as u128 / 1_000;
        if product > u64::MAX as u128 { u64::MAX } else { product as u64 }
    }

    /// `value` divided by this factor, rounded down, at most `u64::MAX`; so is a division by zero.
    pub const fn divide(self, value: u64) -> u64 {
        if self.0 == 0 {
            return u64::MAX;
        }
        let quotient = value as u128 * 1_000 / self.0 as u128;
        if quotient > u64::MAX as u128 { u64::MAX } else { quotient as u64 }
    }
}

/// 2⁻ⁱᐟ²⁵⁶ in Q32 for i in `0..=256`, so that an interval has both its ends.
const POWERS: [u64; 257] = {
    // The step 2^(-1/256) is one half, its root taken eight times; 63 bits leave no error that Q32 could see.
    let mut step: u128 = 1 << 62;
    let mut roots = 0;
    while roots < 8 {
        step = (step << 63).isqrt();
        roots += 1;
    }
    let mut table = [0; 257];
    let mut power: u128 = 1 << 63;
    let mut i = 0;
    while i < 257 {
        table[i] = ((power + (1 << 30)) >> 31) as u64;
        power = (power * step) >> 63;
        i += 1;
    }
    table
};

/// 2⁻ˣ for `x` in Q32, as Q32.
///
/// Exact where `x` is whole and below 33, else too high by less than 2⁻²⁰ (the chord lies above the curve by
/// at most (ln 2 / 256)² / 8) and too low by less than 2⁻³⁰. Never rises as `x` rises.
#[inline]
pub const fn exp2_neg(x: u64) -> u64 {
    let whole = x >> 32;
    if whole > 32 {
        return 0;
    }
    let index = (x as u32 >> 24) as usize;
    let within = x & 0x00ff_ffff;
    let (left, right) = (POWERS[index], POWERS[index + 1]);
    (left - (((left - right) * within) >> 24)) >> whole
}

/// −log₂ of `x` in Q32, as Q32, for `x` from 1 bit to [`ONE`]; 0 counts as one bit, and more than one as one.
///
/// Bit by bit, by squaring (as in Knuth, "The Art of Computer Programming" 1, exercise 1.2.2-25): too high by less
/// than 2⁻²⁷. Never rises as `x` rises. For what is computed now and then; it takes 32 multiplications.
pub const fn log2_neg(x: u64) -> u64 {
    let x = if x == 0 { 1 } else { x };
    if x >= ONE {
        return 0;
    }
    let shift = x.leading_zeros() - 31;
    // The mantissa from 1 to 2, in Q62 so that a square fits.
    let mut mantissa = (x as u128) << (shift + 30);
    let mut log = 0u64;
    let mut bit = ONE >> 1;
    while bit > 0 {
        mantissa = (mantissa * mantissa) >> 62;
        if mantissa >= 1 << 63 {
            mantissa >>= 1;
            log |= bit;
        }
        bit >>= 1;
    }
    ((shift as u64) << 32) - log
}

/// An exponential decay: what is left of one after a time *t* is e^(−t/τ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decay {
    /// log₂(e) / τ per nanosecond, in Q(96 − `shift`), with as many bits as fit: a multiplication per use instead of a
    /// division.
    rate: u64,
    /// 0 from τ = 6.2 s on.
    shift: u32,
    /// After this nothing is left, in nanoseconds: e⁻³² is below half of the last bit.
    end: u64,
}
crate::saved!(struct Decay { rate, shift, end });

impl Decay {
    /// log₂(e) in Q96.
    const LOG2_E: u128 = 0x1_7154_7652_b82f_e177_7d0f_fda0;

    /// A decay with the time constant `tau`; from 1 ns (a shorter one counts as that) to 584 years.
    pub const fn new(tau: Duration) -> Self {
        let tau = if tau.is_zero() { 1 } else { nanos(tau) };
        let rate = Self::LOG2_E / tau as u128;
        let shift = 64u32.saturating_sub(rate.leading_zeros());
        Decay { rate: (rate >> shift) as u64, shift, end: tau.saturating_mul(32) }
    }

    /// What is left of one after `elapsed`, in Q32; off by less than 2⁻¹⁹.
    pub const fn over(&self, elapsed: Duration) -> u64 {
        self.over_nanos(nanos(elapsed))
    }

    /// As [`over`](Self::over), for so many nanoseconds.
    #[inline]
    pub(crate) const fn over_nanos(&self, elapsed: u64) -> u64 {
        if elapsed > self.end {
            return 0;
        }
        // Both factors are small where the shift is not: τ < 2³³⁻ˢ and elapsed ≤ 32 τ.
        exp2_neg((((elapsed << self.shift) as u128 * self.rate as u128) >> 64) as u64)
    }

    /// What is left of `value` after `elapsed`, rounded down.
    pub const fn apply(&self, value: u64, elapsed: Duration) -> u64 {
        scale(value, self.over(elapsed))
    }
}

/// `value` times a Q32 number that is at most one.
#[inline]
pub(crate) const fn scale(value: u64, q32: u64) -> u64 {
    ((value as u128 * q32 as u128) >> 32) as u64
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn float(q32: u64) -> f64 {
        q32 as f64 / ONE as f64
    }

    #[test]
    fn powers_of_two_are_exact_at_whole_numbers() {
        for whole in 0..=32 {
            assert_eq!(exp2_neg(whole << 32), ONE >> whole);
        }
        assert_eq!(exp2_neg(33 << 32), 0);
        assert_eq!(exp2_neg(u64::MAX), 0);
    }

    #[test]
    fn logarithms_are_exact_at_powers_of_two() {
        for whole in 0..=32 {
            assert_eq!(log2_neg(ONE >> whole), whole << 32);
        }
        assert_eq!((log2_neg(0), log2_neg(u64::MAX)), (32 << 32, 0));
    }

    #[test]
    fn the_table_agrees_with_its_own_squares_in_exact_integers() {
        // (2^(-i/256))² = 2^(-2i/256): no float involved. Half a unit in Q32 doubles when squared.
        for i in 0..=128 {
            let square = ((u128::from(POWERS[i]) * u128::from(POWERS[i])) >> 32) as u64;
            assert!(square.abs_diff(POWERS[2 * i]) <= 2, "{i}");
        }
        assert_eq!((POWERS[0], POWERS[256]), (ONE, ONE / 2));
    }

    quickcheck! {
        fn powers_keep_their_error_bound(x: u64) -> bool {
            let x = x % (33 << 32);
            let error = float(exp2_neg(x)) - (-float(x)).exp2();
            -1.0 / (1u64 << 30) as f64 <= error && error < 1.0 / (1u64 << 20) as f64
        }

        fn powers_never_rise(x: u64, step: u32) -> bool {
            let x = x % (34 << 32);
            exp2_neg(x + u64::from(step)) <= exp2_neg(x) && exp2_neg(x + 1) <= exp2_neg(x)
        }

        fn logarithms_keep_their_error_bound(x: u64) -> bool {
            let x = x % ONE + 1;
            let error = float(log2_neg(x)) + float(x).log2();
            -1.0 / (1u64 << 40) as f64 <= error && error < 1.0 / (1u64 << 27) as f64
        }

        fn logarithms_never_rise(x: u64, step: u32) -> bool {
            let x = x % ONE;
            log2_neg(x + u64::from(step)) <= log2_neg(x) && log2_neg(x + 1) <= log2_neg(x)
        }

        fn decay_keeps_its_error_bound(tau: u64, elapsed: u64) -> bool {
            let tau = tau.max(1);
            let elapsed = if tau < u64::MAX / 40 { elapsed % (40 * tau) } else { elapsed };
            let left = float(Decay::new(Duration::from_nanos(tau)).over(Duration::from_nanos(elapsed)));
            (left - (-(elapsed as f64 / tau as f64)).exp()).abs() < 1.0 / (1u64 << 19) as f64
        }

        fn decay_never_rises_nor_exceeds_the_value(value: u64, tau: u64, first: u64, more: u64) -> bool {
            let decay = Decay::new(Duration::from_nanos(tau));
            let early = decay.apply(value, Duration::from_nanos(first));
            let late = decay.apply(value, Duration::from_nanos(first.saturating_add(more)));
            late <= early && early <= value
        }

        fn a_ratio_multiplies_exactly(factor: u32, value: u64) -> bool {
            let exact = u128::from(value) * u128::from(factor) / 1_000;
            u128::from(Ratio::per_mille(factor).of(value)) == exact.min(u128::from(u64::MAX))
        }

        fn a_ratio_divides_exactly(factor: u32, value: u64) -> bool {
            let exact = (u128::from(value) * 1_000).checked_div(factor.into()).unwrap_or(u128::MAX);
            u128::from(Ratio::per_mille(factor).divide(value)) == exact.min(u128::from(u64::MAX))
        }
    }

    #[test]
    fn what_exceeds_64_bits_saturates() {
        assert_eq!(Ratio::per_mille(0).divide(1), u64::MAX);
        assert_eq!(Ratio::per_mille(1_001).of(u64::MAX), u64::MAX);
        assert_eq!(Ratio::per_mille(999).divide(u64::MAX), u64::MAX);
        assert_eq!((Ratio::ONE.of(u64::MAX), Ratio::ONE.divide(u64::MAX)), (u64::MAX, u64::MAX));
    }
}
