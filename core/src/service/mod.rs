//! Requests and answers over pooled connections: the client, the server, and the wire they are generic over.

pub mod client;
mod protocol;
pub mod server;
pub(crate) mod surrogate;
mod uw;

pub use protocol::{Decoded, Described, Protocol, Verdict};
pub use surrogate::Surrogate;
pub use uw::{Uw, UwRequest};
