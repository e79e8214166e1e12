//! The way to the services: requests through the pools of the service client, and how those stand.

mod log;
mod refusal;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_core::cluster::explain::Explanation;
use plimsoll_core::cluster::{CloseCause, Duty, EndpointOptions, EndpointStatus, StateEvent};
use plimsoll_core::drive::Recording;
use plimsoll_core::drive::client::Builder;
use plimsoll_core::error::{Misuse, Rejected};
use plimsoll_core::service::client::Config as ClientConfig;
use plimsoll_tokio::{Cause, Client, Events, Service, ServiceConfig, Snapshot};

use crate::config::{Guards, Project};
use crate::recorded::loss;

pub(crate) use refusal::{code, rejections};

pub(crate) const PROJECT_SERVICE: &str = "project-service";

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
    /// By our own policy; nothing was sent.
    #[error("{}", refusal::sentence(*.0))]
    Refused(Rejected),
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
    recording: Option<Recording>,
}

impl Backend {
    /// Begins to connect to the project service at these addresses (`host:port`), and to record that if it is to be.
    pub(crate) fn start(
        endpoints: Vec<(String, EndpointOptions)>,
        config: &Project,
        recording: Option<Recording>,
    ) -> Result<Backend, Misuse> {
        let client = recording.iter().fold(Client::builder(), Builder::record).build();
        let events = client.events();
        let project = client.configure_service(PROJECT_SERVICE, service_config(endpoints, config))?;
        project.set_explain(NonZeroU32::new(config.explain));
        let away = Away::default();
        tokio::spawn(watch(events, project.clone(), away.clone()));
        Ok(Backend { client, project, away, recording })
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
        match self.call(call).await {
            // It was not asked, because it has enough to do: that says nothing against it.
            Err(BackendError::Refused(Rejected::RateLimited { .. } | Rejected::Limited { .. })) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// What the pool of the project service has counted, and how it stands.
    pub(crate) async fn pool(&self) -> Snapshot {
        self.project.snapshot().await.unwrap_or_default()
    }

    /// How each endpoint of the project service stands.
    pub(crate) async fn endpoints(&self) -> Vec<EndpointStatus<'static>> {
        self.project.endpoints().await.unwrap_or_default()
    }

    /// Why the last decisions about the project service were as they were.
    pub(crate) async fn explanations(&self) -> Vec<Explanation> {
        self.project.explanations().await.unwrap_or_default()
    }

    pub(crate) async fn shutdown(&self, within: Duration) {
        self.client.shutdown(within).await;
        if let Some(loss) = self.recording.as_ref().and_then(loss) {
            tracing::warn!("{loss}");
        }
    }
}

fn service_config(endpoints: Vec<(String, EndpointOptions)>, project: &Project) -> ServiceConfig {
    let mut config = ServiceConfig::new("").timeout(project.request_timeout.get());
    config.endpoints = endpoints;
    let Guards { throttle, concurrency, rate_limit, hedging } = project.guards;
    config.client = ClientConfig {
        cluster: project.cluster,
        throttle,
        concurrency,
        rate_limit,
        hedging,
        ..config.client
    };
    config
}

impl From<Cause> for BackendError {
    fn from(cause: Cause) -> BackendError {
        match cause {
            Cause::Remote { code, message } => BackendError::Remote { code, message },
            Cause::Timeout { sent: true } => BackendError::Timeout,
            Cause::Lost { sent: true } => BackendError::Lost,
            Cause::Protocol(_) => BackendError::Protocol,
            Cause::Rejected(rejected) => BackendError::Refused(rejected),
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
        log::log(&event);
        let cause = match event.event {
            StateEvent::Connected { .. } => None,
            StateEvent::Closed { cause: cause @ (CloseCause::Dial(_) | CloseCause::DialTimeout), .. } => {
                Some(cause)
            }
            // What went by may have been a connection.
            StateEvent::Missed(_) => away.get(),
            _ => continue,
        };
        let stands = cause.is_none() || project.endpoints().await.is_ok_and(|all| all.iter().any(may_serve));
        away.set(cause.filter(|_| !stands));
    }
}

/// A request need not be refused at once: there is a connection, or a dial that has not failed yet.
fn may_serve(endpoint: &EndpointStatus<'_>) -> bool {
    endpoint.connections > 0 || (endpoint.reachable && endpoint.duty == Duty::Serving)
}
