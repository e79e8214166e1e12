//! Guards in front of the service, set in the file: who is refused is told why and when to come again, and is counted.

mod common;

use std::fs;
use std::sync::Arc;

use common::{Answer, Gateway, serve, stuck, until};
use plimsoll_tokio::{Ctx, HandlerError, Server};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A gateway in front of these services, with a file that says the rest.
fn gateway(servers: &[&Server], file: &str, env: &[(&str, &str)]) -> Arc<Gateway> {
    let dir = tempfile::tempdir().unwrap();
    let addresses: Vec<_> = servers.iter().map(|server| format!("uw://{}", server.local_addr())).collect();
    fs::write(dir.path().join("plimsoll.toml"), file).unwrap();
    Arc::new(Gateway::start_in(dir, &["--tls", "false", "--project-service", &addresses.join(",")], env))
}

fn list(gateway: &Gateway) -> Answer {
    gateway.curl("/api/projects", &[])
}

fn pool(gateway: &Gateway) -> Value {
    gateway.curl("/metrics", &[]).json()["uw_clients"]["project-service"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_rate_limit_it_is_429_with_the_time_to_wait_and_the_service_still_counts_as_healthy() {
    let server = serve("here").await;
    let gateway = gateway(&[&server], "[services.project.rate_limit]\nrequests = 1\nperiod = \"1h\"\n", &[]);
    assert_eq!(list(&gateway).status, 200);
    let refused = list(&gateway);
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"), "{}", refused.body);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    assert_eq!(gateway.curl("/health", &[]).status, 200, "a ping that was not sent says nothing");
    let pool = pool(&gateway);
    assert_eq!(
        (&pool["rejections"]["rate_limited"], &pool["rejections"]["throttled"]),
        (&2.into(), &0.into())
    );
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    let line = "plimsoll_service_rejections_total{service=\"project-service\",reason=\"rate_limited\"} 2";
    assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_a_time_than_the_service_takes_are_503_until_one_ends() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let answer = move |_: Value, _: Ctx| {
        let gate = opened.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let server = Server::builder().method("listProjects", answer).bind("127.0.0.1:0").await.unwrap();
    let file = "[services.project.adaptive_concurrency]\nminimum = 1\nmaximum = 1\n";
    let gateway = gateway(&[&server], file, &[]);
    let first = spawn_blocking({
        let gateway = gateway.clone();
        move || list(&gateway)
    });
    until(|| pool(&gateway)["in_flight"] == 1);
    let refused = list(&gateway);
    assert_eq!((refused.status, refused.code().as_str()), (503, "CONCURRENCY_LIMITED"), "{}", refused.body);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(pool(&gateway)["rejections"]["limited"], 1);
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(list(&gateway).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_everything_is_asked_less() {
    let overloaded = |_: Value, _: Ctx| async { Err::<(), _>(HandlerError::new("OVERLOADED", "too much")) };
    let server = Server::builder().method("listProjects", overloaded).bind("127.0.0.1:0").await.unwrap();
    let file = "[services.project.throttle]\n[services.project.breaker]\nmode = \"count\"\n";
    let gateway = gateway(&[&server], file, &[("CIRCUIT_BREAKER_THRESHOLD", "100000")]);
    until(|| {
        let answer = list(&gateway);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.body);
        answer.code() == "THROTTLED"
    });
    assert!(pool(&gateway)["rejections"]["throttled"].as_u64().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_hedged_and_the_copy_that_wins_is_counted() {
    let (slow, fast) = (stuck().await, serve("fast").await);
    let file = "[services.project]\nstrategy = \"round_robin\"\n[services.project.hedging]\nvolume = 1\n\
                [services.project.outliers]\nenabled = false\n";
    let env = [("PROJECT_REQUEST_TIMEOUT", "2s"), ("CIRCUIT_BREAKER_THRESHOLD", "100000")];
    let gateway = gateway(&[&slow, &fast], file, &env);
    until(|| {
        list(&gateway);
        pool(&gateway)["hedges_won"].as_u64().unwrap() >= 1
    });
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    for name in ["plimsoll_service_hedges_total", "plimsoll_service_hedges_won_total"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{name} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_counted() {
    let mut servers = Vec::new();
    for _ in 0..16 {
        servers.push(serve("here").await);
    }
    let all: Vec<&Server> = servers.iter().collect();
    let gateway = gateway(&all, "[services.project]\nstrategy = \"prequal\"\n", &[]);
    until(|| list(&gateway).status == 200 && pool(&gateway)["probes"].as_u64().unwrap() >= 1);
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    let line = text.lines().find(|line| line.starts_with("plimsoll_service_probes_total{"));
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{text}");
}
