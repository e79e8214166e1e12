//! A client whose calls block.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::cluster::EndpointStatus;
use plimsoll_core::cluster::explain::Explanation;
use plimsoll_core::drive::Recording;
use plimsoll_core::drive::client::{
    self, CallError, Callable, Dropped, EndpointError, EndpointOptions, ServiceConfig, ServiceEvent, Snapshot,
};
use plimsoll_core::error::Misuse;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Mio;

/// Calls services by name. Cheap to clone; when all clones are gone, its connections are closed.
///
/// Calls block their thread, and may come from any thread but the one that turns the client's own loop.
pub struct Client<P = Uw> {
    inner: client::Client<Mio, P>,
    mio: Mio,
}

/// What can be said about a client before it is there.
#[derive(Clone, Debug)]
pub struct ClientBuilder<P = Uw> {
    mio: Option<Mio>,
    seed: Option<u64>,
    recording: Option<Recording>,
    wire: PhantomData<fn() -> P>,
}

impl<P: Callable> ClientBuilder<P> {
    /// Its services speak another wire than UW.
    pub fn protocol<Q: Callable>(self) -> ClientBuilder<Q> {
        ClientBuilder { mio: self.mio, seed: self.seed, recording: self.recording, wire: PhantomData }
    }

    /// Where all chance comes from: jitter, selection, ids. Another one each time by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Records everything that its services are told, one log for each service: see [`record`](plimsoll_core::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// A client that knows no service yet.
    ///
    /// # Errors
    /// As [`Mio::start`], unless a loop was given.
    pub fn build(self) -> io::Result<Client<P>> {
        let mio = self.mio.map_or_else(Mio::start, Ok)?;
        let builder = client::Client::on(mio.clone()).protocol();
        let builder = self.recording.iter().fold(builder, |builder, recording| builder.record(recording));
        let inner = match self.seed {
            Some(seed) => builder.seed(seed),
            None => builder,
        };
        Ok(Client { inner: inner.build(), mio })
    }
}

impl Client {
    /// Begins a client with a loop on a thread of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder { mio: None, seed: None, recording: None, wire: PhantomData }
    }

    /// Begins a client on a given loop.
    pub fn on(mio: Mio) -> ClientBuilder {
        ClientBuilder { mio: Some(mio), ..Client::builder() }
    }

    /// Calls `method` of `service` with parameters that are written as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn request<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.call(service, method).json(params)
    }
}

impl<P: Callable> Client<P> {
    /// Makes a service known, and begins to connect to it. One of the same name is replaced: calls that are under way
    /// there end by themselves.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`], [`Misuse::TooManyEndpoints`].
    pub fn configure_service(&self, name: &str, config: ServiceConfig<P>) -> Result<Service<P>, Misuse> {
        let inner = self.inner.configure_service(name, config)?;
        Ok(Service { inner, mio: self.mio.clone() })
    }

    /// The handle of one service, which saves looking for its name with every call.
    pub fn service(&self, name: &str) -> Option<Service<P>> {
        Some(Service { inner: self.inner.service(name)?, mio: self.mio.clone() })
    }

    /// A call of `service` by its name (over UW, of a method), of which more can be said before it is sent: options, or raw
    /// bytes.
    pub fn call<'a>(&'a self, service: &'a str, name: &'a str) -> Call<'a, P> {
        Call { inner: self.inner.call(service, name), mio: &self.mio }
    }

    /// What was counted of a service, and how it stands.
    ///
    /// # Errors
    /// [`Cause::UnknownService`](client::Cause::UnknownService); [`Cause::Closed`](client::Cause::Closed) after a
    /// shutdown.
    pub fn metrics(&self, service: &str) -> Result<Snapshot, CallError> {
        self.mio.wait(self.inner.metrics(service))
    }

    /// Counts from nothing again, for one service.
    pub fn reset_metrics(&self, service: &str) {
        self.inner.reset_metrics(service);
    }

    /// How the connections to each service stand; without those that were shut down.
    pub fn connection_status(&self) -> BTreeMap<String, Status> {
        self.mio.wait(self.inner.connection_status())
    }

    /// Changes of the connections of all services, from now on.
    pub fn events(&self) -> Events {
        Events { inner: self.inner.events(), mio: self.mio.clone() }
    }

    /// Shuts all services down: calls that were taken go on for `within` at most.
    pub fn shutdown(&self, within: Duration) -> Dropped {
        self.mio.wait(self.inner.shutdown(within))
    }
}

/// Calls one service. Cheap to clone; the service's drivers end when the client and all clones are gone.
pub struct Service<P = Uw> {
    inner: client::Service<P>,
    mio: Mio,
}

impl<P> Clone for Client<P> {
    fn clone(&self) -> Self {
        Client { inner: self.inner.clone(), mio: self.mio.clone() }
    }
}

impl<P> Clone for Service<P> {
    fn clone(&self) -> Self {
        Service { inner: self.inner.clone(), mio: self.mio.clone() }
    }
}

impl Service {
    /// Calls `method` with parameters that are written as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn request<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.call(method).json(params)
    }
}

impl<P: Callable> Service<P> {
    /// A call by its name (over UW, of a method), of which more can be said before it is sent.
    pub fn call<'a>(&'a self, name: &'a str) -> Call<'a, P> {
        Call { inner: self.inner.call(name), mio: &self.mio }
    }
}

impl<P> Service<P> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// What was counted and how things stand.
    ///
    /// # Errors
    /// [`Cause::Closed`](client::Cause::Closed) after a shutdown.
    pub fn snapshot(&self) -> Result<Snapshot, CallError> {
        self.mio.wait(self.inner.snapshot())
    }

    /// Counts from nothing again.
    pub fn reset_metrics(&self) {
        self.inner.reset_metrics();
    }

    /// How each endpoint stands, by address.
    ///
    /// # Errors
    /// [`Cause::Closed`](client::Cause::Closed) after a shutdown.
    pub fn endpoints(&self) -> Result<Vec<EndpointStatus<'static>>, CallError> {
        self.mio.wait(self.inner.endpoints())
    }

    /// Has every pick, wait, refusal, ejection and trip explained from now on, and keeps so many of the latest; `None`
    /// explains nothing more.
    pub fn set_explain(&self, kept: Option<NonZeroU32>) {
        self.inner.set_explain(kept);
    }

    /// The latest decisions that were explained, the oldest first.
    ///
    /// # Errors
    /// [`Cause::Closed`](client::Cause::Closed) after a shutdown.
    pub fn explanations(&self) -> Result<Vec<Explanation>, CallError> {
        self.mio.wait(self.inner.explanations())
    }

    /// Adds an endpoint, and begins to connect to it.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn add_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.add_endpoint(address))
    }

    /// Adds an endpoint of which more is known.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn add_endpoint_with(&self, address: &str, options: EndpointOptions) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.add_endpoint_with(address, options))
    }

    /// Sends no more calls to an endpoint, and forgets it. Calls that are under way there end by themselves.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn remove_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.remove_endpoint(address))
    }

    /// Sends no more calls to an endpoint until it is resumed. Calls that are under way there end by themselves; when the
    /// last connection has closed, [`StateEvent::Drained`](plimsoll_core::service::client::StateEvent::Drained) tells.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn drain_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.drain_endpoint(address))
    }

    /// Sends calls to an endpoint again that was drained; one that was not stays as it is.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn resume_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.resume_endpoint(address))
    }

    /// How many calls an endpoint gets in proportion to the others, by the strategies that go by weight: up to 1,000,000,
    /// 0 for none.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn set_weight(&self, address: &str, weight: u32) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.set_weight(address, weight))
    }

    /// What a health check outside says of an endpoint; one that is unhealthy gets no calls while enough others do.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn set_health(&self, address: &str, level: Level) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.set_health(address, level))
    }

    /// How many connections are kept up per endpoint from now on.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn scale(&self, connections: u32) -> Result<(), EndpointError> {
        self.mio.wait(self.inner.scale(connections))
    }

    /// Takes no more calls, and sees those it has taken to their end; after `within` what is left ends as
    /// [`Cause::Lost`](client::Cause::Lost).
    pub fn shutdown(&self, within: Duration) -> Dropped {
        self.mio.wait(self.inner.shutdown(within))
    }
}

/// One call that is being prepared.
#[must_use = "a call is made by `json` or `send`"]
pub struct Call<'a, P = Uw> {
    inner: client::Call<'a, P>,
    mio: &'a Mio,
}

impl<P> Call<'_, P> {
    /// How long it may take, waiting and retries included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.inner = self.inner.timeout(timeout);
        self
    }

    /// It may run more than once: it is sent again if a connection is lost that had begun to send it.
    pub fn idempotent(mut self) -> Self {
        self.inner = self.inner.idempotent();
        self
    }

    /// What it is about (a user, a file): calls with the same key go to the same endpoint, by `consistent_hash`, of all
    /// clients of the service alike.
    pub fn key(mut self, key: &str) -> Self {
        self.inner = self.inner.key(key);
        self
    }
}

impl<P: Callable> Call<'_, P> {
    /// Sends `content` as it is; the answer comes back in the same vector. Over UW, both are vectors of bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn send(self, content: P::Content) -> Result<P::Answer, CallError> {
        self.mio.wait(self.inner.send(content))
    }
}

impl Call<'_> {
    /// Sends parameters as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn json<T: DeserializeOwned>(self, params: &(impl Serialize + ?Sized)) -> Result<T, CallError> {
        self.mio.wait(self.inner.json(params))
    }
}

impl<P> Clone for Call<'_, P> {
    fn clone(&self) -> Self {
        Call { inner: self.inner.clone(), mio: self.mio }
    }
}

/// The events from now on; each is waited for, and the end is when the client is gone.
#[derive(Debug)]
pub struct Events {
    inner: client::Events,
    mio: Mio,
}

impl Iterator for Events {
    type Item = ServiceEvent;

    fn next(&mut self) -> Option<ServiceEvent> {
        self.mio.wait(self.inner.next())
    }
}
