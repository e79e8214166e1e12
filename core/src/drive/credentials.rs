//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

use crate::machine::{Credentials, Peer};

/// Who is at the other end of a Unix socket, if the kernel tells.
pub fn unix_peer(socket: &impl AsFd) -> Peer {
    Peer { credentials: peer_credentials(socket).ok(), ..Peer::UNKNOWN }
}

/// Asks the kernel who is at the other end of a connected Unix stream socket. Nothing that the peer sends plays a part.
///
/// # Errors
/// The socket is not connected, or is of another kind, or the system cannot tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_credentials(socket: &impl AsFd) -> io::Result<Credentials> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

    let peer = getsockopt(socket, PeerCredentials)?;
    // What the kernel says of a socket without a peer.
    if peer.uid() == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Credentials {
        uid: peer.uid(),
        gid: peer.gid(),
        pid: u32::try_from(peer.pid()).ok().filter(|&pid| pid > 0),
    })
}

/// Asks the kernel who is at the other end of a connected Unix stream socket. Nothing that the peer sends plays a part.
///
/// # Errors
/// The socket is not connected, or is of another kind, or the system cannot tell.
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub fn peer_credentials(socket: &impl AsFd) -> io::Result<Credentials> {
    let (uid, gid) = nix::unistd::getpeereid(socket)?;
    Ok(Credentials { uid: uid.as_raw(), gid: gid.as_raw(), pid: None })
}

/// This system has no way to ask.
///
/// # Errors
/// Always.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
pub fn peer_credentials(_socket: &impl AsFd) -> io::Result<Credentials> {
    Err(io::ErrorKind::Unsupported.into())
}
