//! A runtime without any readiness: whoever would have to wait is asked again a millisecond later. A thread for each driver,
//! and the sockets of the standard library.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use plimsoll_core::drive::{
    Address, Clock, Dialer, Listening, PollIo, Sockets, Time, Timer, block_on, tune_tcp, unix_peer,
};
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;

/// All that wait for something, whatever it is.
#[derive(Clone)]
struct Again {
    clock: Clock,
    waiting: Arc<Mutex<Vec<Waker>>>,
}

impl Again {
    fn start() -> Self {
        let waiting = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::downgrade(&waiting);
        // Ends with the last who could wait.
        thread::spawn(move || {
            while let Some(waiting) = all.upgrade() {
                let wakers: Vec<Waker> = std::mem::take(&mut waiting.lock().unwrap());
                drop(waiting);
                wakers.into_iter().for_each(Waker::wake);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Again { clock: Clock::start(), waiting }
    }

    /// The contract in one line: who says `Pending` has seen to it that the waker is called.
    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        self.waiting.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }

    fn unless_blocked<T>(&self, cx: &Context<'_>, result: io::Result<T>) -> Poll<io::Result<T>> {
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(cx),
            done => Poll::Ready(done),
        }
    }

    /// What blocks does so on a thread of its own.
    async fn elsewhere<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let mut running = Some(thread::spawn(work));
        poll_fn(|cx| match running.take_if(|running| running.is_finished()) {
            Some(done) => Poll::Ready(done.join().expect("it does not panic")),
            None => self.wait(cx),
        })
        .await
    }
}

impl Time for Again {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Timer for Again {
    async fn sleep(&self, length: Duration) {
        let mut alarm = Some(self.now() + length);
        poll_fn(|cx| self.poll_alarm(&mut alarm, cx)).await;
    }
}

impl Dialer for Again {
    type Io = Socket;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let name = name.to_owned();
        self.elsewhere(move || Ok(name.to_socket_addrs()?.collect())).await
    }

    async fn connect(&self, address: Address) -> io::Result<Socket> {
        let kind = self
            .elsewhere(|| match address {
                Address::Tcp(address) => Kind::tcp(TcpStream::connect(address)?),
                Address::Unix(path) => Kind::unix(UnixStream::connect(path)?),
            })
            .await?;
        Ok(Socket { runtime: self.clone(), kind })
    }
}

impl Sockets for Again {
    type Listener = Listening;
    /// When it will run out.
    type Alarm = Option<Instant>;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn dialling(&self) -> MemoryConfig {
        MemoryConfig::default()
    }

    fn watch(&self, socket: Listening) -> io::Result<Listening> {
        Ok(socket)
    }

    fn poll_accept(
        &self,
        listener: &mut Listening,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Peer)>> {
        let accepted = match listener {
            Listening::Tcp(listener) => listener.accept().and_then(|(stream, address)| {
                Ok((Kind::tcp(stream)?, Peer { address: Some(address), ..Peer::UNKNOWN }))
            }),
            Listening::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                let peer = unix_peer(&stream);
                Ok((Kind::unix(stream)?, peer))
            }),
        };
        let accepted = accepted.map(|(kind, peer)| (Socket { runtime: self.clone(), kind }, peer));
        self.unless_blocked(cx, accepted)
    }

    fn alarm(&self) -> Self::Alarm {
        None
    }

    fn set_alarm(&self, alarm: &mut Self::Alarm, after: Duration) {
        *alarm = Some(self.now() + after);
    }

    fn poll_alarm(&self, alarm: &mut Self::Alarm, cx: &mut Context<'_>) -> Poll<()> {
        if alarm.is_some_and(|at| at <= self.now()) { Poll::Ready(()) } else { self.wait(cx) }
    }

    fn start(&self, driver: impl Future<Output = ()> + Send + 'static) {
        thread::spawn(|| block_on(driver));
    }
}

struct Socket {
    runtime: Again,
    kind: Kind,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Kind {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        tune_tcp(&stream)?;
        stream.set_nonblocking(true)?;
        Ok(Kind::Tcp(stream))
    }

    fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Kind::Unix(stream))
    }
}

impl PollIo for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = match &mut self.kind {
            Kind::Tcp(stream) => stream.read(buf),
            Kind::Unix(stream) => stream.read(buf),
        };
        self.runtime.unless_blocked(cx, read)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.kind {
            Kind::Tcp(stream) => stream.write_vectored(bufs),
            Kind::Unix(stream) => stream.write_vectored(bufs),
        };
        self.runtime.unless_blocked(cx, written)
    }

    /// There may be: nobody knows before it is read.
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn on_again(scenario: impl FnOnce(Again)) {
    scenario(Again::start());
}

plimsoll_conformance::suite!(on_again);
plimsoll_conformance::ipc_suite!(on_again);

mod over_unix_sockets {
    plimsoll_conformance::suite!(super::on_again, unix);
}
