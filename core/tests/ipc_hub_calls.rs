//! Every call that a hub passes on comes to one end.

mod ipc_support;

use ipc_support::{WALL, World, call, success};
use plimsoll_core::error::Fault;
use plimsoll_core::ipc::hub::Config;
use plimsoll_core::machine::Input;
use quickcheck::quickcheck;
use serde_json::json;

fn world() -> World {
    World::new(Config::default())
}

#[test]
fn a_call_without_an_answer_is_answered_by_the_hub() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    let mut own = call("1", "order", "user", "get", json!([]));
    own["context"]["deadline"] = json!(WALL + 60_000);
    world.say(order, &own);
    let mut short = call("2", "order", "user", "get", json!([]));
    short["context"]["deadline"] = json!(WALL + 10_000);
    world.say(order, &short);
    world.sleep(9_999);
    assert!(world.hears(order).is_empty());
    world.sleep(1);
    let heard = world.hears(order);
    assert_eq!((&heard[0]["id"], &heard[0]["error"]["code"]), (&json!("2"), &json!("DEADLINE_EXCEEDED")));
    assert_eq!((&heard[0]["from"], &heard[0]["to"]), (&json!("user"), &json!("order")));
    assert_eq!(heard[0]["context"], short["context"]);
    world.sleep(20_000);
    assert_eq!(world.answer(order), ("1".into(), json!("TIMEOUT")));
    // Too late.
    world.say(user, &success("1", "user", "order", json!(1)));
    assert!(world.hears(order).is_empty());
    assert_eq!(world.events.last().unwrap(), "dropped Late");
    let metrics = world.hub.metrics();
    assert_eq!((metrics.timed_out, metrics.late, metrics.answered), (2, 1, 0));
}

#[test]
fn who_calls_in_message_pack_is_told_in_it() {
    let mut world = world();
    let (order, _user) = (world.packed_service("order", &[]), world.service("user", &["get"]));
    let body = ipc_support::pack(&call("1", "order", "user", "get", json!([])).to_string());
    world.send(order, &ipc_support::frame(&body));
    world.sleep(30_000);
    let bytes = world.take(order);
    assert_eq!(bytes[4] & 0xf0, 0x80, "a map");
    let answer = &ipc_support::messages(&bytes)[0];
    assert_eq!((&answer["error"]["code"], &answer["context"]["root"]), (&json!("TIMEOUT"), &json!("root-1")));
}

#[test]
fn calls_to_a_service_that_disconnects_are_answered_at_once() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    for id in ["1", "2"] {
        world.say(order, &call(id, "order", "user", "get", json!([])));
    }
    world.take(user);
    world.handle(Input::Closed(user, Fault::Reset));
    let mut lost: Vec<_> =
        world.hears(order).iter().map(|a| (a["id"].clone(), a["error"]["code"].clone())).collect();
    lost.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(lost, [(json!("1"), json!("CONNECTION_LOST")), (json!("2"), json!("CONNECTION_LOST"))]);
    assert_eq!((world.hub.metrics().lost, world.hub.status().pending), (2, 0));
    world.say(order, &call("3", "order", "user", "get", json!([])));
    assert_eq!(world.answer(order).1, "SERVICE_NOT_FOUND");
}

#[test]
fn the_last_answer_of_a_service_that_half_closes_is_still_taken() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    for id in ["1", "2"] {
        world.say(order, &call(id, "order", "user", "get", json!([])));
    }
    world.take(user);
    let answer = ipc_support::frame(success("1", "user", "order", json!("last")).to_string().as_bytes());
    use plimsoll_core::machine::Machine;
    assert_eq!(world.hub.feed(world.now, user, &answer), answer.len());
    world.handle(Input::ReadClosed(user));
    let heard = world.hears(order);
    assert_eq!(heard[0]["data"], "last");
    assert_eq!(heard[1]["error"]["code"], "CONNECTION_LOST");
    assert_eq!(world.closed, [user]);
}

#[test]
fn calls_of_a_service_that_disconnects_are_forgotten() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    world.say(order, &call("1", "order", "user", "get", json!([])));
    world.handle(Input::Closed(order, Fault::Reset));
    assert_eq!((world.hub.metrics().abandoned, world.hub.status().pending), (1, 0));
    // Another of the same name makes a call with the same id; the answer to the first one is no answer to it.
    world.say(user, &success("1", "user", "order", json!("old")));
    assert_eq!(world.events.last().unwrap(), "dropped Late");
}

#[test]
fn an_answer_is_taken_only_from_who_was_asked() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    let liar = world.service("liar", &["get"]);
    world.say(order, &call("1", "order", "user", "get", json!([])));
    world.say(liar, &success("1", "liar", "order", json!("stolen")));
    assert_eq!(world.events.last().unwrap(), "dropped Foreign");
    world.say(liar, &success("1", "user", "order", json!("stolen")));
    assert_eq!(world.hears(liar)[0]["error"]["code"], "INVALID_MESSAGE");
    assert!(world.hears(order).is_empty());
    world.say(user, &success("1", "user", "order", json!("true")));
    assert_eq!(world.answer(order), ("1".into(), json!("true")));
    assert_eq!(world.hub.metrics().foreign, 1);
}

#[test]
fn an_answer_is_taken_once() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    world.say(order, &call("1", "order", "user", "get", json!([])));
    for data in ["first", "second"] {
        world.say(user, &success("1", "user", "order", json!(data)));
    }
    assert_eq!(world.answer(order), ("1".into(), json!("first")));
}

#[test]
fn services_may_use_the_same_ids_and_one_service_may_not_twice_at_a_time() {
    let mut world = world();
    let (order, cart) = (world.service("order", &[]), world.service("cart", &[]));
    let user = world.service("user", &["get"]);
    world.say(order, &call("1", "order", "user", "get", json!([])));
    world.say(cart, &call("1", "cart", "user", "get", json!([])));
    world.say(order, &call("1", "order", "user", "get", json!([])));
    assert_eq!(world.answer(order), ("1".into(), json!("INVALID_MESSAGE")));
    assert_eq!(world.hears(user).len(), 2);
    world.say(user, &success("1", "user", "cart", json!("for cart")));
    world.say(user, &success("1", "user", "order", json!("for order")));
    assert_eq!(world.answer(order).1, "for order");
    assert_eq!(world.answer(cart).1, "for cart");
    assert!(world.works((order, "order"), (user, "user"), "get"));
}

#[test]
fn a_response_without_a_status_is_no_answer() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    world.say(order, &call("1", "order", "user", "get", json!([])));
    world.take(user);
    world.say(user, &json!({"type": "RESPONSE", "id": "1", "from": "user", "to": "order"}));
    assert_eq!(world.hears(user)[0]["error"]["code"], "INVALID_MESSAGE");
    world.say(user, &success("1", "user", "order", json!(2)));
    assert_eq!(world.answer(order).1, 2);
}

quickcheck! {
    /// Calls, answers, deaths and time in any order: each call that was passed on has one end, and nothing is left.
    fn every_call_has_one_end(ops: Vec<(u8, u8)>) -> bool {
        let mut world = world();
        let mut callers = [world.service("c0", &[]), world.service("c1", &[])];
        let mut callee = world.service("user", &["get"]);
        let (mut made, mut ended) = (0u32, 0);
        let mut open: Vec<(String, usize)> = Vec::new();
        for (what, number) in ops {
            let who = usize::from(number % 2);
            match what % 8 {
                0..=2 => {
                    made += 1;
                    world.say(callers[who], &call(&made.to_string(), &format!("c{who}"), "user", "get", json!([])));
                    open.push((made.to_string(), who));
                }
                3 | 4 => if let Some((id, who)) = usize::from(number).checked_rem(open.len()).map(|at| open.remove(at)) {
                    world.say(callee, &success(&id, "user", &format!("c{who}"), json!(1)));
                },
                5 => world.sleep(u64::from(number) * 100),
                6 => {
                    world.handle(Input::Closed(callee, Fault::Reset));
                    ended += callers.iter().map(|&conn| world.hears(conn).len()).sum::<usize>();
                    open.clear();
                    callee = world.service("user", &["get"]);
                }
                _ => {
                    ended += world.hears(callers[who]).len();
                    world.handle(Input::Closed(callers[who], Fault::Reset));
                    open.retain(|(_, caller)| *caller != who);
                    callers[who] = world.service(&format!("c{who}"), &[]);
                }
            }
            ended += callers.iter().map(|&conn| world.hears(conn).len()).sum::<usize>();
            world.take(callee);
            for conn in [callers[0], callers[1], callee] {
                world.send(conn, &ipc_support::frame(br#"{"type":"HEARTBEAT","from":"?"}"#));
                world.take(conn);
            }
        }
        world.sleep(30_000);
        ended += callers.iter().map(|&conn| world.hears(conn).len()).sum::<usize>();
        let metrics = world.hub.metrics();
        let ends = metrics.answered + metrics.timed_out + metrics.lost + metrics.abandoned;
        metrics.routed == ends
            && u64::try_from(ended).unwrap() == ends - metrics.abandoned + metrics.refused
            && world.hub.status().pending == 0
            && world.hub.services().all(|service| service.calling == 0 && service.called == 0)
    }
}
