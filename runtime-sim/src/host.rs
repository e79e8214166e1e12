//! A host: what runs there, and its sockets.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_core::drive::{Address, Dialer, Dials, ListenOptions, PollIo, Runtime, Time, Timer, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Credentials, Peer, unix_path};
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;

use crate::doors::{ListenerId, credentials};
use crate::stream::StreamId;
use crate::world::{AlarmId, World};

/// The wall clock at the beginning of every world: 2023-11-14 22:13:20, in milliseconds since 1970.
const BEGINNING: u64 = 1_700_000_000_000;

/// A host of a simulated world: the runtime of whatever runs there. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) world: World,
    pub(crate) id: u32,
}

impl Host {
    /// Its name, by which others reach it.
    pub fn name(&self) -> String {
        self.world.lock().network.name(self.id).to_owned()
    }

    /// Who runs here, to the other end of a Unix socket.
    pub fn credentials(&self) -> Credentials {
        credentials(self.id)
    }

    /// Runs a task here, until it ends or the host crashes.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawner().spawn(self.id, task);
    }

    pub(crate) fn alarm(&self) -> Alarm {
        Alarm { world: self.world.clone(), id: self.world.lock().alarms.add() }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.name()).finish()
    }
}

impl Time for Host {
    fn now(&self) -> Instant {
        self.world.lock().now
    }
}

impl Timer for Host {
    async fn sleep(&self, length: Duration) {
        let mut alarm = self.alarm();
        alarm.set(length);
        poll_fn(|cx| alarm.poll(cx)).await;
    }
}

impl Dialer for Host {
    type Io = Socket;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.world.lock().network.resolve(self.id, name)
    }

    async fn connect(&self, address: Address) -> io::Result<Socket> {
        let stream = {
            let mut state = self.world.lock();
            let (network, mut scene) = state.network();
            network.dial(self.id, &address, &mut scene)?
        };
        let socket = Socket { world: self.world.clone(), stream, side: 0 };
        poll_fn(|cx| match self.world.lock().network.connected(stream, cx.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        })
        .await?;
        Ok(socket)
    }
}

impl Runtime for Host {
    type Transport = Net;

    fn connector(&self) -> Net {
        let dials = Dials::new(self.clone(), MemoryConfig::default());
        Net { alarm: self.alarm(), host: self.clone(), dials, listener: None }
    }

    async fn listen(
        &self,
        addr: &str,
        options: &ListenOptions,
        shards: usize,
    ) -> io::Result<(Vec<Net>, Address)> {
        let wanted = match unix_path(addr) {
            Some(path) => Address::Unix(path.into()),
            None => match addr.parse::<SocketAddr>() {
                Ok(address) => address.into(),
                Err(_) => self.resolve(addr).await?.first().copied().ok_or(ErrorKind::NotFound)?.into(),
            },
        };
        let backlog = usize::try_from(options.backlog).unwrap_or(0).max(1);
        let (listener, address) = self.world.lock().network.listen(self.id, &wanted, backlog, shards)?;
        let share = |_| Net {
            listener: Some(Listener { world: self.world.clone(), id: listener }),
            ..self.connector()
        };
        Ok(((0..shards).map(share).collect(), address))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        self.run(driver);
    }
}

/// Sockets, names and one timer, for one driver.
#[derive(Debug)]
pub struct Net {
    host: Host,
    dials: Dials<Host>,
    listener: Option<Listener>,
    alarm: Alarm,
}

impl Transport for Net {
    type Io = Socket;

    fn now(&mut self) -> Instant {
        self.host.now()
    }

    fn unix_ms(&mut self) -> u64 {
        let state = self.host.world.lock();
        let skew = state.network.skew_ms(self.host.id);
        (BEGINNING + state.now.as_nanos() / 1_000_000).saturating_add_signed(skew)
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        self.dials.start(conn, target);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        self.dials.cancel(conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Socket>)> {
        self.dials.poll_next(cx)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        let Some(listener) = &self.listener else { return Poll::Pending };
        let accepted = self.host.world.lock().network.accept(listener.id, cx.waker());
        let Some((stream, peer)) = accepted else { return Poll::Pending };
        Poll::Ready(Ok((Socket { world: self.host.world.clone(), stream, side: 1 }, peer)))
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn set_timer(&mut self, after: Duration) {
        self.alarm.set(after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(cx)
    }
}

/// One of those who share a listener.
#[derive(Debug)]
struct Listener {
    world: World,
    id: ListenerId,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.stop_listening(self.id, &mut scene);
    }
}

/// A timer that can be set again and again.
#[derive(Debug)]
pub(crate) struct Alarm {
    world: World,
    id: AlarmId,
}

impl Alarm {
    fn set(&mut self, after: Duration) {
        let mut state = self.world.lock();
        let at = state.now + after;
        state.alarms.set(self.id, at);
    }

    pub(crate) fn set_at(&self, at: Instant) {
        self.world.lock().alarms.set(self.id, at);
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        match self.world.lock().alarms.has_rung(self.id, cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.world.lock().alarms.remove(self.id);
    }
}

/// One end of a connection. Dropped, it is closed.
#[derive(Debug)]
pub struct Socket {
    world: World,
    stream: StreamId,
    side: usize,
}

impl Socket {
    /// Writes no more, and reads on: half of the connection is closed.
    pub fn finish(&mut self) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.finish(self.stream, self.side, &mut scene);
    }
}

impl PollIo for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        let read = network.read(self.stream, self.side, buf, cx.waker(), &mut scene);
        read.map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        let written = network.write(self.stream, self.side, bufs, cx.waker(), &mut scene);
        written.map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.world.lock().network.readable(self.stream, self.side, cx.waker()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let (network, mut scene) = state.network();
        network.close(self.stream, self.side, &mut scene);
    }
}
