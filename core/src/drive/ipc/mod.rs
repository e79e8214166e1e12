//! Bro IPC, for async code: a hub and its clients, which an adapter makes usable by naming its runtime.

pub mod client;
mod feeds;
pub mod hub;

pub use client::Client;
pub use hub::Hub;
