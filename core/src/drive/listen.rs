//! Sockets of the operating system, before a runtime has them: bound, tuned, and asked who is at the other end.

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::string::ToString;

use rustix::net::sockopt;

use super::{Address, Dialer};
use crate::machine::{Credentials, Peer, unix_path};

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connections that the kernel may hold ready to be accepted (it caps that by its own limit). At the usual 128, a herd
/// that reconnects fills the queue within milliseconds, and whoever finds it full tries again after a whole second.
const BACKLOG: i32 = 4096;

/// A socket that listens and never blocks, for a runtime to watch.
#[derive(Debug)]
pub enum Listening {
    /// At a port.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

impl Listening {
    /// Another handle to the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Listening> {
        Ok(match self {
            Listening::Tcp(listener) => Listening::Tcp(listener.try_clone()?),
            Listening::Unix(listener) => Listening::Unix(listener.try_clone()?),
        })
    }
}

/// Binds `addr`: `host:port`, or the [path](unix_path) of a Unix socket. Also what it is bound to.
pub(super) async fn listen<D: Dialer>(dialer: &D, addr: &str) -> io::Result<(Listening, Address)> {
    if let Some(path) = unix_path(addr) {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        return Ok((Listening::Unix(listener), Address::Unix(path.into())));
    }
    let addresses = match addr.parse::<SocketAddr>() {
        Ok(address) => [address].into(),
        Err(_) => dialer.resolve(addr).await?,
    };
    let none = || io::Error::new(ErrorKind::NotFound, addr.to_string() + " has no address");
    // The first that can be bound; otherwise what was wrong with the last.
    let mut bound = Err(none());
    for address in addresses {
        bound = TcpListener::bind(address);
        if bound.is_ok() {
            break;
        }
    }
    let listener = bound?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.into();
    Ok((Listening::Tcp(listener), address))
}

/// Sends what there is at once, and finds out about hosts that are gone: what every TCP connection of an adapter is to do.
///
/// # Errors
/// What the operating system says, mostly that the connection is gone already.
pub fn tune_tcp(socket: &impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE)?;
    Ok(())
}

/// Who is at the other end of a Unix socket.
pub fn unix_peer(socket: &impl AsFd) -> Peer {
    Peer { credentials: credentials(socket), ..Peer::UNKNOWN }
}

#[cfg(target_os = "linux")]
fn credentials(socket: &impl AsFd) -> Option<Credentials> {
    let peer = sockopt::socket_peercred(socket).ok()?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok();
    Some(Credentials { uid: peer.uid.as_raw(), gid: peer.gid.as_raw(), pid })
}

/// Only Linux has one call for it.
#[cfg(not(target_os = "linux"))]
fn credentials(_: &impl AsFd) -> Option<Credentials> {
    None
}
