//! Where and how something listens.

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

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// The rights of the file of a Unix socket, of which the nine lowest bits count, whatever the process's umask: to connect, one needs
    /// the right to write. 0600.
    pub mode: u32,
    /// Connections that the kernel may hold ready to be accepted (it caps that by its own limit). 4,096: at the usual 128,
    /// a herd that reconnects fills the queue within milliseconds, and whoever finds it full tries again after a whole
    /// second.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { mode: 0o600, backlog: 4096 }
    }
}
