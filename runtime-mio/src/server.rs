//! A server whose handlers are plain functions.

use std::future::ready;
use std::io;
use std::time::Duration;

use plimsoll_core::drive::Address;
use plimsoll_core::drive::Recording;
use plimsoll_core::drive::server::{self, Ctx, Dropped, HandlerError, Snapshot};
#[cfg(feature = "tls")]
use plimsoll_core::drive::tls;
use plimsoll_core::service::server::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Mio;

/// A server that runs. Dropping it closes its connections at once; [`shutdown`](Self::shutdown) is the gentle way.
pub struct Server {
    inner: server::Server<Mio>,
    mio: Mio,
}

type Methods = Box<dyn FnOnce(server::Builder<Mio>) -> server::Builder<Mio> + Send>;

/// What can be said about a server before it is there.
pub struct ServerBuilder {
    mio: Option<Mio>,
    limits: Config,
    methods: Vec<Methods>,
}

impl ServerBuilder {
    /// Answers `name` with what `handler` makes of its parameters; a later handler of the same name wins.
    ///
    /// The handler runs on the thread of the loop: while it computes, nothing else does. Parameters that cannot be read
    /// as `P` are answered with `BAD_REQUEST`, a panic with `INTERNAL_ERROR`.
    pub fn method<P, T, F>(mut self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        T: Serialize + Send + 'static,
        F: Fn(P, Ctx) -> Result<T, HandlerError> + Send + Sync + 'static,
    {
        let name = name.to_owned();
        let add = move |builder: server::Builder<Mio>| {
            builder.method(&name, move |params: P, ctx| ready(handler(params, ctx)))
        };
        self.methods.push(Box::new(add));
        self
    }

    /// Serves over TLS. A client has as much time for its handshake as for a frame, see
    /// [`frame_timeout`](Config::frame_timeout).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: std::sync::Arc<tls::rustls::ServerConfig>) -> Self {
        self.methods.push(Box::new(move |builder: server::Builder<Mio>| builder.tls(config)));
        self
    }

    /// Other limits than those of [`Config::default`].
    pub fn limits(mut self, limits: Config) -> Self {
        self.limits = limits;
        self
    }

    /// Records everything that it is told: see [`record`](plimsoll_core::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        let recording = recording.clone();
        self.methods.push(Box::new(move |builder: server::Builder<Mio>| builder.record(&recording)));
        self
    }

    /// Binds `addr` (`host:port`, port 0 for any; or the path of a Unix socket) and serves.
    ///
    /// # Errors
    /// What the operating system says to binding; as [`Mio::start`], unless a loop was given.
    pub fn bind(self, addr: &str) -> io::Result<Server> {
        let mio = self.mio.map_or_else(Mio::start, Ok)?;
        let builder = server::Server::on(mio.clone()).limits(self.limits);
        let builder = self.methods.into_iter().fold(builder, |builder, add| add(builder));
        Ok(Server { inner: mio.wait(builder.bind(addr))?, mio })
    }
}

impl Server {
    /// Begins a server with a loop on a thread of its own.
    pub fn builder() -> ServerBuilder {
        ServerBuilder { mio: None, limits: Config::default(), methods: Vec::new() }
    }

    /// Begins a server on a given loop.
    pub fn on(mio: Mio) -> ServerBuilder {
        ServerBuilder { mio: Some(mio), ..Server::builder() }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &Address {
        self.inner.local_addr()
    }

    /// What was counted and how things stand.
    pub fn metrics(&self) -> Snapshot {
        self.mio.wait(self.inner.metrics())
    }

    /// Stops to listen, answers what was taken for `within` at most, and closes.
    pub fn shutdown(self, within: Duration) -> Dropped {
        self.mio.wait(self.inner.shutdown(within))
    }
}
