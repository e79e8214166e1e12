//! The way to the services: requests through the pools of the service client, and how those stand.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_core::cluster::{CloseCause, StateEvent};
use plimsoll_core::error::{Misuse, Rejected};
use plimsoll_core::policy::breaker;
use plimsoll_tokio::{Cause, Client, Events, Service, ServiceConfig, ServiceEvent, Snapshot};

use crate::config::Project;

pub(crate) const PROJECT_SERVICE: &str = "project-service";

/// A lost connection is dialled again within so long. Until that dial fails, requests wait for it.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// A service that stays away is dialled after so long at most: what has come back is used soon, and one dial in a while
/// costs nobody anything.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// How a request to a service can fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error("{message}")]
    Remote { code: String, message: String },
    #[error("the project service did not answer in time; whether it acted is unknown")]
    Timeout,
    #[error("the connection to the project service was lost; whether it acted is unknown")]
    Lost,
    #[error("the project service broke the rules of its wire")]
    Protocol,
    #[error("too many requests wait for the project service")]
    Overloaded,
    #[error("the project service has failed too often lately, and is left alone for a while")]
    CircuitOpen,
    /// Nothing was sent.
    #[error("the project service cannot be reached: {0}")]
    Unavailable(String),
    #[error("the body is larger than the project service takes")]
    TooLarge,
    #[error("the project service answered what is not JSON")]
    NotJson,
}

pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Vec<u8>,
    pub(crate) idempotent: bool,
    pub(crate) timeout: Duration,
}

#[derive(Clone)]
pub(crate) struct Backend {
    client: Client,
    project: Service,
    away: Away,
}

impl Backend {
    /// Begins to connect to the project service at `address` (`host:port`).
    pub(crate) fn start(address: &str, config: &Project) -> Result<Backend, Misuse> {
        let client = Client::builder().build();
        let events = client.events();
        let project = client.configure_service(PROJECT_SERVICE, service_config(address, config))?;
        let away = Away::default();
        tokio::spawn(watch(events, project.clone(), away.clone()));
        Ok(Backend { client, project, away })
    }

    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Bytes, BackendError> {
        // In the queue it would wait for the next dial, and its client for nothing.
        if let Some(cause) = self.away.get() {
            return Err(BackendError::Unavailable(cause.to_string()));
        }
        let mut request = self.project.call(call.method).timeout(call.timeout);
        if call.idempotent {
            request = request.idempotent();
        }
        let answer = request.send(call.params).await.map_err(|error| BackendError::from(error.cause))?;
        Ok(answer.into())
    }

    /// Whether the service answers a ping, and if not, why.
    pub(crate) async fn ping(&self, timeout: Duration) -> Result<(), BackendError> {
        let call = Call { method: "ping", params: b"{}".to_vec(), idempotent: true, timeout };
        self.call(call).await.map(drop)
    }

    /// What the pool of the project service has counted, and how it stands.
    pub(crate) async fn pool(&self) -> Snapshot {
        self.project.snapshot().await.unwrap_or_default()
    }

    pub(crate) async fn shutdown(&self, within: Duration) {
        self.client.shutdown(within).await;
    }
}

fn service_config(address: &str, project: &Project) -> ServiceConfig {
    const PROBES: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
    let timeout = project.request_timeout.get();
    let mut config = ServiceConfig::new(address)
        .max_connections(project.max_connections)
        .min_connections(project.min_connections)
        .timeout(timeout)
        .reconnect_delay(RECONNECT_DELAY)
        // Opens after five failures in a row, the default.
        .breaker(breaker::Config {
            recovery: Duration::from_secs(45),
            success_threshold: PROBES,
            lease: timeout,
            ..breaker::Config::default()
        });
    config.client.cluster.connect_timeout = project.connect_timeout.get();
    config.client.cluster.backoff.cap = MAX_RECONNECT_DELAY;
    config
}

impl From<Cause> for BackendError {
    fn from(cause: Cause) -> BackendError {
        match cause {
            Cause::Remote { code, message } => BackendError::Remote { code, message },
            Cause::Timeout { sent: true } => BackendError::Timeout,
            Cause::Lost { sent: true } => BackendError::Lost,
            Cause::Protocol(_) => BackendError::Protocol,
            Cause::Rejected(Rejected::Overloaded) => BackendError::Overloaded,
            Cause::Rejected(Rejected::CircuitOpen) => BackendError::CircuitOpen,
            Cause::Misuse(Misuse::ContentTooLarge { .. }) => BackendError::TooLarge,
            unsent => BackendError::Unavailable(unsent.to_string()),
        }
    }
}

/// Why no connection stands, from a failed dial until one does.
#[derive(Clone, Default)]
struct Away(Arc<Mutex<Option<CloseCause>>>);

impl Away {
    fn get(&self) -> Option<CloseCause> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, cause: Option<CloseCause>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

/// Logs what happens to connections, and notes whether there are any.
async fn watch(mut events: Events, project: Service, away: Away) {
    while let Some(event) = events.next().await {
        log(&event);
        let cause = match event.event {
            StateEvent::Connected { .. } => None,
            StateEvent::Closed { cause: cause @ (CloseCause::Dial(_) | CloseCause::DialTimeout), .. } => {
                Some(cause)
            }
            // What went by may have been a connection.
            StateEvent::Missed(_) => away.get(),
            _ => continue,
        };
        let stands = cause.is_none() || project.snapshot().await.is_ok_and(|now| now.status.connections > 0);
        away.set(cause.filter(|_| !stands));
    }
}

fn log(ServiceEvent { service, endpoint, event, .. }: &ServiceEvent) {
    let endpoint = endpoint.as_deref().unwrap_or("-");
    match event {
        StateEvent::Connected { .. } => tracing::info!("{service}: connected to {endpoint}"),
        StateEvent::Closed { cause, .. } if cause.is_error() => {
            tracing::warn!("{service}: no connection to {endpoint}: {cause}");
        }
        StateEvent::Closed { cause, .. } => {
            tracing::debug!("{service}: connection to {endpoint} closed: {cause}");
        }
        StateEvent::Breaker { to, .. } => {
            tracing::warn!("{service}: the circuit breaker of {endpoint} is {to}");
        }
        StateEvent::Missed(n) => tracing::warn!("{service}: {n} changes of connections were not logged"),
        _ => {}
    }
}
