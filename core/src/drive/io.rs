//! A socket as the driver sees it.

use core::task::{Context, Poll};
use std::io::{self, ErrorKind, IoSlice};

use crate::error::Fault;

/// A byte stream that can be read and written without blocking. Each call that returns `Pending` has arranged for
/// the waker of its context to be woken; reading and writing are always polled with the same waker.
pub trait PollIo {
    /// Reads into the front of `buf`, which is not empty; 0 is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes the front of `bufs`, which hold at least one byte.
    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Whether there may be something to read. After a read that did not fill its buffer the driver asks this, so
    /// that it learns of the next bytes without a read that fails.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// What an error of the operating system, or of TLS, means to a machine.
pub fn fault_of(error: &io::Error) -> Fault {
    #[cfg(feature = "tls")]
    if let Some(fault) = super::tls::fault_of(error) {
        return fault;
    }
    match error.kind() {
        ErrorKind::UnexpectedEof => Fault::Closed,
        ErrorKind::ConnectionRefused => Fault::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Fault::Reset,
        ErrorKind::TimedOut => Fault::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Fault::Unreachable
        }
        ErrorKind::NotFound => Fault::Unresolved,
        ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory | ErrorKind::QuotaExceeded => Fault::Exhausted,
        _ if is_exhausted(error) => Fault::Exhausted,
        _ => Fault::Other,
    }
}

/// `ENFILE`, `EMFILE`, `ENOBUFS`: the standard library has no kind for them.
fn is_exhausted(error: &io::Error) -> bool {
    const LINUX: [i32; 3] = [23, 24, 105];
    const OTHER_UNIX: [i32; 3] = [23, 24, 55];
    let codes = if cfg!(target_os = "linux") { LINUX } else { OTHER_UNIX };
    cfg!(unix) && error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
