//! A log under another policy: what would have been decided otherwise, and what cannot be known.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::cluster::explain::Decision;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::{Ratio, breaker, outlier};
use plimsoll_core::record::{Options, Record};
use plimsoll_core::replay::{self, Diff, Fate};
use plimsoll_core::service::client::{self, Client, Config};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_response};

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

const MILLIS: Duration = Duration::from_millis(1);

/// In turn, without ejection, and with breakers that do not open: what a policy is compared with.
fn plain() -> Config {
    let mut config = Config::default();
    config.cluster.strategy = Strategy::RoundRobin;
    config.cluster.outliers = None;
    config.cluster.breaker.mode = breaker::Mode::Count { failures: NonZeroU32::MAX };
    config
}

/// How an endpoint answers: after how many milliseconds, and whether with a failure.
type Service = fn(&str) -> (u32, bool);

/// The log of a client of three endpoints that makes a request every millisecond.
fn log(config: Config, service: Service) -> Vec<u8> {
    let mut client = Client::new(Uw::default(), config, 7);
    for n in 1..=3 {
        client.add_endpoint(Instant::ZERO, &format!("users-{n}.internal:3001")).unwrap();
    }
    client.record(Options::default());
    let mut answers: BTreeMap<Instant, Vec<(ConnId, Vec<u8>)>> = BTreeMap::new();
    let mut now = Instant::ZERO;
    settle(&mut client, now, service, &mut answers);
    for _ in 0..600 {
        now = now + MILLIS;
        client.handle(now, Input::Tick);
        let due = answers.remove(&now).unwrap_or_default();
        for (conn, bytes) in due {
            client.feed(now, conn, &bytes);
            settle(&mut client, now, service, &mut answers);
        }
        let request = UwRequest { method: "getUser", content: b"[7]" };
        let _ = client.request(now, &request, client::Options::default());
        settle(&mut client, now, service, &mut answers);
    }
    client.recorded()
}

fn settle(
    client: &mut Client<Uw>,
    now: Instant,
    service: Service,
    answers: &mut BTreeMap<Instant, Vec<(ConnId, Vec<u8>)>>,
) {
    loop {
        while client.event().is_some() {}
        match client.poll() {
            None => return,
            Some(Action::Connect(conn)) => client.handle(now, Input::Connected(conn)),
            Some(Action::Read(..) | Action::Close(_)) => {}
            Some(Action::Flush(conn)) => {
                let mut bufs = [&[][..]; 8];
                let n = client.send_bufs(conn, &mut bufs);
                let sent = bufs[..n].concat();
                client.handle(now, Input::Sent(conn, sent.len()));
                let (delay, fails) = service(client.target(conn).unwrap());
                let content: &[u8] =
                    if fails { br#"{"error":{"code":"INTERNAL_ERROR","message":"no"}}"# } else { b"1" };
                let (mut rest, limits, mut bytes) = (&sent[..], Limits::default(), Vec::new());
                while let Ok(Step::Frame(head)) = decode_request(rest, &limits, Mode::Strict) {
                    encode_response(&mut bytes, head.id, content, &limits).unwrap();
                    rest = &rest[head.content.end..];
                }
                answers.entry(now + MILLIS * delay).or_default().push((conn, bytes));
            }
        }
    }
}

fn count(diff: &Diff, what: &str) -> (u64, u64) {
    let found = diff.counts.iter().find(|count| count.what == what);
    found.map_or((0, 0), |count| (count.then, count.other))
}

/// Whom the changes are about.
fn changed(diff: &Diff) -> Vec<&str> {
    let address = |decision| match decision {
        &Decision::Ejection { ref endpoint, .. } | &Decision::Trip { ref endpoint, .. } => &*endpoint.address,
        _ => "",
    };
    let mut all: Vec<_> = diff.changes.iter().map(|change| address(&change.decision)).collect();
    all.dedup();
    all
}

fn well(_: &str) -> (u32, bool) {
    (5, false)
}

fn second_fails(address: &str) -> (u32, bool) {
    (5, address.starts_with("users-2"))
}

fn second_is_slow(address: &str) -> (u32, bool) {
    (if address.starts_with("users-2") { 60 } else { 5 }, false)
}

#[test]
fn the_same_policy_decides_the_same() {
    let diff = replay::diff(&log(plain(), second_is_slow), |_| {}).unwrap();
    assert_eq!((diff.compared, diff.same, diff.apart, &diff.first), (600, 600, 0, &None), "{diff}");
    assert_eq!(diff.answers, diff.evidence);
    assert!(diff.shares.iter().all(|share| share.then == share.other), "{diff}");
    assert!(diff.counts.is_empty() && diff.changes.is_empty(), "{diff}");
}

#[test]
fn another_strategy_has_other_shares_and_a_first_choice() {
    let log = log(plain(), second_is_slow);
    let diff = replay::diff(&log, |config| config.cluster.strategy = Strategy::LeastConnections).unwrap();
    let second = diff.shares.iter().find(|share| share.address.starts_with("users-2")).unwrap();
    assert!(second.then == 200 && second.other < 150, "{diff}");
    let first = diff.first.as_ref().unwrap();
    assert!(
        matches!((&first.then, &first.other), (Fate::Picked(then), Fate::Picked(other)) if then.endpoint != other.endpoint)
    );
    assert!(diff.evidence < diff.answers, "{diff}");
    assert!(diff.to_string().contains("simulate it"));
}

#[test]
fn a_breaker_that_was_not_there_opens_for_the_one_that_failed_and_for_nobody_else() {
    let log = log(plain(), second_fails);
    for strategy in [Strategy::RoundRobin, Strategy::Random] {
        let diff = replay::diff(&log, |config| {
            config.cluster.strategy = strategy;
            config.cluster.breaker.mode = breaker::Mode::Count { failures: limit(5) };
        })
        .unwrap();
        let (then, other) = count(&diff, "breakers that open");
        assert!(then == 0 && other > 0, "{strategy}: {diff}");
        assert_eq!(changed(&diff), ["users-2.internal:3001"], "{strategy}: {diff}");
        assert!(diff.changes.iter().all(|change| change.other));
        let second = diff.shares.iter().find(|share| share.address.starts_with("users-2")).unwrap();
        assert!(second.other < 50, "{strategy}: {diff}");
    }
}

#[test]
fn outliers_are_ejected_by_what_they_did_then() {
    let log = log(plain(), second_fails);
    // One of three may go.
    let ejection = outlier::Config { most: Ratio::per_mille(500), ..outlier::Config::default() };
    let diff = replay::diff(&log, |config| config.cluster.outliers = Some(ejection)).unwrap();
    let (then, other) = count(&diff, "ejections");
    assert!(then == 0 && other > 0, "{diff}");
    assert_eq!(changed(&diff), ["users-2.internal:3001"], "{diff}");
}

#[test]
fn a_rate_limit_refuses_what_is_above_it() {
    let diff = replay::diff(&log(plain(), well), |config| {
        config.rate_limit = Some(Quota::new(limit(100), Duration::from_secs(1)));
    })
    .unwrap();
    let (then, other) = count(&diff, "refused: rate limit");
    // 600 in 0.6 s: a hundred at once, and as many as the rate allows in that time.
    assert!(then == 0 && (430..=450).contains(&other), "{diff}");
    assert_eq!(diff.apart, other);
    let first = diff.first.unwrap();
    assert_eq!(first.other, Fate::Refused("rate limit"));
    assert!(first.then.address().is_some());
}

#[test]
fn what_was_refused_then_and_is_let_in_now_is_counted_and_nothing_more() {
    let mut config = plain();
    config.rate_limit = Some(Quota::new(limit(100), Duration::from_secs(1)));
    let diff = replay::diff(&log(config, well), |config| config.rate_limit = None).unwrap();
    let (then, other) = count(&diff, "refused: rate limit");
    assert_eq!((diff.let_in, diff.apart, other), (then, then, 0), "{diff}");
    assert_eq!((diff.compared, diff.answers), (600 - then, diff.evidence), "{diff}");
}

#[test]
fn a_shorter_timeout_ends_what_took_longer_then() {
    let log = log(plain(), second_is_slow);
    let shorter = replay::diff(&log, |config| config.timeout = MILLIS * 20).unwrap();
    let (then, other) = count(&shorter, "timeouts");
    // A third of the requests, but for those of the last 20 ms.
    assert!(then == 0 && (190..=200).contains(&other), "{shorter}");
    let same = replay::diff(&log, |config| config.timeout = MILLIS * 61).unwrap();
    assert_eq!(count(&same, "timeouts"), (0, 0), "{same}");
}

/// Nobody knows how the endpoint that was not asked would have answered: what is late is not held against it.
#[test]
fn a_timeout_of_one_endpoint_is_not_held_against_another() {
    let mut config = plain();
    config.timeout = MILLIS * 20;
    let log = log(config, second_is_slow);
    let diff = replay::diff(&log, |config| {
        config.cluster.strategy = Strategy::Random;
        config.cluster.breaker.mode = breaker::Mode::Count { failures: limit(5) };
    })
    .unwrap();
    assert_eq!(changed(&diff), ["users-2.internal:3001"], "{diff}");
    let (then, other) = count(&diff, "timeouts");
    assert!(then > 150 && other < then, "{diff}");
}

#[test]
fn a_log_of_another_machine_has_no_policy() {
    let mut server = plimsoll_core::service::server::Server::new(Default::default());
    server.record(Options::default());
    let error = replay::diff(&server.recorded(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("policies are those of a client"), "{error}");
}
