//! What a cluster tells of itself.

use alloc::borrow::Cow;

use thiserror::Error;

use super::Duty;
use crate::error::{Fault, ProtocolError};
use crate::id::{ConnId, EndpointId};
use crate::policy::health_check::Level as Health;
use crate::policy::panic::Spread;
use crate::policy::priority::LEVELS;
use crate::policy::{breaker, outlier};
use crate::time::Instant;
use core::time::Duration;

/// A change in a cluster's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateEvent {
    /// A connection stands.
    Connected {
        /// To which endpoint.
        endpoint: EndpointId,
        /// Which connection.
        conn: ConnId,
    },
    /// A connection, or the attempt at one, has ended.
    Closed {
        /// To which endpoint.
        endpoint: EndpointId,
        /// Which connection.
        conn: ConnId,
        /// Why.
        cause: CloseCause,
    },
    /// The circuit breaker of an endpoint changed its state.
    Breaker {
        /// Of which endpoint.
        endpoint: EndpointId,
        /// To which state.
        to: breaker::State,
    },
    /// An endpoint serves so much worse than the others that it is left out.
    Ejected {
        /// Which endpoint.
        endpoint: EndpointId,
        /// What it has done.
        cause: outlier::Cause,
        /// It comes back with the first sweep from then on.
        until: Instant,
    },
    /// An endpoint that was ejected is back.
    Returned {
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// A health check outside says something else of an endpoint than before.
    Health {
        /// Of which endpoint.
        endpoint: EndpointId,
        /// What it says.
        to: Health,
    },
    /// An endpoint that is drained has no connection any more.
    Drained {
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// So many endpoints of a priority level are out that it panics, or no longer.
    Panic {
        /// Which level.
        priority: u8,
        /// Which of its endpoints get requests now.
        spread: Spread,
    },
    /// Other priority levels take requests than before.
    Failover {
        /// What each level takes, in thousandths.
        shares: [u16; LEVELS],
    },
    /// So many changes went by while nobody looked.
    Missed(u64),
}
crate::saved!(enum StateEvent {
    0 = Connected { endpoint, conn }, 1 = Closed { endpoint, conn, cause }, 2 = Breaker { endpoint, to },
    3 = Ejected { endpoint, cause, until }, 4 = Returned { endpoint }, 5 = Health { endpoint, to },
    6 = Drained { endpoint }, 7 = Panic { priority, spread }, 8 = Failover { shares }, 9 = Missed(value)
});

impl StateEvent {
    /// The endpoint that it is about, if it is about one.
    pub fn endpoint(self) -> Option<EndpointId> {
        match self {
            StateEvent::Connected { endpoint, .. }
            | StateEvent::Closed { endpoint, .. }
            | StateEvent::Breaker { endpoint, .. }
            | StateEvent::Ejected { endpoint, .. }
            | StateEvent::Returned { endpoint }
            | StateEvent::Health { endpoint, .. }
            | StateEvent::Drained { endpoint } => Some(endpoint),
            StateEvent::Panic { .. } | StateEvent::Failover { .. } | StateEvent::Missed(_) => None,
        }
    }
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseCause {
    /// The dial failed.
    #[error("the dial failed: {0}")]
    Dial(Fault),
    /// The dial took too long.
    #[error("the dial took too long")]
    DialTimeout,
    /// The transport failed, or the peer closed.
    #[error("{0}")]
    Fault(Fault),
    /// The peer broke the rules of the wire.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// The peer was silent, and did not answer a ping in time.
    #[error("the peer fell silent and did not answer a ping")]
    Silent,
    /// Nobody used it for long, and more than the minimum stood.
    #[error("idle")]
    Idle,
    /// Its endpoint gets no more requests: it was removed or is drained, or has left this client's subset.
    #[error("its endpoint gets no more requests")]
    Removed,
    /// It has reached its age, and another takes its place.
    #[error("it has reached its age")]
    Aged,
    /// More connections stood than are wanted now.
    #[error("more connections stood than are wanted")]
    Surplus,
    /// The cluster shut down.
    #[error("shut down")]
    Shutdown,
}
crate::saved!(enum CloseCause {
    0 = Dial(value), 1 = DialTimeout, 2 = Fault(value), 3 = Protocol(value), 4 = Silent, 5 = Idle,
    6 = Removed, 7 = Aged, 8 = Surplus, 9 = Shutdown
});

impl CloseCause {
    /// Whether something went wrong, as against an orderly end.
    pub fn is_error(self) -> bool {
        !matches!(
            self,
            CloseCause::Idle
                | CloseCause::Removed
                | CloseCause::Aged
                | CloseCause::Surplus
                | CloseCause::Shutdown
        )
    }
}

/// How a cluster stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections that stand.
    pub connections: u32,
    /// Connections that stand and have room for a request, at an endpoint that is not out.
    pub available: u32,
    /// Connections that are being dialled.
    pub dialing: u32,
    /// Requests on a connection.
    pub in_flight: u32,
    /// Requests that wait for a place on one.
    pub waiting: u32,
    /// Endpoints.
    pub endpoints: u32,
    /// Endpoints whose breaker lets no request through.
    pub endpoints_out: u32,
    /// Endpoints that serve so much worse than the others that they are left out.
    pub endpoints_ejected: u32,
    /// Endpoints that nothing speaks against: reached at the last dial, healthy, not ejected, and their breaker closed.
    pub endpoints_available: u32,
}

/// How one endpoint stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus<'a> {
    /// Which one.
    pub id: EndpointId,
    /// Its address.
    pub address: Cow<'a, str>,
    /// Its priority level.
    pub priority: u8,
    /// Its weight.
    pub weight: u32,
    /// What it is there for.
    pub duty: Duty,
    /// How its breaker stands.
    pub breaker: breaker::State,
    /// What its breaker has counted.
    pub breaker_stats: breaker::Stats,
    /// How long ago the last request failed; a result that came too late to count does not.
    pub last_failure: Option<Duration>,
    /// In how long its breaker lets the next request through; `None`: now.
    pub next_attempt: Option<Duration>,
    /// Whether it is left out because it serves worse than the others.
    pub ejected: bool,
    /// What a health check outside says of it.
    pub health: Health,
    /// Whether the last dial has succeeded, or none has failed yet.
    pub reachable: bool,
    /// Connections that stand.
    pub connections: u32,
    /// Requests on them.
    pub in_flight: u32,
    /// How well it serves, from 0 to 1,000; see [`HealthScore`](crate::policy::HealthScore).
    pub score_per_mille: u32,
    /// The share of requests that failed lately, on average, from 0 to 1,000.
    pub error_per_mille: u32,
    /// What a request took lately, on average.
    pub round_trip: Duration,
}

impl EndpointStatus<'_> {
    /// With an address of its own.
    pub fn into_owned(self) -> EndpointStatus<'static> {
        EndpointStatus { address: Cow::Owned(self.address.into_owned()), ..self }
    }
}
