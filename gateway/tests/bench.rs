//! `plimsoll bench`: what it counts, what it prints, and how it exits.

mod common;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Running, plimsoll};
use serde_json::Value;

/// `plimsoll serve` on a free port, and its address.
struct Service {
    running: Running,
    address: String,
}

impl Service {
    fn start() -> Service {
        let mut command = plimsoll(Path::new("."));
        command.args(["serve", "uw://127.0.0.1:0"]);
        let mut running = Running::start(command);
        let line = running.line();
        let address = line.strip_prefix("serving ").unwrap_or_else(|| panic!("{line}")).to_string();
        Service { running, address }
    }

    fn bench(&self, args: &[&str]) -> Benched {
        bench(&[&[self.address.as_str()], args].concat())
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = plimsoll(Path::new("."));
    command.arg("bench").args(args);
    command
}

fn bench(args: &[&str]) -> Benched {
    let output = command(args).output().unwrap();
    Benched {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[derive(Debug)]
struct Benched {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Benched {
    /// Of one that ended well. Output is piped here, so that a word of progress would be found.
    fn printed(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        &self.stdout
    }

    fn json(&self) -> Value {
        figures(self.printed())
    }

    fn failed(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

/// The one JSON object, once it is found to have exactly the keys that it should, and figures that agree.
fn figures(stdout: &str) -> Value {
    let line = stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no newline behind {stdout:?}"));
    let figures: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {stdout:?}"));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = ["cpu_us_per_request", "errors", "latency_us", "mb_per_s", "rate_per_s", "requests", "seconds"];
    assert_eq!(keys(&figures), all);
    assert_eq!(keys(&figures["latency_us"]), ["max", "p50", "p90", "p99", "p999"]);
    let latencies =
        ["p50", "p90", "p99", "p999", "max"].map(|key| figures["latency_us"][key].as_f64().unwrap());
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{latencies:?}");
    assert!(figures["seconds"].as_f64().unwrap() > 0.0);
    assert!(figures["cpu_us_per_request"].as_f64().unwrap() > 0.0);
    let failed: u64 = figures["errors"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert!(failed <= figures["requests"].as_u64().unwrap(), "{figures}");
    figures
}

/// A service that answers every request with `content`, up to `most` of them, and then closes. It counts requests and
/// connections.
struct Peer {
    address: String,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Peer {
    fn start(content: &'static [u8], most: u64) -> Peer {
        Peer::in_batches(content, most, 1)
    }

    /// It answers nothing before it has so many requests on a connection, and closes if it gets more.
    fn in_batches(content: &'static [u8], most: u64, batch: usize) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("uw://{}", listener.local_addr().unwrap());
        let peer = Peer { address, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (peer.requests.clone(), peer.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let requests = requests.clone();
                thread::spawn(move || answer(stream.unwrap(), content, most, batch, &requests));
            }
        });
        peer
    }
}

/// Until the other side closes, or it has answered `most`.
fn answer(mut stream: TcpStream, content: &[u8], most: u64, batch: usize, requests: &AtomicU64) {
    let mut ids = Vec::new();
    for _ in 0..most {
        let Ok(id) = read_request(&mut stream) else { return };
        requests.fetch_add(1, Ordering::SeqCst);
        ids.push(id);
        if ids.len() < batch {
            continue;
        }
        if batch > 1 && has_more(&stream) {
            return;
        }
        let len = u32::try_from(content.len()).unwrap().to_le_bytes();
        for id in ids.drain(..) {
            let _ = stream.write_all(&[b"UW\x01", &id[..], &len, content].concat());
        }
    }
}

/// Its id.
fn read_request(stream: &mut TcpStream) -> io::Result<[u8; 16]> {
    let mut head = [0; 20];
    stream.read_exact(&mut head)?;
    let mut rest = vec![0; usize::from(head[19]) + 4];
    stream.read_exact(&mut rest)?;
    let len = u32::from_le_bytes(rest[rest.len() - 4..].try_into().unwrap());
    stream.read_exact(&mut vec![0; len as usize])?;
    Ok(head[3..19].try_into().unwrap())
}

/// Whether something else comes before long.
fn has_more(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let more = stream.peek(&mut [0]).is_ok();
    stream.set_read_timeout(None).unwrap();
    more
}

#[test]
fn the_requests_that_were_asked_for_are_made_and_all_are_counted() {
    let service = Service::start();
    for (n, args) in [
        (1, &["-p", "16"][..]),
        (997, &["-c", "3", "-p", "7"]),
        (997, &["-c", "3", "-p", "7", "--callers", "threads:2"]),
        (3, &["-p", "2", "--callers", "threads:4"]),
        (10, &["--size", "100000"]),
    ] {
        let figures = service.bench(&[&["--json", "-n", &n.to_string()], args].concat()).json();
        assert_eq!(
            (&figures["requests"], &figures["errors"]),
            (&n.into(), &serde_json::json!({})),
            "{args:?}"
        );
        assert!(figures["rate_per_s"].as_f64().unwrap() > 0.0, "{figures}");
    }
}

#[test]
fn connections_are_as_many_as_asked_for_and_a_warm_up_comes_first_that_is_not_counted() {
    let peer = Peer::start(b"1", u64::MAX);
    let figures = bench(&[&peer.address, "--json", "-n", "50", "-c", "3", "-p", "2"]).json();
    assert_eq!(figures["requests"], 50);
    assert_eq!(peer.connections.load(Ordering::SeqCst), 3);
    assert_eq!(peer.requests.load(Ordering::SeqCst), 100, "as many again to warm up");
}

#[test]
fn requests_in_flight_are_as_many_as_asked_for_wherever_they_are_made() {
    for callers in ["same", "threads:3"] {
        let peer = Peer::in_batches(b"1", u64::MAX, 8);
        let figures = bench(&[&peer.address, "--json", "-n", "40", "-p", "8", "--callers", callers]).json();
        assert_eq!((&figures["requests"], &figures["errors"]), (&40.into(), &serde_json::json!({})));
    }
}

#[test]
fn params_have_the_size_that_was_asked_for_and_megabytes_count_both_ways() {
    let service = Service::start();
    let figures = service.bench(&["--json", "-n", "20", "--size", "5000"]).json();
    let figure = |key: &str| figures[key].as_f64().unwrap();
    let bytes = figure("mb_per_s") * 1e6 * figure("seconds");
    assert_eq!(bytes.round() as u64, 20 * 2 * 5_000, "{figures}");
}

#[test]
fn errors_are_counted_by_their_codes() {
    let service = Service::start();
    for (method, code) in [("fail", "BAD_REQUEST"), ("nope", "METHOD_NOT_FOUND")] {
        let figures = service.bench(&["--json", "-n", "40", "-p", "4", "--method", method]).json();
        assert_eq!(figures["requests"], 40);
        assert_eq!(figures["errors"], serde_json::json!({ code: 40 }));
    }
    let benched = service.bench(&["-n", "40", "--method", "nope"]);
    assert!(benched.printed().contains("40 METHOD_NOT_FOUND"), "{benched:?}");
}

#[test]
fn what_an_open_breaker_refuses_is_told_apart_and_is_no_answer() {
    let peer = Peer::start(br#"{"error":{"code":"INTERNAL_ERROR","message":"m"}}"#, u64::MAX);
    let benched = bench(&[&peer.address, "--json", "-n", "10"]);
    assert_eq!(benched.code, Some(3), "{benched:?}");
    assert!(benched.stderr.contains("no request was answered: 10 CIRCUIT_OPEN"), "{benched:?}");
    let figures: Value = serde_json::from_str(&benched.stdout).unwrap();
    assert_eq!((&figures["requests"], &figures["errors"]["CIRCUIT_OPEN"]), (&10.into(), &10.into()));
    assert_eq!((&figures["rate_per_s"], &figures["latency_us"]["max"]), (&0.0.into(), &Value::Null));
    assert_eq!(peer.requests.load(Ordering::SeqCst), 5, "as many failures as open it");
}

#[test]
fn people_are_told_every_figure_in_80_columns() {
    let service = Service::start();
    let benched = service.bench(&["-n", "1000", "-c", "2", "-p", "8"]);
    let text = benched.printed();
    for words in [
        service.address.as_str(),
        "echo",
        "2 connections x 8 in flight",
        "64 bytes",
        "requests  1,000 in ",
        "errors    none",
        "answers a second",
        "MB a second",
        "CPU ",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "12.5 %",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// One that runs until it is stopped, and is warm.
fn endless(peer: &Peer, callers: &str) -> Running {
    let args = [peer.address.as_str(), "--json", "-d", "86400", "-p", "4", "--callers", callers];
    let before = peer.requests.load(Ordering::SeqCst);
    let running = Running::start(command(&args));
    // More than are made to get warm.
    while peer.requests.load(Ordering::SeqCst) < before + 10_100 {
        thread::yield_now();
    }
    running
}

#[test]
fn without_an_end_it_stops_by_itself_and_sigint_stops_it_sooner_with_what_it_has() {
    let service = Service::start();
    let stopped = service.bench(&["--json", "-d", "1"]).json();
    assert!(stopped["requests"].as_u64().unwrap() > 0);
    let mut running = endless(&Peer::start(b"1", u64::MAX), "same");
    running.signal("INT");
    let line = running.line();
    assert!(figures(&format!("{line}\n"))["requests"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(running.wait().code(), Some(0));
    assert!(running.stderr().contains("stopped by SIGINT"));
}

#[cfg(target_os = "linux")]
#[test]
fn callers_have_threads_of_their_own_where_asked_for() {
    let peer = Peer::start(b"1", u64::MAX);
    let threads = |callers| {
        let running = endless(&peer, callers);
        std::fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap().count()
    };
    // A thread that has warmed up may still be there, idle.
    assert!(threads("threads:3") >= threads("same") + 3);
}

#[test]
fn nobody_there_exits_with_3() {
    bench(&["uw://127.0.0.1:1", "-d", "86400"]).failed(3, "nobody listens");
    bench(&["uw://127.0.0.1:1", "--json"]).failed(3, "no connection");
}

#[test]
fn a_service_that_dies_exits_with_3_after_what_was_measured() {
    // The warm-up takes as many as are asked for, 10,000 at most.
    let peer = Peer::start(b"1", 10_020);
    let benched = bench(&[&peer.address, "--json", "-n", "1000000"]);
    assert_eq!(benched.code, Some(3), "{benched:?}");
    assert!(benched.stderr.contains("a connection was lost"), "{benched:?}");
    let figures = figures(&benched.stdout);
    assert!(figures["requests"].as_u64().unwrap() >= 20, "{figures}");
    let mut service = Service::start();
    let mut running = Running::start(command(&[&service.address, "-d", "86400"]));
    service.running.signal("KILL");
    service.running.wait();
    assert_eq!(running.wait().code(), Some(3), "{}", running.stderr());
}

#[test]
fn a_peer_of_another_kind_exits_with_3_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("uw://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0]);
        let _ = stream.write_all(b"HTTP/1.1 400\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    bench(&[&address]).failed(3, "magic");
}

#[test]
fn what_is_asked_for_in_a_wrong_way_exits_with_2() {
    let address = "uw://127.0.0.1:1";
    for (args, words) in [
        (&[][..], "<ADDRESS>"),
        (&["127.0.0.1:1"], "uw://HOST:PORT"),
        (&[address, "-c", "0"], "-c"),
        (&[address, "-p", "0"], "-p"),
        (&[address, "-n", "0"], "-n"),
        (&[address, "-d", "0"], "-d"),
        (&[address, "-n", "1", "-d", "1"], "cannot be used with"),
        (&[address, "--size", "1"], "--size"),
        (&[address, "--size", "10485761"], "--size"),
        (&[address, "--callers", "threads:0"], "threads:N"),
        (&[address, "--callers", "other"], "threads:N"),
        (&[address, "--method", ""], "255 bytes"),
        (&[address, "-c", "300", "-p", "300"], "90,000 requests in flight"),
        (&[address, "users"], "a SERVICE is for hubs"),
        (&[address, "--serializer", "json"], "for hubs"),
        (&["ipc:/tmp/x"], "a SERVICE"),
        (&["ipc:/tmp/x", ""], "255 bytes"),
        (&["ipc:/tmp/x", "users", "-c", "65"], "64 connections"),
        (&["ipc:x", "users"], "ipc:/PATH"),
    ] {
        bench(args).failed(2, words);
    }
}
