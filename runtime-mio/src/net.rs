//! Sockets and time, as drivers see them.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use plimsoll_core::drive::{Dials, PollIo, Transport, connect_any};
use plimsoll_core::id::ConnId;
use plimsoll_core::time::Instant;
use socket2::{SockRef, TcpKeepalive};

use crate::names::Names;
use crate::reactor::{Reactor, Timer, Watched};

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// TCP, names and one timer, for one driver. Made by [`Mio`](crate::Mio), which is a
/// [`Runtime`](plimsoll_core::drive::Runtime).
#[derive(Debug)]
pub struct Net {
    reactor: Arc<Reactor>,
    names: Arc<Names>,
    listener: Option<Watched<TcpListener>>,
    dials: Dials<Tcp>,
    timer: Timer,
}

impl Net {
    pub(crate) fn new(
        reactor: Arc<Reactor>,
        names: Arc<Names>,
        listener: Option<Watched<TcpListener>>,
    ) -> Self {
        let timer = Timer::new(reactor.clone());
        Net { reactor, names, listener, dials: Dials::new(), timer }
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
        let (reactor, names, target) = (self.reactor.clone(), self.names.clone(), target.to_owned());
        self.dials.start(conn, async move {
            let found = names.resolve(target).await;
            connect_any(found, |address| connect(address, &reactor), |after| pause(after, &reactor)).await
        });
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

/// Begins to connect, and waits until the socket is writable: then it is connected, or has an error.
async fn connect(address: SocketAddr, reactor: &Arc<Reactor>) -> io::Result<Tcp> {
    let stream = Watched::new(TcpStream::connect(address)?, reactor)?;
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

async fn pause(after: Duration, reactor: &Arc<Reactor>) {
    let mut timer = Timer::new(reactor.clone());
    timer.set(reactor.clock.now() + after);
    poll_fn(|cx| timer.poll(cx)).await;
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
