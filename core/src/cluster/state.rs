//! What a cluster tells of itself.

use thiserror::Error;

use crate::error::{Fault, ProtocolError};
use crate::id::{ConnId, EndpointId};
use crate::policy::breaker;

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
    /// So many changes went by while nobody looked.
    Missed(u64),
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
    /// Its endpoint was removed.
    #[error("its endpoint was removed")]
    Removed,
    /// The cluster shut down.
    #[error("shut down")]
    Shutdown,
}

impl CloseCause {
    /// Whether something went wrong, as against an orderly end.
    pub fn is_error(self) -> bool {
        !matches!(self, CloseCause::Idle | CloseCause::Removed | CloseCause::Shutdown)
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
}
