//! `--record`, and what is made of its logs: `plimsoll replay`, `explain` and `diff`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Gateway, PATIENCE, Running, plimsoll, serve};
use serde_json::Value;
use tempfile::TempDir;

/// What a replay says of a log with bodies.
const EVERY_BYTE: &str = "every action, event and byte is the same";

struct Dir(TempDir);

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let output = plimsoll(self.0.path()).args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Records what a client does that calls `plimsoll serve`.
    fn bench(&self, log: &str, requests: &str, args: &[&str]) {
        let mut service = plimsoll(Path::new("."));
        service.args(["serve", "uw://127.0.0.1:0"]);
        let mut service = Running::start(service);
        let line = service.line();
        let address = line.strip_prefix("serving ").unwrap();
        self.run(
            &[&["bench", address, "-n", requests, "-c", "2", "-p", "4", "--record", log], args].concat(),
        )
        .printed(0);
    }

    /// Makes another log of one that is there.
    fn change(&self, from: &str, to: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(from)).unwrap();
        change(&mut bytes);
        fs::write(self.path(to), bytes).unwrap();
    }

    fn story(&self, log: &str, args: &[&str]) -> Value {
        serde_json::from_str(self.run(&[&["explain", log, "--json"], args].concat()).printed(0)).unwrap()
    }
}

impl Ended {
    fn printed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), ""), "{self:?}");
        &self.stdout
    }

    /// What was printed before it failed.
    fn failed(&self, code: i32, words: &str) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "{words:?}: {self:?}");
        &self.stdout
    }
}

#[test]
fn what_a_bench_was_told_replays_to_the_same() {
    let dir = Dir::new();
    dir.bench("b.plog", "300", &[]);
    let replayed = dir.run(&["replay", "b.plog"]);
    let text = replayed.printed(0);
    assert!(text.starts_with("the log of a client of a service, 1 segment, bodies masked, "), "{text}");
    assert!(text.contains(" is the same\n"), "{text}");
    assert!(text.contains(" of CPU time, ") && text.contains(" times as fast as it happened\n"), "{text}");
    // Each call was answered: 300 counted, and as many again to warm up.
    let events = text.split_once(" actions and ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    assert!(events.parse::<u32>().unwrap() >= 600, "{text}");
}

#[test]
fn what_a_service_was_told_replays_to_the_same() {
    let dir = Dir::new();
    let mut service = plimsoll(dir.0.path());
    service.args(["serve", "uw://127.0.0.1:0", "--record", "s.plog", "--record-bodies"]);
    let mut service = Running::start(service);
    let line = service.line();
    let address = line.strip_prefix("serving ").unwrap();
    dir.run(&["bench", address, "-n", "300", "-c", "2", "-p", "4"]).printed(0);
    dir.run(&["bench", address, "-n", "50", "--method", "fail"]).printed(0);
    service.signal("TERM");
    assert_eq!((service.wait().code(), service.stderr().as_str()), (Some(0), ""));
    let replayed = dir.run(&["replay", "s.plog"]);
    let text = replayed.printed(0);
    assert!(text.starts_with("the log of a server, ") && text.contains(EVERY_BYTE), "{text}");
    let changes = dir.run(&["explain", "s.plog"]);
    assert!(changes.printed(0).contains(" is accepted; 1 connection stands now\n"), "{changes:?}");
    let story = dir.story("s.plog", &["--request", "17"]);
    let lines = story["lines"].as_array().unwrap();
    assert_eq!(
        lines.iter().map(|line| line["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["arrived", "lent", "answered"]
    );
    assert_eq!((&lines[0]["arrived"]["name"], &lines[0]["arrived"]["bytes"]), (&"echo".into(), &64.into()));
    assert!(lines[0]["arrived"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{story}");
    assert!(lines[1]["lent"]["waited_us"].as_f64().is_some(), "{story}");
    let wire = lines[0]["arrived"]["wire"].as_str().unwrap();
    assert_eq!(dir.story("s.plog", &["--request", wire]), story);
    let moment = dir.story("s.plog", &["--at", "0"]);
    assert_eq!(moment["standing"][0]["server"]["draining"], false, "{moment}");
    dir.run(&["explain", "s.plog", "--pick", "1"]).failed(2, "a server chooses nobody");
}

#[test]
fn a_hub_its_service_and_its_client_replay_to_the_same() {
    replay_hub(&[], " is the same\n");
    replay_hub(&["--record-bodies"], EVERY_BYTE);
}

fn replay_hub(bodies: &[&str], same: &str) {
    let dir = Dir::new();
    let socket = dir.path("hub.sock").display().to_string();
    let address = format!("ipc:{socket}");
    let run = |args: &[&str]| {
        let mut command = plimsoll(dir.0.path());
        command.args(args).args(bodies);
        let mut running = Running::start(command);
        running.line();
        running
    };
    let mut hub = run(&["hub", "--socket", &socket, "--record", "hub.plog"]);
    let mut service = run(&["serve", &address, "--name", "users", "--record", "service.plog"]);
    let bench = ["bench", &address, "users", "-n", "300", "-p", "4", "--record", "bench.plog"];
    dir.run(&[&bench, bodies].concat()).printed(0);
    for running in [&mut service, &mut hub] {
        running.signal("TERM");
        assert_eq!(running.wait().code(), Some(0), "{}", running.stderr());
    }
    for (log, title) in [
        ("hub.plog", "the log of a hub, "),
        ("service.plog", "the log of a client of a hub, "),
        ("bench.plog", "the log of a client of a hub, "),
    ] {
        let replayed = dir.run(&["replay", log]);
        let text = replayed.printed(0);
        assert!(text.starts_with(title) && text.contains(same), "{text}");
    }
    // One id leads from log to log.
    let own = dir.story("bench.plog", &["--pick", "1"]);
    let called =
        &own["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "called").unwrap()["called"];
    let (id, call) = (called["id"].as_str().unwrap(), called["call"].as_str().unwrap());
    let kinds = |log: &str, id: &str| -> Vec<String> {
        let story = dir.story(log, &["--request", id]);
        let lines = story["lines"].as_array().unwrap();
        lines.iter().map(|line| line["kind"].as_str().unwrap().into()).collect()
    };
    assert_eq!(kinds("bench.plog", call), ["called", "ended"]);
    assert_eq!(kinds("hub.plog", id), ["routed", "answered"]);
    assert_eq!(kinds("service.plog", id), ["served", "answered"]);
    let changes = dir.run(&["explain", "hub.plog"]);
    assert!(changes.printed(0).contains("\"users\" is registered over connection "), "{changes:?}");
}

#[test]
fn bodies_are_in_a_log_only_if_that_was_asked_for() {
    let dir = Dir::new();
    let body = "x".repeat(60);
    for (args, kept) in [(&[][..], false), (&["--record-bodies"][..], true)] {
        dir.bench("b.plog", "300", args);
        let log = fs::read(dir.path("b.plog")).unwrap();
        let holds = |text: &str| log.windows(text.len()).any(|window| window == text.as_bytes());
        assert_eq!((holds("echo"), holds(&body)), (true, kept));
        let replayed = dir.run(&["replay", "b.plog"]);
        for words in ["with bodies", EVERY_BYTE] {
            assert_eq!(replayed.printed(0).contains(words), kept, "{replayed:?}");
        }
    }
}

#[test]
fn a_damaged_log_is_used_up_to_the_damage_and_the_place_is_told() {
    let dir = Dir::new();
    // Enough for more than one block.
    dir.bench("b.plog", "3000", &[]);
    let len = fs::metadata(dir.path("b.plog")).unwrap().len() as usize;
    dir.change("b.plog", "cut.plog", |log| log.truncate(len / 2));
    dir.change("b.plog", "flipped.plog", |log| log[len / 2] ^= 4);
    let calls = |ended: &str| -> u64 {
        let line = ended.lines().nth(1).unwrap_or_else(|| panic!("{ended}"));
        line.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    };
    let all = calls(dir.run(&["replay", "b.plog"]).printed(0));
    for (log, words) in [("cut.plog", "middle of a block"), ("flipped.plog", "checksum")] {
        let replayed = dir.run(&["replay", log]);
        let before = calls(replayed.failed(3, words));
        assert!((1_000..all).contains(&before), "{before} of {all}");
        assert!(
            replayed.stderr.starts_with(&format!("plimsoll: {log}: the log is damaged at byte ")),
            "{replayed:?}"
        );
        assert!(dir.run(&["explain", log]).failed(3, words).contains("a connection stands"));
        assert!(dir.run(&["diff", log, "--policy", "random"]).failed(3, words).contains("requests go where"));
    }
}

/// Where the blocks of a log end, from its first on.
fn block_ends(log: &[u8]) -> Vec<usize> {
    let len = |at: usize| 32 + u32::from_le_bytes(log[at + 20..at + 24].try_into().unwrap()) as usize;
    let ends =
        std::iter::successors(Some(len(0)), |&at| (log[at..].starts_with(b"PLRC")).then(|| at + len(at)));
    ends.collect()
}

#[test]
fn a_log_that_is_cut_between_two_blocks_is_not_taken_for_one_that_ended() {
    let dir = Dir::new();
    dir.bench("b.plog", "3000", &[]);
    let whole = dir.run(&["replay", "b.plog"]);
    assert!(whole.printed(0).contains(", ended in order, "), "{whole:?}");
    let ends = block_ends(&fs::read(dir.path("b.plog")).unwrap());
    assert!(ends.len() > 3, "{ends:?}");
    for &end in &ends[..ends.len() - 1] {
        dir.change("b.plog", "cut.plog", |log| log.truncate(end));
        let replayed = dir.run(&["replay", "cut.plog"]);
        let text =
            replayed.failed(3, "the log was cut: its process was killed or still runs, or the disk was full");
        assert!(text.contains(", cut, ") && text.contains(" is the same\n"), "{replayed:?}");
    }
}

#[test]
fn a_killed_service_leaves_its_log_up_to_the_last_moment_and_its_successor_does_not_overwrite_it() {
    let dir = Dir::new();
    let start = || {
        let mut service = plimsoll(dir.0.path());
        service.args(["serve", "uw://127.0.0.1:0", "--record", "s.plog"]);
        let mut service = Running::start(service);
        let line = service.line();
        let address = line.strip_prefix("serving ").unwrap().to_string();
        (service, address)
    };
    let (mut service, address) = start();
    dir.run(&["bench", &address, "-n", "100", "-c", "2", "-p", "4"]).printed(0);
    dir.run(&["call", &address, "theLastOfAll", "1"]).failed(1, "");
    // Nothing more happens: the idle service brings what it knows to its log by itself.
    let holds_all = || {
        let log = fs::read(dir.path("s.plog")).unwrap();
        log.windows(12).any(|window| window == b"theLastOfAll")
    };
    let deadline = Instant::now() + PATIENCE;
    while !holds_all() {
        assert!(Instant::now() < deadline, "the last request is not in the log");
        std::thread::sleep(Duration::from_millis(5));
    }
    service.signal("KILL");
    assert!(!service.wait().success());
    let cut = "the log was cut: its process was killed";
    let killed = dir.run(&["replay", "s.plog"]);
    assert!(killed.failed(3, cut).contains(" is the same\n"), "{killed:?}");

    let (mut service, _) = start();
    service.signal("TERM");
    assert!(service.wait().success());
    assert!(dir.run(&["replay", "s.plog"]).printed(0).contains(", ended in order, "));
    let kept = dir.run(&["replay", "s.plog.before"]);
    assert_eq!(kept.failed(3, cut).lines().next(), killed.stdout.lines().next());
}

#[test]
fn what_is_no_log_exits_with_3() {
    let dir = Dir::new();
    fs::write(dir.path("text.plog"), "not a log, but quite a long text\n".repeat(100)).unwrap();
    fs::write(dir.path("empty.plog"), "").unwrap();
    for (log, words) in
        [("text.plog", "damaged at byte 0"), ("empty.plog", "damaged at byte 0"), ("absent.plog", "read")]
    {
        for args in [&["replay", log][..], &["explain", log], &["diff", log, "--policy", "random"]] {
            assert_eq!(dir.run(args).failed(3, words), "");
        }
    }
}

/// The checksum of a block: the words of its head without the sum, how many bytes those are, and the same of the rest.
fn checksum(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut fold = |word: u64| sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| fold(u64::from_le_bytes(*word)));
    rest.iter().for_each(|&byte| fold(byte.into()));
    fold(bytes.len() as u64);
    sum
}

#[test]
fn a_machine_that_does_something_else_is_shown_with_what_came_before() {
    let dir = Dir::new();
    dir.bench("b.plog", "300", &["--method", "size"]);
    // In the second block, which has records, the hash beside the name of the method is changed.
    dir.change("b.plog", "other.plog", |log| {
        let len =
            |log: &[u8], at: usize| u32::from_le_bytes(log[at + 20..at + 24].try_into().unwrap()) as usize;
        let second = 32 + len(log, 0);
        let end = second + 32 + len(log, second);
        let name = log[second..end].windows(5).position(|window| window == b"\x04size").unwrap();
        log[second + name - 1] ^= 1;
        let sum = checksum(checksum(0, &log[second..second + 24]), &log[second + 32..end]);
        log[second + 24..second + 32].copy_from_slice(&sum.to_le_bytes());
    });
    let replayed = dir.run(&["replay", "other.plog"]);
    assert_eq!(replayed.failed(1, "the replay differs at call "), "");
    let marked =
        |mark: &str| replayed.stderr.lines().filter(|line| line.trim_start().starts_with(mark)).count();
    assert_eq!((marked("- "), marked("+ ")), (1, 1), "{replayed:?}");
    dir.run(&["explain", "other.plog"]).failed(1, "the replay differs");
}

#[test]
fn the_story_of_a_request_is_told_in_the_order_of_time_with_the_names_of_endpoints() {
    let dir = Dir::new();
    dir.bench("b.plog", "300", &[]);
    let all = dir.run(&["explain", "b.plog"]);
    assert_eq!(all.printed(0).matches("127.0.0.1:").count(), all.stdout.matches(": a connection ").count());
    let pick = dir.story("b.plog", &["--pick", "1"]);
    let line = |story: &Value, kind: &str| {
        let lines = story["lines"].as_array().unwrap();
        let found = lines.iter().find(|line| line["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {story:#}")).clone()
    };
    let endpoint = line(&pick, "pick")["pick"]["endpoint"].as_str().unwrap().to_string();
    assert_eq!(pick["standing"][0]["endpoint"]["address"], endpoint.as_str());
    let id = line(&pick, "taken")["taken"]["request"].as_str().unwrap().to_string();

    let story = dir.story("b.plog", &["--request", &id]);
    assert_eq!(line(&story, "taken")["taken"]["name"], "echo");
    assert_eq!(line(&story, "moved")["moved"]["to"], endpoint.as_str());
    assert_eq!(line(&story, "ended")["ended"]["how"], "it is answered");
    let times: Vec<_> =
        story["lines"].as_array().unwrap().iter().map(|line| line["at_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times.len() >= 3, "{times:?}");
    let told = dir.run(&["explain", "b.plog", "--request", &id]);
    for words in [&format!("request {id} \"echo\" with 64 bytes is taken"), &format!("goes to {endpoint}")] {
        assert!(told.printed(0).contains(words.as_str()), "{words} is not in {told:?}");
    }

    let at = format!("{}", line(&story, "ended")["at_s"].as_f64().unwrap());
    let moment = dir.story("b.plog", &["--at", &at]);
    assert_eq!(moment["standing"][0]["endpoint"]["breaker"], "closed");
    assert!(
        dir.run(&["explain", "b.plog", "--at", &at])
            .printed(0)
            .contains(&format!("{endpoint}: 2 connections"))
    );
}

#[test]
fn failures_are_told_with_their_codes_and_ids_that_can_be_asked_about() {
    let dir = Dir::new();
    dir.bench("b.plog", "50", &["--method", "fail"]);
    let story = dir.story("b.plog", &["--failures"]);
    let lines = story["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 100, "as many again to warm up");
    for line in lines {
        let ended = &line["ended"];
        assert_eq!((&line["kind"], &ended["code"]), (&"ended".into(), &"BAD_REQUEST".into()), "{line}");
        assert!(ended["took_us"].as_f64().unwrap() > 0.0);
    }
    let id = lines[70]["ended"]["request"].as_str().unwrap();
    let told = dir.run(&["explain", "b.plog", "--request", id]);
    assert!(
        told.printed(0).contains("the service says that it has failed (BAD_REQUEST), after "),
        "{told:?}"
    );
    dir.bench("b.plog", "50", &[]);
    assert!(
        dir.run(&["explain", "b.plog", "--failures"])
            .printed(0)
            .ends_with("nothing of that kind has happened\n")
    );
}

#[test]
fn what_is_not_in_a_log_and_questions_that_make_no_sense_exit_with_2() {
    let dir = Dir::new();
    dir.bench("b.plog", "300", &[]);
    for (args, words) in [
        (&["explain", "b.plog", "--request", "9.9999"][..], "no request 9.9999 is in the log"),
        (&["explain", "b.plog", "--pick", "1000000"], "no choice 1000000 is in the log"),
        (&["explain", "b.plog", "--at", "1000s"], "the log ends"),
        (&["explain", "b.plog", "--at", "noon"], "no time since the beginning"),
        (&["explain", "b.plog", "--pick", "1", "--at", "1"], "cannot be used with"),
        (&["diff", "b.plog", "--policy", "best"], "best"),
        (&["diff", "b.plog", "--policy", "random,speed=9"], "unknown field `speed`"),
        (&["diff", "b.plog"], "--policy"),
        (&["bench", "uw://127.0.0.1:1", "--record-bodies"], "--record <FILE>"),
    ] {
        assert_eq!(dir.run(args).failed(2, words), "");
    }
    dir.run(&["bench", "uw://127.0.0.1:1", "--record", "absent/c.plog"])
        .failed(3, "absent/c.plog: cannot be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_records_its_pools_and_another_policy_is_compared_endpoint_by_endpoint() {
    let (one, other) = (serve("one").await, serve("other").await);
    let dir = Dir::new();
    let services = format!("uw://{},uw://{}", one.local_addr(), other.local_addr());
    let log = dir.path("gateway.plog").display().to_string();
    let logged = tokio::task::spawn_blocking({
        let log = log.clone();
        move || {
            let gateway = Gateway::start_with(
                &["--tls", "false", "--project-service", &services, "--record", &log],
                &[],
            );
            for _ in 0..40 {
                assert_eq!(gateway.curl("/api/projects", &[]).status, 200);
            }
            gateway.stop()
        }
    });
    assert!(!logged.await.unwrap().contains("recording"));
    assert!(dir.run(&["replay", &log]).printed(0).contains("is the same"));

    let diff = dir.run(&["diff", &log, "--policy", "round_robin"]);
    let text = diff.printed(1);
    let shares = |address: &str| {
        let line = text.lines().find(|line| line.starts_with(address)).unwrap_or_else(|| panic!("{text}"));
        let counts: Vec<u64> =
            line.split("   ").filter_map(|cell| cell.trim().split(' ').next()?.parse().ok()).collect();
        <[u64; 2]>::try_from(counts).unwrap_or_else(|counts| panic!("{counts:?} in {line}"))
    };
    let (one, other) = (shares(&one.local_addr().to_string()), shares(&other.local_addr().to_string()));
    assert_eq!((one[0] + other[0], one[1] + other[1]), (40, 40), "{text}");
    assert!(one[1].abs_diff(other[1]) <= 1, "{text}");
    for words in
        ["the first that fares otherwise: ", "listProjects", "  then:  a request goes to ", "plimsoll sim"]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let both = dir.run(&["diff", &log, "--policy", "round_robin,p2c_ewma,attempts=1"]);
    let head =
        both.stdout.lines().find(|line| line.starts_with("endpoint ")).unwrap_or_else(|| panic!("{both:?}"));
    let columns: Vec<_> = head.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(columns, ["endpoint", "then", "round_robin", "p2c_ewma,attempts=1"]);
    assert!(
        both.stdout
            .contains("attempts of p2c_ewma,attempts=1 is left out: a retry asks whom nobody has asked then")
    );

    // The policies of a scenario, or one of them, in a form for machines.
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/one_slow_host.toml");
    let diff = |policy: &str| -> Value {
        let ended = dir.run(&["diff", &log, "--json", "--policy", policy]);
        assert!(ended.stderr.is_empty(), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let names = |diff: &Value| -> Vec<String> {
        let policies = diff["policies"].as_array().unwrap();
        policies.iter().map(|policy| policy["policy"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&diff(scenario)), ["in_turn", "by_cost", "by_cost_hedged"]);
    let hedged = diff(&format!("{scenario}:by_cost_hedged,rate_limit=10"));
    assert_eq!(names(&hedged), ["by_cost_hedged,rate_limit=10"]);
    let hedged = &hedged["policies"][0];
    assert_eq!(
        (&hedged["notes"][0]["key"], &hedged["notes"][0]["followed"]),
        (&"hedging".into(), &false.into())
    );
    let all: u64 =
        hedged["shares"].as_array().unwrap().iter().map(|share| share["then"].as_u64().unwrap()).sum();
    assert_eq!(all, 40, "{hedged}");
    let refused =
        hedged["counts"].as_array().unwrap().iter().find(|count| count["what"] == "refused: rate limit");
    let refused = refused.unwrap_or_else(|| panic!("{hedged}"));
    assert!(refused["then"] == 0 && refused["other"].as_u64().unwrap() > 0, "{refused}");
    dir.run(&["diff", &log, "--policy", &format!("{scenario}:best")])
        .failed(2, "has no policy `best`; it has in_turn,");
}

#[test]
fn a_recording_that_cannot_be_written_keeps_the_gateway_from_starting() {
    let dir = Dir::new();
    let started = dir.run(&["--port", "0", "--tls", "false", "--record", "absent/g.plog"]);
    assert_eq!(started.failed(1, "absent/g.plog: cannot be written"), "");
    dir.run(&["check", "--record", "g.plog"]).printed(0);
}
