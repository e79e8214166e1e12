//! Fractions: shares of a whole, written `50%`, and factors, written `1.4`. Both in thousandths, as `core` counts.

use std::fmt::{self, Display};
use std::str::FromStr;

use plimsoll_core::policy::Ratio;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::Setting;
use super::values::read_from_text;

/// A share from `0%` to `100%`, in steps of a tenth of a per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percent(Ratio);

impl Percent {
    pub(crate) fn get(self) -> Ratio {
        self.0
    }
}

impl From<Ratio> for Percent {
    fn from(ratio: Ratio) -> Percent {
        Percent(ratio.min(Ratio::ONE))
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        text.strip_suffix('%')
            .and_then(|number| scaled(number.trim_end(), 1))
            .map(Ratio::per_mille)
            .filter(|&ratio| ratio <= Ratio::ONE)
            .map(Percent)
            .ok_or_else(|| format!("`{text}` is not a share from 0% to 100%; write it like 50% or 12.5%"))
    }
}

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Decimal(self.0.as_per_mille(), 1))
    }
}

read_from_text!(Percent);

impl Setting for Percent {}

/// A factor from 0 to 4,000,000, with up to three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Factor(Ratio);

const MAX_FACTOR: Ratio = Ratio::per_mille(4_000_000_000);

impl Factor {
    pub(crate) fn get(self) -> Ratio {
        self.0
    }
}

impl From<Ratio> for Factor {
    fn from(ratio: Ratio) -> Factor {
        Factor(ratio.min(MAX_FACTOR))
    }
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Factor, String> {
        scaled(text, 3).map(Ratio::per_mille).filter(|&ratio| ratio <= MAX_FACTOR).map(Factor).ok_or_else(
            || format!("`{text}` is not a factor from 0 to 4000000 with up to three decimals, such as 1.4"),
        )
    }
}

impl Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal(self.0.as_per_mille(), 3).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Factor, D::Error> {
        struct FactorVisitor;
        impl Visitor<'_> for FactorVisitor {
            type Value = Factor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a factor such as 2 or 1.4")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Factor, E> {
                n.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Factor, E> {
                n.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(FactorVisitor)
    }
}

impl Setting for Factor {
    const IS_BARE: bool = true;
}

/// Reads digits with at most `places` decimals, as a whole number of the last of those places.
fn scaled(text: &str, places: usize) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > places {
        return None;
    }
    let unit = 10u32.pow(u32::try_from(places).ok()?);
    let decimals: u32 = format!("{decimals:0<places$}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(unit)?.checked_add(decimals)
}

/// A number of thousandths of one, or tenths of a per cent: so many of the last of so many decimals.
struct Decimal(u32, u32);

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decimal(value, places) = *self;
        let unit = 10u32.pow(places);
        let decimals = format!("{:0width$}", value % unit, width = places as usize);
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{}{}{decimals}", value / unit, if decimals.is_empty() { "" } else { "." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn what_a_share_prints_reads_back_as_itself(thousandths: u32) -> bool {
            let share = Percent::from(Ratio::per_mille(thousandths % 1_001));
            share.to_string().parse() == Ok(share)
        }

        fn what_a_factor_prints_reads_back_as_itself(thousandths: u32) -> bool {
            let factor = Factor::from(Ratio::per_mille(thousandths));
            factor.to_string().parse() == Ok(factor)
        }

        fn no_text_makes_parsing_panic(text: String) -> bool {
            let _ = text.parse::<Percent>();
            let _ = text.parse::<Factor>();
            true
        }
    }

    #[test]
    fn shares_and_factors_are_read_as_people_write_them() {
        let share = |text: &str| text.parse::<Percent>().map(|share| share.get().as_per_mille());
        assert_eq!(
            [share("50%"), share("12.5%"), share("0%"), share("100 %")],
            [Ok(500), Ok(125), Ok(0), Ok(1_000)]
        );
        let factor = |text: &str| text.parse::<Factor>().map(|factor| factor.get().as_per_mille());
        assert_eq!([factor("1.4"), factor("2"), factor("0.025")], [Ok(1_400), Ok(2_000), Ok(25)]);
        assert_eq!(
            (share("12.5%").unwrap(), Percent(Ratio::per_mille(125)).to_string()),
            (125, "12.5%".into())
        );
        assert_eq!(Factor(Ratio::per_mille(1_400)).to_string(), "1.4");
    }

    #[test]
    fn what_is_ambiguous_or_out_of_range_is_refused_with_an_example() {
        for text in ["50", "0.5", "101%", "100.1%", "12.55%", "-1%", "%", "1e1%", ".5%"] {
            assert!(text.parse::<Percent>().unwrap_err().contains("50%"), "{text}");
        }
        for text in ["-1", "1.", ".5", "1.2345", "5000000", "99999999999", "1e3", "inf", ""] {
            assert!(text.parse::<Factor>().unwrap_err().contains("1.4"), "{text}");
        }
    }
}
