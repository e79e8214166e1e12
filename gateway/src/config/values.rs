//! Values with a form of their own: addresses of services, log levels, paths.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

/// `uw://HOST:PORT`, kept as `HOST:PORT` (an IPv6 address in brackets).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct UwAddress(String);

impl UwAddress {
    pub(crate) fn host_port(&self) -> &str {
        &self.0
    }

    /// The same with another port.
    pub(crate) fn with_port(&self, port: u16) -> UwAddress {
        let host = self.0.rsplit_once(':').map_or("", |(host, _)| host);
        UwAddress(format!("{host}:{port}"))
    }
}

impl FromStr for UwAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<UwAddress, String> {
        text.strip_prefix("uw://")
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest))
            .filter(|rest| {
                rest.rsplit_once(':').is_some_and(|(host, port)| {
                    let bracketed = host.starts_with('[') && host.ends_with(']');
                    let plain = !host.contains([':', '/', '[', ']', '@', '?', '#'])
                        && !host.contains(char::is_whitespace);
                    !host.is_empty() && (bracketed || plain) && port.parse::<u16>().is_ok()
                })
            })
            .map(|rest| UwAddress(rest.into()))
            .ok_or_else(|| format!("`{text}` is not an address of the form uw://HOST:PORT"))
    }
}

impl TryFrom<String> for UwAddress {
    type Error = String;

    fn try_from(text: String) -> Result<UwAddress, String> {
        text.parse()
    }
}

impl Display for UwAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uw://{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        let found = LOG_LEVELS.iter().find(|(name, _)| *name == text);
        found
            .map(|&(_, level)| level)
            .ok_or_else(|| format!("`{text}` is not one of error, warn, info, debug, trace"))
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<LogLevel, String> {
        text.parse()
    }
}

impl Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LOG_LEVELS.iter().find(|(_, level)| level == self).map_or("info", |(name, _)| name);
        f.write_str(name)
    }
}

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
