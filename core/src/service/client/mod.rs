//! The service client.

mod api;

pub use api::{CloseCause, Event, Failures, Metrics, Options, Outcome, RequestError, StateEvent, Status};
