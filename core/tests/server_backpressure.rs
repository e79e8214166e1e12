//! A server that is full stops reading; nobody is answered with an error for it.

mod support;

use std::num::NonZeroU32;

use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::service::server::Config;
use support::{World, request};

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn reads(actions: &[Action]) -> Vec<(ConnId, bool)> {
    let read = |action: &Action| match *action {
        Action::Read(conn, on) => Some((conn, on)),
        _ => None,
    };
    actions.iter().filter_map(read).collect()
}

#[test]
fn a_new_connection_is_read_and_nothing_is_said_about_it() {
    let mut world = World::new(Config::default());
    world.accept();
    assert_eq!(world.actions(), []);
}

#[test]
fn a_connection_at_its_limit_in_flight_lends_no_more_and_is_read_again_at_half() {
    let mut world = World::new(Config { in_flight: limit(4), ..Config::default() });
    let (conn, other) = (world.accept(), world.accept());
    for id in 0..6 {
        world.request(conn, id, "m", "1");
    }
    let mut tokens: Vec<_> = std::iter::from_fn(|| world.defer()).collect();
    assert_eq!(tokens.len(), 4);
    assert!(!world.server.has_event());
    assert_eq!(reads(&world.actions()), [(conn, false)]);
    assert_eq!(world.server.status().paused, 1);

    world.request(other, 9, "m", "other");
    assert!(world.echo(), "only that connection is at its limit");

    world.server.reply(world.now, tokens.pop().unwrap(), b"1").unwrap();
    tokens.extend(world.defer());
    assert_eq!(tokens.len(), 4, "one place was free, for one request");
    assert!(!world.server.has_event());
    for answered in 1..=4 {
        world.server.reply(world.now, tokens.pop().unwrap(), b"1").unwrap();
        tokens.extend((answered == 1).then(|| world.defer().unwrap()));
        let expected: &[_] = if answered == 3 { &[(conn, true)] } else { &[] };
        assert_eq!(reads(&world.actions()), expected, "after {answered}");
    }
    let failed = world.server.metrics().failed;
    assert_eq!(failed, 0, "waiting is not an error");
}

#[test]
fn all_connections_stop_at_the_limit_in_all_and_go_on_at_half() {
    let mut world = World::new(Config { in_flight_total: limit(4), ..Config::default() });
    let conns = [world.accept(), world.accept(), world.accept()];
    for conn in conns {
        let bytes = [request(1, "m", "1"), request(2, "m", "2")].concat();
        assert_eq!(world.send(conn, &bytes), bytes.len());
    }
    let mut tokens: Vec<_> = std::iter::from_fn(|| world.defer()).collect();
    assert_eq!(tokens.len(), 4);
    assert!(!world.server.has_event());
    assert_eq!(reads(&world.actions()), conns.map(|conn| (conn, false)));
    world.server.reply(world.now, tokens.pop().unwrap(), b"1").unwrap();
    assert!(world.server.has_event(), "there is a place again");
    assert_eq!(reads(&world.actions()), []);
    world.server.reply(world.now, tokens.pop().unwrap(), b"1").unwrap();
    assert_eq!(reads(&world.actions()), conns.map(|conn| (conn, true)));
    assert_eq!(world.echo_all(), 2);
}

#[test]
fn a_connection_that_is_gone_makes_room_for_the_others() {
    let mut world = World::new(Config { in_flight_total: limit(2), ..Config::default() });
    let (busy, other) = (world.accept(), world.accept());
    for id in 0..2 {
        world.request(busy, id, "m", "1");
        world.defer().unwrap();
    }
    world.request(other, 2, "m", "1");
    assert!(!world.server.has_event());
    assert_eq!(world.actions(), [Action::Read(busy, false), Action::Read(other, false)]);
    world.handle(Input::Closed(busy, plimsoll_core::error::Fault::Reset));
    assert_eq!(world.actions(), [Action::Read(other, true)]);
    assert!(world.echo());
}

#[test]
fn a_connection_that_does_not_read_its_answers_is_not_read_until_the_low_mark() {
    let config = Config { unsent: Band::new(1_000, 4_000).unwrap(), ..Config::default() };
    let mut world = World::new(config);
    let conn = world.accept();
    let content = "x".repeat(1_000);
    for id in 0..9 {
        world.request(conn, id, "m", &content);
    }
    assert_eq!(world.echo_all(), 4, "the fourth answer reaches the high mark");
    assert_eq!(reads(&world.actions()), [(conn, false)]);
    let unsent = world.unsent(conn).len();
    assert!(unsent < 4_000 + 1_100, "{unsent}");
    world.handle(Input::Sent(conn, unsent - 1_001));
    assert_eq!(reads(&world.actions()), []);
    world.handle(Input::Sent(conn, 1));
    assert_eq!(reads(&world.actions()), [(conn, true)]);
    assert_eq!(world.echo_all(), 3);
}

#[test]
fn the_more_answers_a_peer_leaves_unread_the_less_of_its_requests_is_read_at_once() {
    let config = Config { unsent: Band::new(10_000, 40_000).unwrap(), ..Config::default() };
    let mut world = World::new(config);
    let conn = world.accept();
    let content = "x".repeat(10_000);
    // The room to read into grows with what is said.
    world.request(conn, 9, "m", &content);
    assert!(world.echo());
    let unsent = world.unsent(conn).len();
    world.handle(Input::Sent(conn, unsent));
    assert_eq!(world.server.recv_buf(conn).len(), 40_000);
    for (id, room) in [(0, 29_000..30_000), (1, 19_000..20_000), (2, 9_000..10_000), (3, 4_096..4_097)] {
        world.request(conn, id, "m", &content);
        assert!(world.echo());
        let read = world.server.recv_buf(conn).len();
        assert!(room.contains(&read), "{read} bytes after answer {id}");
    }
}

#[test]
fn answers_to_requests_that_were_taken_before_are_accepted_above_the_high_mark() {
    let config = Config { unsent: Band::new(10, 100).unwrap(), ..Config::default() };
    let mut world = World::new(config);
    let conn = world.accept();
    for id in 0..5 {
        world.request(conn, id, "m", "1");
    }
    let tokens: Vec<_> = std::iter::from_fn(|| world.defer()).collect();
    for token in tokens {
        world.server.reply(world.now, token, &[b'1'; 99]).unwrap();
    }
    world.request(conn, 5, "m", "1");
    assert!(!world.server.has_event());
    assert_eq!(world.answers(conn).len(), 5);
    assert!(world.server.has_event());
}

#[test]
fn beyond_the_receive_budget_one_frame_is_read_to_its_end_and_then_the_next() {
    let mut world = World::new(Config { receive_budget: limit(1 << 20), ..Config::default() });
    let bytes = request(1, "m", &"x".repeat(500_000));
    let (first, second, third) = (world.accept(), world.accept(), world.accept());
    for conn in [first, second] {
        assert_eq!(world.send(conn, &bytes[..bytes.len() - 1]), bytes.len() - 1);
    }
    let sent = world.send(third, &bytes);
    assert!((1..bytes.len()).contains(&sent));
    assert_eq!(reads(&world.actions()), [(third, false)]);
    world.send(second, &bytes[bytes.len() - 1..]);
    world.defer().unwrap();
    assert_eq!(world.server.deadline(), Some(world.now), "there is something to do");
    assert_eq!(world.actions(), [Action::Read(third, true)], "the turn is free");
    assert_eq!(world.send(third, &bytes[sent..]), bytes.len() - sent);
    world.send(first, &bytes[bytes.len() - 1..]);
    assert!(world.echo() && world.echo());
}

#[test]
fn many_large_requests_at_once_all_come_to_their_end() {
    let mut world = World::new(Config { receive_budget: limit(1 << 20), ..Config::default() });
    let bytes = request(1, "m", &"x".repeat(500_000));
    let conns: Vec<_> = (0..8).map(|_| world.accept()).collect();
    let mut sent = [0; 8];
    let mut taken = 0;
    for _ in 0..1_000 {
        for (conn, sent) in conns.iter().zip(&mut sent) {
            *sent += world.send(*conn, &bytes[*sent..][..10_000.min(bytes.len() - *sent)]);
        }
        taken += usize::from(world.echo());
        world.actions();
    }
    assert_eq!(taken, 8);
    assert_eq!(world.server.metrics().protocol_errors.stalled, 0);
}

#[test]
fn a_budget_that_is_spent_on_stalled_frames_is_freed_by_their_time_limit() {
    let mut world = World::new(Config { receive_budget: limit(1 << 20), ..Config::default() });
    let bytes = request(1, "m", &"x".repeat(500_000));
    let (first, second, third, small) = (world.accept(), world.accept(), world.accept(), world.accept());
    for conn in [first, second, third] {
        world.send(conn, &bytes[..bytes.len() - 1]);
    }
    assert_eq!(reads(&world.actions()), [(third, false)]);
    // Those who ask for little are served meanwhile.
    world.request(small, 2, "m", &"x".repeat(2_000));
    assert!(world.echo());
    assert_eq!(world.answers(small).len(), 1);
    world.actions();
    world.sleep(10_000);
    assert_eq!(world.actions(), [Action::Close(first), Action::Close(second), Action::Close(third)]);
    assert_eq!(world.server.metrics().protocol_errors.stalled, 3);
    assert_eq!(world.send(small, &bytes), bytes.len());
    assert!(world.echo());
}

#[test]
fn undrained_requests_fill_the_buffer_and_nothing_is_lost() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes: Vec<u8> = (0..20_000).flat_map(|id| request(id, "m", "12345678")).collect();
    let mut sent = world.send(conn, &bytes);
    assert!(sent < bytes.len());
    assert!(world.server.recv_buf(conn).is_empty());
    let mut answered = 0;
    while answered < 20_000 {
        while world.echo() {}
        answered += world.answers(conn).len();
        sent += world.send(conn, &bytes[sent..]);
    }
    assert_eq!(sent, bytes.len());
}
