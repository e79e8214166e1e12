//! Whom the commands talk to: a service that speaks UW, or a hub that knows services.

use std::fmt::{self, Display};
use std::str::FromStr;

use clap::ValueEnum;
use plimsoll_tokio::ipc::Format;

use crate::config::UwAddress;

/// `uw://HOST:PORT`, `uw:/PATH`, or `ipc:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Uw(UwAddress),
    Ipc(IpcAddress),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match (text.strip_prefix("ipc:"), text.parse()) {
            (Some(path), _) => path.parse().map(Target::Ipc),
            (None, Ok(address)) => Ok(Target::Uw(address)),
            (None, Err(error)) => Err(format!("{error}, nor that of a hub, ipc:/PATH")),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Uw(address) => address.fmt(f),
            Target::Ipc(hub) => hub.fmt(f),
        }
    }
}

/// The path of a hub's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpcAddress(String);

impl IpcAddress {
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl FromStr for IpcAddress {
    type Err = String;

    fn from_str(path: &str) -> Result<IpcAddress, String> {
        match path.starts_with('/') && !path.starts_with("//") && path.len() > 1 {
            true => Ok(IpcAddress(path.into())),
            false => Err(format!("`ipc:{path}` is not an address of the form ipc:/PATH")),
        }
    }
}

impl Display for IpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ipc:{}", self.0)
    }
}

/// How messages to a hub are written. It understands both, and converts between services that do not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Serializer {
    #[default]
    Json,
    Msgpack,
}

impl From<Serializer> for Format {
    fn from(serializer: Serializer) -> Format {
        match serializer {
            Serializer::Json => Format::Json,
            Serializer::Msgpack => Format::MessagePack,
        }
    }
}

/// Whoever calls through a hub is a service there, under a name that nobody else has.
pub(crate) fn name_for(command: &str) -> String {
    let unique = uuid::Uuid::new_v4().as_u128() as u32;
    format!("plimsoll-{command}-{}-{unique:08x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_itself() {
        for text in ["uw://localhost:1", "uw:/run/a.sock", "ipc:/tmp/bro-gateway.sock"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn whatever_is_none_is_refused_with_the_forms_that_there_are() {
        for text in ["ipc:", "ipc:/", "ipc://host:1", "ipc:hub.sock"] {
            assert!(text.parse::<Target>().unwrap_err().contains("ipc:/PATH"), "{text}");
        }
        let error = "localhost:1".parse::<Target>().unwrap_err();
        assert!(
            ["uw://HOST:PORT", "uw:/PATH", "ipc:/PATH"].iter().all(|form| error.contains(form)),
            "{error}"
        );
    }
}
