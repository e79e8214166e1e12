//! What goes into a client, and what comes out.

use core::time::Duration;

use thiserror::Error;

use crate::cluster::StateEvent;
use crate::error::{Misuse, ProtocolError, Rejected};
use crate::id::RequestId;
use crate::metrics::{Histogram, Rate};

/// What a caller may say about one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long it may take from being taken to its answer, waiting and retries included; `None` for the client's
    /// default. Zero times out at the next tick.
    pub timeout: Option<Duration>,
    /// Whether it may run more than once. Only then is it sent again after a connection was lost that had begun
    /// to send it.
    pub idempotent: bool,
    /// A hash of what the request is about: those with the same one go to the same endpoint, by `consistent_hash`.
    pub key: Option<u64>,
    /// The caller's own number, handed back with the outcome.
    pub tag: u64,
}

/// Why a request was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Our own policy: later or elsewhere it may work.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The caller's mistake: it will never work.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

/// How a request ended. Every request that was taken ends exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The service answered; the content is lent from the receive buffer.
    Answer(&'a [u8]),
    /// The service answered that it failed.
    Remote {
        /// A word for machines, such as `METHOD_NOT_FOUND`.
        code: &'a str,
        /// A sentence for people, as the wire carries it (UW: JSON text, escapes not resolved).
        message: &'a str,
    },
    /// No answer in time.
    Timeout {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// Its connection was lost, and it may not be tried again.
    Lost {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// Its connection was closed because the peer broke the rules of the wire. Whether it ran, nobody can tell.
    Protocol(ProtocolError),
    /// The caller gave it up.
    Cancelled,
}

/// What a client has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request has ended.
    Outcome {
        /// Which one.
        id: RequestId,
        /// The caller's own number for it.
        tag: u64,
        /// How.
        outcome: Outcome<'a>,
    },
    /// Something changed that an operator would want to know.
    State(StateEvent),
}

/// What a client has counted since it was built, or since [`reset`](Metrics::reset).
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Requests that were taken.
    pub requests: u64,
    /// Requests that were answered with success.
    pub succeeded: u64,
    /// Requests that ended in any other way.
    pub failed: u64,
    /// Requests by how they failed.
    pub failures: Failures,
    /// Requests that were not taken.
    pub rejected: u64,
    /// Those that our own policy refused, by why; what is missing to `rejected` was the caller's mistake.
    pub rejections: Rejections,
    /// Times that a request was sent again.
    pub retries: u64,
    /// Second copies that were sent because a request was slow.
    pub hedges: u64,
    /// Those of them that were answered first.
    pub hedges_won: u64,
    /// From being taken to the answer, of all that were answered.
    pub latency: Histogram,
    /// Requests taken, by time.
    pub rate: Rate,
    /// Bytes received and sent.
    pub bytes_in: u64,
    /// Bytes that the transport took.
    pub bytes_out: u64,
    /// Dials that were begun.
    pub dials: u64,
    /// Connections that stood and were lost.
    pub reconnects: u64,
    /// Pings sent.
    pub pings: u64,
    /// Questions to endpoints how busy they are.
    pub probes: u64,
    /// Bytes skipped on the way to the next frame.
    pub skipped_bytes: u64,
    /// Answers to requests that had ended or never been.
    pub late_responses: u64,
    /// Connections closed because the peer broke the rules of the wire.
    pub protocol_errors: u64,
}
crate::saved!(struct Metrics {
    requests, succeeded, failed, failures, rejected, rejections, retries, hedges, hedges_won, latency, rate,
    bytes_in, bytes_out, dials, reconnects, pings, probes, skipped_bytes, late_responses, protocol_errors
});

/// Failed requests by how they failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is an outcome of the same name")]
pub struct Failures {
    pub remote: u64,
    pub timeout: u64,
    pub lost: u64,
    pub protocol: u64,
    pub cancelled: u64,
}
crate::saved!(struct Failures { remote, timeout, lost, protocol, cancelled });

/// Requests that were not taken, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is a `Rejected` of the same name")]
pub struct Rejections {
    pub overloaded: u64,
    pub circuit_open: u64,
    pub no_endpoint: u64,
    pub panicked: u64,
    pub unhealthy: u64,
    pub throttled: u64,
    pub limited: u64,
    pub rate_limited: u64,
    pub shutting_down: u64,
}
crate::saved!(struct Rejections {
    overloaded, circuit_open, no_endpoint, panicked, unhealthy, throttled, limited, rate_limited,
    shutting_down
});

impl Rejections {
    pub(super) fn count(&mut self, rejected: Rejected) {
        *match rejected {
            Rejected::Overloaded => &mut self.overloaded,
            Rejected::CircuitOpen => &mut self.circuit_open,
            Rejected::NoEndpoint => &mut self.no_endpoint,
            Rejected::Panicked => &mut self.panicked,
            Rejected::Unhealthy => &mut self.unhealthy,
            Rejected::Throttled { .. } => &mut self.throttled,
            Rejected::Limited { .. } => &mut self.limited,
            Rejected::RateLimited { .. } => &mut self.rate_limited,
            Rejected::ShuttingDown => &mut self.shutting_down,
        } += 1;
    }

    fn merge(&mut self, other: &Rejections) {
        self.overloaded += other.overloaded;
        self.circuit_open += other.circuit_open;
        self.no_endpoint += other.no_endpoint;
        self.panicked += other.panicked;
        self.unhealthy += other.unhealthy;
        self.throttled += other.throttled;
        self.limited += other.limited;
        self.rate_limited += other.rate_limited;
        self.shutting_down += other.shutting_down;
    }
}

impl Metrics {
    /// Counts from nothing again.
    pub fn reset(&mut self) {
        *self = Metrics::default();
    }

    /// Adds what another client has counted: shards of one service, for example.
    pub fn merge(&mut self, other: &Metrics) {
        self.requests += other.requests;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.failures.remote += other.failures.remote;
        self.failures.timeout += other.failures.timeout;
        self.failures.lost += other.failures.lost;
        self.failures.protocol += other.failures.protocol;
        self.failures.cancelled += other.failures.cancelled;
        self.rejected += other.rejected;
        self.rejections.merge(&other.rejections);
        self.retries += other.retries;
        self.hedges += other.hedges;
        self.hedges_won += other.hedges_won;
        self.latency.merge(&other.latency);
        self.rate.merge(&other.rate);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.dials += other.dials;
        self.reconnects += other.reconnects;
        self.pings += other.pings;
        self.probes += other.probes;
        self.skipped_bytes += other.skipped_bytes;
        self.late_responses += other.late_responses;
        self.protocol_errors += other.protocol_errors;
    }
}
