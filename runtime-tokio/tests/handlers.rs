//! Handlers that fail, panic, or wait.

mod support;

use plimsoll_tokio::{Cause, Ctx, HandlerError};
use serde_json::Value;
use support::{config, connect, methods, serve, within};
use tokio::task::{JoinSet, yield_now};

async fn code_of(service: &plimsoll_tokio::Service, method: &str) -> String {
    match within("an error", service.request::<Value>(method, &())).await.unwrap_err().cause {
        Cause::Remote { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request() {
    let server = methods()
        .method("at-once", |_: Value, _: Ctx| -> std::future::Ready<Result<(), HandlerError>> {
            panic!("expected")
        })
        .method("in-place", |_: Value, _: Ctx| async move {
            if true {
                panic!("expected");
            }
            Ok(())
        })
        .method("later", |_: Value, _: Ctx| async move {
            yield_now().await;
            if true {
                panic!("expected");
            }
            Ok(())
        });
    let server = serve(server).await;
    let (_client, service) = connect(config(&server));
    for method in ["at-once", "in-place", "later", "later"] {
        assert_eq!(code_of(&service, method).await, "INTERNAL_ERROR", "{method}");
    }
    assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1);
}

#[tokio::test]
async fn an_error_behind_a_question_mark_is_a_failed_execution() {
    let server = methods().method("parse", |_: Value, _: Ctx| async move { Ok("x".parse::<u32>()?) });
    let server = serve(server).await;
    let (_client, service) = connect(config(&server));
    assert_eq!(code_of(&service, "parse").await, "EXECUTION_FAILED");
}

#[tokio::test]
async fn handlers_that_wait_are_answered_each_with_their_own() {
    let server = methods().method("slow", |n: u32, _: Ctx| async move {
        for _ in 0..n % 5 {
            yield_now().await;
        }
        Ok(n)
    });
    let server = serve(server).await;
    let (_client, service) = connect(config(&server));
    for _ in 0..3 {
        let mut calls = JoinSet::new();
        for n in 0..700 {
            let service = service.clone();
            calls.spawn(async move { assert_eq!(service.request::<u32>("slow", &n).await.unwrap(), n) });
        }
        while let Some(done) = within("an answer", calls.join_next()).await {
            done.unwrap();
        }
    }
}
