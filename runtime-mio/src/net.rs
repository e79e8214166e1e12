//! Sockets and time, as drivers see them.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use plimsoll_core::drive::{Dialer, Dials, PollIo, Time, Timer, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;
use socket2::{SockRef, TcpKeepalive};

use crate::Mio;
use crate::reactor::{self, Reactor, Watched};

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// TCP, names and one timer, for one driver. Made by [`Mio`], which is a
/// [`Runtime`](plimsoll_core::drive::Runtime).
#[derive(Debug)]
pub struct Net {
    reactor: Arc<Reactor>,
    listener: Option<Watched<TcpListener>>,
    dials: Dials<Mio>,
    timer: reactor::Timer,
}

impl Net {
    pub(crate) fn new(mio: Mio, dial: MemoryConfig, listener: Option<Watched<TcpListener>>) -> Self {
        let reactor = mio.reactor().clone();
        let timer = reactor::Timer::new(reactor.clone());
        Net { reactor, listener, dials: Dials::new(mio, dial), timer }
    }
}

impl Time for Mio {
    fn now(&self) -> Instant {
        self.reactor().clock.now()
    }
}

impl Timer for Mio {
    async fn sleep(&self, length: Duration) {
        let timer = self.timer(length);
        poll_fn(|cx| timer.poll(cx)).await;
    }
}

impl Dialer for Mio {
    type Io = Tcp;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.names().clone().resolve(name.to_owned()).await
    }

    /// Begins to connect, and waits until the socket is writable: then it is connected, or has an error.
    async fn connect(&self, address: SocketAddr) -> io::Result<Tcp> {
        let stream = Watched::new(TcpStream::connect(address)?, self.reactor())?;
        let connected = |stream: &TcpStream| match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.peer_addr().map(drop).map_err(|error| match error.kind() {
                ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
                _ => error,
            }),
        };
        poll_fn(|cx| stream.poll_write(cx, connected)).await?;
        Tcp::new(stream)
    }
}

impl Transport for Net {
    type Io = Tcp;

    fn now(&mut self) -> Instant {
        self.reactor.clock.now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.reactor.clock.unix_ms()
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        self.dials.start(conn, target);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        self.dials.cancel(conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Tcp>)> {
        self.dials.poll_next(cx)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Tcp>> {
        let Some(listener) = &self.listener else { return Poll::Pending };
        let accepted = listener.poll_read(cx, TcpListener::accept, |_| false);
        accepted.map(|accepted| Tcp::new(Watched::new(accepted?.0, &self.reactor)?))
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn set_timer(&mut self, after: Duration) {
        self.timer.set(self.reactor.clock.now() + after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll(cx)
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp {
    stream: Watched<TcpStream>,
}

impl Tcp {
    fn new(stream: Watched<TcpStream>) -> io::Result<Self> {
        stream.get().set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(stream.get()).set_tcp_keepalive(&keepalive)?;
        Ok(Tcp { stream })
    }
}

impl PollIo for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = buf.len();
        // What comes after a short read comes with an event of its own.
        self.stream.poll_read(cx, |mut stream| stream.read(buf), |&n| n < room)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, |mut stream| stream.write_vectored(bufs))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}
