//! Single parts of a request's way, each beside another that does the same.

pub mod decode;
pub mod machines;
#[cfg(feature = "peers")]
pub mod peers;
pub mod pending;
pub mod pick;
pub mod saved;
pub mod worlds;
