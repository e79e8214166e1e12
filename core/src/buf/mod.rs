//! Where bytes wait: between the transport and a decoder, and between an encoder and the transport.

mod receive;
mod send;

pub use receive::{BLOCK, Lent, Receiver};
pub use send::{SendPool, SendQueue};
