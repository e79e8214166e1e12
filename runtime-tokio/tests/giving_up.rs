//! Calls that are dropped, or that take too long.

mod support;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::drive::server::Builder;
use plimsoll_tokio::{Cause, Ctx, Tokio};
use serde_json::Value;
use support::{config, connect, methods, serve, until, within};
use tokio::sync::Semaphore;

/// `wait` is answered only once there is a permit.
fn gated() -> (Builder<Tokio>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let builder = methods().method("wait", move |params: Value, _: Ctx| {
        let gate = inner.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(params)
        }
    });
    (builder, gate)
}

#[tokio::test]
async fn a_dropped_call_frees_its_place_at_once_and_its_late_answer_goes_to_nobody() {
    let (builder, gate) = gated();
    let server = serve(builder).await;
    let (client, service) = connect(config(&server).max_connections(1).in_flight(1).wait_queue(1));
    let in_flight = async || server.metrics().await.status.in_flight;

    let call = tokio::spawn({
        let service = service.clone();
        async move { service.request::<Value>("wait", &1).await }
    });
    until("the request arrives", || async { in_flight().await == 1 }).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let failures = async || client.metrics("test").await.unwrap().metrics.failures;
    until("the cancellation counts", || async { failures().await.cancelled == 1 }).await;

    let answer: u32 = within("the next call", service.request("echo", &2)).await.unwrap();
    assert_eq!(answer, 2);
    gate.add_permits(1);
    until("the late answer passes", || async {
        client.metrics("test").await.unwrap().metrics.late_responses == 1
    })
    .await;
    assert_eq!(service.request::<u32>("echo", &3).await.unwrap(), 3);
}

#[tokio::test]
async fn a_call_that_takes_too_long_says_that_it_was_sent() {
    let (builder, _gate) = gated();
    let server = serve(builder).await;
    let (client, service) = connect(config(&server));
    let call = client.call("test", "wait").timeout(Duration::from_millis(30));
    let error = within("the timeout", call.json::<Value>(&1)).await.unwrap_err();
    assert_eq!(error.cause, Cause::Timeout { sent: true });
    assert_eq!(service.request::<u32>("echo", &3).await.unwrap(), 3, "the connection goes on");
}
