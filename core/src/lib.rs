//! The part of a network client or server that decides, without a socket or a clock in it.
//!
//! Everything here is a pure state machine: events go in, actions come out, and the same bytes in at the same times give
//! the same bytes out, on tokio, in a loop of your own, under WebAssembly, in a test. Whom to dial, which connection gets
//! the next request, when to stop reading, when a peer is dead, when to give up: that is decided here. Sockets,
//! timers and threads are somebody else's: an adapter's (`plimsoll-tokio`), or yours, by the contract in [`machine`].
//!
//! # A whole example
//!
//! A client and a server of the UW wire talk to each other. There is no network: a few lines of our own are the runtime,
//! and do what every runtime does.
//!
//! ```
//! use plimsoll_core::error::Fault;
//! use plimsoll_core::id::ConnId;
//! use plimsoll_core::machine::{Action, Input, Machine, Peer};
//! use plimsoll_core::service::client::{self, Client, Event, Options, Outcome};
//! use plimsoll_core::service::server::{self, Request, Server};
//! use plimsoll_core::service::{Uw, UwRequest};
//! use plimsoll_core::time::Instant;
//!
//! /// Carries what one machine has to send on a connection to the other, as a socket would.
//! fn carry(now: Instant, from: (&mut impl Machine, ConnId), to: (&mut impl Machine, ConnId)) {
//!     let mut bufs = [&[][..]; 8];
//!     let n = from.0.send_bufs(from.1, &mut bufs);
//!     let bytes = bufs[..n].concat();
//!     let taken = to.0.feed(now, to.1, &bytes);
//!     from.0.handle(now, Input::Sent(from.1, taken));
//! }
//!
//! let now = Instant::ZERO;
//! let mut client = Client::new(Uw::default(), client::Config::default(), 42);
//! let mut server = Server::new(server::Config::default());
//!
//! // The client knows an address, and wants a connection to it. It is accepted on the other side.
//! client.add_endpoint(now, "users.internal:3001").unwrap();
//! let Some(Action::Connect(here)) = client.poll() else { panic!("a connection is kept up") };
//! let there = server.accept(now, Peer::UNKNOWN).expect("there is room");
//! client.handle(now, Input::Connected(here));
//!
//! // A request is taken at once, and ends with exactly one outcome.
//! let request = UwRequest { method: "greet", content: br#"{"name":"Ada"}"# };
//! let id = client.request(now, &request, Options::default()).unwrap();
//! assert_eq!(client.poll(), Some(Action::Flush(here)));
//! carry(now, (&mut client, here), (&mut server, there));
//!
//! // The server lends the request, and takes the answer.
//! let Some(Request { method: "greet", responder, .. }) = server.event() else { panic!("a request has arrived") };
//! responder.reply(br#"{"greeting":"Hello, Ada"}"#).unwrap();
//! assert_eq!(server.poll(), Some(Action::Flush(there)));
//! carry(now, (&mut server, there), (&mut client, here));
//!
//! // The client lends the answer. (It also tells that the connection stands; here, nobody minds.)
//! let mut answered = false;
//! while let Some(event) = client.event() {
//!     if let Event::Outcome { id: of, outcome, .. } = event {
//!         assert_eq!((of, outcome), (id, Outcome::Answer(br#"{"greeting":"Hello, Ada"}"#)));
//!         answered = true;
//!     }
//! }
//! assert!(answered);
//!
//! // Nothing else is to be done until then, and the machine can say what for.
//! assert!(client.deadline() > Some(now));
//! assert_eq!(client.deadline_reason(), Some("a connection's dial, ping, age or idle time"));
//! ```
//!
//! # The rooms
//!
//! | room | what for |
//! |---|---|
//! | [`machine`] | the contract: all that a runtime sees |
//! | [`service`] | the service client, generic over a [`Protocol`](service::Protocol), and the service server |
//! | [`ipc`] | Bro IPC: a hub that passes calls between services, and its client |
//! | [`cluster`] | endpoints, connections, selection, the wait queue: decides, and carries no bytes |
//! | [`policy`] | leaves that can be used alone: breaker, balancers, backoff, budgets |
//! | [`record`], [`replay`] | what a machine was told, as a log; the same told again, explained, and compared with other policies |
//! | [`wire`], [`buf`] | bytes to frames and back; where bytes wait |
//! | [`save`], [`sched`], [`time`], [`id`], [`map`], [`rng`], [`error`], [`metrics`] | what all of them stand on |
//! | `drive` (feature `std`) | what adapters share: the loop, written once, and the handles |
//! | `testing` (feature `testing`) | the laws of the contract as a test kit for machines of your own |
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod buf;
pub mod cluster;
#[cfg(feature = "std")]
pub mod drive;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod ipc;
pub mod machine;
pub mod map;
pub mod metrics;
pub mod policy;
pub mod record;
pub mod replay;
pub mod rng;
pub mod save;
pub mod sched;
pub mod service;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod wire;
