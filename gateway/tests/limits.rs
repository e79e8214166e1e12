//! What a peer may do is limited, and going beyond costs that peer alone.

mod common;

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use common::{Gateway, PATIENCE};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Connection = (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>);

async fn connect(gateway: &Gateway) -> Connection {
    connect_with(gateway, h2::client::Builder::new()).await
}

async fn connect_with(gateway: &Gateway, builder: h2::client::Builder) -> Connection {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    (sender.ready().await.unwrap(), connection)
}

fn get(gateway: &Gateway, path: &str) -> Request<()> {
    Request::get(format!("{}{path}", gateway.base)).body(()).unwrap()
}

async fn send(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Response<RecvStream>, h2::Error> {
    let (response, _) = sender.send_request(request, true)?;
    timeout(PATIENCE, response).await.expect("an answer in time")
}

/// Waits for the gateway to count a connection that ended in this way.
async fn until_ended(gateway: &Gateway, how: &str) {
    let ended = || gateway.curl("/metrics", &[]).json()["server"]["ended_connections"][how].as_u64();
    let wait = async {
        while ended() == Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no connection ended as {how}"));
}

#[tokio::test]
async fn rapid_reset_ends_that_connection_and_no_other() {
    let gateway = Gateway::cleartext(&[]);
    let (mut bystander, _alive) = connect(&gateway).await;
    let (mut attacker, connection) = connect(&gateway).await;
    for _ in 0..10_000 {
        match attacker.send_request(get(&gateway, "/health"), true) {
            Ok((_, mut stream)) => stream.send_reset(Reason::CANCEL),
            Err(_) => break,
        }
        if let Err(_gone) = poll_fn(|cx| attacker.poll_ready(cx)).await {
            break;
        }
        tokio::task::yield_now().await;
    }
    let end = timeout(PATIENCE, connection).await.expect("the connection ends").unwrap();
    assert!(end.is_err(), "a flood ends in an error");
    until_ended(&gateway, "error").await;
    assert_eq!(send(&mut bystander, get(&gateway, "/health")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_cancels_one_request_after_another_is_left_alone() {
    let gateway = Gateway::cleartext(&[]);
    let (mut sender, _connection) = connect(&gateway).await;
    for _ in 0..500 {
        let (response, mut stream) = sender.send_request(get(&gateway, "/metrics"), true).unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        assert_eq!(send(&mut sender, get(&gateway, "/health")).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn headers_above_the_limit_are_431_for_that_request_alone() {
    let gateway = Gateway::cleartext(&[("HTTP2_MAX_HEADER_LIST_SIZE", "4KB")]);
    let (mut sender, _connection) = connect(&gateway).await;
    let mut request = get(&gateway, "/health");
    request.headers_mut().insert("x-long", "x".repeat(5_000).parse().unwrap());
    assert_eq!(send(&mut sender, request).await.unwrap().status(), 431);
    assert_eq!(send(&mut sender, get(&gateway, "/health")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_loses_its_connection() {
    let gateway = Gateway::cleartext(&[("SERVER_WRITE_TIMEOUT", "50ms")]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (mut sender, connection) = connect_with(&gateway, builder).await;
    let response = send(&mut sender, get(&gateway, "/metrics")).await.unwrap();
    assert_eq!(response.status(), 200);
    let _ = timeout(PATIENCE, connection).await.expect("the connection ends");
    until_ended(&gateway, "stuck").await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_told_to_go() {
    let gateway = Gateway::cleartext(&[("HTTP2_IDLE_TIMEOUT", "50ms")]);
    let (_sender, connection) = connect(&gateway).await;
    let end = timeout(PATIENCE, connection).await.expect("the connection ends").unwrap();
    assert!(end.is_ok(), "{end:?}");
    let _silent = TcpStream::connect(gateway.address()).await.unwrap();
    until_ended(&gateway, "idle").await;
}

#[tokio::test]
async fn a_body_that_dribbles_is_408() {
    let gateway = Gateway::cleartext(&[("SERVER_READ_TIMEOUT", "50ms")]);
    let (mut sender, _connection) = connect(&gateway).await;
    let request = Request::post(format!("{}/api/projects", gateway.base)).body(()).unwrap();
    let (response, _body) = sender.send_request(request, false).unwrap();
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 408);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_413_before_it_is_sent() {
    let gateway = Gateway::cleartext(&[]);
    let (mut sender, _connection) = connect(&gateway).await;
    let uri = format!("{}/api/projects", gateway.base);
    let request = Request::post(uri).header("content-length", (10 << 20) + 1).body(()).unwrap();
    let (response, _unsent) = sender.send_request(request, false).unwrap();
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 413);
}

#[tokio::test]
async fn one_request_too_many_is_503_at_once_and_worth_retrying() {
    let gateway = Gateway::cleartext(&[("SERVER_MAX_CONCURRENT_REQUESTS", "1")]);
    let (mut sender, _connection) = connect(&gateway).await;
    let refused = async {
        loop {
            let request = Request::post(format!("{}/api/projects", gateway.base)).body(()).unwrap();
            let (mut first, mut body) = sender.send_request(request, false).unwrap();
            let mut other = sender.clone();
            // Which of two requests the gateway takes first is its own affair.
            let second = loop {
                tokio::select! {
                    biased;
                    _ = &mut first => break None,
                    second = send(&mut other, get(&gateway, "/health")) => {
                        let second = second.unwrap();
                        if second.status() == 503 {
                            break Some(second);
                        }
                    }
                }
            };
            let Some(second) = second else { continue };
            // It fails if the first was refused as well: for one that was given up, and had not quite ended.
            let _ = body.send_data(Bytes::from_static(b"{\"name\":\"x\"}"), true);
            let first = first.await.unwrap();
            if first.status() != 503 {
                return (first, second);
            }
        }
    };
    let (first, second) = timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(first.status(), 201);
    assert_eq!(second.headers()["retry-after"], "1");
}

#[tokio::test]
async fn one_connection_too_many_is_dropped_and_counted() {
    let gateway = Gateway::cleartext(&[("SERVER_MAX_CONNECTIONS", "2")]);
    let (mut first, _alive) = connect(&gateway).await;
    let (second, connection) = connect(&gateway).await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let refused = async { h2::client::handshake(stream).await.unwrap().1.await };
    assert!(timeout(PATIENCE, refused).await.unwrap().is_err());
    assert_eq!(send(&mut first, get(&gateway, "/health")).await.unwrap().status(), 200);
    drop(second);
    let _ = timeout(PATIENCE, connection).await.unwrap();
    until_ended(&gateway, "refused").await;
}

#[tokio::test]
async fn a_client_that_never_begins_tls_is_dropped() {
    let gateway = Gateway::start_with(&[], &[("TLS_HANDSHAKE_TIMEOUT", "50ms")]);
    let _silent = TcpStream::connect(gateway.address()).await.unwrap();
    until_ended(&gateway, "handshake_failed").await;
}
