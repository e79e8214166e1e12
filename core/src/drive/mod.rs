//! What all runtime adapters share: everything between a [`Machine`](crate::machine::Machine) and an operating
//! system that does not depend on which runtime there is.
//!
//! An adapter supplies [`Sockets`]: how to resolve a name, how to connect to an address, how to accept, a timer. That
//! makes a [`Transport`] ([`Net`]); a runtime that is all different may bring one of its own. An application supplies a
//! [`Host`] (commands in, events out), or takes one of the ready ones. [`Driver`] is a future that brings machine, host
//! and transport together: spawn it, and it returns when the machine has shut down.
//!
//! One driver owns one machine and all its sockets, in one task. More cores are more drivers.

mod address;
pub mod breakers;
pub mod client;
mod clock;
mod connections;
#[cfg(unix)]
mod credentials;
mod dial;
mod driver;
mod handlers;
mod host;
mod hub;
mod in_flight;
mod io;
pub mod ipc;
#[cfg(unix)]
mod listen;
mod mailbox;
mod methods;
#[cfg(unix)]
mod net;
mod park;
mod recording;
pub mod server;
#[cfg(unix)]
pub mod socket_file;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
mod wake;

pub use address::{Address, ListenOptions};
pub use clock::Clock;
#[cfg(unix)]
pub use credentials::{peer_credentials, unix_peer};
pub use dial::{Dialer, Dials};
pub use driver::Driver;
pub use host::Host;
pub use io::{PollIo, fault_of};
#[cfg(unix)]
pub use listen::{Listening, tune_tcp};
pub use mailbox::{Answer, Inbox, Key, Mailbox, NotSent, PATIENCE, mailbox};
#[cfg(unix)]
pub use net::{Net, Sockets};
pub use park::block_on;
pub use recording::{Recording, RecordingStatus};
pub use timer::{Time, Timer};
pub use transport::{Runtime, Transport};
pub use wake::ReadyList;
