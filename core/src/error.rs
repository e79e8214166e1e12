//! What can go wrong, one family per cause: the peer ([`ProtocolError`]), our own policy ([`Rejected`]), the
//! caller ([`Misuse`]), the transport ([`Fault`]).

use core::time::Duration;

use thiserror::Error;

/// The peer sent what its wire does not allow. It costs the connection, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes cannot begin a frame.
    #[error("the peer sent bytes that cannot begin a frame (expected the magic 55 57)")]
    BadMagic,
    /// A version that this side does not speak.
    #[error("the peer speaks version {0} of the wire, which is not supported here")]
    BadVersion(u8),
    /// A frame that claims more content than is allowed here; nothing was allocated for it.
    #[error("the peer announced {len} bytes of content; the limit here is {limit}")]
    TooLarge {
        /// What the frame claims, in bytes.
        len: u64,
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// The method is not UTF-8.
    #[error("the peer sent a method name that is not UTF-8")]
    BadMethod,
    /// A frame began and did not end in time.
    #[error("the peer began a frame and did not finish it in time")]
    Stalled,
    /// An answer to nothing, on a wire where answers come in order.
    #[error("the peer sent an answer that nobody asked for")]
    Unexpected,
    /// A failure in answer to the greeting: the peer does not let this side in.
    #[error(
        "the peer refused the greeting: see that it knows the credentials, and whatever else it is greeted with"
    )]
    Unwelcome,
    /// Anything else a user's own wire finds wrong; the number is the wire's own.
    #[error("the peer broke the rules of its wire (code {0})")]
    Other(u16),
}
crate::saved!(enum ProtocolError {
    0 = BadMagic, 1 = BadVersion(value), 2 = TooLarge { len, limit }, 3 = BadMethod, 4 = Stalled,
    5 = Unexpected, 6 = Unwelcome, 7 = Other(value)
});

/// Bytes that are no JSON text, or no MessagePack value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The value does not end where its bytes end.
    #[error("it ends in the middle of a value")]
    Truncated,
    /// What stands at this byte, counted from the start, cannot stand there.
    #[error("the byte at {at} cannot stand there")]
    Syntax {
        /// Where, in bytes.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("its text is not UTF-8")]
    NotUtf8,
    /// More objects and arrays within each other than are taken.
    #[error("objects and arrays stand in each other more than {} deep", crate::wire::MAX_DEPTH)]
    TooDeep,
}
crate::saved!(enum Malformed { 0 = Truncated, 1 = Syntax { at }, 2 = NotUtf8, 3 = TooDeep });

/// Our own policy refused a request before it was taken. Nothing was sent, so trying later or elsewhere is
/// always safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Every connection is full, and so is the wait queue.
    #[error("overloaded: every connection is at its limit and the wait queue is full")]
    Overloaded,
    /// The circuit breaker of every endpoint is open.
    #[error("circuit open: every endpoint of the service has failed too often lately")]
    CircuitOpen,
    /// The service has no endpoint at all.
    #[error("the service has no endpoint")]
    NoEndpoint,
    /// So few endpoints are left that none is asked, as configured.
    #[error("panic: too few endpoints of the service are healthy, and its panic mode is to ask none")]
    Panicked,
    /// Every endpoint is unhealthy, ejected, or behind an open breaker.
    #[error("every endpoint of the service is unhealthy or serves badly, and is left alone for now")]
    Unhealthy,
    /// Throttled at the client: the service has refused too much lately.
    #[error("throttled: the service has refused too many requests lately; {per_mille} of 1,000 are not sent")]
    Throttled {
        /// How many of 1,000 requests are refused here at present.
        per_mille: u32,
    },
    /// As many requests are in flight as the service can take now, as far as its answers tell.
    #[error("concurrency limit: {limit} requests to the service are in flight, as many as it can take now")]
    Limited {
        /// How many may be.
        limit: u32,
    },
    /// As many requests were made as the configured rate allows.
    #[error("rate limit: no more requests to the service are allowed now; try again in {retry_after:?}")]
    RateLimited {
        /// The next request may come then, if none comes before.
        retry_after: Duration,
    },
    /// The machine is draining and takes no more requests.
    #[error("shutting down: no more requests are taken")]
    ShuttingDown,
}

/// The caller asked for what cannot be done; trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// A method name is too long for the wire.
    #[error("the method name has {len} bytes; the wire allows {limit}")]
    MethodTooLong {
        /// Its length in bytes.
        len: u64,
        /// What the wire allows, in bytes.
        limit: u64,
    },
    /// The content is above the configured limit.
    #[error("the content has {len} bytes; the limit is {limit}")]
    ContentTooLarge {
        /// Its length in bytes.
        len: u64,
        /// The configured limit in bytes.
        limit: u64,
    },
    /// An address is not `host:port`.
    #[error("an address must be host:port, with brackets around an IPv6 address")]
    BadAddress,
    /// The cluster has as many endpoints as it is configured for.
    #[error("the cluster has {limit} endpoints, which is its limit")]
    TooManyEndpoints {
        /// The configured limit.
        limit: u32,
    },
    /// The wire cannot carry this request, for a reason of its own.
    #[error("the wire cannot carry this request: {0}")]
    Unencodable(&'static str),
}

/// The transport failed. What a driver reports with `Input::Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The peer closed in an orderly way.
    #[error("the peer closed the connection")]
    Closed,
    /// Nobody listens at the address.
    #[error("connection refused: nobody listens at this address")]
    Refused,
    /// The peer, or something on the way, reset the connection.
    #[error("the connection was reset")]
    Reset,
    /// No answer from the peer's host in time.
    #[error("the connection timed out")]
    TimedOut,
    /// No route, or the host is down.
    #[error("the host cannot be reached")]
    Unreachable,
    /// The name has no address.
    #[error("the name does not resolve to an address")]
    Unresolved,
    /// This process is out of file descriptors or memory.
    #[error("out of file descriptors, ports or memory on this side")]
    Exhausted,
    /// The handshake failed, or what came afterwards is no good.
    #[error("TLS: {0}")]
    Tls(#[from] TlsFault),
    /// Anything else the operating system reports.
    #[error("an input/output error")]
    Other,
}
crate::saved!(enum Fault {
    0 = Closed, 1 = Refused, 2 = Reset, 3 = TimedOut, 4 = Unreachable, 5 = Unresolved, 6 = Exhausted,
    7 = Tls(value), 8 = Other
});

/// What went wrong with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// No chain leads from the peer's certificate to one that is trusted here.
    #[error("the peer's certificate was issued by nobody who is trusted here")]
    UnknownIssuer,
    /// The peer's certificate was valid once.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate is of the future, or the clock here is wrong.
    #[error("the peer's certificate is not valid yet (is the clock right?)")]
    NotYetValid,
    /// The peer's certificate is for other names than the one that was dialled.
    #[error("the peer's certificate is not for the name that was dialled")]
    WrongName,
    /// The peer's certificate has been revoked.
    #[error("the peer's certificate has been revoked")]
    Revoked,
    /// The peer's certificate is no good for another reason.
    #[error("the peer's certificate is not acceptable")]
    BadCertificate,
    /// The peer was to present a certificate, and did not.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// What was dialled is no name that a certificate could be for.
    #[error("the address has no host that a certificate could be for: say which name is expected")]
    NoName,
    /// The peer refuses this side; the number is that of its alert (RFC 8446, section 6).
    #[error("the peer refused: {reason} (alert {0})", reason = alert(*.0))]
    Refused(u8),
    /// No version or cipher suite that both sides allow.
    #[error("the peer and this side have no TLS version or cipher suite in common")]
    Incompatible,
    /// The peer's bytes cannot be those of TLS.
    #[error("what the peer sent is not TLS")]
    NotTls,
    /// The peer closed before the handshake was done.
    #[error("the peer closed the connection during the handshake")]
    Unfinished,
    /// The peer does not keep the rules, or somebody changes bytes on the way.
    #[error("the peer broke the rules of TLS")]
    Broken,
}
crate::saved!(enum TlsFault {
    0 = UnknownIssuer, 1 = Expired, 2 = NotYetValid, 3 = WrongName, 4 = Revoked, 5 = BadCertificate,
    6 = NoCertificate, 7 = NoName, 8 = Refused(value), 9 = Incompatible, 10 = NotTls, 11 = Unfinished,
    12 = Broken
});

/// What an alert says of who receives it.
fn alert(code: u8) -> &'static str {
    match code {
        40 => "it cannot agree to what is offered",
        42 | 43 | 46 => "the certificate of this side is no good",
        44 => "the certificate of this side has been revoked",
        45 => "the certificate of this side has expired",
        48 => "it does not know who issued the certificate of this side",
        49 => "access denied",
        70 => "it does not speak this version of TLS",
        71 => "it wants stronger ciphers",
        80 => "it has an internal error",
        112 => "it does not serve this name",
        116 => "it requires a certificate of this side",
        120 => "it speaks none of the offered protocols",
        _ => "it found a fault",
    }
}
