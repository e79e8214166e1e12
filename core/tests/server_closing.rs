//! How connections end.

mod support;

use plimsoll_core::error::Fault;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::service::server::{Closed, Config, ReplyError};
use plimsoll_core::wire::uw::Mode;
use support::{World, request, texts};

#[test]
fn a_peer_that_has_closed_its_half_is_answered_all_it_asked_and_then_closed() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..3 {
        world.request(conn, id, "m", &id.to_string());
    }
    let token = world.defer().unwrap();
    world.handle(Input::ReadClosed(conn));
    assert_eq!(world.actions(), [Action::Read(conn, false)]);
    assert_eq!(world.echo_all(), 2, "requests that were received are still taken");
    assert_eq!(texts(&world.answers(conn)), [(1, "1"), (2, "2")]);
    assert_eq!(world.actions(), [], "one is still in flight");
    world.server.reply(world.now, token, b"0").unwrap();
    assert_eq!(world.actions(), [Action::Flush(conn)]);
    let unsent = world.unsent(conn).len();
    world.handle(Input::Sent(conn, unsent - 1));
    assert_eq!(world.actions(), []);
    world.handle(Input::Sent(conn, 1));
    assert_eq!(world.actions(), [Action::Close(conn)]);
    assert_eq!(world.server.metrics().closed, Closed { peer: 1, ..Closed::default() });
}

#[test]
fn requests_that_nobody_has_looked_at_keep_a_half_closed_connection_open() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes = [request(1, "m", "1"), request(2, "m", "2"), request(3, "m", "3")].concat();
    world.send(conn, &bytes[..bytes.len() - 1]);
    world.handle(Input::ReadClosed(conn));
    world.sleep(60_000);
    assert_eq!(world.actions(), [Action::Read(conn, false)]);
    assert_eq!(world.echo_all(), 2);
    assert_eq!(world.answers(conn).len(), 2);
    assert_eq!(world.server.metrics().closed, Closed { peer: 1, ..Closed::default() });
}

#[test]
fn a_half_frame_of_a_half_closed_peer_does_not_cut_its_answers_off() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes = [request(1, "m", "1"), request(2, "m", "2")].concat();
    world.send(conn, &bytes[..bytes.len() - 1]);
    let token = world.defer().unwrap();
    world.handle(Input::ReadClosed(conn));
    world.sleep(60_000);
    world.server.reply(world.now, token, b"late").unwrap();
    assert_eq!(texts(&world.answers(conn)), [(1, "late")]);
}

#[test]
fn a_peer_that_closes_its_half_with_nothing_open_is_closed_at_once() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.handle(Input::ReadClosed(conn));
    assert_eq!(world.actions(), [Action::Close(conn)]);
    let conn = world.accept();
    world.send(conn, &request(1, "m", "half")[..20]);
    world.handle(Input::ReadClosed(conn));
    assert_eq!(world.actions(), [Action::Close(conn)], "a part of a frame will never be whole");
}

#[test]
fn a_connection_that_is_gone_takes_everything_of_it_along() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..4 {
        world.request(conn, id, "m", "1");
    }
    let tokens = [world.defer().unwrap(), world.defer().unwrap()];
    world.echo();
    let unsent = world.unsent(conn).len() as u64;
    world.handle(Input::Closed(conn, Fault::Reset));
    assert_eq!(world.actions(), [], "the runtime knows");
    assert!(!world.server.has_event());
    assert_eq!((world.server.status().in_flight, world.server.status().connections), (0, 0));
    for token in tokens {
        assert_eq!(world.server.reply(world.now, token, b"1"), Err(ReplyError::Gone));
    }
    let metrics = world.server.metrics();
    assert_eq!((metrics.abandoned, metrics.unsent_bytes), (2, unsent));
    assert_eq!(metrics.requests, metrics.answered + metrics.failed + metrics.abandoned);
    assert_eq!(metrics.closed, Closed { fault: 1, ..Closed::default() });
    assert_eq!(world.server.deadline(), None, "no timer is left");
}

#[test]
fn a_peer_that_closes_in_an_orderly_way_is_no_fault() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.handle(Input::Closed(conn, Fault::Closed));
    assert_eq!(world.server.metrics().closed, Closed { peer: 1, ..Closed::default() });
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_traffic_puts_that_off() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.sleep(599_000);
    world.request(conn, 1, "m", "1");
    world.echo();
    world.sleep(300_000);
    world.actions();
    world.answers(conn);
    world.sleep(599_999);
    assert_eq!(world.actions(), []);
    world.sleep(1);
    assert_eq!(world.actions(), [Action::Close(conn)]);
    assert_eq!(world.server.metrics().closed, Closed { idle: 1, ..Closed::default() });
}

#[test]
fn a_connection_with_a_request_in_flight_is_not_idle() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "1");
    let token = world.defer().unwrap();
    world.sleep(3_600_000);
    assert_eq!(world.actions(), []);
    world.server.reply(world.now, token, b"1").unwrap();
    assert_eq!(world.actions(), [Action::Flush(conn)]);
    world.sleep(599_999);
    assert_eq!(world.actions(), []);
    let unsent = world.unsent(conn).len() as u64;
    world.sleep(1);
    assert_eq!(world.actions(), [Action::Close(conn)], "the peer has taken nothing of its answer");
    assert_eq!(world.server.metrics().unsent_bytes, unsent);
}

#[test]
fn bytes_that_are_no_request_are_traffic_too() {
    let mut world = World::new(Config { mode: Mode::Resync, ..Config::default() });
    let conn = world.accept();
    world.sleep(599_000);
    world.send(conn, b"garbage");
    world.sleep(599_999);
    assert_eq!(world.actions(), []);
    world.sleep(1);
    assert_eq!(world.actions(), [Action::Close(conn)]);
}

#[test]
fn a_connection_with_a_request_that_nobody_has_taken_is_not_idle() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "m", "1");
    world.sleep(3_600_000);
    assert_eq!(world.actions(), []);
    assert!(world.echo());
}
