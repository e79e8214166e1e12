//! Where bytes wait: between the transport and a decoder, and between an encoder and the transport.
//!
//! [`Receiver`] and [`SendQueue`] are what the machines use. [`ring`] and [`pool`] are building blocks for whoever
//! writes a machine or a driver of their own.

pub mod pool;
mod receive;
pub mod ring;
mod send;

pub use receive::{BLOCK, Lent, Receiver};
pub use send::{SendPool, SendQueue};
