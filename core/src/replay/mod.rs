//! The same machine, told the same: what a [log](crate::record) is for.
//!
//! A replay goes through the same states, and says where it does not. Whoever looks on while it runs can
//! [explain](explain()) what was decided, and [compare](diff()) it with what other policies would have chosen.
//!
//! ```
//! use plimsoll_core::machine::{Action, Input, Machine};
//! use plimsoll_core::policy::balance::Strategy;
//! use plimsoll_core::record::{Options, Record};
//! use plimsoll_core::replay::{self, Query};
//! use plimsoll_core::service::client::{self, Client, Config};
//! use plimsoll_core::service::{Uw, UwRequest};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::ZERO;
//! let mut client = Client::new(Uw::default(), Config::default(), 42);
//! client.add_endpoint(now, "users-1.internal:3001")?;
//! client.add_endpoint(now, "users-2.internal:3001")?;
//! client.record(Options::default());
//! while let Some(action) = client.poll() {
//!     client.handle(now, Input::Connected(action.conn()));
//! }
//! let request = UwRequest { method: "greet", content: br#"{"name":"Ada"}"# };
//! let id = client.request(now, &request, client::Options::default())?;
//!
//! // Later, anywhere: the same machine, told the same, does the same.
//! let log = client.recorded();
//! let replayed = replay::replay(&log)?;
//! assert!(replayed.calls > 3 && replayed.damage.is_none());
//!
//! // Why did it go where it went?
//! let story = replay::explain(&log, Query::Request(&id.to_string()))?;
//! assert!(story.to_string().contains("the cheaper of users-"));
//!
//! // Where would it have gone otherwise?
//! let diff = replay::diff(&log, |config| config.cluster.strategy = Strategy::RoundRobin)?;
//! assert_eq!(diff.compared, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a replay compares
//!
//! | log | decoded again | compared |
//! |---|---|---|
//! | with content, of a server, a hub, its client, or a client on [`Uw`](crate::service::Uw) | every byte | every action, every event, and every byte that was sent or told, by its hash |
//! | with content, of a client on a [`Protocol`](crate::service::Protocol) of one's own | nothing: a replay has no such wire | every action and event, ids, and how many bytes they have |
//! | without content | heads of requests at servers, and messages of Bro IPC but their bodies | every action and event, ids, and how many bytes they have |
//!
//! [`Log::is_whole`](crate::record::Log::is_whole) tells the first of them. Without content, no hash of a body is in the log, not even a salted one: the salt
//! would have to stand beside it, and whoever has both tries all the bodies that are likely. So another body of the same length
//! goes unnoticed there, and so does another frame around it.

mod alike;
mod client;
mod comparing;
mod diff;
mod explain;
mod hub;
mod ipc_client;
mod outcome;
mod player;
mod server;
mod words;

#[cfg(feature = "fuzzing")]
pub(crate) use comparing::play_on;
pub use comparing::replay;
pub use diff::{CAVEAT, Change, Count, Diff, Fate, FirstChoice, Share, diff};
pub use explain::{
    ClientHappening, Fact, Happening, HubHappening, IpcClientHappening, Line, Query, ServerHappening, Story,
    explain,
};
pub use outcome::{Difference, Replayed, Unreplayable};
