//! A call of a service at a hub.

use plimsoll_core::wire::ipc::code;
use plimsoll_tokio::ipc::{Cause, Client};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Answer, Failure, Request};
use crate::target::{IpcAddress, Serializer, name_for};

/// Registers a service that has no methods, calls, and goes.
pub(super) async fn call(
    hub: &IpcAddress,
    service: &str,
    Request { method, params, timeout }: Request<'_>,
    serializer: Serializer,
) -> Result<Answer, Failure> {
    let params: &RawValue =
        serde_json::from_str(params).map_err(|error| Failure::Usage(error.to_string()))?;
    let deadline = Instant::now() + timeout;
    let client = Client::builder(&name_for("call"))
        .path(hub.path())
        .serializer(serializer.into())
        .auto_reconnect(false)
        .connect_timeout(timeout)
        .register_timeout(timeout)
        .build()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    client.connect().await.map_err(|error| Failure::NoAnswer(error.why.to_string()))?;
    let left = deadline.saturating_duration_since(Instant::now());
    let answer = client.prepare(service, method).timeout(left).json::<Box<RawValue>>(params).await;
    client.disconnect().await;
    match answer.map_err(|error| error.cause) {
        Ok(content) => Ok(Answer { content: content.get().as_bytes().to_vec(), is_error: false }),
        // The hub watches the same deadline: whether its clock or ours strikes first must make no difference.
        Err(Cause::Remote { code, .. }) if code == code::DEADLINE_EXCEEDED => {
            Err(Failure::NoAnswer(Cause::Timeout { sent: true }.to_string()))
        }
        Err(Cause::Remote { code, message }) => {
            let content = json!({ "error": { "code": code, "message": message } });
            Ok(Answer { content: content.to_string().into_bytes(), is_error: true })
        }
        Err(cause @ (Cause::Misuse(_) | Cause::Unserializable(_))) => Err(Failure::Usage(cause.to_string())),
        Err(cause) => Err(Failure::NoAnswer(cause.to_string())),
    }
}
