//! Lists of operations, played to the parts of this crate. Property tests and fuzz targets share them: what one finds,
//! the other replays.
#![allow(missing_docs, reason = "for this repository's own tests")]

pub mod breaker;
pub mod client;
pub mod client_laws;
pub mod cluster;
pub mod cluster_model;
pub mod fleet_laws;
pub mod logs;
pub mod rig;
pub mod server;
pub mod server_laws;
mod wires;

use core::num::NonZeroU32;

/// What happens, and two numbers that say to whom and how much. Every value means something.
pub type Op = (u8, u8, u8);

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a limit above zero")
}
