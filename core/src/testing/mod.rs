//! For whoever writes a machine: the laws as tests. For whoever builds a service on one: a fleet in virtual time.

pub mod fleet;
pub mod laws;
#[doc(hidden)]
pub mod play;
mod world;
