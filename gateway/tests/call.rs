//! `plimsoll call` and `plimsoll serve`: what they print, and how they exit.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::{Running, plimsoll};

/// `plimsoll serve` on a free port, and its address.
struct Service {
    running: Running,
    address: String,
}

impl Service {
    fn start() -> Service {
        let mut running = Running::start(serve("uw://127.0.0.1:0"));
        let line = running.line();
        let address = line.strip_prefix("serving ").unwrap_or_else(|| panic!("{line}")).to_string();
        assert!(address.starts_with("uw://127.0.0.1:") && !address.ends_with(":0"), "{address}");
        Service { running, address }
    }
}

fn serve(address: &str) -> Command {
    let mut command = plimsoll(Path::new("."));
    command.args(["serve", address]);
    command
}

#[derive(Debug)]
struct Called {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

fn call(args: &[&str]) -> Called {
    let output = plimsoll(Path::new(".")).arg("call").args(args).output().unwrap();
    Called {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Called {
    fn printed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (code, ""), "{self:?}");
        let text = str::from_utf8(&self.stdout).unwrap();
        text.strip_suffix('\n').unwrap_or_else(|| panic!("no newline behind {text:?}"))
    }

    fn failed(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_slice()), (code, &b""[..]), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

#[test]
fn an_answer_is_printed_byte_for_byte_and_the_exit_code_is_0() {
    let service = Service::start();
    let call = |method, params| call(&[&service.address, method, params]);
    for params in [r#" {"b": 1,"a":[1.00, "\u00e9é"] } "#, "-5", "\"\"", "null"] {
        assert_eq!(call("echo", params).printed(0), params);
    }
    assert_eq!(call("sleep", r#"{"ms":1}"#).printed(0), r#"{"slept_ms":1}"#);
    assert_eq!(call("size", r#"{"bytes":3}"#).printed(0), r#"{"data":"xxx"}"#);
    let ping = call("ping", "{}");
    let ping = ping.printed(0).strip_prefix("{\"timestamp\":").unwrap().strip_suffix('}').unwrap();
    assert!(ping.parse::<u64>().unwrap() > 1_700_000_000_000, "milliseconds since 1970: {ping}");
}

#[test]
fn a_service_may_listen_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("users.sock");
    let address = format!("uw:{}", socket.display());
    let mut running = Running::start(serve(&address));
    assert_eq!(running.line(), format!("serving {address}"));
    assert_eq!(call(&[&address, "echo", "[1]"]).printed(0), "[1]");
    let bench = plimsoll(Path::new("."))
        .args(["bench", &address, "-n", "100", "-p", "4", "--json"])
        .output()
        .unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&bench.stdout).unwrap();
    assert_eq!((&figures["requests"], &figures["errors"]), (&100.into(), &serde_json::json!({})));
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert!(!socket.exists());
    call(&[&address, "echo", "1"]).failed(3, "no connection");
}

#[test]
fn an_answer_may_be_as_large_as_the_wire_allows() {
    let service = Service::start();
    let most = (10 << 20) - 11;
    let answer = call(&[&service.address, "size", &format!("{{\"bytes\":{most}}}")]);
    assert_eq!(answer.printed(0).len(), 10 << 20);
    let refused = call(&[&service.address, "size", &format!("{{\"bytes\":{}}}", most + 1)]);
    assert!(refused.printed(1).starts_with(r#"{"error":{"code":"BAD_REQUEST","#), "{refused:?}");
}

#[test]
fn a_remote_error_is_printed_whole_and_the_exit_code_is_1() {
    let service = Service::start();
    let call = |method, params| call(&[&service.address, method, params]);
    let failed = call("fail", r#"{"code":"TEA\"POT","message":"é\n"}"#);
    assert_eq!(failed.printed(1), r#"{"error":{"code":"TEA\"POT","message":"é\n"}}"#);
    for (method, params, code) in [
        ("nope", "1", "METHOD_NOT_FOUND"),
        ("fail", "{}", "BAD_REQUEST"),
        ("sleep", r#"{"ms":3600001}"#, "BAD_REQUEST"),
        ("sleep", r#"{"ms":-1}"#, "BAD_REQUEST"),
        ("size", r#"{"bytes":"3"}"#, "BAD_REQUEST"),
    ] {
        let answer = call(method, params);
        let error: serde_json::Value = serde_json::from_str(answer.printed(1)).unwrap();
        assert_eq!(error["error"]["code"], code, "{method} {params}");
    }
}

#[test]
fn what_is_asked_for_in_a_wrong_way_exits_with_2() {
    let long = "m".repeat(256);
    for (args, words) in [
        (&["uw://127.0.0.1:1", "echo", "{x"][..], "not JSON"),
        (&["uw://127.0.0.1:1", "echo", "1 2"], "not JSON"),
        (&["127.0.0.1:1", "echo", "1"], "uw://HOST:PORT"),
        (&["uw://127.0.0.1", "echo", "1"], "uw://HOST:PORT"),
        (&["uw://127.0.0.1:1", "echo"], "METHOD JSON"),
        (&["uw://127.0.0.1:1", "", "1"], "255 bytes"),
        (&["uw://127.0.0.1:1", &long, "1"], "255 bytes"),
        (&["uw://127.0.0.1:1", "echo", "1", "--timeout", "x"], "--timeout"),
        (&["uw://127.0.0.1:1", "echo", "1", "--timeout", "0"], "--timeout"),
        (&["uw://127.0.0.1:1", "users", "echo", "1"], "METHOD JSON"),
        (&["uw://127.0.0.1:1", "echo", "1", "--serializer", "json"], "for hubs"),
        (&["ipc:/tmp/x", "echo", "1"], "SERVICE METHOD JSON"),
        (&["ipc:/tmp/x", "users", "echo", "{x"], "not JSON"),
        (&["ipc:/tmp/x", "", "echo", "1"], "255 bytes"),
        (&["ipc:/tmp/x", "users", &long, "1"], "255 bytes"),
        (&["ipc:x", "users", "echo", "1"], "ipc:/PATH"),
    ] {
        call(args).failed(2, words);
    }
}

/// A peer that has read one whole request with the content `1`, and does with it what it likes.
fn peer(answer: impl FnOnce(TcpStream, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("uw://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 2 + 1 + 16 + 1 + "echo".len() + 4 + 1];
        stream.read_exact(&mut request).unwrap();
        answer(stream, request);
    });
    address
}

fn response(request: &[u8], content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_le_bytes();
    [b"UW\x01", &request[3..19], &len, content].concat()
}

#[test]
fn the_request_has_the_bytes_of_the_wire_and_the_content_of_its_answer_is_printed() {
    let address = peer(|mut stream, request| {
        assert_eq!(request[..3], *b"UW\x01");
        assert_eq!(request[19..], *b"\x04echo\x01\0\0\x001");
        stream.write_all(&response(&request, b" [1 , 2] ")).unwrap();
    });
    assert_eq!(call(&[&address, "echo", "1"]).printed(0), " [1 , 2] ");
    let error = br#" { "error" : {"message":"m", "code":"C"} } "#;
    let address = peer(|mut stream, request| stream.write_all(&response(&request, error)).unwrap());
    assert_eq!(call(&[&address, "echo", "1"]).printed(1).as_bytes(), error);
}

#[test]
fn an_answer_that_is_not_json_exits_with_3() {
    for content in [&b"{x"[..], b"", b"\"\xff\""] {
        let address = peer(|mut stream, request| stream.write_all(&response(&request, content)).unwrap());
        call(&[&address, "echo", "1"]).failed(3, "not JSON");
    }
}

#[test]
fn no_answer_exits_with_3_and_says_what_is_known() {
    // Longer than this test may take: only the refusal can end it.
    call(&["uw://127.0.0.1:1", "echo", "1", "--timeout", "86400000"]).failed(3, "refused");
    let closing = peer(|stream, _| drop(stream));
    call(&[&closing, "echo", "1", "--timeout", "86400000"]).failed(3, "whether it ran is unknown");
    let garbage = peer(|mut stream, _| stream.write_all(b"HTTP/1.1 400\r\n").unwrap());
    call(&[&garbage, "echo", "1", "--timeout", "86400000"]).failed(3, "magic");
    let silent = peer(|mut stream, _| drop(stream.read(&mut [0])));
    call(&[&silent, "echo", "1", "--timeout", "50"]).failed(3, "no answer in time");
}

#[test]
fn sigterm_lets_a_request_in_flight_finish_and_exits_with_0() {
    let mut service = Service::start();
    let mut stream = TcpStream::connect(service.address.strip_prefix("uw://").unwrap()).unwrap();
    let request = |id: u8, method: &str, content: &[u8]| {
        let method_len = [u8::try_from(method.len()).unwrap()];
        let len = u32::try_from(content.len()).unwrap().to_le_bytes();
        [b"UW\x01", &[id; 16][..], &method_len, method.as_bytes(), &len, content].concat()
    };
    stream.write_all(&request(1, "sleep", br#"{"ms":200}"#)).unwrap();
    // Its answer tells that the request before it was taken.
    stream.write_all(&request(2, "ping", b"{}")).unwrap();
    let mut head = [0; 23];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3..19], [2; 16]);
    service.running.signal("TERM");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(br#"{"slept_ms":200}"#), "{rest:?}");
    assert_eq!(service.running.wait().code(), Some(0), "{}", service.running.stderr());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let service = Service::start();
    let output = serve(&service.address).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&service.address) && stderr.contains("in use"), "{stderr}");
}
