//! What a server is told, and what it tells.

use core::num::NonZeroU32;
use core::time::Duration;

use crate::error::Misuse;
use crate::id::RequestId;
use crate::policy::watermark::Band;
use crate::wire::uw::{Limits, Mode};
use thiserror::Error;

/// The limits of a server. Every one is enforced by stopping to read, never by an error answer: a peer that sends
/// faster than it is served waits in its own buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How large a content may be, in both directions. 10 MiB.
    pub limits: Limits,
    /// What to do about bytes that cannot begin a frame. Strict: the connection is closed once everything before
    /// them is answered.
    pub mode: Mode,
    /// How long a frame may take from its first byte to its last, however its bytes dribble; time during which
    /// the server itself has paused reading for the sake of its limits does not count. 10 s.
    pub frame_timeout: Duration,
    /// A connection without traffic and with nothing in flight is closed after this time. 10 min.
    pub idle_timeout: Duration,
    /// Connections at a time. 10,000.
    pub connections: NonZeroU32,
    /// Deferred requests at a time, per connection. Reading stops there, and goes on at half of it. 1,024.
    pub in_flight: NonZeroU32,
    /// Deferred requests at a time, of all connections. Reading stops there, and goes on at half of it. The last quarter is
    /// kept for connections that have none: however many are greedy, a newcomer finds a place. 16,384.
    pub in_flight_total: NonZeroU32,
    /// Bytes of answers that wait to be sent, per connection. Reading stops at the high mark and goes on at the low
    /// one. Answers to requests that were taken before are accepted beyond it. 64 KiB and 256 KiB.
    pub unsent: Band,
    /// Bytes that parts of frames may hold, of all connections. Beyond it, one frame at a time is read to its end; whoever
    /// else needs more is not read until it has the turn, or half is free. 64 MiB; less than 512 KiB counts as that.
    pub receive_budget: NonZeroU32,
}
crate::saved!(struct Config {
    limits, mode, frame_timeout, idle_timeout, connections, in_flight, in_flight_total, unsent, receive_budget
});

impl Default for Config {
    fn default() -> Self {
        const fn limit(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("a limit is not zero")
        }
        Config {
            limits: Limits::default(),
            mode: Mode::default(),
            frame_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            connections: limit(10_000),
            in_flight: limit(1_024),
            in_flight_total: limit(16_384),
            unsent: const { Band::new(64 << 10, 256 << 10).expect("low is below high") },
            receive_budget: limit(64 << 20),
        }
    }
}

/// Names a request that was deferred. It may be kept, copied and sent elsewhere; answering it a second time, or after
/// its connection has gone, is [`ReplyError::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(crate) RequestId);

/// Why an answer was not sent as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Nobody waits for it: the connection has gone, or the request was answered before.
    #[error("nobody waits for this answer: its connection has gone, or the request was answered before")]
    Gone,
    /// The wire cannot carry it; the peer was answered with `INTERNAL_ERROR` instead.
    #[error("the peer was answered with INTERNAL_ERROR instead: {0}")]
    Misuse(#[from] Misuse),
}

/// How a server stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections that stand.
    pub connections: u32,
    /// Connections of these that are not read.
    pub paused: u32,
    /// Requests that were deferred and wait for their answer.
    pub in_flight: u32,
    /// Bytes of answers that wait to be sent.
    pub unsent: u64,
    /// Whether the server is shutting down.
    pub draining: bool,
}
