//! Requests go to the project service through the pools of the service client, and so do its failures back.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Answer, Gateway, PATIENCE};
use plimsoll_tokio::{Ctx, HandlerError, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// A gateway in front of a project service at `address`.
fn gateway(address: SocketAddr, env: &[(&str, &str)]) -> Arc<Gateway> {
    let service = format!("uw://{address}");
    Arc::new(Gateway::start_with(&["--tls", "false", "--project-service", &service], env))
}

/// A project service whose methods wait for permission to end, and count how often they were begun.
#[derive(Clone)]
struct Gated {
    begun: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn new() -> Gated {
        Gated { begun: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    async fn answer(self, params: Value) -> Result<Value, HandlerError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await?.forget();
        Ok(params)
    }

    async fn serve(&self, address: &str) -> Server {
        let (list, create) = (self.clone(), self.clone());
        let builder = || {
            let (list, create) = (list.clone(), create.clone());
            Server::builder()
                .method("listProjects", move |params, _: Ctx| list.clone().answer(params))
                .method("createProject", move |params, _: Ctx| create.clone().answer(params))
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match builder().bind(address).await {
                Ok(server) => return server,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                // The one before it has yet to let go of the port.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn begun(&self, times: u32) {
        until(|| self.begun.load(Ordering::Relaxed) == times).await;
    }
}

async fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "it did not come to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn get(gateway: &Gateway) -> Answer {
    gateway.curl("/api/projects", &[])
}

fn begin_get(gateway: &Arc<Gateway>) -> JoinHandle<Answer> {
    let gateway = gateway.clone();
    spawn_blocking(move || get(&gateway))
}

fn begin_post(gateway: &Arc<Gateway>) -> JoinHandle<Answer> {
    let gateway = gateway.clone();
    spawn_blocking(move || gateway.json("POST", "/api/projects", r#"{"name":"x"}"#))
}

fn pool(gateway: &Gateway) -> Value {
    gateway.curl("/metrics", &[]).json()["uw_clients"]["project-service"].take()
}

#[test]
fn a_request_is_seen_in_the_figures_of_the_pool() {
    let gateway = Gateway::cleartext(&[]);
    assert_eq!(get(&gateway).status, 200);
    assert_eq!(gateway.json("PUT", "/api/projects/404", r#"{"name":"x"}"#).status, 404);
    let pool = pool(&gateway);
    assert_eq!(
        (&pool["requests"], &pool["succeeded"], &pool["failed"]["remote"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!((&pool["connections"], &pool["endpoints"]), (&1.into(), &1.into()), "{pool}");
    assert!(pool["bytes_in"].as_u64() > Some(100) && pool["bytes_out"].as_u64() > Some(50), "{pool}");
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    for line in [
        "plimsoll_service_health{service=\"project-service\"} 1",
        "plimsoll_service_requests_total{service=\"project-service\"} 2",
        "plimsoll_service_failures_total{service=\"project-service\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_listen_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("projects.sock").display().to_string();
    let echo = |params, _| async move { Ok(params) };
    let server = Server::builder().raw_method("listProjects", echo).bind(&socket).await.unwrap();
    let file = format!("[[services.project.endpoints]]\naddress = \"uw:{socket}\"\n");
    std::fs::write(dir.path().join("plimsoll.toml"), file).unwrap();
    let gateway = Gateway::start_in(dir, &["--tls", "false"], &[]);
    assert_eq!(gateway.curl("/api/projects?limit=2", &[]).body, r#"{"limit":2}"#);
    assert_eq!(gateway.curl("/health", &[]).json()["status"], "healthy");
    let services = gateway.curl("/services", &[]).body;
    assert!(services.contains(&format!("project-service@{socket}")), "{services}");
    server.shutdown(Duration::ZERO).await;
    until(|| gateway.curl("/health", &[]).status == 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_elsewhere_gets_params_and_its_answer_passes_byte_for_byte() {
    let server = Server::builder()
        .raw_method("listProjects", |params, _| async move { Ok(params) })
        .raw_method("createProject", |params, _| async move { Ok([b" ", &params[..], b" "].concat()) })
        .method("updateProject", |_: Value, _: Ctx| async move {
            Err::<(), _>(HandlerError::new("TEAPOT", "short and stout"))
        })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let gateway = gateway(server.local_addr().tcp().unwrap(), &[("PROJECT_MIN_CONNECTIONS", "3")]);
    assert_eq!(gateway.curl("/api/projects?limit=2&after=a%22b", &[]).body, r#"{"limit":2,"after":"a\"b"}"#);
    let created = gateway.json("POST", "/api/projects", r#"{ "name":1.0 }"#);
    assert_eq!((created.status, created.body.as_str()), (201, r#" {"project":{ "name":1.0 }} "#));
    let updated = gateway.json("PUT", "/api/projects/1", "{}");
    assert_eq!((updated.status, updated.code().as_str()), (502, "TEAPOT"));
    assert_eq!(gateway.curl("/health", &[]).status, 200);
    until(|| pool(&gateway)["connections"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_and_comes_back_costs_what_was_on_it() {
    let service = Gated::new();
    let server = service.serve("127.0.0.1:0").await;
    let address = server.local_addr().tcp().unwrap();
    let gateway = gateway(address, &[]);
    let lost = begin_post(&gateway);
    service.begun(1).await;
    server.shutdown(Duration::ZERO).await;
    let lost = lost.await.unwrap();
    assert_eq!((lost.status, lost.code().as_str()), (502, "BACKEND_LOST"));

    until(|| gateway.curl("/health", &[]).body.contains("refused")).await;
    let health = gateway.curl("/health", &[]);
    assert_eq!((health.status, &health.json()["status"]), (503, &"degraded".into()));
    let unreachable = get(&gateway);
    assert_eq!((unreachable.status, unreachable.code().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert_eq!(unreachable.header("retry-after"), Some("1"));

    service.gate.add_permits(1_000);
    let _server = service.serve(&address.to_string()).await;
    until(|| gateway.curl("/health", &[]).status == 200).await;
    assert_eq!(get(&gateway).status, 200);
    assert_eq!(service.begun.load(Ordering::Relaxed), 2, "what was lost is not sent again");
    let log = Arc::into_inner(gateway).unwrap().stop();
    let connected = format!("project-service: connected to {address}");
    assert_eq!(log.matches(&connected).count(), 2, "{log}");
    assert!(log.contains(&format!("project-service: no connection to {address}: the dial failed")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_run_twice_is_sent_again_when_the_service_is_back() {
    let service = Gated::new();
    let server = service.serve("127.0.0.1:0").await;
    let address = server.local_addr().tcp().unwrap();
    let gateway = gateway(address, &[]);
    let answer = begin_get(&gateway);
    service.begun(1).await;
    server.shutdown(Duration::ZERO).await;
    service.gate.add_permits(1);
    let _server = service.serve(&address.to_string()).await;
    assert_eq!(answer.await.unwrap().status, 200);
    assert_eq!(service.begun.load(Ordering::Relaxed), 2);
    assert_eq!(pool(&gateway)["retries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_too_slow_is_504_and_after_five_times_left_alone() {
    let server = Gated::new().serve("127.0.0.1:0").await;
    let gateway = gateway(server.local_addr().tcp().unwrap(), &[("PROJECT_REQUEST_TIMEOUT", "50ms")]);
    for _ in 0..5 {
        let late = get(&gateway);
        assert_eq!((late.status, late.code().as_str()), (504, "BACKEND_TIMEOUT"));
    }
    let open = get(&gateway);
    assert_eq!((open.status, open.code().as_str()), (503, "CIRCUIT_OPEN"));
    assert_eq!(open.header("retry-after"), Some("1"));
    let health = gateway.curl("/health", &[]);
    assert_eq!(health.status, 503);
    assert!(health.body.contains("failed too often"), "{}", health.body);
    let pool = pool(&gateway);
    assert_eq!((&pool["endpoints_out"], &pool["failed"]["timeout"]), (&1.into(), &5.into()), "{pool}");
    assert!(Arc::into_inner(gateway).unwrap().stop().contains("circuit breaker of 127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_answers_nonsense_is_502() {
    let server = Server::builder()
        .raw_method("listProjects", |_, _| async move { Ok(b"{x".to_vec()) })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let answer = get(&gateway(server.local_addr().tcp().unwrap(), &[]));
    assert_eq!((answer.status, answer.code().as_str()), (502, "BAD_BACKEND"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let gateway = gateway(address, &[]);
    let answer = gateway.json("POST", "/api/projects", "{}");
    assert_eq!((answer.status, answer.code().as_str()), (502, "BAD_BACKEND"));
    assert_eq!(pool(&gateway)["protocol_errors"], 1);
}

/// How often the project of each name was created.
type Created = Arc<Mutex<BTreeMap<String, u32>>>;

async fn serve_counting(address: &str, created: &Created) -> Server {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let created = created.clone();
        let create = move |params: Value, _: Ctx| {
            let name = params["project"]["name"].as_str().unwrap_or_default().to_string();
            *created.lock().unwrap().entry(name).or_default() += 1;
            async move {
                // Work, so that a kill finds requests that have begun and are not answered.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(params)
            }
        };
        match Server::builder().method("createProject", create).bind(address).await {
            Ok(server) => return server,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Creates projects one after another, until told to stop; each must be answered. How many were created, and how many
/// not.
async fn create_projects(gateway: Arc<Gateway>, client: usize, stop: Arc<AtomicBool>) -> (u32, u32) {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (mut done, mut failed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let request = http::Request::post(format!("{}/api/projects", gateway.base)).body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        let project = format!("{{\"name\":\"{client}-{}\"}}", done + failed);
        body.send_data(project.into(), true).unwrap();
        match timeout(PATIENCE, response).await.expect("an answer").unwrap().status().as_u16() {
            201 => done += 1,
            502 | 503 => failed += 1,
            status => panic!("{status}"),
        }
    }
    (done, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_under_load_runs_nothing_twice() {
    const CLIENTS: usize = 16;
    let created = Created::default();
    let mut server = serve_counting("127.0.0.1:0", &created).await;
    let address = server.local_addr().tcp().unwrap();
    let gateway = gateway(address, &[("LOG_LEVEL", "error")]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(create_projects(gateway.clone(), client, stop.clone())))
        .collect();
    let count = || created.lock().unwrap().len();
    for _ in 0..3 {
        let before = count();
        until(|| count() > before + 100).await;
        server.shutdown(Duration::ZERO).await;
        server = serve_counting(&address.to_string(), &created).await;
    }
    let before = count();
    until(|| count() > before + 100).await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        let (done, _failed) = client.await.unwrap();
        answered += done as usize;
    }
    let created = created.lock().unwrap();
    assert!(created.values().all(|&times| times == 1), "something ran twice");
    // What a kill cuts off has been created and is not answered: one of each client, three times.
    let least = created.len() - 3 * CLIENTS;
    assert!((least..=created.len()).contains(&answered), "{answered} answered, {} created", created.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_waits_for_are_seen_in_both_formats() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                // Magic, version, the id of the request, two bytes of content: twice.
                let answer = [b"UW\x01", &request[3..19], b"\x02\0\0\0{}"].concat();
                let _ = stream.write_all(&answer.repeat(2)).await;
            }
        }
    });
    let gateway = gateway(address, &[]);
    assert_eq!(get(&gateway).body, "{}");
    let pool = pool(&gateway);
    assert_eq!(
        (&pool["late_responses"], &pool["skipped_bytes"], &pool["pings"]),
        (&1.into(), &0.into(), &0.into())
    );
    let text = gateway.curl("/metrics", &["-H", "accept: text/plain"]).body;
    for line in [
        "plimsoll_service_late_responses_total{service=\"project-service\"} 1",
        "plimsoll_service_skipped_bytes_total{service=\"project-service\"} 0",
        "plimsoll_service_pings_total{service=\"project-service\"} 0",
        "plimsoll_service_received_bytes_total{service=\"project-service\"} 50",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}
