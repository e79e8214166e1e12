//! What happens to endpoints is logged in sentences, and is told to whoever asks.

mod common;

use std::fs;

use common::{Gateway, serve, stuck, until};
use serde_json::Value;

fn gateway(file: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plimsoll.toml"), file).unwrap();
    Gateway::start_in(dir, &["--tls", "false"], &[("PROJECT_REQUEST_TIMEOUT", "50ms")])
}

/// The `kind` of decision that was made, when it has been.
fn decided(gateway: &Gateway, kind: &str) -> Option<Value> {
    let told = gateway.curl("/services/explain", &[]).json();
    let mut all = told["decisions"].as_array()?.iter();
    Some(all.find(|decision| decision["kind"] == kind)?[kind].clone())
}

const EJECTING: &str = r#"
[services.project]
strategy = "round_robin"
explain = 1000
[services.project.outliers]
consecutive = 2
most = "50%"
sweep = "100ms"
base = "200ms"
longest = "200ms"
[services.project.breaker]
mode = "count"
failure_threshold = 100000
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_ejection_is_explained_as_data_and_logged_with_its_end_and_the_panic_that_it_causes() {
    let (bad, good) = (stuck().await, serve("projects").await);
    let (bad, good) = (bad.local_addr().tcp().unwrap(), good.local_addr().tcp().unwrap());
    let gateway = gateway(&format!(
        "{EJECTING}[services.project.panic]\nthreshold = \"100%\"\n\
         [[services.project.endpoints]]\naddress = \"uw://{bad}\"\n\
         [[services.project.endpoints]]\naddress = \"uw://{good}\"\n"
    ));
    let mut ejection = None;
    until(|| {
        gateway.curl("/api/projects", &[]);
        ejection = decided(&gateway, "ejection");
        ejection.is_some()
    });
    let ejection = ejection.unwrap();
    assert_eq!(ejection["endpoint"], format!("project-service@{bad}"), "{ejection}");
    assert_eq!(
        (&ejection["cause"]["name"], &ejection["cause"]["failures"]),
        (&"consecutive".into(), &2.into())
    );
    assert_eq!((&ejection["out"], &ejection["of"]), (&1.into(), &2.into()), "{ejection}");
    let is_back = || {
        let stats = gateway.curl("/services/stats", &[]).json();
        stats["circuitBreaker"][format!("project-service@{bad}")]["ejected"] == false
    };
    until(is_back);
    let log = gateway.stop();
    for line in [
        format!("{bad} serves worse than the others and is left out for a while: 2 failures in a row"),
        format!("{bad} is no longer left out"),
        "too few endpoints of priority 0 serve well; requests go to all of them now".into(),
        "enough endpoints of priority 0 serve again; its panic is over".into(),
    ] {
        assert!(log.contains(&line), "{line} is missing in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_panics_and_asks_nobody_is_503_with_a_code_of_its_own() {
    let (bad, good) = (stuck().await, serve("projects").await);
    let gateway = gateway(&format!(
        "{}[services.project.panic]\nthreshold = \"100%\"\nmode = \"none\"\n\
         [[services.project.endpoints]]\naddress = \"uw://{}\"\n\
         [[services.project.endpoints]]\naddress = \"uw://{}\"\n",
        EJECTING.replace("200ms", "1m"),
        bad.local_addr().tcp().unwrap(),
        good.local_addr().tcp().unwrap()
    ));
    until(|| gateway.curl("/api/projects", &[]).status == 503);
    let refused = gateway.curl("/api/projects", &[]);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("PANICKED", Some("1")));
    assert_eq!(decided(&gateway, "rejection").unwrap()["code"], "PANICKED");
    let log = gateway.stop();
    assert!(
        log.contains("too few endpoints of priority 0 serve well; none of them gets requests now"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_logged_with_what_each_level_takes_now() {
    let (bad, good) = (stuck().await, serve("projects").await);
    let gateway = gateway(&format!(
        "[services.project.breaker]\nfailure_threshold = 2\n\
         [[services.project.endpoints]]\naddress = \"uw://{}\"\n\
         [[services.project.endpoints]]\naddress = \"uw://{}\"\npriority = 1\n",
        bad.local_addr().tcp().unwrap(),
        good.local_addr().tcp().unwrap()
    ));
    until(|| gateway.curl("/api/projects", &[]).status == 200);
    let log = gateway.stop();
    let line = "requests go to other priority levels than before: priority 1 takes 100 %";
    assert!(log.contains(line), "{line} is missing in\n{log}");
}
