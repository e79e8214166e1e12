//! A client of many services, for async code: what an adapter makes usable by naming its runtime.
//!
//! All its services speak one wire: UW, unless another is [named](Builder::protocol). A wire that is
//! [callable](Callable) has handles on every runtime.

mod call;
mod callable;
mod config;
mod endpoints;
mod error;
mod events;
mod host;
mod insight;
mod service;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use core::marker::PhantomData;
use core::time::Duration;
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError, RwLock};

pub use call::{Call, Sending};
pub use callable::Callable;
pub use config::ServiceConfig;
pub use endpoints::{EndpointCause, EndpointError};
pub(super) use error::fate;
pub use error::{CallError, Cause};
pub use events::{Events, ServiceEvent};
pub use host::{Dropped, Snapshot};
pub use service::Service;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::cluster::EndpointOptions;

use super::hub::Hub;
use super::{Recording, Runtime};
use crate::error::Misuse;
use crate::rng::Pcg;
use crate::service::Uw;
use crate::service::client::Status;

/// Calls services by name. Cheap to clone; when all clones are gone, its connections are closed.
pub struct Client<R, P = Uw> {
    shared: Arc<Shared<R, P>>,
}

struct Shared<R, P> {
    runtime: R,
    shards: usize,
    rng: Mutex<Pcg>,
    services: RwLock<BTreeMap<String, Service<P>>>,
    hub: Arc<Hub<ServiceEvent>>,
    recording: Option<Recording>,
}

/// What can be said about a client before it is there.
#[derive(Clone, Debug)]
pub struct Builder<R, P = Uw> {
    runtime: R,
    shards: usize,
    seed: Option<u64>,
    recording: Option<Recording>,
    wire: PhantomData<fn() -> P>,
}

impl<R: Runtime, P: Callable> Builder<R, P> {
    /// Its services speak another wire than UW.
    pub fn protocol<Q: Callable>(self) -> Builder<R, Q> {
        let Builder { runtime, shards, seed, recording, .. } = self;
        Builder { runtime, shards, seed, recording, wire: PhantomData }
    }

    /// How many drivers each service has, so that so many cores can work for it; 1 by default. Limits are divided
    /// among them, and a service with fewer connections has fewer drivers.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Where all chance comes from: jitter, selection, ids. Another one each time by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Records everything that its services are told, one log for each shard of each service: see
    /// [`record`](crate::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// A client that knows no service yet.
    pub fn build(self) -> Client<R, P> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Client {
            shared: Arc::new(Shared {
                runtime: self.runtime,
                shards: self.shards,
                rng: Mutex::new(Pcg::new(seed, 0)),
                services: RwLock::default(),
                hub: Arc::default(),
                recording: self.recording,
            }),
        }
    }
}

impl<R: Runtime + Default> Client<R> {
    /// Begins a client.
    pub fn builder() -> Builder<R> {
        Client::on(R::default())
    }
}

impl<R: Runtime> Client<R> {
    /// Begins a client on a given runtime.
    pub fn on(runtime: R) -> Builder<R> {
        Builder { runtime, shards: 1, seed: None, recording: None, wire: PhantomData }
    }

    /// Calls `method` of `service` with parameters that are written as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn request<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.call(service, method).json(params).await
    }
}

impl<R: Runtime, P: Callable> Client<R, P> {
    /// Makes a service known, and begins to connect to it. One of the same name is replaced: calls that are under way
    /// there end by themselves.
    ///
    /// # Errors
    /// [`Misuse::BadAddress`], [`Misuse::TooManyEndpoints`].
    pub fn configure_service(&self, name: &str, config: ServiceConfig<P>) -> Result<Service<P>, Misuse> {
        let shared = &*self.shared;
        let mut rng = shared.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let recording = shared.recording.as_ref();
        let service =
            Service::start(name, &config, shared.shards, &mut rng, &shared.hub, &shared.runtime, recording)?;
        let mut services = shared.services.write().unwrap_or_else(PoisonError::into_inner);
        services.insert(name.into(), service.clone());
        Ok(service)
    }

    /// The handle of one service, which saves looking for its name with every call.
    pub fn service(&self, name: &str) -> Option<Service<P>> {
        self.shared.services.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A call of `service` by its name (over UW, of a method), of which more can be said before it is sent: options, or raw
    /// bytes.
    pub fn call<'a>(&self, service: &'a str, name: &'a str) -> Call<'a, P> {
        Call {
            service: self.service(service).map(Cow::Owned).ok_or(service),
            name,
            timeout: None,
            idempotent: false,
            about: None,
        }
    }

    /// What was counted of a service, and how it stands.
    ///
    /// # Errors
    /// [`Cause::UnknownService`]; [`Cause::Closed`] after a shutdown.
    pub async fn metrics(&self, service: &str) -> Result<Snapshot, CallError> {
        let unknown =
            || CallError { service: service.into(), method: "".into(), cause: Cause::UnknownService };
        self.service(service).ok_or_else(unknown)?.snapshot().await
    }

    /// Counts from nothing again, for one service.
    pub fn reset_metrics(&self, service: &str) {
        if let Some(service) = self.service(service) {
            service.reset_metrics();
        }
    }

    /// How the connections to each service stand; without those that were shut down.
    pub async fn connection_status(&self) -> BTreeMap<String, Status> {
        let mut all = BTreeMap::new();
        for service in self.services() {
            if let Ok(snapshot) = service.snapshot().await {
                all.insert(service.name().into(), snapshot.status);
            }
        }
        all
    }

    /// Changes of the connections of all services, from now on.
    pub fn events(&self) -> Events {
        self.shared.hub.listen()
    }

    /// Shuts all services down: calls that were taken go on for `within` at most.
    pub async fn shutdown(&self, within: Duration) -> Dropped {
        let mut dropped = Dropped::default();
        let services = self.services();
        let keys: Vec<_> = services.iter().map(|service| service.begin_shutdown(within)).collect();
        for (service, keys) in services.iter().zip(keys) {
            dropped.requests += service.end_shutdown(keys).await.requests;
        }
        dropped
    }

    fn services(&self) -> Vec<Service<P>> {
        let services = self.shared.services.read().unwrap_or_else(PoisonError::into_inner);
        services.values().cloned().collect()
    }
}

impl<R, P> Clone for Client<R, P> {
    fn clone(&self) -> Self {
        Client { shared: self.shared.clone() }
    }
}
