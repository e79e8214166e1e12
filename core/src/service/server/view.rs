//! What a server tells of itself to whoever explains its log.

use alloc::string::{String, ToString};
use core::fmt;

use super::Server;
use super::conn::Intake;
use super::metrics::Cause;
use crate::error::{Fault, ProtocolError};
use crate::id::{ConnId, RequestId};
use crate::time::Instant;
use crate::wire::WireId;

/// A request that is whole, and not lent yet.
pub(crate) struct Ahead<'a> {
    pub(crate) wire: WireId,
    pub(crate) method: &'a str,
    /// The length of its content.
    pub(crate) content: usize,
    /// Bytes that were received behind it.
    pub(crate) behind: usize,
}

/// A connection as it stands.
pub(crate) struct Standing {
    pub(crate) conn: ConnId,
    /// Requests that were lent and wait for their answer.
    pub(crate) in_flight: u64,
    /// Bytes of answers that wait to be sent.
    pub(crate) unsent: u64,
    pub(crate) hold: Option<Hold>,
}

/// Why nothing more is taken from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Requests of all connections that are in hand, and how many may be.
    Server { in_flight: u64, limit: u32 },
    /// The last places are kept for connections that have none.
    Scarce { in_flight: u64, limit: u32 },
    /// Requests of this connection that are in hand, and how many may be.
    Connection { in_flight: u64, limit: u32 },
    /// Bytes of answers that its peer has not read, and how many may wait.
    Unsent { bytes: u64, limit: u64 },
    /// Parts of frames hold all the memory that they may.
    Memory,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Server { in_flight, limit } => {
                write!(f, "the server has {in_flight} requests in hand, of {limit} that it may have")
            }
            Hold::Scarce { in_flight, limit } => write!(
                f,
                "the server has {in_flight} requests in hand, and keeps the last quarter of {limit} for connections \
                 that have none"
            ),
            Hold::Connection { in_flight, limit } => {
                write!(f, "the connection has {in_flight} requests in hand, of {limit} that it may have")
            }
            Hold::Unsent { bytes, limit } => {
                write!(f, "its peer has yet to read {bytes} bytes of answers, of {limit} that may wait")
            }
            Hold::Memory => f.write_str("parts of requests hold all the memory that they may"),
        }
    }
}

/// How a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Who has ended it.
    pub(crate) by: &'static str,
    pub(crate) why: String,
}

impl From<Cause> for Ending {
    fn from(cause: Cause) -> Self {
        let by = match cause {
            Cause::Peer | Cause::Fault(Fault::Closed | Fault::Reset) => "its peer",
            Cause::Fault(_) => "the transport",
            Cause::Protocol(_) | Cause::Idle | Cause::Shutdown => "the server",
        };
        let why = match cause {
            Cause::Peer => "it is closed".into(),
            Cause::Fault(fault) => fault.to_string(),
            Cause::Protocol(ProtocolError::Stalled) => "a request did not arrive in time".into(),
            Cause::Protocol(error) => error.to_string(),
            Cause::Idle => "nothing happened on it for long".into(),
            Cause::Shutdown => "the server shuts down".into(),
        };
        Ending { by, why }
    }
}

impl From<Fault> for Ending {
    fn from(fault: Fault) -> Self {
        Cause::Fault(fault).into()
    }
}

impl Server {
    /// The next request of a connection.
    pub(crate) fn ahead(&self, conn: ConnId) -> Option<Ahead<'_>> {
        let head = self.state.conns.get(conn)?.head.as_ref()?;
        let bytes = self.receiver.bytes(conn.slot());
        Some(Ahead {
            wire: head.id,
            method: core::str::from_utf8(bytes.get(head.method.clone())?).unwrap_or_default(),
            content: head.content.len(),
            behind: bytes.len().saturating_sub(head.content.end),
        })
    }

    /// Bytes of a connection that were received and not taken.
    pub(crate) fn unread(&self, conn: ConnId) -> usize {
        self.receiver.bytes(conn.slot()).len()
    }

    /// The connection whose request is lent next, if one can be.
    pub(crate) fn upcoming(&self) -> Option<ConnId> {
        self.state.upcoming()
    }

    /// How a connection stands.
    pub(crate) fn standing(&self, id: ConnId) -> Option<Standing> {
        let state = &self.state;
        let (conn, config) = (state.conns.get(id).filter(|conn| !conn.closed)?, &state.config);
        let (in_flight, unsent) = (conn.load.items(), conn.load.bytes());
        let (total, total_limit) = (state.in_hand(), config.in_flight_total.get());
        let (limit, most) = (config.in_flight.get(), config.unsent.high());
        let is_full = in_flight >= limit.into();
        // Which of its two marks it is above of, is told by which it is nearer to.
        let by_requests = u128::from(in_flight) * u128::from(most) >= u128::from(unsent) * u128::from(limit);
        let hold = match () {
            () if state.is_above() || total >= total_limit.into() => {
                Some(Hold::Server { in_flight: total, limit: total_limit })
            }
            () if is_full || conn.load.is_above() && by_requests => {
                Some(Hold::Connection { in_flight, limit })
            }
            () if conn.load.is_above() => Some(Hold::Unsent { bytes: unsent, limit: most }),
            () if conn.starved => Some(Hold::Memory),
            () if state.is_scarce() && in_flight > 0 => {
                Some(Hold::Scarce { in_flight: total, limit: total_limit })
            }
            () => None,
        };
        Some(Standing { conn: id, in_flight, unsent, hold })
    }

    /// All connections that stand.
    pub(crate) fn connections(&self) -> impl Iterator<Item = Standing> {
        self.state.conns.iter().filter_map(|(id, _)| self.standing(id))
    }

    /// Connections that have ended, of which the runtime was not told yet, and why.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (ConnId, Ending)> {
        self.state.conns.iter().filter(|(_, conn)| conn.closed).filter_map(|(id, conn)| match conn.intake {
            Intake::Stopped(cause) => Some((id, cause.into())),
            Intake::Open | Intake::Ended => None,
        })
    }

    /// Requests that were put off: of which connection, what they are called on the wire, and since when.
    pub(crate) fn put_off(&self) -> impl Iterator<Item = (RequestId, ConnId, WireId, Instant)> {
        self.state.put_off()
    }
}
