//! Service clients and servers on tokio.
//!
//! ```
//! use plimsoll_tokio::{Client, Ctx, Server, ServiceConfig};
//! use serde_json::{Value, json};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder()
//!     .method("getUserProfile", |params: Value, _: Ctx| async move {
//!         Ok(json!({ "id": params["userId"], "name": "Ada" }))
//!     })
//!     .bind("127.0.0.1:0")
//!     .await?;
//!
//! let client = Client::builder().build();
//! client.configure_service("user-service", ServiceConfig::new(server.local_addr().to_string()))?;
//!
//! let profile: Value = client.request("user-service", "getUserProfile", &json!({ "userId": "12345" })).await?;
//! assert_eq!(profile["name"], "Ada");
//!
//! // More can be said about a call; dropping its future gives it up.
//! let call = client.call("user-service", "getUserProfile").timeout(Duration::from_secs(1)).idempotent();
//! let raw: Vec<u8> = call.send(br#"{"userId":"67890"}"#.to_vec()).await?;
//! assert_eq!(raw, br#"{"id":"67890","name":"Ada"}"#);
//!
//! assert_eq!(client.metrics("user-service").await?.metrics.succeeded, 2);
//! let dropped = client.shutdown(Duration::from_secs(1)).await;
//! assert_eq!(dropped.requests, 0);
//! server.shutdown(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Whatever else can fail is guarded by a circuit breaker with a name: a call of somebody's API, a query.
//!
//! ```
//! use plimsoll_tokio::{Breakers, Broken};
//!
//! # async fn external_api_call() -> Result<u32, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let breakers = Breakers::new();
//! let result = breakers.execute("external-api", async { external_api_call().await }).await;
//! match result {
//!     Ok(answer) => assert_eq!(answer, 7),
//!     Err(Broken::Open { retry_after, .. }) => println!("not called: it has failed too often; again in {retry_after:?}"),
//!     Err(error) => println!("called in vain: {error}"),
//! }
//! assert_eq!(breakers.stats("external-api").unwrap().successes, 1);
//! # }
//! ```
//!
//! With the feature `tls`, calls go over TLS: rustls's own configuration says whom to trust and what to show. Which crypto
//! provider there is, the application decides, by a feature of rustls.
//!
//! ```
//! # use plimsoll_tokio::{Client, Ctx, Server, ServiceConfig};
//! use rustls::pki_types::PrivateKeyDer;
//! use rustls::{ClientConfig, RootCertStore, ServerConfig};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Its own authority, for want of a real one.
//! let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
//! let mut roots = RootCertStore::empty();
//! roots.add(made.cert.der().clone())?;
//! let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
//! let ours = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.into()], key)?;
//! let theirs = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
//!
//! let server = Server::builder()
//!     .tls(Arc::new(ours))
//!     .method("double", |n: u64, _: Ctx| async move { Ok(n * 2) })
//!     .bind("localhost:0")
//!     .await?;
//!
//! let client = Client::builder().build();
//! # let address = format!("localhost:{}", server.local_addr().tcp().ok_or("no port")?.port());
//! // The certificate must be for the host of the address; `tls_for` names another.
//! client.configure_service("doubles", ServiceConfig::new(address).tls(Arc::new(theirs)))?;
//! assert_eq!(client.request::<u64>("doubles", "double", &4).await?, 8);
//! # Ok(())
//! # }
//! ```
//!
//! Whom to dial, which connection takes a request, when to give up: all that is decided in [`plimsoll_core`], and is the
//! same on every runtime. This crate supplies sockets, names and a timer ([`Sockets`](plimsoll_core::drive::Sockets)), and spawns one task for each driver
//! ([`Tokio`]). Machines of your own run on them just as well: see [`Driver`](plimsoll_core::drive::Driver).

pub mod ipc;
mod net;

pub use net::{Listener, Socket, Tokio};
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

/// A client of many services, on tokio; over UW, or a wire of your own.
pub type Client<P = Uw> = plimsoll_core::drive::client::Client<Tokio, P>;

/// A server of methods, on tokio.
pub type Server = plimsoll_core::drive::server::Server<Tokio>;

/// Circuit breakers by name, around futures of any kind.
pub type Breakers = plimsoll_core::drive::breakers::Breakers<Tokio>;
