//! Axes: which values are written beside them, and where a value stands.

use std::time::Duration;

use crate::figures::thousands;

/// Steps that people count in, within a power of ten.
const STEPS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// Steps of the time axis, in seconds; beyond the last, whole days.
const TIME_STEPS: [u64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
    172_800, 432_000,
];
const MAX_TIME_TICKS: u64 = 10;
/// How many decades a logarithmic axis may have before it names only powers of ten.
const FEW_DECADES: f64 = 3.2;

/// A value with a line across the panel, and what is written beside it.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

/// From `low` at 0 to `high` at 1.
#[derive(Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    pub(super) ticks: Vec<Tick>,
}

impl Axis {
    /// Latencies, in microseconds: a logarithmic axis that has room for all of `values`.
    pub(super) fn latency(values: impl Iterator<Item = f64>) -> Axis {
        let (least, most) = values.fold((f64::MAX, 1.0), |(least, most), value| {
            // Below a nanosecond there is nothing to see, and no logarithm of zero.
            let value = value.max(1e-3);
            (f64::min(least, value), f64::max(most, value))
        });
        let (mut low, mut high) = (round_down(least.min(most)), round_up(most));
        let only_powers = (high / low).log10() > FEW_DECADES;
        if only_powers {
            (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
        }
        high = high.max(low * 10.0);
        let mut ticks = Vec::new();
        let mut power = 10f64.powf(low.log10().floor());
        while power <= high * 1.001 {
            for step in &STEPS[..if only_powers { 1 } else { 3 }] {
                let value = power * step;
                if (low * 0.999..=high * 1.001).contains(&value) {
                    ticks.push(Tick { value, label: latency_label(value) });
                }
            }
            power *= 10.0;
        }
        Axis { low, high, is_log: true, ticks }
    }

    /// Bytes: a logarithmic axis from 1 kB, below which all is as nothing, that has room for all of `values`.
    pub(super) fn bytes(values: impl Iterator<Item = f64>) -> Axis {
        let low = 1e3;
        let powers = (values.fold(0.0, f64::max).max(1e4) / low).log10().ceil() as i32;
        let ticks = (0..=powers).map(|power| {
            let value = low * 10f64.powi(power);
            Tick { value, label: bytes_label(value) }
        });
        Axis { low, high: low * 10f64.powi(powers), is_log: true, ticks: ticks.collect() }
    }

    /// Events per second: from zero to a little above the most, in so many steps at most, or one more.
    pub(super) fn rate(values: impl Iterator<Item = f64>, steps: f64) -> Axis {
        let most = values.fold(0.0, f64::max).max(1e-9);
        let step = round_up(most / steps);
        let count = (most * 1.02 / step).ceil();
        let ticks = (0..=count as u32).map(|n| {
            let value = f64::from(n) * step;
            Tick { value, label: rate_label(value, step) }
        });
        Axis { low: 0.0, high: count * step, is_log: false, ticks: ticks.collect() }
    }

    /// Virtual time, in seconds, up to `length`.
    pub(super) fn time(length: Duration) -> Axis {
        let seconds = length.as_secs_f64();
        if seconds < 2.0 {
            let step = round_up(seconds / 5.0);
            let ticks = (0..=(seconds / step * 1.001) as u32).map(|n| {
                let value = f64::from(n) * step;
                Tick { value, label: latency_label(value * 1e6) }
            });
            return Axis { low: 0.0, high: seconds, is_log: false, ticks: ticks.collect() };
        }
        let whole = length.as_secs();
        let is_wide = |step: &&u64| whole / **step <= MAX_TIME_TICKS;
        let days = |whole: u64| whole.div_ceil(86_400 * MAX_TIME_TICKS) * 86_400;
        let step = TIME_STEPS.iter().find(is_wide).copied().unwrap_or_else(|| days(whole));
        let ticks = (0..=whole / step)
            .map(|n| Tick { value: (n * step) as f64, label: time_label(n * step, step, whole) });
        Axis { low: 0.0, high: seconds, is_log: false, ticks: ticks.collect() }
    }

    /// How far along the axis the value stands, 0 to 1; what lies outside stands at the nearer end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// The next of 1, 2, 5 times a power of ten, upwards.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = STEPS.iter().find(|&&step| step * power >= value * 0.999_999);
    step.copied().unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = STEPS.iter().rev().find(|&&step| step * power <= value * 1.000_001);
    step.copied().unwrap_or(1.0) * power
}

fn latency_label(micros: f64) -> String {
    let (value, unit) = match micros {
        ..=0.0 => return "0".into(),
        ..0.999 => (micros * 1e3, "ns"),
        ..999.0 => (micros, "µs"),
        ..999e3 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    format!("{} {unit}", (value * 1e3).round() / 1e3)
}

/// Of a power of ten from 1,000 on.
fn bytes_label(bytes: f64) -> String {
    let (value, unit) = match bytes {
        ..0.999e6 => (bytes / 1e3, "kB"),
        ..0.999e9 => (bytes / 1e6, "MB"),
        _ => (bytes / 1e9, "GB"),
    };
    format!("{} {unit}", thousands(value.round() as u64))
}

fn rate_label(value: f64, step: f64) -> String {
    if step >= 1.0 {
        return thousands(value.round() as u64);
    }
    let digits = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}")
}

fn time_label(seconds: u64, step: u64, length: u64) -> String {
    match step {
        _ if seconds == 0 => "0".into(),
        step if step.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        step if step.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        step if step.is_multiple_of(60) && length < 7_200 => format!("{} min", seconds / 60),
        step if step.is_multiple_of(60) => format!("{}:{:02} h", seconds / 3_600, seconds / 60 % 60),
        _ if length <= 120 => format!("{seconds} s"),
        _ => format!("{}:{:02}", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn latencies_are_named_by_steps_over_few_decades_and_by_powers_of_ten_over_many() {
        let axis = Axis::latency([1_300.0, 45_000.0].into_iter());
        assert_eq!(labels(&axis), ["1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]);
        assert_eq!((axis.position(1_000.0), axis.position(50_000.0)), (0.0, 1.0));
        let axis = Axis::latency([210.0, 9.4e6].into_iter());
        assert_eq!(labels(&axis), ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert!((axis.position(10_000.0) - axis.position(1_000.0) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn an_axis_without_values_or_with_equal_ones_still_has_a_length() {
        for values in [&[][..], &[0.0], &[1_000.0, 1_000.0]] {
            let axis = Axis::latency(values.iter().copied());
            assert!(axis.ticks.len() >= 2, "{values:?}: {axis:?}");
            assert!((0.0..=1.0).contains(&axis.position(1_000.0)), "{axis:?}");
        }
        assert_eq!(Axis::rate([].into_iter(), 6.0).position(0.0), 0.0);
    }

    #[test]
    fn bytes_are_named_by_powers_of_ten_from_a_kilobyte_on() {
        let axis = Axis::bytes([0.0, 12e6].into_iter());
        assert_eq!(labels(&axis), ["1 kB", "10 kB", "100 kB", "1 MB", "10 MB", "100 MB"]);
        assert_eq!((axis.position(0.0), axis.position(1e3), axis.position(1e8)), (0.0, 0.0, 1.0));
        assert_eq!(labels(&Axis::bytes([].into_iter())), ["1 kB", "10 kB"]);
    }

    #[test]
    fn rates_begin_at_zero_and_have_room_above() {
        assert_eq!(labels(&Axis::rate([900.0].into_iter(), 6.0)), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(labels(&Axis::rate([1_000.0].into_iter(), 6.0)).last(), Some(&"1,200"));
        assert_eq!(labels(&Axis::rate([0.9].into_iter(), 6.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn time_is_told_in_the_unit_that_fits() {
        for (seconds, first, last) in [
            (1, "200 ms", "1 s"),
            (60, "10 s", "60 s"),
            (120, "15 s", "120 s"),
            (200, "0:30", "3:00"),
            (600, "1 min", "10 min"),
            (7_200, "0:15 h", "2:00 h"),
            (86_400, "3 h", "24 h"),
            (864_000, "1 d", "10 d"),
            (86_400 * 365, "37 d", "333 d"),
        ] {
            let axis = Axis::time(Duration::from_secs(seconds));
            let labels = labels(&axis);
            assert_eq!((labels[0], labels[1], labels[labels.len() - 1]), ("0", first, last), "{seconds} s");
            assert!(labels.len() <= 11, "{labels:?}");
        }
    }
}
