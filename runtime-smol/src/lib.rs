//! Service clients and servers on smol.
//!
//! ```
//! use plimsoll_smol::{Client, Ctx, Server, ServiceConfig};
//! use serde_json::{Value, json};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     let server = Server::builder()
//!         .method("getUserProfile", |params: Value, _: Ctx| async move {
//!             Ok(json!({ "id": params["userId"], "name": "Ada" }))
//!         })
//!         .bind("127.0.0.1:0")
//!         .await?;
//!
//!     let client = Client::builder().build();
//!     client.configure_service("user-service", ServiceConfig::new(server.local_addr().to_string()))?;
//!
//!     let profile: Value = client.request("user-service", "getUserProfile", &json!({ "userId": "12345" })).await?;
//!     assert_eq!(profile["name"], "Ada");
//!
//!     // More can be said about a call; dropping its future gives it up.
//!     let call = client.call("user-service", "getUserProfile").timeout(Duration::from_secs(1)).idempotent();
//!     let raw: Vec<u8> = call.send(br#"{"userId":"67890"}"#.to_vec()).await?;
//!     assert_eq!(raw, br#"{"id":"67890","name":"Ada"}"#);
//!
//!     assert_eq!(client.metrics("user-service").await?.metrics.succeeded, 2);
//!     let dropped = client.shutdown(Duration::from_secs(1)).await;
//!     assert_eq!(dropped.requests, 0);
//!     server.shutdown(Duration::from_secs(1)).await;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Whatever else can fail is guarded by a circuit breaker with a name: a call of somebody's API, a query.
//!
//! ```
//! use plimsoll_smol::{Breakers, Broken};
//!
//! # async fn external_api_call() -> Result<u32, std::io::Error> { Ok(7) }
//! # smol::block_on(async {
//! let breakers = Breakers::new();
//! let result = breakers.execute("external-api", async { external_api_call().await }).await;
//! match result {
//!     Ok(answer) => assert_eq!(answer, 7),
//!     Err(Broken::Open { retry_after, .. }) => println!("not called: it has failed too often; again in {retry_after:?}"),
//!     Err(error) => println!("called in vain: {error}"),
//! }
//! assert_eq!(breakers.stats("external-api").unwrap().successes, 1);
//! # });
//! ```
//!
//! With the feature `tls`, calls go over TLS: [`ServiceConfig::tls`](plimsoll_core::drive::client::ServiceConfig) and `tls` of
//! the server's builder take rustls's own configuration, and the application chooses the crypto provider.
//!
//! Drivers run on smol's global executor: as many threads as the environment variable `SMOL_THREADS` says, one by
//! default. Whom to dial, which connection takes a request, when to give up: all that is decided in
//! [`plimsoll_core`], and is the same on every runtime. This crate supplies sockets, names and a timer ([`Sockets`](plimsoll_core::drive::Sockets)), and
//! spawns one task for each driver ([`Smol`]). Machines of your own run on them just as well: see
//! [`Driver`](plimsoll_core::drive::Driver).

pub mod ipc;
mod net;

pub use net::{Listener, Smol, Socket};
pub use plimsoll_core::drive::breakers::{BreakerEvent, BreakerStats, Broken, TooManyNames};
pub use plimsoll_core::drive::client::{
    Call, CallError, Callable, Cause, EndpointCause, EndpointError, EndpointOptions, Events, Sending,
    Service, ServiceConfig, ServiceEvent, Snapshot,
};
pub use plimsoll_core::drive::server::{Ctx, HandlerError};
#[cfg(feature = "tls")]
pub use plimsoll_core::drive::tls;
pub use plimsoll_core::drive::{Recording, RecordingStatus};
pub use plimsoll_core::policy::breaker;
pub use plimsoll_core::service::Uw;

/// A client of many services, on smol; over UW, or a wire of your own.
pub type Client<P = Uw> = plimsoll_core::drive::client::Client<Smol, P>;

/// A server of methods, on smol.
pub type Server = plimsoll_core::drive::server::Server<Smol>;

/// Circuit breakers by name, around futures of any kind.
pub type Breakers = plimsoll_core::drive::breakers::Breakers<Smol>;
