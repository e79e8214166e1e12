//! The part of a network client or server that decides, without a socket or a clock in it.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod buf;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod machine;
pub mod metrics;
pub mod policy;
pub mod rng;
pub mod sched;
pub mod service;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod wire;
