//! Redis over Plimsoll: the service client, speaking RESP2.
//!
//! Nothing here is known to the core: this crate is what anybody writes who brings a wire of their own. It is a
//! [`Protocol`](plimsoll_core::service::Protocol), which any machine of the core can be generic over, and a
//! [`Callable`](plimsoll_core::drive::client::Callable), which gives it handles on every runtime.
//!
//! ```no_run
//! use plimsoll_resp::{Args, Resp, Value};
//! use plimsoll_tokio::{Client, ServiceConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().protocol::<Resp>().build();
//! let wire = Resp::default().password("open sesame").database(1);
//! let cache = client.configure_service("cache", ServiceConfig::over(wire, "cache.internal:6379"))?;
//!
//! cache.call("SET").send(Args::from(["user:7", "Ada"])).await?;
//! let name = cache.call("GET").idempotent().send(Args::from(["user:7"])).await?;
//! assert_eq!(name.value(), Value::Bulk(b"Ada"));
//! # Ok(())
//! # }
//! ```
//!
//! Pools, pipelining, deadlines, breakers, retries of what is [idempotent](plimsoll_core::drive::client::Call::idempotent)
//! and metrics come with the client. Commands of many callers share a connection, and Redis answers them in order: a
//! command that is given up keeps its place until its answer has passed, and nobody gets another's answer.
//!
//! On such a connection no command may change what the others mean, answer more or less than once, or wait: those that do
//! ([`SELECT`, `MULTI`, `SUBSCRIBE`, `BLPOP` and their like](refused)) are refused before they are sent. What `MULTI` is
//! for, a script does ([`EVAL`](https://redis.io/docs/latest/commands/eval/)). `XREAD` and `XREADGROUP` with `BLOCK` are
//! let through, and hold everybody up. Pushed messages (`SUBSCRIBE`) and RESP3 are out of scope.
//!
//! # The same, without a network
//!
//! ```
//! use plimsoll_core::machine::{Action, Input, Machine};
//! use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
//! use plimsoll_core::time::Instant;
//! use plimsoll_resp::{Args, Command, Resp};
//!
//! let now = Instant::ZERO;
//! let mut client = Client::new(Resp::default(), Config::default(), 42);
//! client.add_endpoint(now, "cache.internal:6379").unwrap();
//! let Some(Action::Connect(conn)) = client.poll() else { panic!() };
//!
//! // What would be written to the socket.
//! fn sent(client: &mut Client<Resp>, conn: plimsoll_core::id::ConnId) -> String {
//!     let mut bufs = [&[][..]; 4];
//!     let n = client.send_bufs(conn, &mut bufs);
//!     let bytes = bufs[..n].concat();
//!     client.handle(Instant::ZERO, Input::Sent(conn, bytes.len()));
//!     String::from_utf8(bytes).unwrap()
//! }
//!
//! // First it says hello, and waits to be let in.
//! client.handle(now, Input::Connected(conn));
//! assert_eq!(sent(&mut client, conn), "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n");
//! client.feed(now, conn, b"*2\r\n+server\r\n+redis\r\n");
//!
//! let (ada, missing) = (Args::from(["user:7"]), Args::from(["user:8"]));
//! let first = client.request(now, &Command::new("GET", &ada), Options::default()).unwrap();
//! let second = client.request(now, &Command::new("HGET", &missing), Options::default()).unwrap();
//! assert_eq!(sent(&mut client, conn), "*2\r\n$3\r\nGET\r\n$6\r\nuser:7\r\n*2\r\n$4\r\nHGET\r\n$6\r\nuser:8\r\n");
//! client.feed(now, conn, b"$3\r\nAda\r\n-ERR wrong number of arguments\r\n");
//!
//! let mut outcomes = Vec::new();
//! while let Some(event) = client.event() {
//!     match event {
//!         Event::Outcome { id, outcome: Outcome::Answer(answer), .. } => outcomes.push((id, answer.to_vec())),
//!         Event::Outcome { id, outcome: Outcome::Remote { code, .. }, .. } => outcomes.push((id, code.into())),
//!         _ => {}
//!     }
//! }
//! assert_eq!(outcomes, [(first, b"$3\r\nAda\r\n".to_vec()), (second, b"ERR".to_vec())]);
//! ```
#![forbid(unsafe_code)]

mod command;
mod decode;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod protocol;
#[cfg(test)]
mod tests;
mod value;

pub use command::{Args, Command, refused};
pub use decode::{Progress, broken};
pub use protocol::{Limits, Resp};
pub use value::{Answer, Items, Value};
