//! Who may speak at a hub, and under which name.

mod ipc_support;

use std::time::Duration;

use ipc_support::{World, call, member, register, success};
use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::Config;
use plimsoll_core::machine::Input;
use serde_json::json;

fn world() -> World {
    World::new(Config::default())
}

/// The code of the one `ERROR` that has come.
fn error(world: &mut World, conn: ConnId) -> String {
    let heard = world.hears(conn);
    assert_eq!((heard.len(), &heard[0]["type"]), (1, &json!("ERROR")), "{heard:?}");
    heard[0]["error"]["code"].as_str().unwrap().into()
}

#[test]
fn a_connection_registers_before_anything_else() {
    let mut world = world();
    let _user = world.service("user", &["get"]);
    for message in [
        call("1", "order", "user", "get", json!([])),
        success("1", "order", "user", json!([])),
        json!({"type": "HEARTBEAT", "from": "order", "timestamp": 1}),
    ] {
        let conn = world.accept();
        world.say(conn, &message);
        assert_eq!(error(&mut world, conn), "NOT_CONNECTED");
        assert_eq!(world.closed.pop(), Some(conn), "{message}");
    }
    assert_eq!(world.hub.metrics().routed, 0);
}

#[test]
fn a_connection_that_never_registers_is_closed() {
    let mut world = world();
    let conn = world.accept();
    world.sleep(9_999);
    assert!(world.closed.is_empty());
    world.sleep(1);
    assert_eq!(world.closed, [conn]);
    assert_eq!(world.events, ["disconnected - Unregistered"]);
}

#[test]
fn a_name_is_given_once() {
    let mut world = world();
    let (order, first) = (world.service("order", &[]), world.service("user", &["get"]));
    let second = world.accept();
    world.say(second, &register("user", &["get", "steal"]));
    assert_eq!(error(&mut world, second), "CONNECTION_FAILED");
    assert_eq!(world.closed, [second]);
    let third = world.accept();
    world.say(third, &member("user", &["get"], 0, 2));
    assert_eq!(error(&mut world, third), "CONNECTION_FAILED");
    assert!(world.works((order, "order"), (first, "user"), "get"), "who was there first has lost nothing");
}

#[test]
fn a_name_is_free_again_once_its_connection_has_gone() {
    let mut world = world();
    let first = world.service("user", &["get"]);
    world.handle(Input::Closed(first, Fault::Reset));
    assert_eq!(world.events.last().unwrap(), "disconnected user Fault(Reset)");
    let second = world.service("user", &["get"]);
    world.handle(Input::ReadClosed(second));
    assert_eq!(world.closed, [second], "half closed is gone, as the public client means it");
    world.service("user", &["get"]);
}

#[test]
fn the_end_of_a_service_is_told_before_its_name_is_given_again() {
    // All still have something to be sent when they are gone: the acknowledgement, or why.
    for (is_garbage, cause) in
        [(false, "Peer"), (true, "Protocol(TooLarge { len: 4294967295, limit: 16777216 })")]
    {
        let mut world = world();
        let first = world.accept();
        world.say(first, &register("user", &["get"]));
        match is_garbage {
            true => _ = world.send(first, b"\xff\xff\xff\xff"),
            false => world.handle(Input::ReadClosed(first)),
        }
        world.service("user", &["get"]);
        let told = ["registered user", &format!("disconnected user {cause}"), "registered user"];
        assert_eq!(world.events, told);
        assert!(world.closed.is_empty(), "it has not read what waits for it");
        world.take(first);
        assert_eq!(world.closed, [first]);
        assert_eq!(world.events, told, "an end is told once");
    }
}

#[test]
fn some_names_are_none() {
    let mut world = world();
    for name in [String::new(), "$hub".into(), "$".into(), "x".repeat(256)] {
        let conn = world.accept();
        world.say(conn, &register(&name, &[]));
        assert_eq!(error(&mut world, conn), "INVALID_MESSAGE");
        assert_eq!(world.closed.pop(), Some(conn));
    }
    let conn = world.accept();
    world.say(conn, &json!({"type": "REGISTER"}));
    assert_eq!(error(&mut world, conn), "INVALID_MESSAGE");
    assert!(world.closed.is_empty(), "it may try again");
    world.say(conn, &register("user", &[]));
    assert_eq!(world.hears(conn), [json!({"type": "REGISTER_ACK"})]);
}

#[test]
fn a_second_registration_replaces_the_methods() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["old"]));
    world.say(user, &register("user", &["new"]));
    assert_eq!(world.hears(user), [json!({"type": "REGISTER_ACK"})]);
    world.say(order, &call("1", "order", "user", "old", json!([])));
    assert_eq!(world.answer(order).1, "METHOD_NOT_FOUND");
    assert!(world.works((order, "order"), (user, "user"), "new"));
    world.say(user, &register("other", &["new"]));
    assert_eq!(error(&mut world, user), "INVALID_MESSAGE");
    assert!(!world.hub.is_connected("other") && world.hub.is_connected("user"));
}

#[test]
fn what_a_service_tells_about_itself_is_limited() {
    let limited = Config { methods: std::num::NonZeroU32::new(2).unwrap(), ..Config::default() };
    let mut world = World::new(limited);
    world.service("two", &["a", "b"]);
    let long = "x".repeat(256);
    let large = json!({"type": "REGISTER", "serviceName": "large", "metadata": "x".repeat(65 << 10)});
    for registration in [register("three", &["a", "b", "c"]), register("long", &[&long]), large] {
        let conn = world.accept();
        world.say(conn, &registration);
        assert_eq!(error(&mut world, conn), "INVALID_MESSAGE");
        assert_eq!(world.closed.pop(), Some(conn));
    }
    assert_eq!(world.hub.status().services, 1);
}

#[test]
fn nobody_speaks_for_another() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    let liar = world.service("liar", &[]);
    world.say(liar, &call("1", "order", "user", "get", json!([])));
    assert_eq!(world.answer(liar), ("1".into(), json!("INVALID_MESSAGE")));
    world.say(liar, &json!({"type": "HEARTBEAT", "from": "order", "timestamp": 1}));
    assert_eq!(error(&mut world, liar), "INVALID_MESSAGE");
    assert!(world.hears(user).is_empty() && world.hears(order).is_empty());
    assert!(world.works((order, "order"), (user, "user"), "get"));
}

#[test]
fn the_members_of_a_pool_share_a_name_and_its_calls() {
    let mut world = world();
    let order = world.service("order", &[]);
    let pool: Vec<_> = (0..3).map(|index| world.joins(&member("user", &["get"], index, 3))).collect();
    for n in 0..9 {
        world.say(order, &call(&n.to_string(), "order", "user", "get", json!([])));
    }
    let heard: Vec<usize> = pool.iter().map(|&conn| world.hears(conn).len()).collect();
    assert_eq!(heard, [3, 3, 3]);
    // Any member may answer: the public client sends over one connection after another.
    for n in 0..9 {
        world.say(pool[0], &success(&n.to_string(), "user", "order", json!(n)));
    }
    assert_eq!(world.hears(order).len(), 9);
    // The one with the fewest calls is next.
    for n in 0..3 {
        world.say(order, &call(&n.to_string(), "order", "user", "get", json!([])));
    }
    let busy: Vec<usize> = pool.iter().map(|&conn| world.hears(conn).len()).collect();
    assert_eq!(busy, [1, 1, 1]);
    world.handle(Input::Closed(pool[1], Fault::Reset));
    assert_eq!(world.answer(order).1, "CONNECTION_LOST");
    assert!(world.hub.is_connected("user"), "two are left");
    world.handle(Input::Closed(pool[0], Fault::Reset));
    world.handle(Input::Closed(pool[2], Fault::Reset));
    assert!(!world.hub.is_connected("user"));
}

#[test]
fn a_pool_has_no_more_members_than_it_says_and_each_once() {
    let mut world = world();
    world.joins(&member("user", &["get"], 0, 2));
    for registration in
        [member("user", &["get"], 0, 2), member("user", &["get"], 1, 3), register("user", &[])]
    {
        let conn = world.accept();
        world.say(conn, &registration);
        assert_eq!(error(&mut world, conn), "CONNECTION_FAILED", "{registration}");
    }
    world.joins(&member("user", &["get"], 1, 2));
}

#[test]
fn an_answer_finds_its_pool_even_if_the_connection_that_asked_has_gone() {
    let mut world = world();
    let pool: Vec<_> = (0..2).map(|index| world.joins(&member("order", &[], index, 2))).collect();
    let user = world.service("user", &["get"]);
    world.say(pool[0], &call("1", "order", "user", "get", json!([])));
    world.handle(Input::Closed(pool[0], Fault::Reset));
    world.say(user, &success("1", "user", "order", json!("found")));
    assert_eq!(world.answer(pool[1]), ("1".into(), json!("found")));
}

#[test]
fn a_service_that_is_silent_for_three_heartbeats_is_gone() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    world.sleep(89_999);
    // Any byte counts, also the first of a message.
    world.send(order, b"\0");
    world.sleep(1);
    assert_eq!(world.closed, [user]);
    assert_eq!(world.events.last().unwrap(), "disconnected user Silent");
    assert!(world.hub.is_connected("order"));
}

#[test]
fn one_member_of_a_pool_keeps_the_others_alive() {
    let mut world = world();
    let pool: Vec<_> = (0..2).map(|index| world.joins(&member("user", &["get"], index, 2))).collect();
    for _ in 0..5 {
        world.sleep(60_000);
        world.say(pool[0], &json!({"type": "HEARTBEAT", "from": "user", "timestamp": 1}));
    }
    assert!(world.closed.is_empty());
    world.sleep(90_000);
    assert_eq!(world.closed.len(), 2);
}

#[test]
fn no_more_connections_are_taken_than_configured() {
    let config = Config { connections: std::num::NonZeroU32::new(2).unwrap(), ..Config::default() };
    let mut world = World::new(config);
    let (first, _) = (world.accept(), world.accept());
    use plimsoll_core::machine::{Machine, Peer};
    assert!(world.hub.accept(world.now, Peer::UNKNOWN).is_none());
    world.handle(Input::Closed(first, Fault::Closed));
    world.accept();
    assert_eq!(world.hub.metrics().turned_away, 1);
}

#[test]
fn the_last_words_may_not_take_for_ever() {
    let mut world = world();
    let conn = world.accept();
    world.say(conn, &register("$hub", &[]));
    assert!(world.closed.is_empty(), "it has not read why");
    world.sleep(Duration::from_secs(5).as_millis() as u64);
    assert_eq!(world.closed, [conn]);
}
