//! For whoever writes a machine: the laws as tests.

pub mod laws;
mod world;
