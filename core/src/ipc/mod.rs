//! Bro IPC: services that call each other through a hub.
//!
//! For those who know the public implementation's helpers, by their names there:
//!
//! | there | here |
//! |---|---|
//! | `serialize`, `createCallMessage`, `createSuccessResponse`, `createErrorResponse` | [`write_call`], [`write_success`], [`write_failure`]: straight into bytes |
//! | `readMessageLength`, `hasCompleteMessage`, `splitMessages` | [`decode_frame`], which finds the next message or says how many bytes it needs |
//! | `deserialize`, `validateMessage` | [`Envelope::parse`], and each of its fields when it is asked for |
//! | `generateId`, `generateRootId` | [`write_id`] |
//! | `createContext`, `extendContext`, `validateContext`, `isMaxDepthExceeded` | [`Context::create`], [`Context::extend`], [`Context::validate`] |
//! | `calculateDeadline`, `isDeadlineExceeded`, `getRemainingTime` | [`calculate_deadline`], [`Context::is_exceeded`], [`Context::remaining`] |
//! | `formatMessageForLog`, `formatContext` | `Display` of [`Envelope`] and of [`Context`] |
//! | `calculateBackoff` | [`Backoff`](crate::policy::backoff::Backoff) |
//!
//! [`write_call`]: crate::wire::ipc::write_call
//! [`write_success`]: crate::wire::ipc::write_success
//! [`write_failure`]: crate::wire::ipc::write_failure
//! [`decode_frame`]: crate::wire::ipc::decode_frame
//! [`Envelope`]: crate::wire::ipc::Envelope
//! [`Envelope::parse`]: crate::wire::ipc::Envelope::parse

pub mod client;
mod context;
pub mod hub;
mod port;

pub use client::Client;
pub use context::{Context, ContextError, MAX_DEPTH, calculate_deadline, write_id};
pub use hub::Hub;
