//! Pings are answered by the server itself.

mod support;

use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::service::server::Config;
use support::{World, request, texts};

#[test]
fn a_ping_is_answered_with_the_wall_clock_and_is_no_event() {
    let mut world = World::new(Config::default());
    world.handle(Input::Wall(1_700_000_000_000));
    let conn = world.accept();
    world.sleep(250);
    world.request(conn, 9, "ping", r#"{"timestamp":5}"#);
    assert!(!world.server.has_event());
    assert!(world.server.event().is_none());
    assert_eq!(world.actions(), [Action::Flush(conn)]);
    assert_eq!(texts(&world.answers(conn)), [(9, r#"{"timestamp":1700000000250}"#)]);
}

#[test]
fn pings_are_counted_apart() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..3 {
        world.request(conn, id, "ping", "");
    }
    world.request(conn, 3, "m", "1");
    assert_eq!(world.echo_all(), 1);
    let metrics = world.server.metrics();
    assert_eq!((metrics.pings, metrics.requests, metrics.answered), (3, 1, 1));
    assert_eq!(metrics.latency.count(), 1);
}

#[test]
fn pings_between_requests_are_answered_as_the_requests_are_taken() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes = [request(1, "m", "1"), request(2, "ping", ""), request(3, "m", "3")].concat();
    world.send(conn, &bytes);
    assert!(world.unsent(conn).is_empty());
    assert_eq!(world.echo_all(), 2);
    assert_eq!(world.answers(conn).len(), 3);
}

#[test]
fn a_flood_of_pings_stops_at_the_high_mark_of_unsent_answers() {
    let config = Config { unsent: Band::new(100, 1_000).unwrap(), ..Config::default() };
    let mut world = World::new(config);
    let conn = world.accept();
    let flood: Vec<u8> = (0..1_000).flat_map(|id| request(id, "ping", "")).collect();
    let sent = world.send(conn, &flood);
    assert!((1_000..1_100).contains(&world.unsent(conn).len()));
    assert_eq!(world.actions(), [Action::Read(conn, false), Action::Flush(conn)]);
    let mut answered = world.answers(conn).len();
    while !world.unsent(conn).is_empty() {
        assert!(world.unsent(conn).len() < 1_100);
        answered += world.answers(conn).len();
    }
    assert_eq!((sent, answered), (flood.len(), 1_000));
}

#[test]
fn a_ping_that_asks_is_told_how_busy_the_server_is() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    for id in 0..3 {
        world.request(conn, id, "m", "1");
    }
    let tokens: Vec<_> = (0..3).map(|_| world.server.event().unwrap().responder.defer()).collect();
    world.sleep(80);
    world.server.reply(world.now, tokens[0], b"1").unwrap();
    world.request(conn, 9, "ping", r#"{"timestamp":0,"load":true}"#);
    assert!(world.server.event().is_none());
    let answers = world.answers(conn);
    // An eighth of the first 80 ms.
    let load = r#"{"timestamp":1080,"in_flight":2,"latency_us":10000}"#;
    assert_eq!(texts(&answers).last(), Some(&(9, load)));
}
