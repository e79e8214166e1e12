//! Requests are lent and answered: on the spot, later, or not at all.

mod support;

use plimsoll_core::error::Misuse;
use plimsoll_core::machine::{Action, Machine};
use plimsoll_core::service::server::{Config, ReplyError, Request};
use plimsoll_core::wire::uw::Limits;
use support::{World, request, texts};

#[test]
fn a_request_is_echoed_from_its_own_bytes() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 7, "echo", "[1,2]");
    let Request { method, content, responder } = world.server.event().unwrap();
    assert_eq!((method, content, responder.conn()), ("echo", &b"[1,2]"[..], conn));
    responder.reply(content).unwrap();
    assert!(world.server.event().is_none());
    assert_eq!(texts(&world.answers(conn)), [(7, "[1,2]")]);
}

#[test]
fn pipelined_requests_are_lent_in_their_order_and_answered_in_any() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..3 {
        world.request(conn, id, "m", &id.to_string());
    }
    let tokens: Vec<_> = std::iter::from_fn(|| world.defer()).collect();
    assert_eq!(world.server.status().in_flight, 3);
    for (token, text) in [(tokens[2], "c"), (tokens[0], "a"), (tokens[1], "b")] {
        world.server.reply(world.now, token, text.as_bytes()).unwrap();
    }
    assert_eq!(texts(&world.answers(conn)), [(2, "c"), (0, "a"), (1, "b")]);
    assert_eq!(world.server.status().in_flight, 0);
}

#[test]
fn a_request_that_is_dropped_is_answered_with_an_error() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "{}");
    drop(world.server.event());
    let answers = world.answers(conn);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.starts_with(r#"{"error":{"code":"EXECUTION_FAILED","message":""#), "{answers:?}");
    let metrics = world.server.metrics();
    assert_eq!((metrics.requests, metrics.failed, metrics.unanswered, metrics.answered), (1, 1, 1, 0));
}

#[test]
fn a_failure_is_answered_with_its_code_and_message() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "{}");
    world.request(conn, 2, "m", "{}");
    world.server.event().unwrap().responder.fail("METHOD_NOT_FOUND", "no method m").unwrap();
    let token = world.defer().unwrap();
    world.server.fail(world.now, token, "BAD_REQUEST", "not JSON").unwrap();
    let expected = [
        (1, r#"{"error":{"code":"METHOD_NOT_FOUND","message":"no method m"}}"#),
        (2, r#"{"error":{"code":"BAD_REQUEST","message":"not JSON"}}"#),
    ];
    assert_eq!(texts(&world.answers(conn)), expected);
    assert_eq!(world.server.metrics().failed, 2);
}

#[test]
fn an_answer_above_the_limit_becomes_an_internal_error_and_its_giver_is_told() {
    let mut world = World::new(Config { limits: Limits { content: 100 }, ..Config::default() });
    let conn = world.accept();
    for id in 0..4 {
        world.request(conn, id, "m", "{}");
    }
    let too_large = Misuse::ContentTooLarge { len: 101, limit: 100 };
    let answer = [b' '; 101];
    assert_eq!(world.server.event().unwrap().responder.reply(&answer), Err(too_large));
    let token = world.defer().unwrap();
    assert_eq!(world.server.reply(world.now, token, &answer), Err(ReplyError::Misuse(too_large)));
    let message = "x".repeat(101 - r#"{"error":{"code":"A","message":""}}"#.len());
    assert_eq!(world.server.event().unwrap().responder.fail("A", &message), Err(too_large));
    assert_eq!(world.server.event().unwrap().responder.fail("A", &message[1..]), Ok(()));
    let answers = world.answers(conn);
    for (_, content) in &answers[..3] {
        assert!(content.starts_with(r#"{"error":{"code":"INTERNAL_ERROR","#), "{content}");
        assert!(content.contains("101 bytes"), "{content}");
    }
    assert!(answers[3].1.ends_with(r#"xx"}}"#));
    assert_eq!((world.server.metrics().failed, world.server.metrics().answered), (4, 0));
}

#[test]
fn a_second_answer_is_told_that_nobody_waits() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "{}");
    let token = world.defer().unwrap();
    world.server.reply(world.now, token, b"1").unwrap();
    assert_eq!(world.server.reply(world.now, token, b"2"), Err(ReplyError::Gone));
    assert_eq!(world.server.fail(world.now, token, "A", ""), Err(ReplyError::Gone));
    world.request(conn, 2, "m", "{}");
    let second = world.defer().unwrap();
    assert_ne!(second, token, "the place is used again, the token is not");
    assert_eq!(world.server.reply(world.now, token, b"3"), Err(ReplyError::Gone));
    assert_eq!(texts(&world.answers(conn)), [(1, "1")]);
}

#[test]
fn a_flush_is_asked_for_once_until_all_is_sent() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..2 {
        world.request(conn, id, "m", "{}");
    }
    world.echo();
    assert_eq!(world.actions(), [Action::Flush(conn)]);
    world.echo();
    assert_eq!(world.actions(), []);
    world.answers(conn);
    assert_eq!(world.actions(), []);
    world.request(conn, 2, "m", "{}");
    world.echo();
    assert_eq!(world.actions(), [Action::Flush(conn)]);
}

#[test]
fn whether_there_is_an_event_is_known_without_taking_it() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes = request(1, "m", "{}");
    world.send(conn, &bytes[..bytes.len() - 1]);
    assert!(!world.server.has_event());
    world.send(conn, &bytes[bytes.len() - 1..]);
    world.request(conn, 2, "ping", "{}");
    assert!(world.server.has_event());
    world.echo();
    assert!(!world.server.has_event());
    assert!(world.server.event().is_none());
}

#[test]
fn the_counts_add_up_and_the_latency_runs_from_taken_to_answered() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..2 {
        world.request(conn, id, "m", "{}");
    }
    world.echo();
    let token = world.defer().unwrap();
    world.sleep(20);
    world.server.reply(world.now, token, b"1").unwrap();
    let unsent = world.unsent(conn).len() as u64;
    assert_eq!(world.server.status().unsent, unsent);
    world.answers(conn);
    let metrics = world.server.metrics();
    assert_eq!((metrics.accepted, metrics.requests, metrics.answered), (1, 2, 2));
    assert_eq!(metrics.bytes_in, 2 * request(0, "m", "{}").len() as u64);
    assert_eq!(metrics.bytes_out, unsent);
    assert_eq!(metrics.latency.count(), 2);
    assert_eq!(metrics.latency.max(), Some(core::time::Duration::from_millis(20)));
    assert_eq!(metrics.rate.per_second(plimsoll_core::time::Instant::from_millis(1_500)), 2);
    world.server.reset_metrics();
    assert_eq!(world.server.metrics().requests, 0);
}
