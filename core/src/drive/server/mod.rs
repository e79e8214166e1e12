//! A server of methods, for async code: what an adapter makes usable by naming its runtime.

mod host;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use core::time::Duration;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::methods::HandlerError;

use super::handlers::Handlers;
use super::methods::{About, Json, Method, Raw, Typed};
use super::recording::Taped;
use super::{Address, Driver, Key, ListenOptions, Mailbox, Recording, Runtime, mailbox};
use crate::id::ConnId;
use crate::service::server::{self, Config, Metrics, Status};
use crate::wire::uw::code;
use host::{Answer, Command, ServerHost};

/// Calls of a server's own handle that wait for their answers.
const CONTROLS: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

/// What a handler may know about the request besides its parameters.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The connection that it came over; unique within its shard, while the connection stands.
    pub conn: ConnId,
    /// The method that was called.
    pub method: Arc<str>,
}

impl About for Ctx {
    const UNREADABLE: &'static str = code::BAD_REQUEST;

    fn method(&self) -> &str {
        &self.method
    }
}

/// What can be said about a server before it is there.
pub struct Builder<R> {
    runtime: R,
    config: Config,
    listening: ListenOptions,
    shards: usize,
    methods: Vec<(Arc<str>, Box<dyn Method<Ctx>>)>,
    recording: Option<Recording>,
    #[cfg(feature = "tls")]
    tls: Option<super::tls::ServerTls>,
}

#[cfg(feature = "tls")]
impl<R: Runtime + super::Timer> Builder<R> {
    /// Serves over TLS. A client has as much time for its handshake as for a frame, see
    /// [`frame_timeout`](Config::frame_timeout).
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(super::tls::ServerTls::new(config, self.runtime.clone()));
        self
    }
}

impl<R: Runtime> Builder<R> {
    /// Answers `name` with what `handler` makes of its parameters; a later handler of the same name wins.
    ///
    /// The handler runs in the task of its connections: whatever takes long by itself belongs on another thread.
    /// Parameters that cannot be read as `P` are answered with `BAD_REQUEST`, a panic with `INTERNAL_ERROR`.
    pub fn method<P, T, F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        T: Serialize + 'static,
        F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        self.methods.push((name.into(), Box::new(Typed::<Json, _, _, _, _>::new(handler))));
        self
    }

    /// As [`method`](Self::method), with content as it came, and a result that is sent as it is: for whoever reads and
    /// writes it in another way, or not at all. On this wire a result should be JSON.
    pub fn raw_method<F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(Vec<u8>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, HandlerError>> + Send + 'static,
    {
        self.methods.push((name.into(), Box::new(Typed::<Raw, _, _, _, _>::new(handler))));
        self
    }

    /// Other limits than those of [`Config::default`].
    pub fn limits(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Listens in another way than that of [`ListenOptions::default`]: who may connect to a Unix socket, how many may
    /// wait to be accepted.
    pub fn listening(mut self, options: ListenOptions) -> Self {
        self.listening = options;
        self
    }

    /// How many drivers share the listener, so that so many cores can work for it; 1 by default. Limits on the whole
    /// are divided among them.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Records everything that it is told, one log for each shard: see [`record`](crate::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// Binds `addr` (`host:port`, port 0 for any; or the [path](crate::machine::unix_path) of a Unix socket) and serves.
    ///
    /// # Errors
    /// What the operating system says to binding.
    pub async fn bind(self, addr: &str) -> io::Result<Server<R>> {
        let (transports, local_addr) = self.runtime.listen(addr, &self.listening, self.shards).await?;
        let shards = transports.len() as u32;
        let mut mailboxes = Vec::new();
        for transport in transports {
            #[cfg(feature = "tls")]
            let transport =
                super::tls::Secured::server(transport, self.tls.clone(), self.config.frame_timeout);
            let (handle, inbox) = mailbox(CONTROLS);
            let mut handlers = Handlers::new();
            self.methods.iter().for_each(|(name, method)| handlers.add(name.clone(), method.pool()));
            let host = ServerHost::new(inbox, handlers);
            let mut machine = server::Server::new(share(self.config, shards));
            let host = Taped::new(host, &mut machine, self.recording.as_ref());
            self.runtime.spawn(Driver::new(machine, host, transport));
            mailboxes.push(handle);
        }
        Ok(Server { shards: mailboxes, local_addr, runtime: PhantomData })
    }
}

fn share(mut config: Config, of: u32) -> Config {
    let limit = |whole: NonZeroU32| NonZeroU32::new(whole.get() / of).unwrap_or(NonZeroU32::MIN);
    config.connections = limit(config.connections);
    config.in_flight_total = limit(config.in_flight_total);
    config.receive_budget = limit(config.receive_budget);
    config
}

/// A server that runs. Dropping it closes its connections at once; [`shutdown`](Self::shutdown) is the gentle way.
pub struct Server<R> {
    shards: Vec<Mailbox<Command, Answer>>,
    local_addr: Address,
    runtime: PhantomData<fn() -> R>,
}

/// What a server has counted, and how it stands.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What was counted.
    pub metrics: Metrics,
    /// How it stands now.
    pub status: Status,
    /// Requests taken over the last second.
    pub requests_per_second: u64,
}

/// What a shutdown cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Requests that were taken and not answered.
    pub requests: u64,
    /// Bytes of answers that were not sent.
    pub bytes: u64,
}

impl<R: Runtime + Default> Server<R> {
    /// Begins a server.
    pub fn builder() -> Builder<R> {
        Server::on(R::default())
    }
}

impl<R: Runtime> Server<R> {
    /// Begins a server on a given runtime.
    pub fn on(runtime: R) -> Builder<R> {
        Builder {
            runtime,
            config: Config::default(),
            listening: ListenOptions::default(),
            shards: 1,
            methods: Vec::new(),
            recording: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &Address {
        &self.local_addr
    }

    /// What was counted and how things stand, of all shards together.
    pub async fn metrics(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for shard in &self.shards {
            let Ok(key) = shard.send_control(Command::Snapshot) else { continue };
            if let Some(Answer::Snapshot(part)) = shard.answer(key, |_| Command::GivenUp).await {
                sum.add(&part);
            }
        }
        sum
    }

    /// Stops to listen, answers what was taken for `within` at most, and closes.
    pub async fn shutdown(self, within: Duration) -> Dropped {
        let shutdown =
            |shard: &Mailbox<_, _>| shard.send_control(|key| Command::Shutdown { key, within }).ok();
        let keys: Vec<Option<Key>> = self.shards.iter().map(shutdown).collect();
        let mut dropped = Dropped::default();
        for (shard, key) in self.shards.iter().zip(keys) {
            let Some(key) = key else { continue };
            if let Some(Answer::Shutdown(part)) = shard.answer(key, |_| Command::GivenUp).await {
                dropped.requests += part.requests;
                dropped.bytes += part.bytes;
            }
        }
        dropped
    }
}

impl Snapshot {
    fn add(&mut self, part: &Snapshot) {
        self.metrics.merge(&part.metrics);
        self.requests_per_second += part.requests_per_second;
        self.status.connections += part.status.connections;
        self.status.paused += part.status.paused;
        self.status.in_flight += part.status.in_flight;
        self.status.unsent += part.status.unsent;
        self.status.draining |= part.status.draining;
    }
}
