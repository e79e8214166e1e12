//! Sockets and time, as drivers see them.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::drive::{
    Address, Clock, Dialer, Listening, PollIo, Sockets, Time, Timer, tune_tcp, unix_peer,
};
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;
use smol::Async;

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
    type Io = Socket;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve(name).await
    }

    async fn connect(&self, address: Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => Socket::tcp(Async::<TcpStream>::connect(address).await?),
            Address::Unix(path) => Ok(Socket::Unix(Async::<UnixStream>::connect(path).await?)),
        }
    }
}

impl Sockets for Smol {
    type Listener = Listener;
    /// Reset in place.
    type Alarm = smol::Timer;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn dialling(&self) -> MemoryConfig {
        self.dial
    }

    fn watch(&self, socket: Listening) -> io::Result<Listener> {
        Ok(match socket {
            Listening::Tcp(listener) => Listener::Tcp(Async::new_nonblocking(listener)?),
            Listening::Unix(listener) => Listener::Unix(Async::new_nonblocking(listener)?),
        })
    }

    fn poll_accept(&self, listener: &mut Listener, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match listener {
            Listener::Tcp(listener) => {
                let (stream, address) = ready!(read_with(listener, cx, TcpListener::accept))?;
                let peer = Peer { address: Some(address), ..Peer::UNKNOWN };
                Async::new(stream).and_then(Socket::tcp).map(|socket| (socket, peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = ready!(read_with(listener, cx, UnixListener::accept))?;
                let peer = unix_peer(&stream);
                Async::new(stream).map(|stream| (Socket::Unix(stream), peer))
            }
        })
    }

    fn alarm(&self) -> smol::Timer {
        smol::Timer::never()
    }

    fn set_alarm(&self, alarm: &mut smol::Timer, after: Duration) {
        alarm.set_after(after);
    }

    fn poll_alarm(&self, alarm: &mut smol::Timer, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(alarm).poll(cx).map(drop)
    }

    fn start(&self, driver: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(driver).detach();
    }
}

/// Takes connections.
#[derive(Debug)]
pub enum Listener {
    /// At a port.
    Tcp(Async<TcpListener>),
    /// At a path.
    Unix(Async<UnixListener>),
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(Async<TcpStream>),
    /// Over a Unix socket.
    Unix(Async<UnixStream>),
}

impl Socket {
    fn tcp(stream: Async<TcpStream>) -> io::Result<Self> {
        tune_tcp(&stream)?;
        Ok(Socket::Tcp(stream))
    }
}

impl PollIo for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => read_with(stream, cx, |mut stream| stream.read(buf)),
            Socket::Unix(stream) => read_with(stream, cx, |mut stream| stream.read(buf)),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => write_with(stream, cx, |mut stream| stream.write_vectored(bufs)),
            Socket::Unix(stream) => write_with(stream, cx, |mut stream| stream.write_vectored(bufs)),
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_readable(cx),
            Socket::Unix(stream) => stream.poll_readable(cx),
        }
    }
}

/// Tries first, and waits only if there is nothing to read.
fn read_with<S, T>(
    socket: &Async<S>,
    cx: &mut Context<'_>,
    mut read: impl FnMut(&S) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match read(socket.get_ref()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(socket.poll_readable(cx))?,
            done => return Poll::Ready(done),
        }
    }
}

/// Tries first, and waits only if there is no room.
fn write_with<S, T>(
    socket: &Async<S>,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&S) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match write(socket.get_ref()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(socket.poll_writable(cx))?,
            done => return Poll::Ready(done),
        }
    }
}
