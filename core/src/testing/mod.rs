//! For whoever writes a machine: the laws as tests, and a search that tries everything. For whoever builds a service on one: a fleet in virtual time.

mod digest;
pub mod fleet;
pub mod laws;
#[doc(hidden)]
pub mod play;
pub mod search;
mod world;
