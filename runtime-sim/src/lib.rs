//! The fourth runtime: virtual time. The drivers and machines that ship run on hosts, and over a network, that exist only
//! in memory; a minute takes milliseconds, everything can go wrong, and the same seed goes wrong in the same way.
//!
//! ```
//! use plimsoll_core::drive::client::{Cause, Client, ServiceConfig};
//! use plimsoll_core::drive::server::{Ctx, Server};
//! use plimsoll_sim::Sim;
//! use std::time::Duration;
//!
//! let mut sim = Sim::new(7);
//! let (web, users) = (sim.host("web"), sim.host("users.internal"));
//!
//! let server = Server::on(users.clone()).method("double", |n: u32, _: Ctx| async move { Ok(n * 2) });
//! let _server = sim.block_on(server.bind("0.0.0.0:3001"))?;
//!
//! let client = Client::on(web.clone()).seed(1).build();
//! client.configure_service("users", ServiceConfig::new("users.internal:3001"))?;
//! let call = async |n: u32| client.request::<u32>("users", "double", &n).await;
//! assert_eq!(sim.block_on(call(21)), Ok(42));
//!
//! // The cable is pulled. Nobody hears that, so the call waits for as long as it may.
//! let before = sim.now();
//! sim.faults().partition(&web, &users);
//! let error = sim.block_on(call(1)).unwrap_err();
//! assert_eq!(error.cause, Cause::Timeout { sent: true });
//! assert_eq!(sim.now() - before, Duration::from_secs(5));
//!
//! sim.faults().heal(&web, &users);
//! assert_eq!(sim.block_on(call(4)), Ok(8));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Host`] is a [`Runtime`](plimsoll_core::drive::Runtime): whatever runs on tokio, smol or mio runs on it unchanged.
//! [`Faults`] says what can go wrong, and [`Link`] what a way is like.

mod doors;
mod executor;
mod faults;
pub mod fleet;
mod host;
mod network;
mod sim;
mod stream;
pub mod swarm;
mod world;

pub use faults::Faults;
pub use host::{Host, Net, Socket};
pub use network::Link;
pub use sim::Sim;
