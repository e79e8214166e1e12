//! How clients and servers end.

mod support;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_tokio::{Cause, Ctx, Server};
use serde_json::Value;
use support::{config, connect, methods, serve, until, within};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

async fn gated() -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let server = methods().method("wait", move |params: Value, _: Ctx| {
        let gate = inner.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(params)
        }
    });
    (serve(server).await, gate)
}

#[tokio::test]
async fn a_client_that_shuts_down_sees_its_calls_to_their_end() {
    let (server, gate) = gated().await;
    let (client, service) = connect(config(&server));
    let call = tokio::spawn({
        let service = service.clone();
        async move { service.request::<u32>("wait", &1).await }
    });
    until("the request arrives", || async { server.metrics().await.status.in_flight == 1 }).await;
    let shutdown = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown(Duration::from_secs(30)).await }
    });
    let refused = async || service.request::<u32>("echo", &1).await.is_err();
    until("no more calls are taken", || async { refused().await }).await;
    gate.add_permits(1);
    assert_eq!(within("the call", call).await.unwrap().unwrap(), 1);
    assert_eq!(within("the shutdown", shutdown).await.unwrap().requests, 0);
    let error = service.request::<u32>("echo", &1).await.unwrap_err();
    assert_eq!(error.cause, Cause::Closed);
    until("the connection closes", || async { server.metrics().await.status.connections == 0 }).await;
}

#[tokio::test]
async fn a_client_reports_what_it_had_to_drop() {
    let (server, _gate) = gated().await;
    let (client, service) = connect(config(&server));
    let call = tokio::spawn(async move { service.request::<u32>("wait", &1).await });
    until("the request arrives", || async { server.metrics().await.status.in_flight == 1 }).await;
    let dropped = within("the shutdown", client.shutdown(Duration::from_millis(20))).await;
    assert_eq!(dropped.requests, 1);
    assert_eq!(call.await.unwrap().unwrap_err().cause, Cause::Lost { sent: true });
}

#[tokio::test]
async fn a_server_that_shuts_down_answers_what_it_took_and_refuses_newcomers() {
    let (server, gate) = gated().await;
    let address = server.local_addr().tcp().unwrap();
    let (_client, service) = connect(config(&server));
    let call = tokio::spawn(async move { service.request::<u32>("wait", &1).await });
    until("the request arrives", || async { server.metrics().await.status.in_flight == 1 }).await;
    let shutdown = tokio::spawn(server.shutdown(Duration::from_secs(30)));
    until("newcomers are refused", || async { TcpStream::connect(address).await.is_err() }).await;
    gate.add_permits(1);
    assert_eq!(within("the call", call).await.unwrap().unwrap(), 1);
    assert_eq!(within("the shutdown", shutdown).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_server_reports_what_it_had_to_drop() {
    let (server, _gate) = gated().await;
    let (_client, service) = connect(config(&server));
    let call = tokio::spawn(async move { service.request::<u32>("wait", &1).await });
    until("the request arrives", || async { server.metrics().await.status.in_flight == 1 }).await;
    let dropped = within("the shutdown", server.shutdown(Duration::from_millis(20))).await;
    assert_eq!(dropped.requests, 1);
    assert_eq!(call.await.unwrap().unwrap_err().cause, Cause::Lost { sent: true });
}

#[tokio::test]
async fn handles_that_are_dropped_close_what_they_held() {
    let server = serve(methods()).await;
    let (client, service) = connect(config(&server));
    let mut events = client.events();
    assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1);
    drop((client, service));
    until("the connection closes", || async { server.metrics().await.status.connections == 0 }).await;
    while within("the end of the events", events.next()).await.is_some() {}
    let address = server.local_addr().tcp().unwrap();
    drop(server);
    until("the listener closes", || async { TcpStream::connect(address).await.is_err() }).await;
}
