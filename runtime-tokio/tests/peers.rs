//! Peers in another language, written from the description of the wire alone.

mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::error::ProtocolError;
use plimsoll_core::wire::uw::Mode;
use plimsoll_tokio::{Cause, Service, ServiceConfig};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use support::{connect, methods, serve, within};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

fn python(script: &str) -> Command {
    let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers");
    let mut command = Command::new("python3");
    command.arg(peers.join(script)).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

fn start(command: &mut Command) -> Child {
    command.spawn().expect("these tests run peers written in Python: python3 must be installed")
}

/// Tries one thing on a server of ours.
async fn passes(scenario: &str) {
    passes_on(scenario, Mode::Strict, &[]).await;
}

async fn passes_on(scenario: &str, mode: Mode, arguments: &[&str]) {
    let limits = plimsoll_core::service::server::Config { mode, ..Default::default() };
    let server = serve(methods().limits(limits)).await;
    let address = server.local_addr().to_string();
    let peer = start(python("uw_client.py").args([&address, scenario]).args(arguments));
    let done = within(scenario, peer.wait_with_output()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

macro_rules! scenarios {
    ($($test:ident: $scenario:literal,)*) => {
        $(#[tokio::test]
        async fn $test() {
            passes($scenario).await;
        })*
    };
}

scenarios! {
    pings_are_answered: "ping",
    requests_may_come_byte_by_byte: "byte-by-byte",
    five_hundred_requests_may_be_pipelined: "pipelined",
    bodies_of_three_mebibytes_come_back: "big-bodies",
    a_quick_answer_does_not_wait_for_a_slow_one: "out-of-order",
    errors_are_told_in_the_shape_of_the_wire: "errors",
    who_half_closes_is_still_answered: "half-closed",
    half_a_frame_costs_its_connection: "half-frame",
    silent_connections_disturb_nobody: "silent",
    a_slow_reader_disturbs_nobody: "slow-reader",
    garbage_costs_its_connection: "garbage",
    another_version_costs_its_connection: "wrong-version",
    an_absurd_length_costs_its_connection: "oversized",
}

#[tokio::test]
async fn a_server_that_resynchronises_goes_on_after_garbage() {
    for scenario in ["garbage", "wrong-version", "oversized"] {
        passes_on(scenario, Mode::Resync, &["--resync"]).await;
    }
}

/// A certificate for this machine, which is its own authority, in files; for a server and for a client of ours.
struct Tls {
    dir: TempDir,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("cert.pem"), &cert).unwrap();
        std::fs::write(dir.path().join("both.pem"), format!("{cert}{key}")).unwrap();
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.into()], key);
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        Tls { dir, server: Arc::new(server.unwrap()), client: Arc::new(client) }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }
}

#[tokio::test]
async fn a_stranger_speaks_tls_with_a_server_of_ours() {
    let tls = Tls::new();
    let server = serve(methods().tls(tls.server.clone())).await;
    let (address, ca) = (server.local_addr().to_string(), tls.file("cert.pem"));
    for scenario in
        ["ping", "byte-by-byte", "pipelined", "errors", "half-frame", "silent", "slow-reader", "garbage"]
    {
        let peer = start(python("uw_client.py").args([&address, scenario, "--tls-ca", &ca, "--count", "50"]));
        let done = within(scenario, peer.wait_with_output()).await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
}

#[tokio::test]
async fn a_client_of_ours_speaks_tls_with_a_stranger() {
    let tls = Tls::new();
    for mode in [&["--mode", "reversed", "--batch", "50"][..], &["--mode", "late"], &["--mode", "dribble"]] {
        let (_peer, config) = server(&[mode, &["--tls", &tls.file("both.pem")]].concat()).await;
        let (_client, service) = connect(config.max_connections(1).tls(tls.client.clone()));
        assert_all_answered(calls(&service, 50).await);
    }
    let (_peer, config) = server(&["--tls", &tls.file("both.pem")]).await;
    let (_client, service) = connect(config.tls(tls.client.clone()));
    let text = "0123456789abcdef".repeat(3 * 65_536);
    assert!(service.request::<String>("echo", &text).await.unwrap() == text);
}

/// A server that is no friend of ours, and a client of it. It goes when the child is dropped.
async fn server(arguments: &[&str]) -> (Child, ServiceConfig) {
    let mut peer = start(python("uw_server.py").args(["--lifetime", "60"]).args(arguments));
    let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
    let line =
        within("the peer to listen", lines.next_line()).await.unwrap().expect("it prints where it listens");
    let port: u16 =
        line.strip_prefix("LISTENING ").and_then(|port| port.parse().ok()).expect("LISTENING port");
    (peer, ServiceConfig::new(format!("127.0.0.1:{port}")))
}

/// What a call comes to, many times at once.
async fn calls(service: &Service, count: u32) -> Vec<(u32, Result<u32, Cause>)> {
    let mut calls = JoinSet::new();
    for n in 0..count {
        let service = service.clone();
        calls
            .spawn(async move { (n, service.request::<u32>("echo", &n).await.map_err(|error| error.cause)) });
    }
    within("the calls", calls.join_all()).await
}

#[track_caller]
fn assert_all_answered(results: Vec<(u32, Result<u32, Cause>)>) {
    for (n, result) in results {
        assert_eq!(result, Ok(n));
    }
}

#[tokio::test]
async fn a_stranger_is_understood() {
    let (_peer, config) = server(&[]).await;
    let (_client, service) = connect(config);
    assert_all_answered(calls(&service, 500).await);
    let text = "0123456789abcdef".repeat(3 * 65_536);
    assert!(service.request::<String>("echo", &text).await.unwrap() == text);
    let error =
        service.request::<Value>("fail", &json!({"code": "TEAPOT", "message": "ü"})).await.unwrap_err();
    assert_eq!(error.cause, Cause::Remote { code: "TEAPOT".into(), message: "ü".into() });
    let error = service.request::<Value>("not_json", &json!({})).await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotJson(_)), "{error}");
}

#[tokio::test]
async fn answers_may_come_in_any_order_late_or_in_pieces() {
    for mode in [&["--mode", "reversed", "--batch", "50"][..], &["--mode", "late"], &["--mode", "dribble"]] {
        let (_peer, config) = server(mode).await;
        let (_client, service) = connect(config.max_connections(1));
        assert_all_answered(calls(&service, 50).await);
    }
}

#[tokio::test]
async fn answers_that_nobody_waits_for_are_counted_and_given_to_nobody() {
    for mode in ["twice", "stranger"] {
        let (_peer, config) = server(&["--mode", mode]).await;
        let (client, service) = connect(config.max_connections(1));
        assert_all_answered(calls(&service, 50).await);
        assert_all_answered(calls(&service, 1).await);
        let late = client.metrics("test").await.unwrap().metrics.late_responses;
        assert!(late >= 50, "{mode}: {late}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_rules_costs_its_connection() {
    let oversized = ProtocolError::TooLarge { len: u64::from(u32::MAX), limit: 10 << 20 };
    for (mode, error) in [
        ("garbage", ProtocolError::BadMagic),
        ("wrong-version", ProtocolError::BadVersion(9)),
        ("oversized", oversized),
    ] {
        let (_peer, config) = server(&["--mode", mode, "--after", "1"]).await;
        let (client, service) = connect(config.max_connections(1));
        assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1);
        let failed = service.request::<u32>("echo", &2).await.unwrap_err();
        assert_eq!(failed.cause, Cause::Protocol(error), "{mode}");
        assert_eq!(client.metrics("test").await.unwrap().metrics.protocol_errors, 1);
    }
}

#[tokio::test]
async fn a_server_that_goes_leaves_each_call_with_an_end() {
    for mode in ["cut", "close", "reset", "half-close"] {
        let (_peer, config) = server(&["--mode", mode, "--after", "3"]).await;
        let (_client, service) = connect(config.max_connections(1).timeout(Duration::from_secs(5)));
        for (n, result) in calls(&service, 20).await {
            assert!(
                matches!(result, Ok(m) if m == n) || result == Err(Cause::Lost { sent: true }),
                "{mode}: {result:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_leaves_each_call_with_a_timeout() {
    for mode in ["silent", "deaf"] {
        let (_peer, config) = server(&["--mode", mode]).await;
        let (_client, service) = connect(config.timeout(Duration::from_millis(300)));
        for (_, result) in calls(&service, 20).await {
            assert!(matches!(result, Err(Cause::Timeout { .. })), "{mode}: {result:?}");
        }
    }
}
