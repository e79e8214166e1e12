//! `plimsoll serve`, `plimsoll call` and `plimsoll bench` at a hub.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::ipc::{Hub, answer};
use common::{Running, plimsoll, until};
use serde_json::{Value, json};

const SERIALIZERS: [&str; 2] = ["json", "msgpack"];

/// A program, told the address of a hub as the first of its arguments.
fn command(verb: &str, hub: &Hub, args: &[&str]) -> Command {
    let mut command = plimsoll(Path::new("."));
    command.arg(verb).arg(hub.address()).args(args);
    command
}

/// `plimsoll serve`, once it serves.
fn serve(hub: &Hub, name: &str, args: &[&str]) -> Running {
    let mut running = Running::start(command("serve", hub, &[&["--name", name], args].concat()));
    assert_eq!(running.line(), format!("serving {name} at {}", hub.address()));
    running
}

#[derive(Debug)]
struct Called {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(mut command: Command) -> Called {
    let output = command.output().unwrap();
    Called {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn call(hub: &Hub, args: &[&str]) -> Called {
    run(command("call", hub, args))
}

impl Called {
    fn printed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), ""), "{self:?}");
        self.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no newline: {self:?}"))
    }

    fn json(&self, code: i32) -> Value {
        serde_json::from_str(self.printed(code)).unwrap()
    }

    fn failed(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

#[test]
fn an_answer_is_printed_and_the_exit_code_is_0_in_whatever_format_each_side_writes() {
    let hub = Hub::start(&[]);
    for served in SERIALIZERS {
        let name = format!("users-{served}");
        let _service = serve(&hub, &name, &["--serializer", served]);
        for called in SERIALIZERS {
            let call = |method, params| call(&hub, &[&name, method, params, "--serializer", called]);
            for params in [r#"{"b":1,"a":[1.5,"é"]}"#, "-5", "\"\"", "null", "9007199254740993"] {
                assert_eq!(call("echo", params).printed(0), params, "{served}, {called}");
            }
            assert_eq!(call("sleep", r#"{"ms":1}"#).printed(0), r#"{"slept_ms":1}"#);
            assert_eq!(call("size", r#"{"bytes":3}"#).printed(0), r#"{"data":"xxx"}"#);
            assert!(call("ping", "null").json(0)["timestamp"].as_u64().unwrap() > 1_700_000_000_000);
        }
    }
    // Byte for byte within one format.
    let params = r#"{ "b": 1, "a":[1.00, "\u00e9"] }"#;
    let _service = serve(&hub, "users", &[]);
    assert_eq!(call(&hub, &["users", "echo", params]).printed(0), params);
}

#[test]
fn an_error_is_printed_whole_and_the_exit_code_is_1() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &[]);
    let error = json!({ "code": "TEA\"POT", "message": "é\n" });
    let called = call(&hub, &["users", "fail", &error.to_string()]);
    assert_eq!(called.json(1), json!({ "error": error }));
    for (service, method, params, code) in [
        ("users", "nope", "1", "METHOD_NOT_FOUND"),
        ("nobody", "echo", "1", "SERVICE_NOT_FOUND"),
        ("users", "sleep", r#"{"ms":"soon"}"#, "DESERIALIZATION_FAILED"),
        ("users", "sleep", r#"{"ms":3600001}"#, "BAD_REQUEST"),
        ("$hub", "nope", "1", "METHOD_NOT_FOUND"),
    ] {
        assert_eq!(
            call(&hub, &[service, method, params]).json(1)["error"]["code"],
            code,
            "{service} {method}"
        );
    }
}

#[test]
fn no_answer_exits_with_3_and_says_what_is_known() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &[]);
    let late = call(&hub, &["users", "sleep", r#"{"ms":60000}"#, "--timeout", "100"]);
    late.failed(3, "whether it ran is unknown");
    let error = json!({ "code": "DEADLINE_EXCEEDED", "message": "the hub's clock was first" });
    call(&hub, &["users", "fail", &error.to_string()]).failed(3, "whether it ran is unknown");
    let nowhere =
        plimsoll(Path::new(".")).args(["call", "ipc:/nowhere/hub.sock", "a", "b", "1"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(3));
    let stderr = String::from_utf8(nowhere.stderr).unwrap();
    assert!(stderr.contains("ipc:/nowhere/hub.sock"), "{stderr}");
}

#[test]
fn the_hub_answers_questions_about_itself() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &["--pool", "3"]);
    let connections =
        || call(&hub, &["$hub", "service", r#"{"name":"users"}"#]).json(0)["connections"].clone();
    until(|| connections() == 3);
    let status = call(&hub, &["$hub", "status", "{}"]).json(0);
    assert!(status["services"].as_array().unwrap().contains(&"users".into()), "{status}");
}

#[test]
fn a_chain_goes_through_three_services_on_behalf_of_the_first() {
    let hub = Hub::start(&[]);
    let _a = serve(&hub, "a", &[]);
    let _b = serve(&hub, "b", &["--serializer", "msgpack"]);
    let mut last = hub.register("last", &["see"]);
    let inner = json!({ "calls": [
        { "service": "last", "method": "see", "params": [1] },
        { "service": "a", "method": "echo", "params": "x" },
    ] });
    let outer = json!({ "calls": [{ "service": "b", "method": "chain", "params": inner }] });
    let child = command("call", &hub, &["a", "chain", &outer.to_string(), "--timeout", "20000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = last.receive();
    last.send(&answer(&seen, &"seen".into()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!([["seen", "x"]]));

    let context = &seen["context"];
    let chain: Vec<_> =
        context["chain"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (first, rest) = chain.split_first().unwrap();
    assert!(first.starts_with("plimsoll-call-"), "{context}");
    assert_eq!((rest, &context["depth"]), (&["a", "b", "last"][..], &4.into()), "{context}");
    assert_eq!(seen["params"], json!([1]));
}

#[test]
fn calls_to_a_service_that_is_killed_fail_at_once() {
    let hub = Hub::start(&[]);
    let users = serve(&hub, "users", &[]);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let mut call =
                command("call", &hub, &["users", "sleep", r#"{"ms":3600000}"#, "--timeout", "86400000"]);
            call.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    until(|| call(&hub, &["$hub", "status", "{}"]).json(0)["pendingCalls"] == 3);
    users.signal("KILL");
    for call in calls {
        let output = call.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["error"]["code"], "CONNECTION_LOST");
    }
}

#[test]
fn services_come_back_to_a_hub_that_is_started_again() {
    let mut hub = Hub::start(&[]);
    let mut services: Vec<_> = SERIALIZERS
        .map(|name| serve(&hub, name, &["--serializer", name, "--pool", "2", "--reconnect", "20"]))
        .into();
    for signal in ["TERM", "KILL"] {
        hub.running.signal(signal);
        hub.running.wait();
        hub = Hub::start_in(hub.dir, &[]);
        for name in SERIALIZERS {
            until(|| call(&hub, &[name, "echo", "7"]).code == Some(0));
        }
    }
    for service in &mut services {
        service.signal("TERM");
        assert_eq!(service.wait().code(), Some(0));
        let log = service.stderr();
        assert!(log.contains("is registered") && log.contains("has ended"), "{log}");
    }
}

#[test]
fn sigterm_lets_calls_in_flight_finish() {
    let hub = Hub::start(&[]);
    let mut users = serve(&hub, "users", &[]);
    let mut orders = hub.register("orders", &[]);
    orders.begin("1", "users", "sleep", &json!({ "ms": 200 }));
    // Its answer tells that the call before it was taken.
    assert_eq!(orders.call("2", "users", "ping", &Value::Null)["status"], "success");
    users.signal("TERM");
    let response = orders.receive();
    assert_eq!((&response["id"], &response["data"]), (&"1".into(), &json!({ "slept_ms": 200 })));
    assert_eq!(users.wait().code(), Some(0), "{}", users.stderr());
}

#[test]
fn a_name_that_is_taken_is_told() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &[]);
    let second = run(command("serve", &hub, &["--name", "users"]));
    second.failed(1, "registered already");
}

#[test]
fn a_hub_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("ipc:{}", dir.path().join("hub.sock").display());
    for args in [&["serve", &address, "--name", "users"][..], &["bench", &address, "users"]] {
        let mut command = plimsoll(dir.path());
        command.args(args);
        let called = run(command);
        assert!(called.code.is_some_and(|code| code == 1 || code == 3), "{called:?}");
        assert!(called.stderr.contains("hub.sock"), "{called:?}");
    }
}

#[test]
fn a_service_that_is_asked_for_in_a_wrong_way_exits_with_2() {
    for (args, words) in [
        (&["ipc:/tmp/x"][..], "--name"),
        (&["ipc:/tmp/x", "--name", ""], "255 bytes"),
        (&["ipc:/tmp/x", "--name", "a", "--pool", "65"], "--pool"),
        (&["ipc:/tmp/x", "--name", "a", "--serializer", "xml"], "--serializer"),
        (&["uw://127.0.0.1:0", "--name", "a"], "--name is for hubs"),
        (&["uw://127.0.0.1:0", "--pool", "2"], "--pool is for hubs"),
        (&["ipc:hub.sock", "--name", "a"], "ipc:/PATH"),
    ] {
        let mut command = plimsoll(Path::new("."));
        command.arg("serve").args(args);
        run(command).failed(2, words);
    }
}

fn bench(hub: &Hub, args: &[&str]) -> Called {
    run(command("bench", hub, args))
}

#[test]
fn the_calls_that_were_asked_for_are_measured() {
    let hub = Hub::start(&[]);
    for served in SERIALIZERS {
        let _users = serve(&hub, served, &["--serializer", served]);
        for (n, args) in [
            (1, &["--serializer", "json"][..]),
            (997, &["-c", "3", "-p", "7", "--serializer", "msgpack"]),
            (997, &["-p", "21", "--callers", "threads:2"]),
            (5, &["--size", "100000", "--serializer", "msgpack"]),
            (5, &["--size", "33", "--serializer", "msgpack"]),
        ] {
            let figures = bench(&hub, &[&[served, "--json", "-n", &n.to_string()], args].concat()).json(0);
            let counted = (&figures["requests"], &figures["errors"]);
            assert_eq!(counted, (&n.into(), &json!({})), "{args:?}");
            assert!(figures["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{figures}");
        }
    }
}

#[test]
fn params_have_the_size_that_was_asked_for() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &["--serializer", "msgpack"]);
    for size in [2, 32, 33, 257, 258, 65_538, 65_539] {
        let size_text = size.to_string();
        let args = ["users", "--json", "-n", "20", "--size", &size_text, "--serializer", "msgpack"];
        let figures = bench(&hub, &args).json(0);
        let figure = |key: &str| figures[key].as_f64().unwrap();
        let bytes = figure("mb_per_s") * 1e6 * figure("seconds");
        assert_eq!(bytes.round() as u64, 20 * 2 * size, "{figures}");
    }
}

#[test]
fn errors_are_counted_by_their_codes() {
    let hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &[]);
    for (service, method, code) in [
        ("users", "fail", "DESERIALIZATION_FAILED"),
        ("users", "nope", "METHOD_NOT_FOUND"),
        ("nobody", "echo", "SERVICE_NOT_FOUND"),
    ] {
        let figures = bench(&hub, &[service, "--json", "-n", "40", "-p", "4", "--method", method]).json(0);
        assert_eq!(figures["errors"], json!({ code: 40 }));
    }
    let benched = bench(&hub, &["users", "-n", "10"]);
    assert!(benched.printed(0).starts_with(&format!("echo of users at {}\n", hub.address())), "{benched:?}");
}

#[test]
fn a_hub_that_dies_ends_a_bench_with_3() {
    let mut hub = Hub::start(&[]);
    let _users = serve(&hub, "users", &[]);
    let mut running = Running::start(command("bench", &hub, &["users", "-d", "86400"]));
    let mut watcher = hub.register("watcher", &[]);
    until(|| watcher.call("1", "$hub", "status", &Value::Null)["data"]["routed"].as_u64().unwrap() > 100);
    hub.running.signal("KILL");
    hub.running.wait();
    assert_eq!(running.wait().code(), Some(3));
    let stderr = running.stderr();
    assert!(stderr.contains("a connection was lost"), "{stderr}");
}
