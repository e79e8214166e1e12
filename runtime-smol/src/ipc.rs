//! Bro IPC on smol: services that call each other through a hub.
//!
//! ```
//! use plimsoll_smol::ipc::{Client, Ctx, Hub};
//! use serde_json::{Value, json};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # smol::block_on(async {
//! // Usually a process of its own, at the default path of the clients: `plimsoll hub`.
//! let hub = Hub::builder().bind("127.0.0.1:0").await?;
//! let path = hub.local_addr().to_string();
//!
//! let users = Client::builder("user-service").path(&path).build()?;
//! users
//!     .register_method("getUserById", async |id: u64, _: Ctx| Ok(json!({ "id": id, "name": "Ada" })))
//!     .await?;
//! users.connect().await?;
//!
//! // A method that calls on does so by its context, which travels along: the chain, and the deadline.
//! let orders = Client::builder("order-service").path(&path).method("getOrder", async |id: u64, ctx: Ctx| {
//!     let user: Value = ctx.call("user-service", "getUserById", &7).await?;
//!     Ok(json!({ "order": id, "user": user["name"], "asked by": &*ctx.caller, "through": ctx.context.chain }))
//! });
//! let orders = orders.build()?;
//! orders.connect().await?;
//!
//! let order: Value = users.call("order-service", "getOrder", &1).await?;
//! assert_eq!(order["user"], "Ada");
//! assert_eq!(order["asked by"], "user-service");
//! assert_eq!(order["through"], json!(["user-service", "order-service"]));
//!
//! let error = users.call::<Value>("order-service", "drop", &1).await.unwrap_err();
//! assert_eq!(error.code(), "METHOD_NOT_FOUND");
//!
//! // Many at once: one write, and one list of results.
//! let batch = users.batch().call("order-service", "getOrder", &2).call("user-service", "getUserById", &3);
//! let results = batch.send::<Value>().await;
//! assert_eq!(results[1].as_ref().unwrap()["id"], 3);
//!
//! assert_eq!(hub.service("user-service").await.expect("it is registered").methods, ["getUserById"]);
//! # Ok(())
//! # })
//! # }
//! ```

pub use plimsoll_core::drive::ipc::client::{
    Batch, BuildError, CacheLimits, Call, CallError, Cause, ClientEvent, ClientStatus, Config, ConnectError,
    Context, Ctx, Events, Format, HandlerError, MethodError, NotRegistered, Retry, Sending,
};
pub use plimsoll_core::drive::ipc::hub::{
    Cause as HubCause, Config as HubConfig, Events as HubEvents, HubEvent, HubStatus, Passing, PeerInfo,
    Refused, Registration, ServiceInfo,
};

use crate::Smol;

/// A service at a hub, on smol.
pub type Client = plimsoll_core::drive::ipc::Client<Smol>;

/// A hub, on smol.
pub type Hub = plimsoll_core::drive::ipc::Hub<Smol>;
