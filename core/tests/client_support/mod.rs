//! The rig of the client's tests, which the player of operation lists shares.
#![allow(unused_imports, unreachable_pub, reason = "each test uses a part of it")]

pub use plimsoll_core::testing::play::rig::*;
