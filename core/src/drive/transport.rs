//! What a runtime adapter supplies.

use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use super::{Address, ListenOptions, PollIo};
use crate::id::ConnId;
use crate::machine::Peer;
use crate::time::Instant;

/// Sockets and time of one driver. Each `poll_…` that returns `Pending` has arranged for the waker of its context to
/// be woken; each is polled with a waker of its own.
pub trait Transport {
    /// A connection.
    type Io: PollIo;

    /// The time. Read once a turn.
    fn now(&mut self) -> Instant;

    /// The wall clock, in milliseconds since 1970.
    fn unix_ms(&mut self) -> u64;

    /// Begins to dial `target` (`host:port`, with brackets around an IPv6 address; or the
    /// [path](crate::machine::unix_path) of a Unix socket).
    fn dial(&mut self, conn: ConnId, target: &str);

    /// Stops a dial that has been begun and has not been reported; nothing need be reported then.
    fn cancel_dial(&mut self, conn: ConnId);

    /// The next dial that has ended. `Pending` while there is none at all, too; it is polled again after each `dial`.
    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Self::Io>)>;

    /// The next connection that somebody else opened, and who that is; `Pending` for ever without a listener.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>>;

    /// Closes the listener, so that those who come now are refused at once.
    fn stop_listening(&mut self);

    /// Sets the one timer anew.
    fn set_timer(&mut self, after: Duration);

    /// Whether the timer has run out. Polled only after it was set, and until it has run out.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What builds drivers for the ready-made handles, [`Client`](super::client::Client) and
/// [`Server`](super::server::Server).
pub trait Runtime: Clone + Send + Sync + 'static {
    /// What its drivers run on.
    type Transport: Transport<Io: Send> + Send + 'static;

    /// A transport without a listener. All transports of one runtime tell the same time.
    fn connector(&self) -> Self::Transport;

    /// Binds `addr` (`host:port`, or the [path](crate::machine::unix_path) of a Unix socket), and makes so many
    /// transports that share the listener; also its address.
    fn listen(
        &self,
        addr: &str,
        options: &ListenOptions,
        shards: usize,
    ) -> impl Future<Output = io::Result<(Vec<Self::Transport>, Address)>> + Send;

    /// Runs a driver to its end.
    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static);
}
