//! `/services` and what lies below it: several endpoints, some of them dead.

mod common;

use std::net::{SocketAddr, TcpListener};

use common::{Gateway, plimsoll, serve, until};
use plimsoll_tokio::{Ctx, Server};
use serde_json::Value;

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn gateway(addresses: &[SocketAddr], env: &[(&str, &str)]) -> Gateway {
    let all = addresses.iter().map(|address| format!("uw://{address}")).collect::<Vec<_>>().join(",");
    Gateway::start_with(&["--tls", "false", "--project-service", &all], env)
}

fn id(address: SocketAddr) -> String {
    format!("project-service@{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_alive_are_healthy_and_200() {
    let (one, two) = (serve("one").await, serve("two").await);
    let gateway = gateway(&[one.local_addr().tcp().unwrap(), two.local_addr().tcp().unwrap()], &[]);
    let health = gateway.curl("/services/health", &[]);
    let body = health.json();
    assert_eq!((health.status, &body["overall"]), (200, &"healthy".into()), "{body}");
    assert_eq!(body["summary"]["total"], 2, "{body}");
    let list = gateway.curl("/services", &[]).json();
    let instances = list["services"]["project-service"].as_array().unwrap();
    assert_eq!((instances.len(), &list["stats"]["servicesByType"]["project-service"]), (2, &2.into()));
    let found = instances
        .iter()
        .find(|instance| instance["id"] == id(one.local_addr().tcp().unwrap()).as_str())
        .unwrap();
    assert_eq!(
        (&found["protocol"], &found["port"]),
        (&"uw".into(), &one.local_addr().tcp().unwrap().port().into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_endpoint_of_two_is_degraded_and_503_while_requests_are_answered() {
    let (alive, dead) = (serve("alive").await, nobody());
    let gateway = gateway(&[dead, alive.local_addr().tcp().unwrap()], &[]);
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
    let env = [("LOAD_BALANCING_STRATEGY", "round_robin"), ("PROJECT_EXPLAIN", "64")];
    let gateway = gateway(&[one.local_addr().tcp().unwrap(), two.local_addr().tcp().unwrap()], &env);
    until(|| {
        let balancer = gateway.curl("/services/health", &[]).json();
        balancer["services"].as_array().unwrap().iter().all(|service| service["details"]["connections"] == 1)
    });
    let answers: Vec<String> = (0..4).map(|_| gateway.curl("/api/projects", &[]).body).collect();
    assert_eq!((&answers[0], &answers[1]), (&answers[2], &answers[3]));
    assert_ne!(answers[0], answers[1], "in turn");
    let stats = gateway.curl("/services/stats", &[]).json();
    assert_eq!(stats["loadBalancer"]["strategy"], "round_robin", "{stats}");
    assert_eq!(stats["circuitBreaker"][id(one.local_addr().tcp().unwrap())]["state"], "closed", "{stats}");
    for key in ["serviceManager", "loadBalancer", "healthCheck", "apiGateway", "circuitBreaker", "timestamp"]
    {
        assert!(!stats[key].is_null(), "{key} is missing in {stats}");
    }
    let explained = gateway.curl("/services/explain", &[]).json();
    let decisions = explained["decisions"].as_array().unwrap();
    let last = decisions.last().unwrap();
    let sentence = last["decision"].as_str().unwrap();
    assert!(sentence.contains("whose turn it was of 2 candidates by round_robin"), "{sentence}");
    assert_eq!(
        (&explained["enabled"], &explained["kept"], &last["kind"]),
        (&true.into(), &64.into(), &"pick".into())
    );
    let pick = &last["pick"];
    let address = if answers[3] == "\"one\"" {
        one.local_addr().tcp().unwrap()
    } else {
        two.local_addr().tcp().unwrap()
    };
    assert_eq!(pick["endpoint"], id(address), "{pick}");
    assert_eq!((&pick["strategy"], &pick["rule"]["name"]), (&"round_robin".into(), &"turn".into()), "{pick}");
    let candidates = pick["candidates"].as_array().unwrap();
    let ids: Vec<_> = candidates.iter().map(|candidate| candidate["endpoint"].as_str().unwrap()).collect();
    assert!(
        ids.len() == 2
            && ids.contains(&&*id(one.local_addr().tcp().unwrap()))
            && ids.contains(&&*id(two.local_addr().tcp().unwrap())),
        "{pick}"
    );
    for key in ["inFlight", "costMs", "weight", "score"] {
        assert!(candidates.iter().all(|candidate| candidate[key].is_number()), "{key} is missing in {pick}");
    }
    assert_eq!(candidates[0]["weight"], 1.0, "{pick}");
}

#[tokio::test(flavor = "multi_thread")]
async fn off_as_it_is_by_default_explain_says_how_to_turn_it_on() {
    let server = serve("one").await;
    let gateway = gateway(&[server.local_addr().tcp().unwrap()], &[]);
    assert_eq!(gateway.curl("/api/projects", &[]).status, 200);
    let explained = gateway.curl("/services/explain", &[]).json();
    assert_eq!((&explained["enabled"], explained["decisions"].as_array().unwrap().len()), (&false.into(), 0));
    let hint = explained["hint"].as_str().unwrap();
    assert!(hint.contains("PROJECT_EXPLAIN=64") && hint.contains("[services.project]"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_take_a_request_is_told_with_the_cause() {
    let (alive, dead) = (serve("alive").await, nobody());
    let gateway = gateway(&[alive.local_addr().tcp().unwrap(), dead], &[("PROJECT_EXPLAIN", "5")]);
    until(|| gateway.curl("/services/health", &[]).json()["summary"]["unhealthy"] == 1);
    for _ in 0..9 {
        assert_eq!(gateway.curl("/api/projects", &[]).status, 200);
    }
    let explained = gateway.curl("/services/explain", &[]).json();
    assert_eq!(explained["decisions"].as_array().unwrap().len(), 5, "no more than were asked for");
    let pick = &explained["decisions"][4]["pick"];
    assert_eq!((&pick["totalCandidates"], &pick["moreExcluded"]), (&1.into(), &0.into()), "{pick}");
    assert_eq!(pick["rule"]["name"], "only_candidate", "{pick}");
    let excluded = &pick["excluded"][0];
    assert_eq!(
        (&excluded["endpoint"], &excluded["cause"]),
        (&id(dead).into(), &"unreachable".into()),
        "{pick}"
    );
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
        ("PROJECT_EXPLAIN", "9"),
    ];
    let gateway = gateway(&[slow.local_addr().tcp().unwrap()], &env);
    let statuses: Vec<_> = (0..3).map(|_| gateway.curl("/api/projects", &[]).status).collect();
    assert_eq!(statuses, [504, 504, 503], "two failures open it");
    assert_eq!(gateway.curl("/services/health", &[]).json()["overall"], "unhealthy");
    let stats = gateway.curl("/services/stats", &[]).json();
    let breaker = &stats["circuitBreaker"][id(slow.local_addr().tcp().unwrap())];
    let whole = &stats["circuitBreaker"]["project-service"];
    for breaker in [breaker, whole] {
        assert_eq!(breaker["state"], "open", "{breaker}");
        let counts = ["totalRequests", "totalFailures", "failureCount", "totalSuccesses", "opened"];
        assert_eq!(counts.map(|key| breaker[key].as_u64().unwrap()), [2, 2, 2, 0, 1], "{breaker}");
        // RFC 3339 sorts as text.
        let [last, now, next] = [&breaker["lastFailureTime"], &stats["timestamp"], &breaker["nextAttempt"]]
            .map(|v| v.as_str().unwrap());
        assert!(last <= now && now < next, "{breaker} at {now}");
    }
    assert_eq!(whole["rejected"], 1, "it was refused by all breakers together: {whole}");
    assert_eq!(stats["loadBalancer"]["rejections"]["circuit_open"], 1, "{stats}");
    let metrics = &stats["loadBalancer"]["serviceMetrics"][id(slow.local_addr().tcp().unwrap())];
    assert_eq!((&metrics["totalRequests"], &metrics["errorRate"]), (&2.into(), &0.19.into()), "{metrics}");
    assert_eq!((&metrics["connections"], &metrics["activeConnections"]), (&1.into(), &0.into()), "{metrics}");
    assert!(metrics["averageResponseTime"].as_f64().unwrap() > 0.0, "{metrics}");
    let explained = gateway.curl("/services/explain", &[]).json();
    let decisions = explained["decisions"].as_array().unwrap();
    let trip = &decisions.iter().find(|decision| decision["kind"] == "trip").unwrap()["trip"];
    assert_eq!(
        (&trip["from"], &trip["to"], &trip["consecutiveFailures"]),
        (&"closed".into(), &"open".into(), &2.into())
    );
    let refused = &decisions.last().unwrap()["rejection"];
    assert_eq!(
        (&refused["code"], &refused["excluded"][0]["cause"]),
        (&"CIRCUIT_OPEN".into(), &"circuit_open".into())
    );
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    for line in [
        "ellie_circuit_breaker_state{service=\"project-service\"} 1",
        "ellie_service_failures_total{service=\"project-service\"} 2",
        "ellie_service_health{service=\"project-service\"} 0",
        "ellie_service_rejections_total{service=\"project-service\",reason=\"circuit_open\"} 1",
        "ellie_service_rejections_total{service=\"project-service\",reason=\"throttled\"} 0",
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
