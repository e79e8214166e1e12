//! A server that shuts down answers what it has taken.

mod support;

use std::time::Duration;

use plimsoll_core::machine::{Action, Machine, Peer};
use plimsoll_core::service::server::{Closed, Config, ReplyError};
use support::{World, request, texts};

#[test]
fn connections_without_work_are_closed_at_once_and_no_more_are_taken() {
    let mut world = World::new(Config::default());
    let conns = [world.accept(), world.accept()];
    world.server.shutdown(world.now, world.now + Duration::from_secs(5));
    assert!(!world.server.is_finished(), "the runtime has not been told to close");
    assert_eq!(world.actions(), conns.map(Action::Close));
    assert!(world.server.is_finished());
    assert_eq!(world.server.accept(world.now, Peer::UNKNOWN), None);
    assert_eq!(world.server.metrics().refused, 1);
    assert_eq!(world.server.deadline(), None);
}

#[test]
fn what_was_taken_is_answered_and_what_was_not_is_not_taken() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..4 {
        world.request(conn, id, "m", &id.to_string());
    }
    world.echo();
    let token = world.defer().unwrap();
    world.server.shutdown(world.now, world.now + Duration::from_secs(5));
    assert!(world.server.status().draining);
    assert!(!world.server.has_event());
    assert!(world.server.event().is_none());
    world.send(conn, &request(5, "m", "5"));
    assert!(world.server.event().is_none());
    assert_eq!(texts(&world.answers(conn)), [(0, "0")]);
    world.sleep(4_999);
    world.server.reply(world.now, token, b"late").unwrap();
    assert_eq!(world.actions(), [Action::Read(conn, false), Action::Flush(conn)]);
    assert_eq!(texts(&world.answers(conn)), [(1, "late")]);
    assert_eq!(world.actions(), [Action::Close(conn)]);
    assert!(world.server.is_finished());
    assert_eq!(world.server.metrics().closed, Closed { shutdown: 1, ..Closed::default() });
    assert_eq!(world.server.metrics().abandoned, 0);
}

#[test]
fn what_is_left_at_the_deadline_is_dropped_and_counted() {
    let mut world = World::new(Config::default());
    let (waiting, unread) = (world.accept(), world.accept());
    world.request(waiting, 1, "m", "1");
    let token = world.defer().unwrap();
    world.request(unread, 2, "m", "2");
    world.echo();
    let unsent = world.unsent(unread).len() as u64;
    world.server.shutdown(world.now, world.now + Duration::from_secs(5));
    world.actions();
    assert_eq!(world.server.deadline(), Some(world.now + Duration::from_secs(5)));
    assert_eq!(world.server.deadline_reason(), Some("the end of the shutdown"));
    world.sleep(5_000);
    assert!(world.unsent(unread).is_empty());
    assert_eq!(world.actions(), [Action::Close(waiting), Action::Close(unread)]);
    assert!(world.server.is_finished());
    assert_eq!(world.server.reply(world.now, token, b"1"), Err(ReplyError::Gone));
    let metrics = world.server.metrics();
    assert_eq!((metrics.abandoned, metrics.unsent_bytes, metrics.closed.shutdown), (1, unsent, 2));
}

#[test]
fn a_second_shutdown_can_only_be_sooner() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "1");
    world.defer().unwrap();
    for (seconds, expected) in [(5, 5), (9, 5), (2, 2)] {
        world.server.shutdown(world.now, world.now + Duration::from_secs(seconds));
        world.actions();
        assert_eq!(world.server.deadline(), Some(world.now + Duration::from_secs(expected)));
    }
}

#[test]
fn a_server_that_was_not_told_to_shut_down_is_never_finished() {
    assert!(!World::new(Config::default()).server.is_finished());
}
