//! Connections have a number, and their turns.

mod support;

use std::num::NonZeroU32;

use plimsoll_core::error::Fault;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::server::{Config, Request};
use support::{World, request};

#[test]
fn a_connection_above_the_limit_is_refused_and_counted_until_another_is_gone() {
    let mut world = World::new(Config { connections: NonZeroU32::new(2).unwrap(), ..Config::default() });
    let (first, second) = (world.accept(), world.accept());
    assert_eq!(world.server.accept(world.now, Peer::UNKNOWN), None);
    assert_eq!((world.server.metrics().accepted, world.server.metrics().refused), (2, 1));
    world.handle(Input::Closed(first, Fault::Reset));
    let third = world.accept();
    assert_eq!(third.slot(), first.slot());
    assert_eq!(world.server.accept(world.now, Peer::UNKNOWN), None);

    // One that the server closes counts until the runtime has been told.
    world.send(second, b"garbage");
    assert_eq!(world.server.accept(world.now, Peer::UNKNOWN), None);
    assert_eq!(world.actions(), [Action::Close(second)]);
    world.accept();
}

#[test]
fn nothing_of_a_connection_is_left_for_the_next_one_in_its_place() {
    let mut world = World::new(Config { in_flight: NonZeroU32::new(1).unwrap(), ..Config::default() });
    let first = world.accept();
    let half = request(3, "m", "half");
    world.request(first, 1, "m", "1");
    world.request(first, 2, "m", "2");
    world.send(first, &half[..10]);
    world.echo();
    world.defer().unwrap();
    world.actions();
    world.handle(Input::Closed(first, Fault::Reset));
    let second = world.accept();
    assert_eq!(second.slot(), first.slot());
    assert!(!world.server.has_event());
    assert_eq!(world.actions(), [], "it is read, and has nothing to send");
    world.request(second, 4, "m", "4");
    assert!(world.echo());
    assert_eq!(world.answers(second), [(4, "4".to_string())]);
}

#[test]
fn connections_with_full_buffers_take_turns_of_64_requests() {
    let mut world = World::new(Config::default());
    let conns = [(world.accept(), 10), (world.accept(), 200), (world.accept(), 200)];
    for (conn, requests) in conns {
        let bytes: Vec<u8> = (0..requests).flat_map(|id| request(id, "m", "1")).collect();
        world.send(conn, &bytes);
    }
    let mut turns = Vec::new();
    while let Some(Request { responder, content, .. }) = world.server.event() {
        turns.push(responder.conn());
        responder.reply(content).unwrap();
    }
    let lengths: Vec<_> = turns.chunk_by(|a, b| a == b).map(|turn| (turn[0], turn.len())).collect();
    let [(short, _), (a, _), (b, _)] = conns;
    let turns = [(a, 64), (b, 64), (a, 64), (b, 64), (a, 64), (b, 64), (a, 8), (b, 8)];
    assert_eq!(lengths[0], (short, 10));
    assert_eq!(lengths[1..], turns);
}

#[test]
fn however_many_are_greedy_a_newcomer_is_served_at_once() {
    let config = Config {
        in_flight: NonZeroU32::new(100).unwrap(),
        in_flight_total: NonZeroU32::new(400).unwrap(),
        ..Config::default()
    };
    let mut world = World::new(config);
    let greedy: Vec<_> = (0..20).map(|_| world.accept()).collect();
    for &conn in &greedy {
        for id in 0..150 {
            world.request(conn, id, "m", "1");
        }
    }
    while world.defer().is_some() {}
    for _ in 0..2 {
        let newcomer = world.accept();
        world.request(newcomer, 1, "m", "1");
        assert!(world.echo(), "no place is left");
    }
}
