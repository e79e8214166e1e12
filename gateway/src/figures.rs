//! Figures as people read them.

use std::time::Duration;

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

/// Three digits that count, and a unit.
pub(crate) fn time(micros: f64) -> String {
    let (value, unit) = match micros {
        // What rounds to 1,000 of a unit is 1 of the next.
        ..0.9995 => (micros * 1e3, "ns"),
        ..999.5 => (micros, "µs"),
        ..999.5e3 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    format!("{} {unit}", figure(value))
}

/// Three digits that count, and a unit: 1,000 bytes are a kB.
pub(crate) fn bytes(n: u64) -> String {
    match n as f64 {
        ..999.5 => format!("{n} B"),
        kilo @ ..999.5e3 => format!("{} kB", figure(kilo / 1e3)),
        mega @ ..999.5e6 => format!("{} MB", figure(mega / 1e6)),
        giga => format!("{} GB", figure(giga / 1e9)),
    }
}

/// At least three digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => thousands(value.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_count_and_the_unit_that_fits() {
        for (micros, text) in [
            (0.0, "0.00 ns"),
            (0.9994, "999 ns"),
            (0.9996, "1.00 µs"),
            (9.994, "9.99 µs"),
            (9.996, "10.0 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (999_600.0, "1.00 s"),
            (86_400e6, "86,400 s"),
        ] {
            assert_eq!(time(micros), text);
        }
    }

    #[test]
    fn bytes_have_three_digits_that_count_and_the_unit_that_fits() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (262_144, "262 kB"),
            (999_600, "1.00 MB"),
            (12_345_678, "12.3 MB"),
            (5_000_000_000, "5.00 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(n), text);
        }
    }
}
