//! A service at a hub whose calls block, and whose handlers are plain functions.

use std::future::ready;
use std::io;
use std::time::Duration;

use plimsoll_core::drive::Recording;
use plimsoll_core::drive::ipc::client::{
    self, BuildError, CacheLimits, CallError, ClientEvent, ClientStatus, Config, ConnectError, Context,
    Dropped, Format, HandlerError, MethodError, Metrics, Retry,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Mio;

/// A service at a hub. Cheap to clone; when all clones are gone, its connections are closed.
///
/// Calls block their thread, and may come from any thread but the one that turns the client's own loop. So a handler,
/// which runs there, calls on by a client with another loop, and hands that its [`Ctx`].
#[derive(Clone)]
pub struct Client {
    inner: client::Client<Mio>,
    mio: Mio,
}

/// What a handler may know about a call besides its parameters; and what it hands on when it calls other services.
#[derive(Clone, Debug)]
pub struct Ctx {
    inner: client::Ctx,
}

impl Ctx {
    /// The method that was called.
    pub fn method(&self) -> &str {
        &self.inner.method
    }

    /// The service that has called it.
    pub fn caller(&self) -> &str {
        &self.inner.caller
    }

    /// On whose behalf, through which services, and until when.
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// How much time is left until the caller, or whoever has called it, waits no more.
    pub fn remaining(&self) -> Duration {
        self.inner.remaining()
    }
}

type Change = Box<dyn FnOnce(client::Builder<Mio>) -> client::Builder<Mio> + Send>;

/// What can be said about a client before it is there.
pub struct ClientBuilder {
    mio: Option<Mio>,
    service_name: String,
    changes: Vec<Change>,
}

impl ClientBuilder {
    fn with(
        mut self,
        change: impl FnOnce(client::Builder<Mio>) -> client::Builder<Mio> + Send + 'static,
    ) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Where the hub listens. `/tmp/bro-gateway.sock` by default.
    pub fn path(self, path: &str) -> Self {
        let path = path.to_owned();
        self.with(move |builder| builder.path(&path))
    }

    /// What the hub is told of the service's version. `1.0.0` by default.
    pub fn version(self, version: &str) -> Self {
        let version = version.to_owned();
        self.with(move |builder| builder.version(&version))
    }

    /// How messages are written: JSON by default, or MessagePack. Services need not agree, the hub converts.
    pub fn serializer(self, format: Format) -> Self {
        self.with(move |builder| builder.serializer(format))
    }

    /// How many connections to the hub share the calls, from 1 to 64; 1 by default.
    pub fn pool_size(self, connections: u32) -> Self {
        self.with(move |builder| builder.pool_size(connections))
    }

    /// Whether a lost connection is made again; yes by default.
    pub fn auto_reconnect(self, again: bool) -> Self {
        self.with(move |builder| builder.auto_reconnect(again))
    }

    /// How long to wait before a lost connection is made again: 5 s by default, doubled each time, up to 30 s.
    pub fn reconnect_delay(self, delay: Duration) -> Self {
        self.with(move |builder| builder.reconnect_delay(delay))
    }

    /// How long a call may take, if its context does not leave it less. 30 s by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(move |builder| builder.timeout(timeout))
    }

    /// How long a connection may take to be made. 10 s by default.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(move |builder| builder.connect_timeout(timeout))
    }

    /// How long the hub may take to acknowledge a registration. 5 s by default.
    pub fn register_timeout(self, timeout: Duration) -> Self {
        self.with(move |builder| builder.register_timeout(timeout))
    }

    /// How often the hub is told that the service is alive. 30 s by default.
    pub fn heartbeat_interval(self, interval: Duration) -> Self {
        self.with(move |builder| builder.heartbeat_interval(interval))
    }

    /// Anything else that is configured, limits above all.
    pub fn configure(self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.with(move |builder| builder.configure(change))
    }

    /// Where all chance comes from: ids, and the roots of contexts. Another one each time by default; two clients of one
    /// name must not have the same.
    pub fn seed(self, seed: u64) -> Self {
        self.with(move |builder| builder.seed(seed))
    }

    /// Records everything that it is told: see [`record`](plimsoll_core::record).
    pub fn record(self, recording: &Recording) -> Self {
        let recording = recording.clone();
        self.with(move |builder| builder.record(&recording))
    }

    /// Keeps the results of typed calls of a method for so long, by their parameters: a call that was answered so lately is
    /// answered from there.
    pub fn cached(self, service: &str, method: &str, kept: Duration) -> Self {
        let (service, method) = (service.to_owned(), method.to_owned());
        self.with(move |builder| builder.cached(&service, &method, kept))
    }

    /// How much is kept of results.
    pub fn cache_limits(self, limits: CacheLimits) -> Self {
        self.with(move |builder| builder.cache_limits(limits))
    }

    /// Answers calls of `name` with what `handler` makes of their parameters; as [`Client::register_method`], from the
    /// beginning.
    pub fn method<P, T, F>(self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        T: Serialize + Send + 'static,
        F: Fn(P, Ctx) -> Result<T, HandlerError> + Send + Sync + 'static,
    {
        let name = name.to_owned();
        self.with(move |builder| {
            builder.method(&name, move |params: P, inner| ready(handler(params, Ctx { inner })))
        })
    }

    /// As [`method`](Self::method), with parameters and results as they are on the wire; as
    /// [`Client::register_raw_method`], from the beginning.
    pub fn raw_method<F>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Vec<u8>, Ctx) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    {
        let name = name.to_owned();
        self.with(move |builder| {
            builder.raw_method(&name, move |params, inner| ready(handler(params, Ctx { inner })))
        })
    }

    /// A client that is not connected.
    ///
    /// # Errors
    /// [`BuildError`]; as [`Mio::start`], unless a loop was given.
    pub fn build(self) -> io::Result<Client> {
        let mio = self.mio.map_or_else(Mio::start, Ok)?;
        let builder = client::Client::on(mio.clone(), &self.service_name);
        let builder = self.changes.into_iter().fold(builder, |builder, change| change(builder));
        let invalid = |error: BuildError| io::Error::new(io::ErrorKind::InvalidInput, error);
        Ok(Client { inner: builder.build().map_err(invalid)?, mio })
    }
}

impl Client {
    /// Begins a client, under the name by which others call it, with a loop on a thread of its own.
    pub fn builder(service_name: &str) -> ClientBuilder {
        ClientBuilder { mio: None, service_name: service_name.to_owned(), changes: Vec::new() }
    }

    /// Begins a client on a given loop.
    pub fn on(mio: Mio, service_name: &str) -> ClientBuilder {
        ClientBuilder { mio: Some(mio), ..Client::builder(service_name) }
    }

    /// The name of its service.
    pub fn service_name(&self) -> &str {
        self.inner.service_name()
    }

    /// Connects, and waits until the hub has acknowledged the registration of one connection, or until none can be made.
    /// In that case the client goes on trying by itself if it is to reconnect; [`disconnect`](Self::disconnect) ends that.
    ///
    /// # Errors
    /// [`ConnectError`] says what the hub, or the system, has against it.
    pub fn connect(&self) -> Result<(), ConnectError> {
        self.mio.wait(self.inner.connect())
    }

    /// Ends all calls, and closes all connections. None is made again before the next [`connect`](Self::connect).
    pub fn disconnect(&self) {
        self.mio.wait(self.inner.disconnect());
    }

    /// Makes no more calls, sees those it has made and those it serves to their end, and disconnects for good; at the
    /// latest after `within`.
    pub fn shutdown(&self, within: Duration) -> Dropped {
        self.mio.wait(self.inner.shutdown(within))
    }

    /// Answers calls of `name` with what `handler` makes of their parameters; a handler of the same name is replaced. The
    /// hub is told at once.
    ///
    /// The handler runs on the thread of the loop: while it computes, nothing else does. Parameters that cannot be read as
    /// `P` are answered with `DESERIALIZATION_FAILED`, a panic with `INTERNAL_ERROR`.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn register_method<P, T, F>(&self, name: &str, handler: F) -> Result<(), MethodError>
    where
        P: DeserializeOwned + 'static,
        T: Serialize + Send + 'static,
        F: Fn(P, Ctx) -> Result<T, HandlerError> + Send + Sync + 'static,
    {
        let handler = move |params: P, inner| ready(handler(params, Ctx { inner }));
        self.mio.wait(self.inner.register_method(name, handler))
    }

    /// As [`register_method`](Self::register_method), with parameters and results as they are on the wire: one value in
    /// the client's own format each, or nothing.
    ///
    /// # Errors
    /// [`MethodError`].
    pub fn register_raw_method<F>(&self, name: &str, handler: F) -> Result<(), MethodError>
    where
        F: Fn(Vec<u8>, Ctx) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    {
        let handler = move |params, inner| ready(handler(params, Ctx { inner }));
        self.mio.wait(self.inner.register_raw_method(name, handler))
    }

    /// Forgets a method. `false` if there is none of that name.
    pub fn unregister_method(&self, name: &str) -> bool {
        self.mio.wait(self.inner.unregister_method(name))
    }

    /// Calls `method` of `service`, and reads the result as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.mio.wait(self.inner.call(service, method, params))
    }

    /// As [`call`](Self::call), within a call that a handler of another client serves: on the same behalf, and by the same
    /// deadline.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_in<T: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.mio.wait(self.inner.call_in(&ctx.inner, service, method, params))
    }

    /// A call of which more can be said before it is sent: options, or raw bytes.
    pub fn prepare<'a>(&'a self, service: &'a str, method: &'a str) -> Call<'a> {
        Call { inner: self.inner.prepare(service, method), mio: &self.mio }
    }

    /// As [`call`](Self::call), made again as `retry` says while it fails. The call may run more than once.
    ///
    /// # Errors
    /// [`CallError`], of the last time.
    pub fn call_with_retry<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
        retry: Retry,
    ) -> Result<T, CallError> {
        self.mio.wait(self.inner.call_with_retry(service, method, params, retry))
    }

    /// Many calls that go out in one write, and come back as one list of results.
    pub fn batch(&self) -> Batch<'_> {
        Batch { inner: self.inner.batch(), mio: &self.mio }
    }

    /// Forgets all results that were kept.
    pub fn clear_cache(&self) {
        self.inner.clear_cache();
    }

    /// Whether a connection stands that the hub has acknowledged.
    pub fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// What it can be called for, sorted.
    pub fn methods(&self) -> Vec<String> {
        self.mio.wait(self.inner.methods())
    }

    /// How it stands.
    pub fn status(&self) -> ClientStatus {
        self.mio.wait(self.inner.status())
    }

    /// What was counted since its start.
    pub fn metrics(&self) -> Metrics {
        self.mio.wait(self.inner.metrics())
    }

    /// All that happens from now on, each call included. 1,024 events are kept for a listener that is late; then one says
    /// how many were missed. While nobody listens, this costs nothing.
    pub fn events(&self) -> ClientEvents {
        ClientEvents { inner: self.inner.events(), mio: self.mio.clone() }
    }

    /// What changes from now on: all events but those that come with every call, so that these cannot wash them away.
    pub fn changes(&self) -> ClientEvents {
        ClientEvents { inner: self.inner.changes(), mio: self.mio.clone() }
    }
}

/// One call that is being prepared.
#[derive(Clone)]
#[must_use = "a call is made by `json` or `send`"]
pub struct Call<'a> {
    inner: client::Call<'a>,
    mio: &'a Mio,
}

impl Call<'_> {
    /// How long it may take, instead of the client's own timeout. The deadline of its context may leave it less.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.inner = self.inner.timeout(timeout);
        self
    }

    /// It is made within another one, which a handler of another client serves.
    pub fn within(mut self, ctx: &Ctx) -> Self {
        self.inner = self.inner.within(&ctx.inner);
        self
    }

    /// Sends parameters, and reads the result as `T`; both in whatever format the client writes.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn json<T: DeserializeOwned>(self, params: &(impl Serialize + ?Sized)) -> Result<T, CallError> {
        self.mio.wait(self.inner.json(params))
    }

    /// Sends parameters as they are, which are one value in the client's own format, or nothing; so is the result, which
    /// comes back in the same vector.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn send(self, params: Vec<u8>) -> Result<Vec<u8>, CallError> {
        self.mio.wait(self.inner.send(params))
    }
}

/// Calls that go out in one write, and come back as one list of results.
#[must_use = "a batch is made by `send`"]
pub struct Batch<'a> {
    inner: client::Batch<'a>,
    mio: &'a Mio,
}

impl Batch<'_> {
    /// How long each call may take, instead of the client's own timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.inner = self.inner.timeout(timeout);
        self
    }

    /// All are made within a call that a handler of another client serves.
    pub fn within(mut self, ctx: &Ctx) -> Self {
        self.inner = self.inner.within(&ctx.inner);
        self
    }

    /// One more call. Parameters that cannot be written fail that call, and no other.
    pub fn call(mut self, service: &str, method: &str, params: &(impl Serialize + ?Sized)) -> Self {
        self.inner = self.inner.call(service, method, params);
        self
    }

    /// Sends them all, and waits for all. The results are in the order of the calls; if they differ in type, `T` is
    /// `serde_json::Value`.
    pub fn send<T: DeserializeOwned>(self) -> Vec<Result<T, CallError>> {
        self.mio.wait(self.inner.send())
    }
}

/// The events from now on; each is waited for, and the end is when the client is gone.
#[derive(Debug)]
pub struct ClientEvents {
    inner: client::Events,
    mio: Mio,
}

impl Iterator for ClientEvents {
    type Item = ClientEvent;

    fn next(&mut self) -> Option<ClientEvent> {
        self.mio.wait(self.inner.next())
    }
}
