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
//! Drivers run on smol's global executor: as many threads as the environment variable `SMOL_THREADS` says, one by
//! default. Whom to dial, which connection takes a request, when to give up: all that is decided in
//! [`plimsoll_core`], and is the same on every runtime. This crate supplies sockets, names and a timer ([`Net`]), and
//! spawns one task for each driver ([`Smol`]). Machines of your own run on them just as well: see
//! [`Driver`](plimsoll_core::drive::Driver).

mod net;

pub use net::{Net, Smol, Tcp};
pub use plimsoll_core::drive::client::{
    Call, CallError, Cause, Events, Service, ServiceConfig, ServiceEvent, Snapshot,
};
pub use plimsoll_core::drive::server::{Ctx, HandlerError};

/// A client of many services, on smol.
pub type Client = plimsoll_core::drive::client::Client<Smol>;

/// A server of methods, on smol.
pub type Server = plimsoll_core::drive::server::Server<Smol>;
