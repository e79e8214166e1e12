//! Errors as numbers.

use crate::error::{Fault, Misuse, ProtocolError, Rejected, TlsFault};
use crate::policy::health_check::Level;

const FAULTS: [Fault; 8] = [
    Fault::Closed,
    Fault::Refused,
    Fault::Reset,
    Fault::TimedOut,
    Fault::Unreachable,
    Fault::Unresolved,
    Fault::Exhausted,
    Fault::Other,
];

const TLS_FAULTS: [TlsFault; 12] = [
    TlsFault::UnknownIssuer,
    TlsFault::Expired,
    TlsFault::NotYetValid,
    TlsFault::WrongName,
    TlsFault::Revoked,
    TlsFault::BadCertificate,
    TlsFault::NoCertificate,
    TlsFault::NoName,
    TlsFault::Incompatible,
    TlsFault::NotTls,
    TlsFault::Unfinished,
    TlsFault::Broken,
];

/// Where the faults of TLS begin, and among them the alerts.
const TLS: u64 = 16;
const ALERTS: u64 = 256;

pub(crate) fn of_fault(fault: Fault) -> u64 {
    match fault {
        Fault::Tls(TlsFault::Refused(alert)) => ALERTS + u64::from(alert),
        Fault::Tls(fault) => TLS + position(&TLS_FAULTS, &fault),
        fault => position(&FAULTS, &fault),
    }
}

pub(crate) fn to_fault(code: u64) -> Fault {
    match code {
        ALERTS.. => Fault::Tls(TlsFault::Refused((code - ALERTS) as u8)),
        TLS.. => TLS_FAULTS.get((code - TLS) as usize).map_or(Fault::Other, |&fault| Fault::Tls(fault)),
        _ => FAULTS.get(code as usize).copied().unwrap_or(Fault::Other),
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u64 {
    all.iter().position(|other| other == one).unwrap_or(all.len()) as u64
}

pub(crate) fn of_protocol_error(error: ProtocolError) -> [u64; 3] {
    match error {
        ProtocolError::BadMagic => [0, 0, 0],
        ProtocolError::BadVersion(version) => [1, version.into(), 0],
        ProtocolError::TooLarge { len, limit } => [2, len, limit],
        ProtocolError::BadMethod => [3, 0, 0],
        ProtocolError::Stalled => [4, 0, 0],
        ProtocolError::Unexpected => [5, 0, 0],
        ProtocolError::Unwelcome => [6, 0, 0],
        ProtocolError::Other(code) => [7, code.into(), 0],
    }
}

pub(crate) fn to_protocol_error([code, a, b]: [u64; 3]) -> ProtocolError {
    match code {
        0 => ProtocolError::BadMagic,
        1 => ProtocolError::BadVersion(a as u8),
        2 => ProtocolError::TooLarge { len: a, limit: b },
        3 => ProtocolError::BadMethod,
        4 => ProtocolError::Stalled,
        5 => ProtocolError::Unexpected,
        6 => ProtocolError::Unwelcome,
        _ => ProtocolError::Other(a as u16),
    }
}

/// How a request went in: 0 if it was taken, one of these if not, or else one of [`of_misuse`].
pub(crate) fn of_rejected(rejected: Rejected) -> u64 {
    match rejected {
        Rejected::Overloaded => 1,
        Rejected::CircuitOpen => 2,
        Rejected::NoEndpoint => 3,
        Rejected::Panicked => 4,
        Rejected::Unhealthy => 5,
        Rejected::Throttled { .. } => 6,
        Rejected::Limited { .. } => 7,
        Rejected::RateLimited { .. } => 8,
        Rejected::ShuttingDown => 9,
    }
}

const MISUSE: u64 = 32;

pub(crate) fn of_misuse(misuse: Misuse) -> u64 {
    MISUSE
        + match misuse {
            Misuse::MethodTooLong { .. } => 0,
            Misuse::ContentTooLarge { .. } => 1,
            Misuse::BadAddress => 2,
            Misuse::TooManyEndpoints { .. } => 3,
            Misuse::Unencodable(_) => 4,
        }
}

/// The misuse that a code stands for, without its numbers.
pub(crate) fn to_misuse(code: u64) -> Option<Misuse> {
    Some(match code.checked_sub(MISUSE)? {
        0 => Misuse::MethodTooLong { len: 0, limit: 0 },
        1 => Misuse::ContentTooLarge { len: 0, limit: 0 },
        2 => Misuse::BadAddress,
        3 => Misuse::TooManyEndpoints { limit: 0 },
        _ => Misuse::Unencodable("as the wire has it"),
    })
}

/// What the code of a request says.
pub(crate) fn refusal(code: u64) -> &'static str {
    match code {
        0 => "taken",
        1 => "overloaded",
        2 => "circuit open",
        3 => "no endpoint",
        4 => "panic",
        5 => "all endpoints unhealthy",
        6 => "throttled",
        7 => "concurrency limit",
        8 => "rate limit",
        9 => "shutting down",
        _ => "it cannot be encoded",
    }
}

/// Why a call of a client of a hub was not taken.
pub(crate) fn call_refusal(code: u64) -> &'static str {
    match code {
        1 => "no connection to the hub is registered",
        2 => "too many calls wait for their answer, or too much waits to be sent to the hub",
        3 => "the client shuts down",
        4 => "its context is too deep, or its time is over",
        _ => "the wire cannot carry it",
    }
}

pub(crate) fn of_health(health: Level) -> u64 {
    position(&HEALTH, &health)
}

pub(crate) fn to_health(code: u64) -> Level {
    HEALTH.get(code as usize).copied().unwrap_or(HEALTH[0])
}

const HEALTH: [Level; 3] = [Level::Unhealthy, Level::Degraded, Level::Healthy];
