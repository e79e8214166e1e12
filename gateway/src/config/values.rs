//! Values with a form of their own: addresses of services, names out of a list, paths.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use plimsoll_core::drive::Address;
use plimsoll_core::policy::balance::{Strategy, UnknownStrategy};
use plimsoll_core::policy::panic;
use toml::Spanned;

use super::Setting;

/// Types that a file has as text, in the form that [`FromStr`] reads.
macro_rules! read_from_text {
    ($($name:ident),+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub(super) use read_from_text;

read_from_text!(UwAddress, UwAddresses, StrategyName, MetricsPrefix);

/// `uw://HOST:PORT`, kept as `HOST:PORT` (an IPv6 address in brackets); or `uw:/PATH` of a Unix socket, kept as `/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UwAddress(String);

impl UwAddress {
    /// What is dialled, or bound.
    pub(crate) fn target(&self) -> &str {
        &self.0
    }

    /// The same, with the port that was chosen for it.
    pub(crate) fn bound_to(&self, address: &Address) -> UwAddress {
        match (address.tcp(), self.0.rsplit_once(':')) {
            (Some(chosen), Some((host, _))) => UwAddress(format!("{host}:{}", chosen.port())),
            _ => self.clone(),
        }
    }
}

impl FromStr for UwAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<UwAddress, String> {
        let is_path = |path: &&str| path.starts_with('/') && !path.starts_with("//") && path.len() > 1;
        let path = text.strip_prefix("uw:").filter(is_path);
        let port =
            text.strip_prefix("uw://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)).filter(|rest| {
                rest.rsplit_once(':').is_some_and(|(host, port)| {
                    let bracketed = host.starts_with('[') && host.ends_with(']');
                    let plain = !host.contains([':', '/', '[', ']', '@', '?', '#'])
                        && !host.contains(char::is_whitespace);
                    !host.is_empty() && (bracketed || plain) && port.parse::<u16>().is_ok()
                })
            });
        path.or(port)
            .map(|target| UwAddress(target.into()))
            .ok_or_else(|| format!("`{text}` is not an address of the form uw://HOST:PORT or uw:/PATH"))
    }
}

impl Display for UwAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with('/') { "uw:" } else { "uw://" })?;
        f.write_str(&self.0)
    }
}

/// One or more services at different addresses, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UwAddresses(pub(crate) Vec<UwAddress>);

impl FromStr for UwAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<UwAddresses, String> {
        text.split(',').map(|address| address.trim().parse()).collect::<Result<_, _>>().map(UwAddresses)
    }
}

impl Display for UwAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A type that is written as one word out of a list.
macro_rules! words {
    ($name:ident: $($word:literal => $value:expr),+ $(,)?) => {
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("`{text}` is not one of {}", [$($word),+].join(", "))),
                }
            }
        }

        read_from_text!($name);

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value {
                    return f.write_str($word);
                })+
                Ok(())
            }
        }

        impl Setting for $name {}
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

words!(LogLevel:
    "error" => LogLevel::Error,
    "warn" => LogLevel::Warn,
    "info" => LogLevel::Info,
    "debug" => LogLevel::Debug,
    "trace" => LogLevel::Trace,
);

/// What a circuit breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerMode {
    /// Failures in a row, and the share of successes.
    Rate,
    /// Failures within the period.
    Count,
}

words!(BreakerMode: "rate" => BreakerMode::Rate, "count" => BreakerMode::Count);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PanicMode(pub(super) panic::Mode);

words!(PanicMode: "all" => PanicMode(panic::Mode::All), "none" => PanicMode(panic::Mode::None));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrategyName(pub(super) Strategy);

impl FromStr for StrategyName {
    type Err = String;

    fn from_str(text: &str) -> Result<StrategyName, String> {
        text.parse().map(StrategyName).map_err(|error: UnknownStrategy| error.to_string())
    }
}

impl Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the names of all metrics begin with: letters, digits and underlines, the last of them an underline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsPrefix(String);

impl MetricsPrefix {
    /// Without the underline.
    pub(crate) fn stem(&self) -> &str {
        self.0.trim_end_matches('_')
    }
}

impl Default for MetricsPrefix {
    fn default() -> MetricsPrefix {
        MetricsPrefix("plimsoll_".into())
    }
}

impl FromStr for MetricsPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<MetricsPrefix, String> {
        let stem = text.strip_suffix('_').unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = stem.starts_with(|c: char| c.is_ascii_alphabetic()) && stem.chars().all(plain);
        (is_name && !stem.ends_with('_')).then(|| MetricsPrefix(text.into())).ok_or_else(|| {
            format!("`{text}` is not a prefix of letters, digits and underlines that ends with one, such as plimsoll_")
        })
    }
}

impl Display for MetricsPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for UwAddress {}
impl Setting for UwAddresses {}
impl Setting for StrategyName {}
impl Setting for MetricsPrefix {}
impl Setting for Shown {}

/// A path that can be shown.
#[derive(Clone, Debug)]
pub(super) struct Shown(pub(super) PathBuf);

impl FromStr for Shown {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Shown, Self::Err> {
        Ok(Shown(text.into()))
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

pub(super) fn shown(path: Option<Spanned<PathBuf>>) -> Option<Spanned<Shown>> {
    path.map(|path| Spanned::new(path.span(), Shown(path.into_inner())))
}
