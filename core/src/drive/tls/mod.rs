//! TLS for every runtime, by [rustls]: a wrapper around a [`Transport`](super::Transport), so that driver, machine and
//! adapter stay as they are.
//!
//! A client adds one line to its [`ServiceConfig`], a server one to its builder; a driver of a machine of one's own is given a
//! [`Secured`] transport. Which crypto provider there is, which certificates are trusted, whether clients need one: all that
//! is in rustls's own configuration, which the application makes. No protocol is negotiated by ALPN unless the
//! configuration names one.
//!
//! # What is told when
//!
//! - A dial has succeeded when its handshake has: the time limit of dials covers both, and a certificate that is no good is a
//!   dial that fails with [`Fault::Tls`](crate::error::Fault::Tls). A server that asks for a certificate of the client
//!   judges it later (TLS 1.3, RFC 8446 section 4.4.2.4), so that its refusal may end a connection that stood already.
//! - A connection that was accepted shakes hands when it is first read, and has as much time for it as for one frame.
//! - A byte has been *sent* when it has been encrypted: it will leave in its turn, or the connection is lost. The last byte of
//!   all that waits is told only when the operating system has everything, so that a machine that closes once all is sent
//!   leaves nothing behind.
//! - The end of the stream is what the peer says is the end (`close_notify`). If the connection just ends, somebody may have cut
//!   it: that is [`Fault::Reset`](crate::error::Fault::Reset), and nothing that came before is lost.
//! - A connection that is closed here says so to the peer, as far as the socket takes it at once.
//!
//! rustls's buffered interface is used, although its unbuffered one is meant for loops like this: in 0.23 both
//! allocate for every record, and the other copies what is sent once more and takes no vectored writes.
//!
//! [`ServiceConfig`]: super::client::ServiceConfig

mod failure;
mod secured;
mod stream;

pub use failure::{Failure, LastFailure};
pub use rustls;
pub use secured::{ClientTls, Secured, ServerTls};
pub use stream::{MaybeTls, Tls};

pub(super) use failure::fault_of;
