//! What stands on the right of an equals sign: lengths of time, shares, and what can be turned off.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use plimsoll_core::policy::Ratio;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest time that can be said: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A length of time, as people write it: `"250ms"`, `"1.5s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Length(pub(crate) Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a length of time in quotes, such as "250us", "20ms", "1.5s", "2m" or "1h""#)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Length, E> {
                let length = length(text).ok_or_else(|| {
                    E::custom(format!(
                        r#"{text:?} is no length of time up to 24 hours; write it as "250us", "20ms", "1.5s", "2m" or "1h""#
                    ))
                })?;
                Ok(Length(length))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn length(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let unit: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let places = u32::try_from(part.len()).ok().filter(|places| (1..=6).contains(places))?;
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = part.parse().ok()?;
    let nanos = whole.checked_mul(unit)?.checked_add(part * unit / 10u64.pow(places))?;
    Some(Duration::from_nanos(nanos)).filter(|&length| length <= LONGEST)
}

/// A length for people: `1.5 s`.
pub(crate) fn show(length: Duration) -> String {
    let nanos = length.as_nanos();
    let (unit, name) = match nanos {
        0..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let thousandths = nanos * 1_000 / unit;
    let (whole, part) = (thousandths / 1_000, thousandths % 1_000);
    match whole {
        _ if part == 0 => format!("{whole} {name}"),
        0..10 => format!("{whole}.{:02} {name}", part / 10),
        10..100 => format!("{whole}.{} {name}", part / 100),
        _ => format!("{whole} {name}"),
    }
}

/// A share, from 0 to 1, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) Ratio);

/// How many times as much, from 0 to 1,000,000, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factor(pub(crate) Ratio);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = r#"a share from 0 to 1, such as 0.25"#;
        deserializer.deserialize_f64(Thousandths { most: 1, what }).map(Share)
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "a number from 0 to 1000000, such as 2.5";
        deserializer.deserialize_f64(Thousandths { most: 1_000_000, what }).map(Factor)
    }
}

struct Thousandths {
    most: u32,
    what: &'static str,
}

impl Visitor<'_> for Thousandths {
    type Value = Ratio;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Ratio, E> {
        if (0.0..=f64::from(self.most)).contains(&number) {
            return Ok(Ratio::per_mille((number * 1_000.0).round() as u32));
        }
        Err(E::custom(format!("{number} is not {}", self.what)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Ratio, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Ratio, E> {
        self.visit_f64(number as f64)
    }
}

/// `false`, `true` for the defaults, or a table of what differs from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch<T>(pub(crate) Option<T>);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Either<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, true, or a table")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Switch<T>, E> {
                Ok(Switch(on.then(T::default)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|table| Switch(Some(table)))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        let read = |text| length(text).map(|length| length.as_micros());
        assert_eq!(
            ["250us", "20ms", "1.5s", "0.25s", "2m", "24h"].map(read),
            [250, 20_000, 1_500_000, 250_000, 120_000_000, 86_400_000_000].map(Some)
        );
        for wrong in
            ["", "10", "s", "1.s", ".5s", "-1s", "1 s", "1e3s", "25h", "9999999999999999999s", "1.5.5s"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths_are_shown_with_about_three_digits() {
        let shown = |micros| show(Duration::from_micros(micros));
        assert_eq!(
            [0, 15, 1_500, 20_000, 412_345, 1_234_567, 60_000_000].map(shown),
            ["0 µs", "15 µs", "1.50 ms", "20 ms", "412 ms", "1.23 s", "60 s"]
        );
    }
}
