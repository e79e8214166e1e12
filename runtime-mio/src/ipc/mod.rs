//! Bro IPC on mio: services that call each other through a hub, without async.
//!
//! ```
//! use plimsoll_mio::ipc::{Client, Ctx, Hub};
//! use serde_json::{Value, json};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Usually a process of its own, at the default path of the clients: `plimsoll hub`.
//! let hub = Hub::builder().bind("127.0.0.1:0")?;
//! let path = hub.local_addr().to_string();
//!
//! let users = Client::builder("user-service").path(&path).build()?;
//! users.register_method("getUserById", |id: u64, _: Ctx| Ok(json!({ "id": id, "name": "Ada" })))?;
//! users.connect()?;
//!
//! // A method calls on by a client with another loop, and hands that its context, which travels along: the chain, and
//! // the deadline.
//! let caller = Client::builder("order-caller").path(&path).build()?;
//! caller.connect()?;
//! let orders = Client::builder("order-service").path(&path).method("getOrder", move |id: u64, ctx: Ctx| {
//!     let user: Value = caller.call_in(&ctx, "user-service", "getUserById", &7)?;
//!     Ok(json!({ "order": id, "user": user["name"], "asked by": ctx.caller(), "through": ctx.context().chain }))
//! });
//! let orders = orders.build()?;
//! orders.connect()?;
//!
//! let order: Value = users.call("order-service", "getOrder", &1)?;
//! assert_eq!(order["user"], "Ada");
//! assert_eq!(order["asked by"], "user-service");
//! assert_eq!(order["through"], json!(["user-service", "order-service"]));
//!
//! let error = users.call::<Value>("order-service", "drop", &1).unwrap_err();
//! assert_eq!(error.code(), "METHOD_NOT_FOUND");
//!
//! // Many at once: one write, and one list of results.
//! let batch = users.batch().call("order-service", "getOrder", &2).call("user-service", "getUserById", &3);
//! let results = batch.send::<Value>();
//! assert_eq!(results[1].as_ref().unwrap()["id"], 3);
//!
//! assert_eq!(hub.service("user-service").expect("it is registered").methods, ["getUserById"]);
//! # Ok(())
//! # }
//! ```

mod client;
mod hub;

pub use client::{Batch, Call, Client, ClientBuilder, ClientEvents, Ctx};
pub use hub::{Hub, HubBuilder, HubEvents};
pub use plimsoll_core::drive::ipc::client::{
    BuildError, CacheLimits, CallError, Cause, ClientEvent, ClientStatus, Config, ConnectError, Context,
    Format, HandlerError, MethodError, NotRegistered, Retry,
};
pub use plimsoll_core::drive::ipc::hub::{
    Cause as HubCause, Config as HubConfig, HubEvent, HubStatus, Passing, PeerInfo, Refused, Registration,
    ServiceInfo,
};
