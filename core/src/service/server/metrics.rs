//! What a server counts.

use crate::error::{Fault, ProtocolError};
use crate::metrics::{Histogram, Rate};

/// What a server has counted since it was built, or since [`reset`](Metrics::reset).
///
/// Every request that was taken ends once: `requests` is `answered + failed + abandoned`, and what is in flight.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were turned away, at the limit or while shutting down.
    pub refused: u64,
    /// Connections that have ended, by cause.
    pub closed: Closed,
    /// Requests that were taken; without pings.
    pub requests: u64,
    /// Requests that were answered with a result.
    pub answered: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// Those of the failed that their handler dropped unanswered.
    pub unanswered: u64,
    /// Requests whose connection ended before there was an answer.
    pub abandoned: u64,
    /// Pings, which the server answers by itself.
    pub pings: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the transport took.
    pub bytes_out: u64,
    /// Bytes of answers that were dropped with their connection.
    pub unsent_bytes: u64,
    /// Breaches of the wire's rules that closed their connection, by kind.
    pub protocol_errors: ProtocolErrors,
    /// Bytes skipped on the way to the next frame ([`Mode::Resync`](crate::wire::uw::Mode::Resync)).
    pub skipped_bytes: u64,
    /// From being taken to the answer.
    pub latency: Histogram,
    /// Requests taken, by time.
    pub rate: Rate,
}
crate::saved!(struct Metrics {
    accepted, refused, closed, requests, answered, failed, unanswered, abandoned, pings, bytes_in, bytes_out,
    unsent_bytes, protocol_errors, skipped_bytes, latency, rate
});

/// Connections that have ended, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The peer closed in an orderly way.
    pub peer: u64,
    /// The transport failed.
    pub fault: u64,
    /// The peer broke the rules of the wire, or began a frame and did not finish it in time.
    pub protocol: u64,
    /// Nothing happened on it for long.
    pub idle: u64,
    /// The server shut down.
    pub shutdown: u64,
}
crate::saved!(struct Closed { peer, fault, protocol, idle, shutdown });

/// Breaches of the wire's rules, by kind: see the variants of [`ProtocolError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is an error of the same name")]
pub struct ProtocolErrors {
    pub bad_magic: u64,
    pub bad_version: u64,
    pub too_large: u64,
    pub bad_method: u64,
    pub stalled: u64,
}
crate::saved!(struct ProtocolErrors { bad_magic, bad_version, too_large, bad_method, stalled });

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Peer,
    Fault(Fault),
    Protocol(ProtocolError),
    Idle,
    Shutdown,
}
crate::saved!(enum Cause { 0 = Peer, 1 = Fault(value), 2 = Protocol(value), 3 = Idle, 4 = Shutdown });

impl Metrics {
    /// Counts from nothing again.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }

    /// Adds what another server has counted: shards of one service, for example.
    pub fn merge(&mut self, other: &Metrics) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.closed.merge(other.closed);
        self.requests += other.requests;
        self.answered += other.answered;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.abandoned += other.abandoned;
        self.pings += other.pings;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.unsent_bytes += other.unsent_bytes;
        self.protocol_errors.merge(other.protocol_errors);
        self.skipped_bytes += other.skipped_bytes;
        self.latency.merge(&other.latency);
        self.rate.merge(&other.rate);
    }

    pub(super) fn count_closed(&mut self, cause: Cause) {
        let count = match cause {
            Cause::Peer | Cause::Fault(Fault::Closed) => &mut self.closed.peer,
            Cause::Fault(_) => &mut self.closed.fault,
            Cause::Protocol(_) => &mut self.closed.protocol,
            Cause::Idle => &mut self.closed.idle,
            Cause::Shutdown => &mut self.closed.shutdown,
        };
        *count += 1;
    }

    pub(super) fn count_error(&mut self, error: ProtocolError) {
        let count = match error {
            ProtocolError::BadMagic => &mut self.protocol_errors.bad_magic,
            ProtocolError::BadVersion(_) => &mut self.protocol_errors.bad_version,
            ProtocolError::TooLarge { .. } => &mut self.protocol_errors.too_large,
            ProtocolError::BadMethod => &mut self.protocol_errors.bad_method,
            ProtocolError::Stalled => &mut self.protocol_errors.stalled,
            ProtocolError::Unexpected | ProtocolError::Unwelcome | ProtocolError::Other(_) => return,
        };
        *count += 1;
    }
}

impl Closed {
    fn merge(&mut self, other: Closed) {
        self.peer += other.peer;
        self.fault += other.fault;
        self.protocol += other.protocol;
        self.idle += other.idle;
        self.shutdown += other.shutdown;
    }
}

impl ProtocolErrors {
    fn merge(&mut self, other: ProtocolErrors) {
        self.bad_magic += other.bad_magic;
        self.bad_version += other.bad_version;
        self.too_large += other.too_large;
        self.bad_method += other.bad_method;
        self.stalled += other.stalled;
    }
}
