//! Requests and answers over pooled connections: the client, the server, and the wire they are generic over.

pub mod client;
mod protocol;

pub use protocol::{Decoded, Protocol, Verdict};
