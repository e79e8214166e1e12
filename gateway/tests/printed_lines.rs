//! What the gateway prints at its start can be pasted into a shell.

mod common;

use std::process::Command;

use common::Gateway;

fn run_all(gateway: &Gateway) -> Vec<String> {
    assert!(gateway.curl_lines.len() >= 6, "{:?}", gateway.curl_lines);
    let run = |line: &String| {
        assert!(line.starts_with("curl "), "{line}");
        let line = line.replacen("curl ", "curl -sS --fail -w '\\n%{http_version}' ", 1);
        let output = Command::new("sh").args(["-c", &line]).current_dir(gateway.dir.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.strip_suffix("\n2").unwrap_or_else(|| panic!("{line} did not speak HTTP/2: {text}")).to_string()
    };
    gateway.curl_lines.iter().map(run).collect()
}

#[test]
fn every_printed_line_works_over_tls() {
    let answers = run_all(&Gateway::start());
    assert!(answers[0].contains(r#""status":"healthy""#), "{}", answers[0]);
    assert!(answers[1].contains(r#""requests_processed":1"#), "{}", answers[1]);
    assert!(answers[2].contains("plimsoll_http_requests_total{"), "{}", answers[2]);
    assert!(answers[3].contains(r#""totalServices":1"#), "{}", answers[3]);
    assert!(answers[4].contains(r#""overall":"healthy""#), "{}", answers[4]);
    assert!(answers[5].contains(r#""strategy":"p2c_ewma""#), "{}", answers[5]);
    assert!(answers[6].contains(r#""enabled":false"#), "{}", answers[6]);
    assert!(answers[7].starts_with(r#"{"projects":[{"id":"1""#), "{}", answers[7]);
    assert!(answers[8].contains("Harbour") && answers[9].contains("Quay"), "{answers:?}");
}

#[test]
fn every_printed_line_works_in_cleartext_and_the_log_warns() {
    let gateway = Gateway::cleartext(&[]);
    run_all(&gateway);
    assert!(gateway.stop().contains("TLS is off"));
}

#[test]
fn a_certificate_directory_with_an_odd_name_is_quoted() {
    run_all(&Gateway::start_with(&["--cert-dir", "a dir's $HOME"], &[]));
}
