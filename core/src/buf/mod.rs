//! Where bytes wait: between the transport and a decoder, and between an encoder and the transport. And what
//! protocols are built on: bytes in a ring, and objects that are used again.

pub mod pool;
mod receive;
pub mod ring;
mod send;

pub use receive::{BLOCK, Lent, Receiver};
pub use send::{SendPool, SendQueue};
