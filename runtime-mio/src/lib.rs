//! Service clients and servers on mio, without async: calls block, handlers are plain functions.
//!
//! ```
//! use plimsoll_mio::{Client, Ctx, Server, ServiceConfig};
//! use serde_json::{Value, json};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .method("getUserProfile", |params: Value, _: Ctx| Ok(json!({ "id": params["userId"], "name": "Ada" })))
//!     .bind("127.0.0.1:0")?;
//!
//! let client = Client::builder().build()?;
//! client.configure_service("user-service", ServiceConfig::new(server.local_addr().to_string()))?;
//!
//! let profile: Value = client.request("user-service", "getUserProfile", &json!({ "userId": "12345" }))?;
//! assert_eq!(profile["name"], "Ada");
//!
//! // More can be said about a call.
//! let call = client.call("user-service", "getUserProfile").timeout(Duration::from_secs(1)).idempotent();
//! let raw: Vec<u8> = call.send(br#"{"userId":"67890"}"#.to_vec())?;
//! assert_eq!(raw, br#"{"id":"67890","name":"Ada"}"#);
//!
//! assert_eq!(client.metrics("user-service")?.metrics.succeeded, 2);
//! let dropped = client.shutdown(Duration::from_secs(1));
//! assert_eq!(dropped.requests, 0);
//! server.shutdown(Duration::from_secs(1));
//! # Ok(())
//! # }
//! ```
//!
//! Each of them has a [`Loop`] on a thread of its own; several share one if they are made [on](Client::on) the same
//! [`Mio`]. A program that has a loop already owns the [`Loop`], and turns it itself:
//!
//! ```
//! use plimsoll_mio::{Ctx, Loop, Server};
//! use std::time::Duration;
//!
//! let mut event_loop = Loop::new()?;
//! let server = Server::on(event_loop.handle()).method("double", |n: u64, _: Ctx| Ok(n * 2)).bind("127.0.0.1:0")?;
//! # let asking = std::thread::spawn(move || {
//! #     let client = plimsoll_mio::Client::builder().build().unwrap();
//! #     client.configure_service("doubles", plimsoll_mio::ServiceConfig::new(server.local_addr().to_string())).unwrap();
//! #     assert_eq!(client.request::<u64>("doubles", "double", &4).unwrap(), 8);
//! #     drop(server);
//! # });
//! while !event_loop.is_empty() {
//!     event_loop.turn(Some(Duration::from_millis(50)))?;
//!     // Whatever else this thread has to do.
//! }
//! # asking.join().unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! That thread must not call what blocks on its own loop, since nobody else turns it. In a handler such a call panics,
//! and the request is answered with `INTERNAL_ERROR`: a handler that calls on uses a client with another loop.
//!
//! Whatever else can fail is guarded by a circuit breaker with a name: a call of somebody's API, a query. It runs on the
//! thread that calls, and needs no loop.
//!
//! ```
//! use plimsoll_mio::{Breakers, Broken};
//!
//! # fn external_api_call() -> Result<u32, std::io::Error> { Ok(7) }
//! let breakers = Breakers::new();
//! let result = breakers.execute("external-api", || external_api_call());
//! match result {
//!     Ok(answer) => assert_eq!(answer, 7),
//!     Err(Broken::Open { retry_after, .. }) => println!("not called: it has failed too often; again in {retry_after:?}"),
//!     Err(error) => println!("called in vain: {error}"),
//! }
//! assert_eq!(breakers.stats("external-api").unwrap().successes, 1);
//! ```
//!
//! With the feature `tls`, calls go over TLS: [`ServiceConfig::tls`](plimsoll_core::drive::client::ServiceConfig) and `tls` of
//! the server's builder take rustls's own configuration, and the application chooses the crypto provider.
//!
//! Whom to dial, which connection takes a request, when to give up: all that is decided in [`plimsoll_core`], and is the
//! same on every runtime. [`Mio`] is a [`Runtime`](plimsoll_core::drive::Runtime), so that machines of your own run on
//! it just as well: see [`Driver`](plimsoll_core::drive::Driver).

mod client;
mod event_loop;
pub mod ipc;
mod names;
mod net;
mod reactor;
mod server;

pub use client::{Call, Client, ClientBuilder, Events, Service};
pub use event_loop::{Loop, Mio};
pub use net::{Listener, Socket};
pub use plimsoll_core::drive::breakers::{BreakerEvent, BreakerStats, Broken, TooManyNames};
pub use plimsoll_core::drive::client::{
    CallError, Callable, Cause, EndpointCause, EndpointError, EndpointOptions, ServiceConfig, ServiceEvent,
    Snapshot,
};
pub use plimsoll_core::drive::server::{Ctx, HandlerError};
#[cfg(feature = "tls")]
pub use plimsoll_core::drive::tls;
pub use plimsoll_core::drive::{Recording, RecordingStatus};
pub use plimsoll_core::policy::breaker;
pub use plimsoll_core::service::Uw;
pub use server::{Server, ServerBuilder};

/// Circuit breakers by name, around code of any kind.
pub type Breakers = plimsoll_core::drive::breakers::Breakers<plimsoll_core::drive::Clock>;
