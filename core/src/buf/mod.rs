//! Buffers that protocols are built on: bytes in a ring, and objects that are used again.

pub mod pool;
pub mod ring;
