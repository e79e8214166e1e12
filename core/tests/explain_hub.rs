//! What the log of a hub tells people: who was registered, which call went where and why, who waited for whom, what died.

mod ipc_support;

use std::num::NonZeroU32;
use std::time::Duration;

use ipc_support::{WALL, World, call, member, register, success};
use plimsoll_core::error::Fault;
use plimsoll_core::ipc::hub::Config;
use plimsoll_core::machine::{Input, Machine, Peer};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::record::{Options, Record};
use plimsoll_core::replay::{self, Query};
use plimsoll_core::time::Instant;
use serde_json::json;

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn recorded(config: Config) -> World {
    let mut world = World::new(config);
    world.hub.record(Options::default());
    world
}

fn story(world: &mut World, query: Query<'_>) -> String {
    replay::explain(&world.hub.recorded(), query).unwrap().to_string()
}

/// An order service calls a pool of two user services; one of these dies, and so does the caller.
fn world() -> World {
    let mut world = recorded(Config::default());
    let order = world.service("order", &[]);
    let users = [0, 1].map(|index| world.joins(&member("user", &["get"], index, 2)));
    for id in ["a", "b", "c"] {
        world.say(order, &call(id, "order", "user", "get", json!([])));
    }
    world.sleep(40);
    world.say(users[0], &success("a", "user", "order", json!(1)));
    let mut failure = success("b", "user", "order", json!(1));
    failure["status"] = json!("error");
    failure["error"] = json!({"code": "NO_SUCH_USER", "message": "a secret"});
    world.say(users[1], &failure);
    world.say(order, &call("d", "order", "user", "drop", json!([])));
    world.say(order, &call("e", "order", "nobody", "get", json!([])));
    world.sleep(60);
    world.handle(Input::Closed(users[0], Fault::Reset));
    let mut short = call("f", "order", "user", "get", json!([]));
    short["context"]["deadline"] = json!(WALL + 250);
    world.say(order, &short);
    world.sleep(300);
    world.say(users[1], &success("f", "user", "order", json!(1)));
    world.say(order, &call("g", "order", "user", "get", json!([])));
    world.sleep(20);
    world.handle(Input::ReadClosed(order));
    world.sleep(20);
    let _ = world.service("order", &[]);
    world
}

#[test]
fn a_call_says_where_it_went_and_why_and_what_became_of_it() {
    let mut world = world();
    assert_eq!(
        story(&mut world, Query::Request("1")),
        r#"       0.000000 s  call 1 of "order" to "user" for "get" is passed to connection 1.0, of 2 connections the next in turn with the fewest calls to answer (0); 1 call without an answer now; on the wire it is "a"
       0.040000 s  call 1 of "order" to "user" for "get" is answered after 40ms
"#
    );
    assert_eq!(
        story(&mut world, Query::Request("c")),
        r#"       0.000000 s  call 3 of "order" to "user" for "get" is passed to connection 1.0, of 2 connections the next in turn with the fewest calls to answer (1); 3 calls without an answer now; on the wire it is "c"
       0.100000 s  call 3 of "order" to "user" for "get" is lost after 100ms: connection 1.0, which it was passed to, has ended (the connection was reset)
"#
    );
    assert_eq!(
        story(&mut world, Query::Request("f")),
        r#"       0.100000 s  call 6 of "order" to "user" for "get" is passed to connection 2.0, the only connection of that service; 1 call without an answer now; on the wire it is "f"
       0.250000 s  call 6 of "order" to "user" for "get" is answered by the hub: the deadline of its context has passed, and connection 2.0 has not answered in 150ms
       0.400000 s  an answer of "user" to call 6 of "order" is dropped: nobody waits for it any more
"#
    );
}

#[test]
fn calls_that_came_to_nothing_are_told_with_the_cause() {
    let mut world = world();
    assert_eq!(
        story(&mut world, Query::Failures),
        r#"       0.040000 s  call 2 of "order" to "user" for "get" has failed there (NO_SUCH_USER), after 40ms
       0.040000 s  call 4 of "order" to "user" for "drop" is refused (METHOD_NOT_FOUND): the service has no method of this name; on the wire it is "d"
       0.040000 s  call 5 of "order" to "nobody" for "get" is refused (SERVICE_NOT_FOUND): no service of this name is registered; on the wire it is "e"
       0.100000 s  call 3 of "order" to "user" for "get" is lost after 100ms: connection 1.0, which it was passed to, has ended (the connection was reset)
       0.250000 s  call 6 of "order" to "user" for "get" is answered by the hub: the deadline of its context has passed, and connection 2.0 has not answered in 150ms
       0.400000 s  an answer of "user" to call 6 of "order" is dropped: nobody waits for it any more
       0.420000 s  call 7 of "order" to "user" for "get" is given up after 20ms: its caller has gone
"#
    );
}

#[test]
fn services_that_come_and_go_are_told() {
    let mut world = world();
    assert_eq!(
        story(&mut world, Query::Changes),
        r#"       0.000000 s  connection 0.0 is accepted; 1 connection stands now
       0.000000 s  "order" is registered over connection 0.0, with 0 methods
       0.000000 s  connection 1.0 is accepted; 2 connections stand now
       0.000000 s  "user" is registered over connection 1.0, 1 of 2 in its pool, with 1 method
       0.000000 s  connection 2.0 is accepted; 3 connections stand now
       0.000000 s  "user" is registered over connection 2.0, 2 of 2 in its pool, with 1 method
       0.040000 s  call 4 of "order" to "user" for "drop" is refused (METHOD_NOT_FOUND): the service has no method of this name; on the wire it is "d"
       0.040000 s  call 5 of "order" to "nobody" for "get" is refused (SERVICE_NOT_FOUND): no service of this name is registered; on the wire it is "e"
       0.100000 s  connection 1.0 of "user" has ended: the connection was reset
       0.100000 s  "user" has 1 connection left besides 1.0
       0.420000 s  connection 0.0 of "order" has ended: the peer has closed it
       0.420000 s  "order" is gone with connection 0.0, its last one: the name is free
       0.440000 s  connection 1.1 is accepted; 3 connections stand now
       0.440000 s  "order" is registered over connection 1.1, with 0 methods
"#
    );
}

#[test]
fn a_moment_shows_who_waits_for_whom() {
    let mut world = world();
    let told = story(&mut world, Query::At(Instant::from_millis(5_020)));
    let standing = told.split_once("the hub: ").unwrap().1;
    assert_eq!(
        standing,
        r#"3 connections of 2 services; 3 calls without an answer; 510 bytes to be sent
"order": 1 connection; it has 0 calls to answer, and waits for 3 answers
"user": 2 connections; it has 3 calls to answer, and waits for 0 answers
"order" waits for 3 answers of "user", the first for 20ms
"#
    );
}

#[test]
fn a_choice_among_the_members_of_a_pool_is_told_with_what_they_had_in_hand() {
    let mut world = world();
    let told = story(&mut world, Query::Pick(2));
    assert_eq!(
        told.lines().nth(1).unwrap(),
        r#"       0.000000 s  call 2 of "order" to "user" for "get" is passed to connection 2.0, of 2 connections the one with the fewest calls to answer (0); 2 calls without an answer now; on the wire it is "b""#
    );
}

#[test]
fn impostors_strangers_and_slow_readers_are_told() {
    let unsent = Band::new(1_000, 2_000).unwrap();
    let mut world = recorded(Config { unsent, connections: limit(3), ..Config::default() });
    let order = world.service("order", &[]);
    let user = world.service("user", &["get"]);
    let liar = world.accept();
    assert_eq!(world.hub.accept(world.now, Peer::UNKNOWN), None);
    world.say(liar, &register("user", &[]));
    world.settle();
    world.say(order, &call("1", "user", "order", "get", json!([])));
    let large = json!("x".repeat(1_500));
    for id in ["2", "3", "4"] {
        world.say(order, &call(id, "order", "user", "get", large.clone()));
    }
    world.hub.shutdown(world.now, world.now + Duration::from_secs(1));
    world.settle();
    assert_eq!(
        story(&mut world, Query::Changes),
        r#"       0.000000 s  connection 0.0 is accepted; 1 connection stands now
       0.000000 s  "order" is registered over connection 0.0, with 0 methods
       0.000000 s  connection 1.0 is accepted; 2 connections stand now
       0.000000 s  "user" is registered over connection 1.0, with 1 method
       0.000000 s  connection 2.0 is accepted; 3 connections stand now
       0.000000 s  a connection is turned away: as many connections stand as may
       0.000000 s  a message over connection 2.0 is not taken (CONNECTION_FAILED): a service of this name is registered already, and both are not members of one pool
       0.000000 s  call 1 of "user" to "order" for "get" is refused (INVALID_MESSAGE): the message says to be from another service than the one that this connection has registered; on the wire it is "1"
       0.000000 s  call 4 of "order" to "user" for "get" is refused (OVERLOADED): overloaded: too much waits to be sent to the service; on the wire it is "4"
       0.000000 s  the hub shuts down, and has 1s for its last words
       0.000000 s  connection 0.0 of "order" has ended: the hub has shut down
       0.000000 s  "order" is gone with connection 0.0, its last one: the name is free
       0.000000 s  connection 1.0 of "user" has ended: the hub has shut down
       0.000000 s  "user" is gone with connection 1.0, its last one: the name is free
"#
    );
    let _ = user;
}
