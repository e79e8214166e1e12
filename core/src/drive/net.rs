//! Everything of a transport that one runtime does as another.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use super::listen::{Listening, listen};
use super::socket_file::SocketFile;
use super::{Address, Clock, Dialer, Dials, ListenOptions, PollIo, Runtime, Transport};
use crate::id::ConnId;
use crate::machine::Peer;
use crate::policy::dial::MemoryConfig;
use crate::time::Instant;

/// What is a runtime's own: its sockets, its timer, its tasks. Whoever has these has a [`Transport`], which is [`Net`], and
/// is a [`Runtime`].
pub trait Sockets: Dialer<Io: PollIo> {
    /// A socket that listens.
    type Listener: Send;

    /// A timer that can be set again and again.
    type Alarm: Send;

    /// Of all its drivers.
    fn clock(&self) -> &Clock;

    /// How to dial: head starts, and how long what was learnt counts.
    fn dialling(&self) -> MemoryConfig;

    /// Watches a socket that listens.
    ///
    /// # Errors
    /// What the operating system says, out of descriptors mostly.
    fn watch(&self, socket: Listening) -> io::Result<Self::Listener>;

    /// The next connection, and who opened it.
    fn poll_accept(
        &self,
        listener: &mut Self::Listener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Io, Peer)>>;

    /// A timer that has not been set.
    fn alarm(&self) -> Self::Alarm;

    /// Sets it anew.
    fn set_alarm(&self, alarm: &mut Self::Alarm, after: Duration);

    /// Whether it has run out.
    fn poll_alarm(&self, alarm: &mut Self::Alarm, cx: &mut Context<'_>) -> Poll<()>;

    /// Runs a driver to its end.
    fn start(&self, driver: impl Future<Output = ()> + Send + 'static);
}

/// Sockets, names and one timer, for one driver.
pub struct Net<S: Sockets> {
    sockets: S,
    /// And what removes the file of a Unix socket, once it is closed.
    listener: Option<(S::Listener, Option<Arc<SocketFile>>)>,
    dials: Dials<S>,
    alarm: S::Alarm,
}

impl<S: Sockets> Net<S> {
    /// Dials, and accepts nothing.
    fn new(sockets: S) -> Self {
        let (dials, alarm) = (Dials::new(sockets.clone(), sockets.dialling()), sockets.alarm());
        Net { sockets, listener: None, dials, alarm }
    }
}

impl<S: Sockets> Transport for Net<S> {
    type Io = S::Io;

    fn now(&mut self) -> Instant {
        self.sockets.clock().now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.sockets.clock().unix_ms()
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        self.dials.start(conn, target);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        self.dials.cancel(conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<S::Io>)> {
        self.dials.poll_next(cx)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(S::Io, Peer)>> {
        let Some((listener, _)) = &mut self.listener else { return Poll::Pending };
        self.sockets.poll_accept(listener, cx)
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn set_timer(&mut self, after: Duration) {
        self.sockets.set_alarm(&mut self.alarm, after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sockets.poll_alarm(&mut self.alarm, cx)
    }
}

impl<S: Sockets> Runtime for S {
    type Transport = Net<S>;

    fn connector(&self) -> Net<S> {
        Net::new(self.clone())
    }

    async fn listen(
        &self,
        addr: &str,
        options: &ListenOptions,
        shards: usize,
    ) -> io::Result<(Vec<Net<S>>, Address)> {
        let bound = listen(self, addr, options).await?;
        let share = || {
            let (socket, file) = bound.share()?;
            Ok(Net { listener: Some((self.watch(socket)?, file)), ..self.connector() })
        };
        Ok(((0..shards).map(|_| share()).collect::<io::Result<_>>()?, bound.address))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        self.start(driver);
    }
}
