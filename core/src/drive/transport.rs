//! What a runtime adapter supplies.

use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use super::PollIo;
use crate::id::ConnId;
use crate::time::Instant;

/// Sockets and time of one runtime. Each `poll_…` that returns `Pending` has arranged for the waker of its context to
/// be woken; each is polled with a waker of its own.
pub trait Transport {
    /// A connection.
    type Io: PollIo;

    /// The time. Read once a turn.
    fn now(&mut self) -> Instant;

    /// The wall clock, in milliseconds since 1970.
    fn unix_ms(&mut self) -> u64;

    /// Begins to dial `target` (`host:port`, with brackets around an IPv6 address).
    fn dial(&mut self, conn: ConnId, target: &str);

    /// Stops a dial that has been begun and has not been reported; nothing need be reported then.
    fn cancel_dial(&mut self, conn: ConnId);

    /// The next dial that has ended. Not polled while there is none.
    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Self::Io>)>;

    /// The next connection that somebody else opened; `Pending` for ever without a listener.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>>;

    /// Sets the one timer anew.
    fn set_timer(&mut self, after: Duration);

    /// Whether the timer has run out. Polled only after it was set, and until it has run out.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
