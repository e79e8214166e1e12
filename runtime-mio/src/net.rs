//! Sockets and time, as drivers see them.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use plimsoll_core::drive::{
    Address, Clock, Dialer, Listening, PollIo, Sockets, Time, Timer, tune_tcp, unix_peer,
};
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;

use crate::Mio;
use crate::reactor::{self, Watched};

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
    type Io = Socket;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.names().clone().resolve(name.to_owned()).await
    }

    async fn connect(&self, address: Address) -> io::Result<Socket> {
        let address = match address {
            Address::Tcp(address) => address,
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                return Ok(Socket::Unix(Watched::reading(stream, self.reactor())?));
            }
        };
        let stream = Watched::new(TcpStream::connect(address)?, self.reactor())?;
        // Once the socket is writable, it is connected, or has an error.
        let connected = |stream: &TcpStream| match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.peer_addr().map(drop).map_err(|error| match error.kind() {
                ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
                _ => error,
            }),
        };
        poll_fn(|cx| stream.poll_write(cx, connected)).await?;
        Socket::tcp(stream)
    }
}

impl Sockets for Mio {
    type Listener = Listener;
    type Alarm = reactor::Timer;

    fn clock(&self) -> &Clock {
        &self.reactor().clock
    }

    fn dialling(&self) -> MemoryConfig {
        self.dial
    }

    fn watch(&self, socket: Listening) -> io::Result<Listener> {
        Ok(match socket {
            Listening::Tcp(listener) => {
                Listener::Tcp(Watched::new(TcpListener::from_std(listener), self.reactor())?)
            }
            Listening::Unix(listener) => {
                Listener::Unix(Watched::new(UnixListener::from_std(listener), self.reactor())?)
            }
        })
    }

    fn poll_accept(&self, listener: &mut Listener, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match listener {
            Listener::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_read(cx, TcpListener::accept, |_| false))?;
                let peer = Peer { address: Some(address), ..Peer::UNKNOWN };
                Watched::new(stream, self.reactor()).and_then(Socket::tcp).map(|socket| (socket, peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_read(cx, UnixListener::accept, |_| false))?;
                let peer = unix_peer(&stream);
                Watched::reading(stream, self.reactor()).map(|stream| (Socket::Unix(stream), peer))
            }
        })
    }

    fn alarm(&self) -> reactor::Timer {
        reactor::Timer::new(self.reactor().clone())
    }

    fn set_alarm(&self, alarm: &mut reactor::Timer, after: Duration) {
        alarm.set(self.now() + after);
    }

    fn poll_alarm(&self, alarm: &mut reactor::Timer, cx: &mut Context<'_>) -> Poll<()> {
        alarm.poll(cx)
    }

    /// If the loop is gone, the driver is dropped.
    fn start(&self, driver: impl Future<Output = ()> + Send + 'static) {
        self.adopt(Box::pin(driver));
    }
}

/// Takes connections.
#[derive(Debug)]
pub enum Listener {
    /// At a port.
    Tcp(Watched<TcpListener>),
    /// At a path.
    Unix(Watched<UnixListener>),
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(Watched<TcpStream>),
    /// Over a Unix socket.
    Unix(Watched<UnixStream>),
}

impl Socket {
    fn tcp(stream: Watched<TcpStream>) -> io::Result<Self> {
        tune_tcp(stream.get())?;
        Ok(Socket::Tcp(stream))
    }
}

impl PollIo for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = buf.len();
        // What comes after a short read comes with an event of its own.
        match self {
            Socket::Tcp(stream) => stream.poll_read(cx, |mut stream| stream.read(buf), |&n| n < room),
            Socket::Unix(stream) => stream.poll_read(cx, |mut stream| stream.read(buf), |&n| n < room),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write(cx, |mut stream| stream.write_vectored(bufs)),
            Socket::Unix(stream) => stream.poll_write_watching(cx, |mut stream| stream.write_vectored(bufs)),
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_readable(cx),
            Socket::Unix(stream) => stream.poll_readable(cx),
        }
    }
}
