//! Sockets and time, as drivers see them.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::drive::{Clock, Dialer, Dials, PollIo, Runtime, Time, Timer, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;
use smol::Async;
use socket2::{SockRef, TcpKeepalive};

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Spawns drivers on smol's global executor.
#[derive(Clone, Copy, Debug)]
pub struct Smol {
    clock: Clock,
    dial: MemoryConfig,
}

impl Default for Smol {
    fn default() -> Self {
        Smol { clock: Clock::start(), dial: MemoryConfig::default() }
    }
}

impl Smol {
    /// Dials in another way than that of [`MemoryConfig::default`]: head starts, and how long what was learnt counts.
    pub fn dialling(self, dial: MemoryConfig) -> Self {
        Smol { dial, ..self }
    }
}

impl Time for Smol {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Timer for Smol {
    async fn sleep(&self, length: Duration) {
        smol::Timer::after(length).await;
    }
}

impl Dialer for Smol {
    type Io = Tcp;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve(name).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Tcp> {
        Tcp::new(Async::<TcpStream>::connect(address).await?)
    }
}

impl Runtime for Smol {
    type Transport = Net;

    fn connector(&self) -> Net {
        Net::new(*self, None)
    }

    async fn listen(&self, addr: &str, shards: usize) -> io::Result<(Vec<Net>, SocketAddr)> {
        let addr = addr.to_owned();
        // The name is looked up in it.
        let listener = smol::unblock(move || TcpListener::bind(addr)).await?;
        let local = listener.local_addr()?;
        let share = || Ok(Net::new(*self, Some(Async::new(listener.try_clone()?)?)));
        Ok(((0..shards).map(|_| share()).collect::<io::Result<_>>()?, local))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(driver).detach();
    }
}

/// TCP, names and one timer, for one driver.
#[derive(Debug)]
pub struct Net {
    smol: Smol,
    listener: Option<Async<TcpListener>>,
    dials: Dials<Smol>,
    /// Reset in place.
    timer: smol::Timer,
}

impl Net {
    /// Dials, and accepts from `listener` if there is one.
    pub fn new(smol: Smol, listener: Option<Async<TcpListener>>) -> Self {
        Net { smol, listener, dials: Dials::new(smol, smol.dial), timer: smol::Timer::never() }
    }
}

impl Transport for Net {
    type Io = Tcp;

    fn now(&mut self) -> Instant {
        self.smol.clock.now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.smol.clock.unix_ms()
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
        loop {
            match listener.get_ref().accept() {
                Ok((stream, _)) => return Poll::Ready(Async::new(stream).and_then(Tcp::new)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(listener.poll_readable(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn set_timer(&mut self, after: Duration) {
        self.timer.set_after(after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(cx).map(drop)
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp {
    stream: Async<TcpStream>,
}

impl Tcp {
    fn new(stream: Async<TcpStream>) -> io::Result<Self> {
        stream.get_ref().set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Tcp { stream })
    }
}

impl PollIo for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_ref().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.stream.poll_readable(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_ref().write_vectored(bufs) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.stream.poll_writable(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}
