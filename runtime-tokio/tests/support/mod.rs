//! A server and a client on loopback, and waiting without sleeping.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::future::Future;
use std::time::Duration;

use plimsoll_core::drive::server::Builder;
use plimsoll_tokio::{Client, Ctx, HandlerError, Server, Service, ServiceConfig, Tokio};
use serde_json::{Value, json};

/// Longer than anything here takes: whatever waits for it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("still waiting after {PATIENCE:?}: {what}"),
    }
}

/// The methods that the peers in other languages expect too.
pub fn methods() -> Builder<Tokio> {
    Server::builder()
        .method("echo", |params: Value, _: Ctx| async move { Ok(params) })
        .method("sleep", |params: Value, _: Ctx| async move {
            let ms = params["ms"].as_u64().ok_or(HandlerError::new("BAD_REQUEST", "ms is missing"))?;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(json!({ "slept_ms": ms }))
        })
        .method("fail", |params: Value, _: Ctx| async move {
            let text = |key: &str| params[key].as_str().unwrap_or_default().to_owned();
            Err::<(), _>(HandlerError::new(text("code"), text("message")))
        })
        .method("size", |params: Value, _: Ctx| async move {
            let bytes =
                params["bytes"].as_u64().ok_or(HandlerError::new("BAD_REQUEST", "bytes is missing"))?;
            Ok(json!({ "data": "x".repeat(bytes as usize) }))
        })
}

pub async fn serve(builder: Builder<Tokio>) -> Server {
    builder.bind("127.0.0.1:0").await.expect("a free port")
}

pub fn config(server: &Server) -> ServiceConfig {
    ServiceConfig::new(server.local_addr().to_string())
}

/// A client of one service, and its handle.
pub fn connect(config: ServiceConfig) -> (Client, Service) {
    let client = Client::builder().seed(7).build();
    let service = client.configure_service("test", config).expect("a good configuration");
    (client, service)
}

/// Asks again and again, without holding up anything, until the answer is yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
