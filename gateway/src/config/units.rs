//! Values that people write with a unit: sizes (`10MB`) and lengths of time (`30s`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::Setting;
use super::values::read_from_text;

/// A number of bytes above zero: `4096`, `"64KiB"`, `"10MB"`. Units are powers of 1,024 in either spelling, as in
/// the settings this gateway inherits (10MB = 10,485,760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(u64);

impl Size {
    pub(crate) const fn bytes(n: u64) -> Size {
        assert!(n > 0);
        Size(n)
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

const SIZE_UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (number, unit) = split_unit(text);
        let unit = unit.to_ascii_uppercase().replace("IB", "B");
        let factor = match unit.as_str() {
            "" => Some(1),
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|&(_, factor)| factor),
        };
        factor
            .and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor))
            .filter(|&bytes| bytes > 0)
            .map(Size)
            .ok_or_else(|| format!("`{text}` is not a size above zero; write it like 65536, 64KB or 10MB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) =
            SIZE_UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor)).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 65536 or \"10MB\"")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Size, E> {
                n.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// A length of time from 1 ms to 24 h: `"500ms"`, `"30s"`, `"5m"`, `"1h"`. Nothing means "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(u64);

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const SPAN_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    pub(crate) const fn seconds(n: u64) -> Span {
        Span(n * 1_000)
    }

    /// To the millisecond, within what a span may be.
    pub(crate) fn of(duration: Duration) -> Span {
        Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, DAY_MS))
    }

    pub(crate) fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (number, unit) = split_unit(text);
        SPAN_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor))
            .filter(|ms| (1..=DAY_MS).contains(ms))
            .map(Span)
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a length of time from 1ms to 24h; write it like 500ms, 30s, 5m or 1h"
                )
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) =
            SPAN_UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor)).unwrap_or(&("ms", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

read_from_text!(Span);

/// A span that may also be given as a bare number of milliseconds, as in the settings this gateway inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Interval(pub(crate) Span);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Interval, String> {
        let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let span = if is_bare { format!("{text}ms").parse() } else { text.parse() };
        span.map(Interval).map_err(|_: String| {
            format!("`{text}` is not a length of time from 1ms to 24h; write it in milliseconds (30000), or like 30s")
        })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Setting for Size {}
impl Setting for Span {}
impl Setting for Interval {}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..digits], text[digits..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn what_a_size_prints_reads_back_as_itself(n: u64) -> bool {
            n == 0 || Size(n).to_string().parse() == Ok(Size(n))
        }

        fn what_a_span_prints_reads_back_as_itself(n: u64) -> bool {
            let span = Span(n % DAY_MS + 1);
            span.to_string().parse() == Ok(span)
        }

        fn no_text_makes_parsing_panic(text: String) -> bool {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Span>();
            true
        }
    }

    #[test]
    fn both_spellings_of_a_unit_mean_powers_of_1024() {
        for text in ["10MB", "10MiB", "10 mb", "10485760", "10240KB"] {
            assert_eq!(text.parse(), Ok(Size(10 << 20)), "{text}");
        }
    }

    #[test]
    fn zero_and_nonsense_are_refused_with_an_example() {
        for text in ["0", "0MB", "-1", "10XB", "", "MB", "99999999999GB"] {
            assert!(text.parse::<Size>().unwrap_err().contains("10MB"), "{text}");
        }
        for text in ["0s", "30", "25h", "s", "1.5s", ""] {
            assert!(text.parse::<Span>().unwrap_err().contains("30s"), "{text}");
        }
        for text in ["0", "86400001", "-1", "", "1.5", "99999999999999999999"] {
            assert!(text.parse::<Interval>().unwrap_err().contains("30000"), "{text}");
        }
    }

    #[test]
    fn an_interval_without_a_unit_is_in_milliseconds() {
        for text in ["30000", "30s", "30000ms"] {
            assert_eq!(text.parse(), Ok(Interval(Span::seconds(30))), "{text}");
        }
    }
}
