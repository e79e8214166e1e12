//! One function for each behaviour; each takes a runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_core::drive::client::{CallError, Cause, Client, Service, ServiceConfig};
use plimsoll_core::drive::{Runtime, block_on};
use plimsoll_core::error::{Misuse, ProtocolError, Rejected};
use plimsoll_core::policy::backoff::Jitter;
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::service::client::{CloseCause, StateEvent};
use plimsoll_resp::{Answer, Args, Resp, Value, refused};

use crate::server::Redis;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries again soon.
fn eager(wire: Resp, address: String) -> ServiceConfig<Resp> {
    let mut config =
        ServiceConfig::over(wire, address).timeout(PATIENCE).reconnect_delay(Duration::from_millis(10));
    config.client.cluster.backoff.multiplier = Ratio::ONE;
    config.client.cluster.backoff.jitter = Jitter::None;
    config.client.cluster.max_connections = 1.try_into().expect("not zero");
    config
}

fn connect<R: Runtime>(runtime: &R, config: ServiceConfig<Resp>) -> (Client<R, Resp>, Service<Resp>) {
    let client = Client::on(runtime.clone()).seed(7).protocol().build();
    let cache = client.configure_service("cache", config).expect("a good configuration");
    (client, cache)
}

fn over_unix<R: Runtime>(runtime: &R, redis: &Redis) -> (Client<R, Resp>, Service<Resp>) {
    connect(runtime, eager(Resp::default(), redis.socket()))
}

fn call<const N: usize>(cache: &Service<Resp>, name: &str, args: [&str; N]) -> Result<Answer, CallError> {
    block_on(cache.call(name).send(Args::from(args)))
}

/// All of them at the same time; their outputs in order.
fn all<F: Future + Unpin>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    block_on(poll_fn(|cx| {
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = Pin::new(future).poll(cx) {
                *output = Some(ready);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    }));
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Polls once: the call is on its way then.
fn begin<F: Future + Unpin>(future: &mut F) {
    let polled = Pin::new(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "nobody answers that fast");
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "still waiting after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn a_thousand_calls_at_once_are_each_answered_with_their_own(runtime: impl Runtime) {
    let redis = Redis::on_a_port();
    let (_client, cache) = connect(&runtime, eager(Resp::default(), redis.address()));
    for _ in 0..3 {
        let calls = (0..1_000).map(|n| cache.call("ECHO").send(Args::from([n.to_string()])));
        for (n, answer) in all(calls).into_iter().enumerate() {
            assert_eq!(answer.unwrap().bytes(), Some(n.to_string().as_bytes()));
        }
    }
    let snapshot = block_on(cache.snapshot()).unwrap();
    assert_eq!((snapshot.metrics.succeeded, snapshot.metrics.dials), (3_000, 1), "all over one connection");
}

pub(crate) fn errors_are_told_to_their_callers_and_to_nobody_else(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    call(&cache, "SET", ["text", "abc"]).unwrap();
    let calls = (0..300).map(|n| match n % 3 {
        0 => cache.call("INCR").send(Args::from(["text"])),
        1 => cache.call("NOSUCH").send(Args::new()),
        _ => cache.call("ECHO").send(Args::from([n.to_string()])),
    });
    for (n, answer) in all(calls).into_iter().enumerate() {
        match (n % 3, answer.map_err(|error| error.cause)) {
            (0, Err(Cause::Remote { code, message })) => {
                assert_eq!((&*code, &*message), ("ERR", "value is not an integer or out of range"));
            }
            (1, Err(Cause::Remote { code, message })) => {
                assert!(code == "ERR" && message.starts_with("unknown command 'NOSUCH'"), "{message}");
            }
            (2, Ok(answer)) => assert_eq!(answer.bytes(), Some(n.to_string().as_bytes())),
            (_, other) => panic!("{other:?}"),
        }
    }
    let endpoint = block_on(cache.endpoints()).unwrap().remove(0);
    assert_eq!(endpoint.breaker, breaker::State::Closed, "a caller's mistake is none of the server's");
    assert_eq!(endpoint.breaker_stats.failed, 0);
}

pub(crate) fn values_stand_in_values(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    let script =
        "return {1, {'two', {}}, false, redis.error_reply('FOUR is bad'), redis.status_reply('FIVE')}";
    let answer = call(&cache, "EVAL", [script, "0"]).unwrap();
    let said = r#"[Integer(1), [Bulk("two"), []], Null, Error("FOUR is bad"), Simple("FIVE")]"#;
    assert_eq!(format!("{answer:?}"), said);
    assert!(call(&cache, "GET", ["missing"]).unwrap().is_null());
    assert_eq!(call(&cache, "APPEND", ["key", "12345"]).unwrap().integer(), Some(5));
}

pub(crate) fn eight_mebibytes_go_there_and_come_back_unchanged(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    // Whatever a line could end with is in it.
    let content = b"\r\n$-1\r\n0123456789".repeat(8 * 65_536);
    for key in ["a", "b"] {
        block_on(cache.call("SET").send(Args::from([key.as_bytes(), &content]))).unwrap();
    }
    let keys = ["a", "missing", "b", "a", "missing"];
    let answers = all(keys.map(|key| cache.call("GET").send(Args::from([key]))));
    for (key, answer) in keys.into_iter().zip(answers) {
        let expected = (key != "missing").then_some(&content);
        assert!(answer.unwrap().into_bytes().as_ref() == expected, "{key}");
    }
}

pub(crate) fn a_hundred_thousand_values_come_in_one_answer(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    let item = |n: u32| format!("item {n} {}", "x".repeat(n as usize % 200));
    for chunk in 0..10 {
        let items = (0..10_000).map(|n| item(chunk * 10_000 + n));
        let args: Args = ["list".to_owned()].into_iter().chain(items).collect();
        block_on(cache.call("RPUSH").send(args)).unwrap();
    }
    let answer = call(&cache, "LRANGE", ["list", "0", "-1"]).unwrap();
    let Value::Array(items) = answer.value() else { panic!("{answer:?}") };
    assert_eq!(items.len(), 100_000);
    assert!((0..).zip(items).all(|(n, value)| value == Value::Bulk(item(n).as_bytes())));
}

pub(crate) fn a_call_that_takes_too_long_keeps_its_place(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    call(&cache, "PING", []).unwrap();
    let slow = cache.call("DEBUG").timeout(Duration::from_millis(50)).send(Args::from(["SLEEP", "0.3"]));
    let behind = |n: u32| cache.call("ECHO").send(Args::from([n.to_string()]));
    let (mut slow, mut behind) = (slow, [1, 2, 3].map(behind));
    begin(&mut slow);
    behind.iter_mut().for_each(begin);
    assert_eq!(block_on(slow).unwrap_err().cause, Cause::Timeout { sent: true });
    for (n, answer) in (1..).zip(all(behind)) {
        assert_eq!(answer.unwrap().bytes(), Some(format!("{n}").as_bytes()));
    }
    let snapshot = block_on(cache.snapshot()).unwrap();
    assert_eq!((snapshot.metrics.late_responses, snapshot.metrics.failures.timeout), (1, 1));
    assert_eq!((snapshot.status.in_flight, snapshot.metrics.dials), (0, 1));
}

pub(crate) fn a_call_that_is_dropped_keeps_its_place(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    call(&cache, "PING", []).unwrap();
    let mut slow = cache.call("DEBUG").send(Args::from(["SLEEP", "0.2"]));
    begin(&mut slow);
    let mut dropped = cache.call("ECHO").send(Args::from(["nobody's"]));
    begin(&mut dropped);
    let sent = || block_on(cache.snapshot()).unwrap().status.in_flight;
    until("both are sent", || sent() == 2);
    drop(dropped);
    drop(slow);
    assert_eq!(call(&cache, "ECHO", ["mine"]).unwrap().bytes(), Some(&b"mine"[..]));
    let snapshot = block_on(cache.snapshot()).unwrap();
    assert_eq!((snapshot.metrics.failures.cancelled, snapshot.metrics.late_responses), (2, 2));
    assert_eq!(snapshot.status.in_flight, 0);
}

pub(crate) fn who_knows_the_password_is_let_in_and_nobody_else(runtime: impl Runtime) {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    for (wire, is_let_in) in [
        (Resp::default(), false),
        (Resp::default().password("open barley"), false),
        (Resp::default().user("cassim").password("open sesame"), false),
        (Resp::default().password("open sesame"), true),
        (Resp::default().user("default").password("open sesame").database(2), true),
    ] {
        let client = Client::on(runtime.clone()).seed(7).protocol().build();
        let mut events = client.events();
        let config = eager(wire, redis.socket());
        let cache = client.configure_service("cache", config).unwrap();
        let answer = block_on(cache.call("PING").timeout(Duration::from_millis(200)).send(Args::new()));
        if is_let_in {
            assert_eq!(answer.unwrap().bytes(), Some(&b"PONG"[..]));
            continue;
        }
        assert_eq!(answer.unwrap_err().cause, Cause::Timeout { sent: false });
        let StateEvent::Closed { cause, .. } = events.wait().unwrap().event else { panic!() };
        assert_eq!(cause, CloseCause::Protocol(ProtocolError::Unwelcome));
    }
}

pub(crate) fn every_connection_is_on_the_database_that_was_chosen(runtime: impl Runtime) {
    let mut redis = Redis::start(&[]);
    let config = |database| eager(Resp::default().database(database), redis.socket()).max_connections(4);
    let (_one, first) = connect(&runtime, config(1));
    let (_other, second) = connect(&runtime, config(2));
    call(&first, "SET", ["key", "1"]).unwrap();
    call(&second, "SET", ["key", "2"]).unwrap();
    // As many connections as there may be.
    block_on(first.scale(4)).unwrap();
    until("all stand", || block_on(first.snapshot()).unwrap().status.connections == 4);
    let answers = all((0..500).map(|_| first.call("GET").send(Args::from(["key"]))));
    assert!(answers.into_iter().all(|answer| answer.unwrap().bytes() == Some(b"1")));
    redis.kill();
    redis.start_again();
    assert_eq!(call(&second, "SET", ["key", "3"]).unwrap().bytes(), Some(&b"OK"[..]));
    assert!(call(&first, "GET", ["key"]).unwrap().is_null());
}

pub(crate) fn what_would_spoil_the_connection_is_not_sent(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let (_client, cache) = over_unix(&runtime, &redis);
    for (name, why) in [
        ("select", refused::CHANGES_THE_CONNECTION),
        ("SUBSCRIBE", refused::NOT_ANSWERED_ONCE),
        ("BLPOP", refused::BLOCKS),
    ] {
        let error = call(&cache, name, ["1"]).unwrap_err();
        assert_eq!(error.cause, Cause::Misuse(Misuse::Unencodable(why)));
        assert!(error.to_string().ends_with(why), "{error}");
    }
    assert_eq!(call(&cache, "PING", []).unwrap().bytes(), Some(&b"PONG"[..]));
}

pub(crate) fn a_connection_without_work_is_kept_alive_by_pings(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let mut config = eager(Resp::default(), redis.socket());
    config.client.cluster.heartbeat.interval = Duration::from_millis(10);
    let (_client, cache) = connect(&runtime, config);
    let pings = || block_on(cache.snapshot()).unwrap().metrics.pings;
    until("some pings", || pings() >= 2);
    assert_eq!(call(&cache, "ECHO", ["mine"]).unwrap().bytes(), Some(&b"mine"[..]));
    let metrics = block_on(cache.snapshot()).unwrap().metrics;
    assert_eq!((metrics.dials, metrics.reconnects, metrics.late_responses), (1, 0, 0));
}

pub(crate) fn a_server_that_is_killed_and_comes_back_is_found_again(runtime: impl Runtime) {
    let mut redis = Redis::on_a_port();
    let mut config = eager(Resp::default(), redis.address());
    // The kill alone is not to open it.
    config.client.cluster.breaker.mode =
        breaker::Mode::Count { failures: 1_000.try_into().expect("not zero") };
    let (_client, cache) = connect(&runtime, config);
    call(&cache, "PING", []).unwrap();
    let mut stuck = cache.call("DEBUG").send(Args::from(["SLEEP", "20"]));
    begin(&mut stuck);
    let mut behind: Vec<_> = (0..50).map(|_| cache.call("INCR").send(Args::from(["n"]))).collect();
    behind.iter_mut().for_each(begin);
    let mut harmless: Vec<_> =
        (0..50).map(|n| cache.call("ECHO").idempotent().send(Args::from([n.to_string()]))).collect();
    harmless.iter_mut().for_each(begin);
    until("all are sent", || block_on(cache.snapshot()).unwrap().status.in_flight == 101);
    redis.kill();
    // Whether they ran nobody can tell, so that they are not sent again.
    assert_eq!(block_on(stuck).unwrap_err().cause, Cause::Lost { sent: true });
    for answer in all(behind) {
        assert!(matches!(answer.unwrap_err().cause, Cause::Lost { .. }));
    }
    redis.start_again();
    for (n, answer) in all(harmless).into_iter().enumerate() {
        // The budget for retries is smaller than what was lost.
        match answer {
            Ok(answer) => assert_eq!(answer.bytes(), Some(n.to_string().as_bytes())),
            Err(error) => assert!(matches!(error.cause, Cause::Lost { .. }), "{error}"),
        }
    }
    assert_eq!(call(&cache, "INCR", ["n"]).unwrap().integer(), Some(1));
    assert!(block_on(cache.snapshot()).unwrap().metrics.reconnects >= 1);
}

pub(crate) fn the_breaker_opens_when_the_server_is_silent_and_closes_when_it_answers(runtime: impl Runtime) {
    let redis = Redis::start(&[]);
    let mut config = eager(Resp::default(), redis.socket());
    config.client.cluster.breaker = breaker::Config {
        mode: breaker::Mode::Count { failures: 3.try_into().expect("not zero") },
        recovery: Duration::from_millis(50),
        success_threshold: 1.try_into().expect("not zero"),
        ..breaker::Config::default()
    };
    let (client, cache) = connect(&runtime, config);
    let mut events = client.events();
    call(&cache, "PING", []).unwrap();
    redis.fall_silent();
    let short = || block_on(cache.call("PING").timeout(Duration::from_millis(10)).send(Args::new()));
    until("it opens", || {
        let cause = short().unwrap_err().cause;
        assert!(matches!(cause, Cause::Timeout { .. } | Cause::Rejected(Rejected::CircuitOpen)), "{cause}");
        matches!(cause, Cause::Rejected(_))
    });
    redis.go_on();
    until("it closes", || call(&cache, "PING", []).is_ok());
    assert_eq!(call(&cache, "ECHO", ["mine"]).unwrap().bytes(), Some(&b"mine"[..]));
    let mut changes = Vec::new();
    while !changes.ends_with(&[breaker::State::Closed]) {
        if let StateEvent::Breaker { to, .. } = events.wait().expect("the client runs").event {
            changes.push(to);
        }
    }
    assert!(changes.starts_with(&[breaker::State::Open]), "{changes:?}");
}
