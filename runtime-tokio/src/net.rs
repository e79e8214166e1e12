//! Sockets and time, as drivers see them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::drive::{Clock, Dialer, Dials, PollIo, Runtime, Time, Timer, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Sleep, sleep};

/// After so long without traffic, and then as often, the kernel asks whether the peer's host is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connections that the kernel may hold ready to be accepted (it caps that by its own limit). At the usual 128, a herd
/// that reconnects fills the queue within milliseconds, and whoever finds it full tries again after a whole second.
const BACKLOG: i32 = 4096;

/// Spawns drivers on the tokio runtime in whose context it is used.
#[derive(Clone, Copy, Debug)]
pub struct Tokio {
    clock: Clock,
    dial: MemoryConfig,
}

impl Default for Tokio {
    fn default() -> Self {
        Tokio { clock: Clock::start(), dial: MemoryConfig::default() }
    }
}

impl Tokio {
    /// Dials in another way than that of [`MemoryConfig::default`]: head starts, and how long what was learnt counts.
    pub fn dialling(self, dial: MemoryConfig) -> Self {
        Tokio { dial, ..self }
    }
}

impl Time for Tokio {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Timer for Tokio {
    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send {
        sleep(length)
    }
}

impl Dialer for Tokio {
    type Io = Tcp;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(name).await?.collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Tcp> {
        Tcp::new(TcpStream::connect(address).await?)
    }
}

impl Runtime for Tokio {
    type Transport = Net;

    fn connector(&self) -> Net {
        Net::new(*self, None)
    }

    async fn listen(&self, addr: &str, shards: usize) -> io::Result<(Vec<Net>, SocketAddr)> {
        let listener = TcpListener::bind(addr).await?;
        SockRef::from(&listener).listen(BACKLOG)?;
        let local = listener.local_addr()?;
        let listener = listener.into_std()?;
        let share = || Ok(Net::new(*self, Some(TcpListener::from_std(listener.try_clone()?)?)));
        Ok(((0..shards).map(|_| share()).collect::<io::Result<_>>()?, local))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(driver);
    }
}

/// TCP, names and one timer, for one driver.
#[derive(Debug)]
pub struct Net {
    tokio: Tokio,
    listener: Option<TcpListener>,
    dials: Dials<Tokio>,
    /// Reset in place; made when first needed.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Net {
    /// Dials, and accepts from `listener` if there is one.
    pub fn new(tokio: Tokio, listener: Option<TcpListener>) -> Self {
        Net { tokio, listener, dials: Dials::new(tokio, tokio.dial), timer: None }
    }
}

impl Transport for Net {
    type Io = Tcp;

    fn now(&mut self) -> Instant {
        self.tokio.clock.now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.tokio.clock.unix_ms()
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
        let (stream, _) = ready!(listener.poll_accept(cx))?;
        Poll::Ready(Tcp::new(stream))
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn set_timer(&mut self, after: Duration) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(tokio::time::Instant::now() + after),
            None => self.timer = Some(Box::pin(sleep(after))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
}

impl Tcp {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Tcp { stream })
    }
}

impl PollIo for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match bufs {
            [one] => Pin::new(&mut self.stream).poll_write(cx, one),
            many => Pin::new(&mut self.stream).poll_write_vectored(cx, many),
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }
}
