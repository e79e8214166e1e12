//! Development certificates, and TLS as clients see it.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Gateway, curl, plimsoll};

#[test]
fn certificates_are_made_once_with_keys_for_the_owner_alone() {
    let gateway = Gateway::start();
    let certs = gateway.dir.path().join("certs");
    for key in ["ca-key.pem", "server-key.pem"] {
        assert_eq!(fs::metadata(certs.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    let read = |dir: &std::path::Path| {
        ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"]
            .map(|name| fs::read(dir.join("certs").join(name)).unwrap())
    };
    let first = read(gateway.dir.path());
    let Gateway { running, dir, .. } = gateway;
    drop(running);
    let again = Gateway::start_in(dir, &[], &[]);
    assert_eq!(read(again.dir.path()), first);
    assert_eq!(again.curl("/health", &[]).status, 200);
}

#[test]
fn every_loopback_name_is_verified_by_the_ca_and_by_no_other() {
    let (gateway, other) = (Gateway::start(), Gateway::start());
    let port = gateway.base.rsplit(':').next().unwrap().to_string();
    // Containers often have no IPv6; the gateway then serves IPv4 alone.
    let v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for host in ["localhost", "127.0.0.1"].into_iter().chain(v6.then_some("[::1]")) {
        let url = format!("https://{host}:{port}/health");
        let output = curl(gateway.dir.path(), &["--http2", "--cacert", "certs/ca.pem", &url]);
        assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output =
        curl(other.dir.path(), &["--http2", "--cacert", "certs/ca.pem", &format!("{}/health", gateway.base)]);
    assert_eq!(output.status.code(), Some(60), "curl must not verify a stranger");
}

#[test]
fn tls_1_3_is_chosen_1_2_is_served_and_1_1_is_not() {
    let gateway = Gateway::start();
    let version = |max: &str| {
        let url = format!("{}/health", gateway.base);
        let args = ["--http2", "--cacert", "certs/ca.pem", "--tls-max", max, "-v", &url];
        let output = curl(gateway.dir.path(), &args);
        output.status.success().then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(version("1.3").unwrap().contains("SSL connection using TLSv1.3"));
    assert!(version("1.2").unwrap().contains("SSL connection using TLSv1.2"));
    assert_eq!(version("1.1"), None);
}

#[test]
fn certificates_of_ones_own_are_served_by_path() {
    let source = Gateway::start();
    let certs = source.dir.path().join("certs");
    let (cert, key) = (certs.join("server.pem"), certs.join("server-key.pem"));
    let gateway = Gateway::start_with(
        &["--cert-file", cert.to_str().unwrap(), "--key-file", key.to_str().unwrap()],
        &[],
    );
    assert!(!gateway.dir.path().join("certs").exists(), "no development certificates are made beside them");
    let ca = certs.join("ca.pem");
    let output = curl(
        gateway.dir.path(),
        &["--http2", "--cacert", ca.to_str().unwrap(), &format!("{}/health", gateway.base)],
    );
    assert!(output.status.success());
}

#[test]
fn a_key_of_another_certificate_is_an_error_at_the_start() {
    let (a, b) = (Gateway::start(), Gateway::start());
    let cert = a.dir.path().join("certs/server.pem");
    let key = b.dir.path().join("certs/server-key.pem");
    let output =
        plimsoll(a.dir.path()).arg("--cert-file").arg(&cert).arg("--key-file").arg(&key).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("do not go together"), "{message}");
}
