//! Sockets of the operating system, before a runtime has them: bound, and tuned.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::string::ToString;

use socket2::{SockRef, TcpKeepalive};

use super::socket_file::{self, BindError, SocketFile};
use super::{Address, Dialer, ListenOptions};
use crate::machine::unix_path;

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A socket that listens and never blocks, for a runtime to watch.
#[derive(Debug)]
pub enum Listening {
    /// At a port.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

/// A socket that listens, for as many as share it.
pub(super) struct Bound {
    pub(super) address: Address,
    socket: Listening,
    /// Removes the file when all of them have stopped to listen.
    file: Option<Arc<SocketFile>>,
}

impl Bound {
    /// Another handle to the same socket.
    pub(super) fn share(&self) -> io::Result<(Listening, Option<Arc<SocketFile>>)> {
        let socket = match &self.socket {
            Listening::Tcp(listener) => Listening::Tcp(listener.try_clone()?),
            Listening::Unix(listener) => Listening::Unix(listener.try_clone()?),
        };
        Ok((socket, self.file.clone()))
    }
}

/// Binds `addr`: `host:port`, or the [path](unix_path) of a Unix socket.
pub(super) async fn listen<D: Dialer>(dialer: &D, addr: &str, options: &ListenOptions) -> io::Result<Bound> {
    if let Some(path) = unix_path(addr) {
        let (listener, file) = socket_file::bind(path, options).map_err(io_error)?;
        listener.set_nonblocking(true)?;
        let socket = Listening::Unix(listener);
        return Ok(Bound { address: Address::Unix(path.into()), socket, file: Some(Arc::new(file)) });
    }
    let addresses = match addr.parse::<SocketAddr>() {
        Ok(address) => [address].into(),
        Err(_) => dialer.resolve(addr).await?,
    };
    // The first that can be bound; otherwise what was wrong with the last.
    let mut bound = Err(io::Error::new(ErrorKind::NotFound, addr.to_string() + " has no address"));
    for address in addresses {
        bound = TcpListener::bind(address);
        if bound.is_ok() {
            break;
        }
    }
    let listener = bound?;
    SockRef::from(&listener).listen(options.backlog)?;
    listener.set_nonblocking(true)?;
    Ok(Bound { address: listener.local_addr()?.into(), socket: Listening::Tcp(listener), file: None })
}

/// The kind that programs look at, and the sentence for people.
fn io_error(error: BindError) -> io::Error {
    let kind = match &error {
        BindError::Live { .. } | BindError::Locked { .. } => ErrorKind::AddrInUse,
        BindError::TooLong { .. } | BindError::NoFile { .. } => ErrorKind::InvalidInput,
        BindError::Directory { error, .. } | BindError::System { error, .. } => error.kind(),
        BindError::Unsafe { .. } => ErrorKind::PermissionDenied,
        BindError::InTheWay { .. } => ErrorKind::AlreadyExists,
    };
    io::Error::new(kind, error)
}

/// Sends what there is at once, and finds out about hosts that are gone: what every TCP connection of an adapter is to do.
///
/// # Errors
/// What the operating system says, mostly that the connection is gone already.
pub fn tune_tcp(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}
