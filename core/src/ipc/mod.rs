//! Bro IPC: services that call each other through a hub.

mod context;

pub use context::{Context, ContextError, MAX_DEPTH, calculate_deadline, write_id};
