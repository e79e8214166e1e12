//! What all runtime adapters share: everything between a [`Machine`](crate::machine::Machine) and an operating
//! system that does not depend on which runtime there is.
//!
//! An adapter supplies a [`Transport`] (sockets, dials, a timer), for whose dials it need only say how to resolve a
//! name and how to connect to an address ([`Dialer`]); an application supplies a [`Host`] (commands in,
//! events out), or takes one of the ready ones. [`Driver`] is a future that brings machine, host and
//! transport together: spawn it, and it returns when the machine has shut down.
//!
//! One driver owns one machine and all its sockets, in one task. More cores are more drivers.

pub mod breakers;
pub mod client;
mod clock;
mod connections;
mod dial;
mod driver;
mod host;
mod hub;
mod io;
pub mod ipc;
mod mailbox;
mod park;
pub mod server;
mod timer;
mod transport;
mod wake;

pub use clock::Clock;
pub use dial::{Dialer, Dials};
pub use driver::Driver;
pub use host::Host;
pub use io::{PollIo, fault_of};
pub use mailbox::{Answer, Inbox, Key, Mailbox, NotSent, PATIENCE, mailbox};
pub use park::block_on;
pub use timer::{Time, Timer};
pub use transport::{Runtime, Transport};
pub use wake::ReadyList;
