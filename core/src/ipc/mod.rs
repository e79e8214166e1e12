//! Bro IPC: services that call each other through a hub.

pub mod client;
mod context;
pub mod hub;
mod port;

pub use client::Client;
pub use context::{Context, ContextError, MAX_DEPTH, calculate_deadline, write_id};
pub use hub::Hub;
