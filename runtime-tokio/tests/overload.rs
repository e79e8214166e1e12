//! More calls than may wait.

mod support;

use plimsoll_core::error::Rejected;
use plimsoll_tokio::{Cause, Ctx};
use serde_json::Value;
use support::{config, connect, methods, serve, until};

#[tokio::test]
async fn a_call_beyond_the_queue_is_refused_at_once() {
    let server = methods().method("hang", |_: Value, _: Ctx| std::future::pending::<Result<(), _>>());
    let server = serve(server).await;
    let (client, service) = connect(config(&server).max_connections(1).in_flight(2).wait_queue(3));
    assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1, "the connection stands");
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.request::<Value>("hang", &1).await })
        })
        .collect();
    let status = async || client.metrics("test").await.unwrap().status;
    until("all places are taken", || async { (status().await.in_flight, status().await.waiting) == (2, 3) })
        .await;
    let error = service.request::<Value>("hang", &1).await.unwrap_err();
    assert_eq!(error.cause, Cause::Rejected(Rejected::Overloaded));
    assert!(error.to_string().starts_with("test.hang: overloaded"), "{error}");
    calls[0].abort();
    until("a place is free", || async { status().await.waiting == 2 }).await;
}
