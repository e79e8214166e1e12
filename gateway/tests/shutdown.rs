//! Signals: what is in flight is finished, what is new is not taken.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Gateway, PATIENCE};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Connection = (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>);

async fn connect(gateway: &Gateway) -> Connection {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    (sender.ready().await.unwrap(), connection)
}

/// A request whose body is not yet whole, and which the gateway is known to have begun to answer.
async fn begin(gateway: &Gateway, sender: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("{}/api/projects", gateway.base)).body(()).unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"{\"name\":"), false).unwrap();
    let active = || gateway.curl("/metrics", &[]).json()["gateway"]["active_requests"].as_u64();
    while active() != Some(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (response, body)
}

#[tokio::test]
async fn sigterm_lets_a_request_in_flight_finish_and_exits_with_0() {
    // Only being told to go ends the connection in time.
    let mut gateway = Gateway::cleartext(&[("SERVER_DRAIN_TIMEOUT", "1h")]);
    let (mut sender, connection) = connect(&gateway).await;
    let (response, mut body) = timeout(PATIENCE, begin(&gateway, &mut sender)).await.unwrap();

    gateway.running.signal("TERM");
    timeout(PATIENCE, async { while TcpStream::connect(gateway.address()).await.is_ok() {} })
        .await
        .expect("new connections are refused");
    body.send_data(Bytes::from_static(b"\"x\"}"), true).unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 201);
    drop(response);

    let status = gateway.running.wait();
    assert_eq!(status.code(), Some(0), "{}", gateway.running.stderr());
    let end = timeout(PATIENCE, connection).await.unwrap().unwrap();
    assert!(end.is_ok(), "GOAWAY says that nothing is wrong: {end:?}");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_time_is_over() {
    let mut gateway = Gateway::cleartext(&[("SERVER_DRAIN_TIMEOUT", "100ms")]);
    let (mut sender, _connection) = connect(&gateway).await;
    let _unfinished = timeout(PATIENCE, begin(&gateway, &mut sender)).await.unwrap();
    gateway.running.signal("INT");
    assert_eq!(gateway.running.wait().code(), Some(0));
    let log = gateway.running.stderr();
    assert!(log.contains("1 requests did not finish within 100ms"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let mut gateway = Gateway::cleartext(&[]);
    let (mut sender, _connection) = connect(&gateway).await;
    let _unfinished = timeout(PATIENCE, begin(&gateway, &mut sender)).await.unwrap();
    gateway.running.signal("TERM");
    timeout(PATIENCE, async { while TcpStream::connect(gateway.address()).await.is_ok() {} }).await.unwrap();
    gateway.running.signal("TERM");
    assert_eq!(gateway.running.wait().code(), Some(1));
}
