//! Where something listens.

use core::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where something listens, or is dialled. Displayed, it is what a client is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The address and port, if it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) if path.is_absolute() => path.display().fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
