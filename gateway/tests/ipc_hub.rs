//! `plimsoll hub`: what it says, where it listens, and how it ends.

mod common;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::ipc::{Hub, Raw, answer};
use common::{Answer, curl, plimsoll, until};
use serde_json::{Value, json};

/// Of one that should not start.
fn refused(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = plimsoll(dir).arg("hub").args(args).output().unwrap();
    assert!(stdout.is_empty(), "{stdout:?}");
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn services_call_each_other_by_name() {
    let hub = Hub::start(&[]);
    let mut orders = hub.register("orders", &[]);
    let mut users = hub.register("users", &["get"]);
    orders.begin("1", "users", "get", &json!({ "id": 7 }));
    let call = users.receive();
    assert_eq!((&call["from"], &call["params"]["id"]), (&"orders".into(), &7.into()));
    users.send(&answer(&call, &json!({ "name": "Ada" })));
    let response = orders.receive();
    assert_eq!((&response["id"], &response["status"]), (&"1".into(), &"success".into()));
    assert_eq!(response["data"], json!({ "name": "Ada" }));
}

#[test]
fn what_cannot_be_passed_on_is_answered_at_once() {
    let hub = Hub::start(&[]);
    let mut orders = hub.register("orders", &[]);
    let users = hub.register("users", &["get"]);
    assert_eq!(orders.call("1", "nobody", "get", &Value::Null)["error"]["code"], "SERVICE_NOT_FOUND");
    assert_eq!(orders.call("2", "users", "put", &Value::Null)["error"]["code"], "METHOD_NOT_FOUND");
    orders.begin("3", "users", "get", &Value::Null);
    drop(users);
    assert_eq!(orders.receive()["error"]["code"], "CONNECTION_LOST");
}

#[test]
fn a_call_takes_no_longer_than_the_hub_allows() {
    for timeout in ["50", "50ms"] {
        let hub = Hub::start(&["--timeout", timeout]);
        let mut orders = hub.register("orders", &[]);
        let _users = hub.register("users", &["get"]);
        assert_eq!(orders.call("1", "users", "get", &Value::Null)["error"]["code"], "TIMEOUT");
    }
}

#[test]
fn a_service_that_is_silent_for_three_heartbeats_is_gone() {
    let hub = Hub::start(&["--heartbeat", "20"]);
    assert!(hub.register("users", &[]).ends());
}

#[test]
fn a_message_is_no_larger_than_the_hub_allows() {
    let hub = Hub::start(&["--max-frame", "1KB"]);
    hub.echo("users");
    let mut orders = hub.register("orders", &[]);
    assert_eq!(orders.call("1", "users", "echo", &"x".repeat(700).into())["status"], "success");
    orders.begin("2", "users", "echo", &"x".repeat(1_024).into());
    assert!(orders.ends());
}

#[test]
fn only_its_user_may_connect_unless_it_is_told_otherwise() {
    assert_eq!(mode(&Hub::start(&[]).socket), 0o600);
    assert_eq!(mode(&Hub::start(&["--mode", "660"]).socket), 0o660);
}

#[cfg(target_os = "linux")]
#[test]
fn processes_of_another_user_are_turned_away_where_asked_to() {
    let uid = fs::metadata("/proc/self").unwrap().uid();
    Hub::start(&["--require-uid", &uid.to_string()]).register("users", &[]);
    let hub = Hub::start(&["--require-uid", &(uid + 1).to_string()]);
    let mut stranger = hub.connect();
    // It may be cut off before it has said a word.
    let _ = stranger.send_body(br#"{"type":"REGISTER","serviceName":"users","methods":[]}"#);
    assert!(stranger.try_receive().is_err());
}

#[test]
fn the_socket_is_removed_when_it_stops() {
    for signal in ["TERM", "INT"] {
        let mut hub = Hub::start(&[]);
        let users = hub.register("users", &[]);
        hub.running.signal(signal);
        assert_eq!(hub.running.wait().code(), Some(0), "{}", hub.running.stderr());
        assert!(users.ends());
        assert!(!hub.socket.exists(), "{signal}");
    }
}

#[test]
fn the_socket_of_a_hub_that_was_killed_is_replaced() {
    let mut hub = Hub::start(&[]);
    hub.running.signal("KILL");
    hub.running.wait();
    assert!(hub.socket.exists());
    let hub = Hub::start_in(hub.dir, &[]);
    hub.register("users", &[]);
}

#[test]
fn a_live_hub_is_named_and_left_alone() {
    let hub = Hub::start(&[]);
    let (code, stderr) = refused(hub.dir.path(), &["--socket", "hub.sock"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("listens on") && stderr.contains("already"), "{stderr}");
    if cfg!(target_os = "linux") {
        assert!(stderr.contains(&format!("process {} of user", hub.running.child.id())), "{stderr}");
    }
    hub.register("users", &[]);
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    let hub = Hub::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.sock");
    fs::write(&path, "precious").unwrap();
    let (code, stderr) = refused(dir.path(), &["--socket", "hub.sock"]);
    assert!(code == Some(1) && stderr.contains("is a regular file"), "{stderr}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    fs::remove_file(&path).unwrap();
    // Wherever it leads.
    for target in [Path::new("nowhere"), hub.socket.as_path()] {
        symlink(target, &path).unwrap();
        let (code, stderr) = refused(dir.path(), &["--socket", "hub.sock"]);
        assert!(code == Some(1) && stderr.contains("is a symbolic link"), "{stderr}");
        assert_eq!(fs::read_link(&path).unwrap(), target);
        fs::remove_file(&path).unwrap();
    }
    hub.register("users", &[]);
}

#[test]
fn the_directory_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(dir.path(), &["--socket", "missing/hub.sock"]);
    assert!(code == Some(1) && stderr.contains("missing") && stderr.contains("cannot be opened"), "{stderr}");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let (code, stderr) = refused(dir.path(), &["--socket", "hub.sock"]);
    assert!(code == Some(1) && stderr.contains("everybody could replace it"), "{stderr}");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    Hub::start_in(dir, &[]);
}

#[test]
fn a_path_that_is_too_long_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(dir.path(), &["--socket", &"x".repeat(120)]);
    assert!(code == Some(1) && stderr.contains("the path of a socket at most"), "{stderr}");
}

#[test]
fn what_is_asked_for_in_a_wrong_way_exits_with_2() {
    for (args, words) in [
        (&["--mode", "9"][..], "octal"),
        (&["--mode", "1777"], "octal"),
        (&["--timeout", "0"], "30000"),
        (&["--heartbeat", "soon"], "30000"),
        (&["--max-frame", "100"], "1KB to 32MB"),
        (&["--max-frame", "33MB"], "1KB to 32MB"),
        (&["--sockets", "x"], "--socket"),
    ] {
        let (code, stderr) = refused(Path::new("."), args);
        assert!(code == Some(2) && stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[test]
fn sigusr1_prints_the_services_and_how_busy_they_are() {
    let mut hub = Hub::start(&[]);
    hub.echo("users");
    let mut orders = hub.register("orders", &["create", "list"]);
    for id in 0..3 {
        orders.call(&id.to_string(), "users", "echo", &Value::Null);
    }
    orders.begin("refused", "nobody", "echo", &Value::Null);
    orders.receive();
    let lines = shown(&mut hub);
    let text = lines.join("\n");
    assert!(lines[0].contains("hub.sock: 2 services, 2 connections, "), "{text}");
    assert_eq!(lines[1], "calls: 3 passed on, 1 refused, 0 timed out, 0 lost", "{text}");
    assert!(lines[2].starts_with("answers: ") && lines[2].ends_with(" after p99"), "{text}");
    assert!(lines[4].starts_with("service  process  connections"), "{text}");
    let row = |name| lines[5..].iter().find_map(|row| row.strip_prefix(name)).unwrap().split_whitespace();
    assert_eq!(row("orders").skip(1).collect::<Vec<_>>(), ["1", "0", "0", "0", "create,", "list"], "{text}");
    assert_eq!((row("users").nth(1), row("users").last()), (Some("1"), Some("echo")), "{text}");
    if cfg!(target_os = "linux") {
        assert_eq!(row("users").next(), Some(std::process::id().to_string().as_str()), "{text}");
    }
    // A rate is that of the last second.
    until(|| {
        orders.call("more", "users", "echo", &Value::Null);
        !shown(&mut hub)[0].contains(" 0 calls a second, ")
    });
}

fn shown(hub: &mut Hub) -> Vec<String> {
    hub.running.signal("USR1");
    (0..7).map(|_| hub.running.line()).collect()
}

#[test]
fn it_tells_about_itself_over_the_wire() {
    let hub = Hub::start(&[]);
    let mut orders = hub.register("orders", &["create"]);
    let status = &orders.call("1", "$hub", "status", &Value::Null)["data"];
    assert_eq!((&status["running"], &status["connectedServices"]), (&true.into(), &1.into()), "{status}");
    let services = &orders.call("2", "$hub", "services", &Value::Null)["data"];
    assert_eq!(
        (&services[0]["name"], &services[0]["methods"]),
        (&"orders".into(), &json!(["create"])),
        "{services}"
    );
}

#[test]
fn it_tells_about_itself_over_http_where_asked_to() {
    let mut hub = Hub::start(&["--http", "127.0.0.1:0"]);
    let line = hub.running.line();
    let url = line.strip_prefix("status at ").and_then(|line| line.split_once("/health and "));
    let url = url.unwrap_or_else(|| panic!("{line}")).0.to_string();
    hub.echo("users");
    let ask = |path: &str, args: &[&str]| {
        Answer::parse(&curl(hub.dir.path(), &[args, &[&format!("{url}{path}")]].concat()))
    };
    let health = ask("/health", &[]);
    assert_eq!((health.status, health.header("content-type")), (200, Some("application/json")), "{health:?}");
    let body = health.json();
    assert_eq!((&body["status"], &body["services"]), (&"healthy".into(), &json!(["users"])), "{body}");
    let services = ask("/services", &[]).json();
    assert_eq!((&services[0]["name"], &services[0]["methods"]), (&"users".into(), &json!(["echo"])));
    assert_eq!(ask("/", &[]).status, 404);
    let post = ask("/health", &["-d", "x"]);
    assert_eq!((post.status, post.header("allow")), (405, Some("get")));
    // Nobody who holds a connection open can keep it from stopping.
    let _idle = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    hub.running.signal("TERM");
    assert_eq!(hub.running.wait().code(), Some(0));
}

#[test]
fn an_http_address_that_is_taken_is_told_and_no_socket_is_left() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(dir.path(), &["--socket", "hub.sock", "--http", &address]);
    assert!(code == Some(1) && stderr.contains(&address) && stderr.contains("in use"), "{stderr}");
    assert!(!dir.path().join("hub.sock").exists());
}

#[test]
fn it_logs_who_comes_and_goes_and_each_message_only_where_asked_to() {
    for (args, has_calls) in [(&[][..], false), (&["--debug"], true)] {
        let mut hub = Hub::start(args);
        hub.echo("users");
        let mut orders = hub.register("orders", &[]);
        orders.call("req-7", "users", "echo", &Value::Null);
        drop(orders);
        let mut watcher = hub.register("watcher", &[]);
        until(|| watcher.call("1", "$hub", "status", &Value::Null)["data"]["connectedServices"] == 2);
        hub.running.signal("TERM");
        hub.running.wait();
        let log = hub.running.stderr();
        assert!(log.contains("users has registered, with the methods echo"), "{log}");
        assert!(log.contains("orders is disconnected: the peer"), "{log}");
        assert!(log.contains("users is disconnected: the hub") && log.contains("has stopped"), "{log}");
        assert_eq!(log.contains("req-7"), has_calls, "{log}");
    }
}

#[test]
fn a_hub_whose_output_nobody_reads_any_more_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = plimsoll(dir.path());
    command.args(["hub", "--socket", "hub.sock"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let kill = |name| Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    let mut orders = Raw::register(&dir.path().join("hub.sock"), "orders", &[]);
    kill("USR1");
    // The signal has been taken, and served, by the time of some answer.
    for id in 0..100 {
        assert_eq!(orders.call(&id.to_string(), "$hub", "status", &Value::Null)["status"], "success");
    }
    kill("TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
