//! Bro IPC, for async code: a hub and its clients, which an adapter makes usable by naming its runtime.

pub mod hub;

pub use hub::Hub;
