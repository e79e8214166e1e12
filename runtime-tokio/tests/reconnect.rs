//! Servers that come late, go, and come back.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_core::policy::backoff::Jitter;
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::service::client::StateEvent;
use plimsoll_tokio::{Cause, Ctx, Server, ServiceConfig};
use support::{connect, methods, until, within};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// An address where nobody listens yet.
async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

/// Tries again soon, and gives nobody a rest: servers here are expected to fail.
fn eager(address: &str) -> ServiceConfig {
    let mut config =
        ServiceConfig::new(address).reconnect_delay(Duration::from_millis(10)).breaker(breaker::Config {
            mode: breaker::Mode::Count { failures: 1_000_000.try_into().unwrap() },
            ..breaker::Config::default()
        });
    config.client.cluster.backoff.multiplier = Ratio::ONE;
    config.client.cluster.backoff.jitter = Jitter::None;
    config
}

#[tokio::test]
async fn a_server_that_comes_late_is_found_by_the_calls_that_wait_for_it() {
    let address = free_address().await;
    let (client, service) = connect(eager(&address));
    let mut events = client.events();
    let call = tokio::spawn(async move { service.request::<u32>("echo", &1).await });
    let event = within("the refusal", events.next()).await.unwrap();
    assert!(matches!(event.event, StateEvent::Closed { .. }), "{event:?}");
    assert_eq!((&*event.service, event.endpoint.as_deref()), ("test", Some(&*address)));
    let _server = methods().bind(&address).await.unwrap();
    assert_eq!(within("the answer", call).await.unwrap().unwrap(), 1);
    assert_eq!(client.connection_status().await["test"].connections, 1);
}

/// How often each key was executed.
type Executions = Arc<Mutex<BTreeMap<u32, u32>>>;

async fn counting(address: &str, executions: &Executions) -> Server {
    let executions = executions.clone();
    let count = move |key: u32, _: Ctx| {
        *executions.lock().unwrap().entry(key).or_default() += 1;
        async move {
            tokio::task::yield_now().await;
            Ok(key)
        }
    };
    let bind = || methods().method("count", count.clone()).bind(address);
    loop {
        match bind().await {
            Ok(server) => return server,
            // The old listener closes when its driver is next polled.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn restart_under_load(idempotent: bool) -> (Executions, BTreeMap<u32, Result<u32, Cause>>) {
    let executions = Executions::default();
    let address = free_address().await;
    let server = counting(&address, &executions).await;
    let (client, service) = connect(eager(&address).max_connections(3).timeout(Duration::from_secs(30)));
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let service = service.clone();
        callers.spawn(async move {
            let mut results = BTreeMap::new();
            for key in caller * 1_000..caller * 1_000 + 300 {
                let call = service.call("count");
                let call = if idempotent { call.idempotent() } else { call };
                results.insert(key, call.json(&key).await.map_err(|error| error.cause));
            }
            results
        });
    }
    let mut server = Some(server);
    for _ in 0..5 {
        let before = client.metrics("test").await.unwrap().metrics.succeeded;
        let going = async || client.metrics("test").await.unwrap().metrics.succeeded > before + 50;
        let done = || callers.is_empty();
        until("some answers", || async { done() || going().await }).await;
        drop(server.take());
        server = Some(within("the port", counting(&address, &executions)).await);
    }
    let mut all = BTreeMap::new();
    while let Some(results) = within("the callers", callers.join_next()).await {
        all.extend(results.unwrap());
    }
    (executions, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_restarts_every_call_ends_and_none_runs_twice() {
    let (executions, results) = restart_under_load(false).await;
    assert_eq!(results.len(), 8 * 300);
    let executions = executions.lock().unwrap();
    for (key, result) in results {
        let times = executions.get(&key).copied().unwrap_or(0);
        match result {
            Ok(answer) => assert_eq!((answer, times), (key, 1)),
            Err(Cause::Lost { sent: true }) => assert!(times <= 1, "{key} ran {times} times"),
            Err(other) => panic!("{key}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_restarts_every_idempotent_call_is_answered() {
    let (executions, results) = restart_under_load(true).await;
    let executions = executions.lock().unwrap();
    let lost = results.values().filter(|result| result.is_err()).count();
    // At most three attempts are made: only who was hit three times may be lost.
    assert!(lost <= 8, "{lost} lost");
    assert!(results.iter().all(|(key, result)| result.is_err() || executions[key] >= 1));
}
