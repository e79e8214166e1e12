//! Sockets and time, as drivers see them.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::drive::{
    Address, Clock, Dialer, Listening, PollIo, Sockets, Time, Timer, tune_tcp, unix_peer,
};
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::time::{Sleep, sleep};

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
    type Io = Socket;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(name).await?.collect())
    }

    async fn connect(&self, address: Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => Socket::tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }
}

impl Sockets for Tokio {
    type Listener = Listener;
    /// Reset in place; made when first needed.
    type Alarm = Option<Pin<Box<Sleep>>>;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn dialling(&self) -> MemoryConfig {
        self.dial
    }

    fn watch(&self, socket: Listening) -> io::Result<Listener> {
        Ok(match socket {
            Listening::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Listening::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
        })
    }

    fn poll_accept(&self, listener: &mut Listener, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        Poll::Ready(match listener {
            Listener::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                let peer = Peer { address: Some(address), ..Peer::UNKNOWN };
                Socket::tcp(stream).map(|socket| (socket, peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                let peer = unix_peer(&stream);
                Ok((Socket::Unix(stream), peer))
            }
        })
    }

    fn alarm(&self) -> Self::Alarm {
        None
    }

    fn set_alarm(&self, alarm: &mut Self::Alarm, after: Duration) {
        match alarm {
            Some(alarm) => alarm.as_mut().reset(tokio::time::Instant::now() + after),
            None => *alarm = Some(Box::pin(sleep(after))),
        }
    }

    fn poll_alarm(&self, alarm: &mut Self::Alarm, cx: &mut Context<'_>) -> Poll<()> {
        alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.as_mut().poll(cx))
    }

    fn start(&self, driver: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(driver);
    }
}

/// Takes connections.
#[derive(Debug)]
pub enum Listener {
    /// At a port.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Socket {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        tune_tcp(&stream)?;
        Ok(Socket::Tcp(stream))
    }

    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, bufs) {
            (Socket::Tcp(stream), [one]) => stream.try_write(one),
            (Socket::Tcp(stream), many) => stream.try_write_vectored(many),
            (Socket::Unix(stream), [one]) => stream.try_write(one),
            (Socket::Unix(stream), many) => stream.try_write_vectored(many),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }
}

impl PollIo for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
        })?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Tried before it is waited for: tokio's budget for a task is for those who have none of their own, and a last word
        // must not be lost to it.
        loop {
            match self.try_write(bufs) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.poll_writable(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }
}
