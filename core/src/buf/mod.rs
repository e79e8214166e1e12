//! Buffers that protocols are built on.
