//! Requests and what they come to.

mod support;

use plimsoll_core::error::Misuse;
use plimsoll_tokio::{Cause, ServiceConfig};
use serde_json::{Value, json};
use support::{config, connect, methods, serve, within};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_request_is_answered() {
    let server = serve(methods()).await;
    let (client, _) = connect(config(&server));
    let answer: Value = within("echo", client.request("test", "echo", &json!({"a": [1, 2]}))).await.unwrap();
    assert_eq!(answer, json!({"a": [1, 2]}));
    let snapshot = client.metrics("test").await.unwrap();
    assert_eq!((snapshot.metrics.requests, snapshot.metrics.succeeded), (1, 1));
    assert_eq!(snapshot.status.connections, 1);
    assert_eq!(server.metrics().await.metrics.answered, 1);
}

#[tokio::test]
async fn five_hundred_requests_at_once_are_each_answered_with_their_own() {
    let server = serve(methods()).await;
    let (_client, service) = connect(config(&server).max_connections(1));
    let mut calls = JoinSet::new();
    for n in 0..500u32 {
        let service = service.clone();
        calls.spawn(async move { (n, service.request::<u32>("echo", &n).await) });
    }
    while let Some(done) = within("an answer", calls.join_next()).await {
        let (n, answer) = done.unwrap();
        assert_eq!(answer.unwrap(), n);
    }
}

#[tokio::test]
async fn three_mebibytes_come_back_unchanged_many_at_a_time() {
    let server = serve(methods()).await;
    let (_client, service) = connect(config(&server));
    let text = "0123456789abcdef".repeat(3 * 65_536);
    let mut calls = JoinSet::new();
    // 15 MiB: all of it may have to wait for the first connection, and 16 MiB may wait.
    for n in 0..5 {
        let (service, sent) = (service.clone(), format!("{n}{text}"));
        calls.spawn(async move {
            let answer: String = service.request("echo", &sent).await.unwrap();
            assert!(answer == sent, "changed on the way");
        });
    }
    while let Some(done) = within("a large answer", calls.join_next()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn an_error_of_the_service_is_told_with_its_code_and_its_text() {
    let server = serve(methods()).await;
    let (client, _) = connect(config(&server));
    let params = json!({"code": "TEAPOT", "message": "say \"é\"\n"});
    let error = client.request::<Value>("test", "fail", &params).await.unwrap_err();
    assert_eq!(error.cause, Cause::Remote { code: "TEAPOT".into(), message: "say \"é\"\n".into() });
    assert_eq!(error.to_string(), "test.fail: the service answered TEAPOT: say \"é\"\n");

    let error = client.request::<Value>("test", "nobody", &params).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Remote { code, .. } if code == "METHOD_NOT_FOUND"));

    let error = client.call("test", "echo").send(b"{not json".to_vec()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Remote { code, .. } if code == "BAD_REQUEST"));
}

#[tokio::test]
async fn what_cannot_be_sent_or_read_fails_that_call_alone() {
    let server = serve(methods()).await;
    let (client, service) = connect(config(&server));
    let error = client.request::<Value>("nobody", "echo", &1).await.unwrap_err();
    assert_eq!(error.to_string(), "nobody.echo: no service of this name is configured");

    let error = client.request::<u32>("test", "echo", "a text").await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotJson(_)), "{error}");

    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.request::<Value>("test", "echo", &unwritable).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Unserializable(_)), "{error}");

    let long = "m".repeat(256);
    let error = service.request::<Value>(&long, &1).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Misuse(Misuse::MethodTooLong { .. })), "{error}");

    let error = service.call("echo").send(vec![b' '; 11 << 20]).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Misuse(Misuse::ContentTooLarge { .. })), "{error}");

    assert_eq!(service.request::<u32>("echo", &5).await.unwrap(), 5);
    assert!(client.configure_service("bad", ServiceConfig::new("no port")).is_err());
}
