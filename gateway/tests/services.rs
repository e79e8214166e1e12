//! `/services` and what lies below it: several endpoints, some of them dead.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use common::{Gateway, PATIENCE, plimsoll};
use plimsoll_tokio::{Ctx, Server};
use serde_json::Value;

/// A project service that answers with its own name.
async fn serve(name: &'static str) -> Server {
    Server::builder()
        .method("listProjects", move |_: Value, _: Ctx| async move { Ok(name) })
        .bind("127.0.0.1:0")
        .await
        .unwrap()
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn gateway(addresses: &[SocketAddr], env: &[(&str, &str)]) -> Gateway {
    let all = addresses.iter().map(|address| format!("uw://{address}")).collect::<Vec<_>>().join(",");
    Gateway::start_with(&["--tls", "false", "--project-service", &all], env)
}

fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "it did not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn id(address: SocketAddr) -> String {
    format!("project-service@{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_alive_are_healthy_and_200() {
    let (one, two) = (serve("one").await, serve("two").await);
    let gateway = gateway(&[one.local_addr(), two.local_addr()], &[]);
    let health = gateway.curl("/services/health", &[]);
    let body = health.json();
    assert_eq!((health.status, &body["overall"]), (200, &"healthy".into()), "{body}");
    assert_eq!(body["summary"]["total"], 2, "{body}");
    let list = gateway.curl("/services", &[]).json();
    let instances = list["services"]["project-service"].as_array().unwrap();
    assert_eq!((instances.len(), &list["stats"]["servicesByType"]["project-service"]), (2, &2.into()));
    let found = instances.iter().find(|instance| instance["id"] == id(one.local_addr()).as_str()).unwrap();
    assert_eq!((&found["protocol"], &found["port"]), (&"uw".into(), &one.local_addr().port().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_endpoint_of_two_is_degraded_and_503_while_requests_are_answered() {
    let (alive, dead) = (serve("alive").await, nobody());
    let gateway = gateway(&[dead, alive.local_addr()], &[]);
    until(|| gateway.curl("/services/health", &[]).status == 503);
    let body = gateway.curl("/services/health", &[]).json();
    assert_eq!((&body["overall"], &body["summary"]["unhealthy"]), (&"degraded".into(), &1.into()), "{body}");
    for service in body["services"].as_array().unwrap() {
        let expected = if service["id"] == id(dead).as_str() { "unhealthy" } else { "healthy" };
        assert_eq!(service["status"], expected, "{body}");
        assert_eq!(service["error"].is_null(), expected == "healthy", "{body}");
    }
    for _ in 0..10 {
        assert_eq!(gateway.curl("/api/projects", &[]).body, r#""alive""#);
    }
    let list = gateway.curl("/services", &[]).json();
    assert_eq!(
        (&list["stats"]["healthyServices"], &list["stats"]["unhealthyServices"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn all_endpoints_dead_are_unhealthy_and_503() {
    let gateway = gateway(&[nobody(), nobody()], &[]);
    until(|| gateway.curl("/services/health", &[]).json()["overall"] == "unhealthy");
    assert_eq!(gateway.curl("/services/health", &[]).status, 503);
    until(|| gateway.curl("/api/projects", &[]).status == 503);
    let stats = gateway.curl("/services/stats", &[]).json();
    assert_eq!(stats["serviceManager"]["failedServices"], 1, "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_of_the_environment_is_in_force_and_explained() {
    let (one, two) = (serve("one").await, serve("two").await);
    let env = [("LOAD_BALANCING_STRATEGY", "round_robin")];
    let gateway = gateway(&[one.local_addr(), two.local_addr()], &env);
    until(|| {
        let balancer = gateway.curl("/services/health", &[]).json();
        balancer["services"].as_array().unwrap().iter().all(|service| service["details"]["connections"] == 1)
    });
    let answers: Vec<String> = (0..4).map(|_| gateway.curl("/api/projects", &[]).body).collect();
    assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[3]));
    assert_ne!(answers[0], answers[1], "in turn");
    let stats = gateway.curl("/services/stats", &[]).json();
    assert_eq!(stats["loadBalancer"]["strategy"], "round_robin", "{stats}");
    assert_eq!(stats["circuitBreaker"][id(one.local_addr())]["state"], "closed", "{stats}");
    for key in ["serviceManager", "loadBalancer", "healthCheck", "apiGateway", "circuitBreaker", "timestamp"]
    {
        assert!(!stats[key].is_null(), "{key} is missing in {stats}");
    }
    let explained = gateway.curl("/services/explain", &[]).body;
    assert!(explained.contains("whose turn it was of 2 candidates by round_robin"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_seen_in_every_surface() {
    let slow = Server::builder()
        .method("listProjects", |_: Value, _: Ctx| std::future::pending::<Result<(), _>>())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let env = [
        ("CIRCUIT_BREAKER_THRESHOLD", "2"),
        ("PROJECT_REQUEST_TIMEOUT", "50ms"),
        ("METRICS_PREFIX", "ellie_"),
    ];
    let gateway = gateway(&[slow.local_addr()], &env);
    let statuses: Vec<_> = (0..3).map(|_| gateway.curl("/api/projects", &[]).status).collect();
    assert_eq!(statuses, [504, 504, 503], "two failures open it");
    assert_eq!(gateway.curl("/services/health", &[]).json()["overall"], "unhealthy");
    let stats = gateway.curl("/services/stats", &[]).json();
    assert_eq!(stats["circuitBreaker"][id(slow.local_addr())]["state"], "open", "{stats}");
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    for line in [
        "ellie_circuit_breaker_state{service=\"project-service\"} 1",
        "ellie_service_failures_total{service=\"project-service\"} 2",
        "ellie_service_health{service=\"project-service\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    for start in
        ["ellie_service_response_time_ms{service=\"project-service\"} ", "ellie_uptime_seconds{service="]
    {
        assert!(text.lines().any(|l| l.starts_with(start)), "{start} is missing in\n{text}");
    }
}

#[test]
fn a_wrong_value_in_the_environment_ends_the_start_with_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let output = plimsoll(dir.path()).env("LOAD_BALANCING_STRATEGY", "fastest").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    assert!(error.contains("LOAD_BALANCING_STRATEGY=fastest") && error.contains("p2c_ewma"), "{error}");
}
