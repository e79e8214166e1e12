//! Bro IPC: services that call each other through a hub.

mod context;
pub mod hub;

pub use context::{Context, ContextError, MAX_DEPTH, calculate_deadline, write_id};
pub use hub::Hub;
