//! The hub passes calls and answers on.

mod ipc_support;

use ipc_support::{WALL, World, call, frame, pack, success, unpack};
use plimsoll_core::ipc::hub::Config;
use serde_json::json;

fn world() -> World {
    World::new(Config::default())
}

#[test]
fn a_call_and_its_answer_are_passed_on_byte_for_byte() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    // Unknown fields, odd spacing, escapes, an integer that no float holds: nothing is touched.
    let body = format!(
        r#"{{ "trace":[1, 2],"type":"CALL","id":"\u0031","from":"order","to":"us\u0065r","method":"get",
        "params":{{"n":9007199254740993,"s":"\u00e9"}},"context":{{"root":"r","chain":["order","order"],"depth":2,"deadline":{},"x":0}}}}"#,
        WALL + 1
    );
    world.send(order, &frame(body.as_bytes()));
    assert_eq!(world.take(user), frame(body.as_bytes()));
    let body = r#"{"status":"success", "type":"RESPONSE","from":"user","to":"order","id":"1","data":1e400 ,"more":null}"#;
    world.send(user, &frame(body.as_bytes()));
    assert_eq!(world.take(order), frame(body.as_bytes()));
    assert_eq!(world.events[2..], ["call 1", "response 1"]);
    let metrics = world.hub.metrics();
    assert_eq!((metrics.routed, metrics.answered, metrics.converted), (1, 1, 0));
    assert_eq!(world.hub.status().pending, 0);
}

#[test]
fn a_message_within_message_pack_is_passed_on_byte_for_byte_too() {
    let mut world = world();
    let (order, user) = (world.packed_service("order", &[]), world.packed_service("user", &["get"]));
    let mut body = pack(&call("1", "order", "user", "get", json!("P")).to_string());
    // A date, which JSON has no words for.
    let at = body.windows(2).position(|two| two == b"\xa1P").unwrap();
    body.splice(at..at + 2, *b"\xd6\xff\0\0\0\0");
    world.send(order, &frame(&body));
    assert_eq!(world.take(user), frame(&body));
    assert_eq!(world.hub.metrics().converted, 0);
}

#[test]
fn services_of_different_formats_understand_each_other() {
    let mut world = world();
    let (order, user) = (world.service("order", &["done"]), world.packed_service("user", &["get"]));
    let question = call("1", "order", "user", "get", json!({"n": 9_007_199_254_740_993_u64, "t": "é"}));
    world.say(order, &question);
    let packed = world.take(user);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&unpack(&packed[4..])).unwrap(), question);
    let deadline = [&b"\xa8deadline\xcb"[..], &((WALL + 30_000) as f64).to_be_bytes()].concat();
    assert!(packed.windows(deadline.len()).any(|part| part == deadline), "a float, as its reader expects");
    let answer = success("1", "user", "order", json!(["done"]));
    world.send(user, &frame(&pack(&answer.to_string())));
    assert_eq!(world.hears(order), [answer]);
    assert_eq!(world.hub.metrics().converted, 2);
}

#[test]
fn what_the_other_format_cannot_say_is_told_to_who_called() {
    let mut world = world();
    let (order, user) = (world.packed_service("order", &[]), world.service("user", &["get"]));
    let mut body = pack(&call("1", "order", "user", "get", json!("P")).to_string());
    let at = body.windows(2).position(|two| two == b"\xa1P").unwrap();
    body.splice(at..at + 2, *b"\xd6\xff\0\0\0\0");
    world.send(order, &frame(&body));
    assert_eq!(world.answer(order), ("1".into(), json!("SERIALIZATION_FAILED")));
    assert!(world.take(user).is_empty());
    // The answer: a number that no float holds.
    world.send(order, &frame(&pack(&call("2", "order", "user", "get", json!(1)).to_string())));
    world.take(user);
    let answer = r#"{"type":"RESPONSE","id":"2","from":"user","to":"order","status":"success","data":1e999}"#;
    world.send(user, &frame(answer.as_bytes()));
    assert_eq!(world.answer(order), ("2".into(), json!("SERIALIZATION_FAILED")));
    assert_eq!(world.hub.status().pending, 0);
    assert_eq!(world.events.last().unwrap(), "dropped Unconvertible");
}

#[test]
fn a_call_that_goes_nowhere_is_answered_with_its_id_and_context() {
    let mut world = world();
    let (order, user) = (world.service("order", &["back"]), world.service("user", &["get"]));
    let question = call("7", "order", "nobody", "get", json!([]));
    world.say(order, &question);
    let heard = world.hears(order);
    let expected = json!({
        "type": "RESPONSE", "id": "7", "from": "nobody", "to": "order", "status": "error",
        "error": {"code": "SERVICE_NOT_FOUND", "message": "no service of this name is registered"},
        "context": question["context"],
    });
    assert_eq!(heard, [expected]);
    for (to, context, code) in [
        ("user", json!({"depth": 2}), "INVALID_CONTEXT"),
        ("user", json!({"root": "r", "chain": [], "depth": 0, "deadline": WALL + 9}), "INVALID_CONTEXT"),
        ("user", json!({"root": "r", "chain": [], "depth": 101, "deadline": WALL + 9}), "MAX_DEPTH_EXCEEDED"),
        ("user", json!({"root": "r", "chain": [], "depth": 1, "deadline": WALL - 1}), "DEADLINE_EXCEEDED"),
    ] {
        let mut question = call("8", "order", to, "get", json!([]));
        question["context"] = context;
        world.say(order, &question);
        assert_eq!(world.answer(order), ("8".into(), json!(code)));
    }
    let mut without = call("9", "order", "user", "get", json!([]));
    without.as_object_mut().unwrap().remove("context");
    world.say(order, &without);
    assert_eq!(world.answer(order), ("9".into(), json!("INVALID_CONTEXT")));
    world.say(order, &call("10", "order", "user", "other", json!([])));
    assert_eq!(world.answer(order), ("10".into(), json!("METHOD_NOT_FOUND")));
    let mut limit = call("11", "order", "user", "get", json!([]));
    limit["context"]["depth"] = json!(100);
    world.say(order, &limit);
    assert_eq!(world.hears(user).len(), 1, "only what is in order is passed on");
    assert_eq!((world.hub.metrics().routed, world.hub.metrics().refused), (1, 7));
}

#[test]
fn a_service_may_call_itself() {
    let mut world = world();
    let order = world.service("order", &["own"]);
    world.say(order, &call("1", "order", "order", "own", json!([])));
    assert_eq!(world.hears(order).len(), 1);
    world.say(order, &success("1", "order", "order", json!(5)));
    assert_eq!(world.answer(order), ("1".into(), json!(5)));
}

#[test]
fn the_hub_answers_questions_about_itself() {
    let mut world = world();
    let order = world.service("order", &["b", "a", "b"]);
    let _user = world.packed_service("user", &["get"]);
    world.sleep(2_000);
    world.say(order, &call("1", "order", "$hub", "status", json!([])));
    let (_, status) = world.answer(order);
    assert_eq!(status["running"], true);
    assert_eq!(status["socketPath"], "/tmp/bro-gateway.sock");
    assert_eq!(status["connectedServices"], 2);
    assert_eq!(status["services"], json!(["order", "user"]));
    assert_eq!(status["callsPerSecond"], 0, "questions to the hub are not passed on");
    world.say(order, &call("2", "order", "$hub", "service", json!({"name": "order"})));
    let expected = json!({
        "name": "order", "methods": ["a", "b"], "connectedAt": WALL, "lastHeartbeat": WALL, "version": "1.0.0",
        "metadata": {}, "peer": {}, "connections": 1, "pendingCalls": 0, "servingCalls": 0, "callsPerSecond": 0,
    });
    assert_eq!(world.answer(order), ("2".into(), expected.clone()));
    world.say(order, &json!({"type": "HEARTBEAT", "from": "order", "timestamp": WALL}));
    world.say(order, &call("3", "order", "$hub", "services", json!([])));
    let (_, services) = world.answer(order);
    assert_eq!(services[0]["lastHeartbeat"], json!(WALL + 2_000));
    assert_eq!(services[1]["name"], "user");
    world.say(order, &call("4", "order", "$hub", "service", json!({"name": "nobody"})));
    assert_eq!(world.answer(order), ("4".into(), json!("SERVICE_NOT_FOUND")));
    world.say(order, &call("5", "order", "$hub", "stop", json!([])));
    assert_eq!(world.answer(order), ("5".into(), json!("METHOD_NOT_FOUND")));
    assert!(world.hub.is_connected("user") && !world.hub.is_connected("nobody"));
    let names: Vec<_> = world.hub.services().map(|service| service.name).collect();
    assert_eq!(names, ["order", "user"]);
}

#[test]
fn a_hub_that_shuts_down_says_its_last_words_and_closes() {
    let mut world = world();
    let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
    world.say(order, &call("1", "order", "nobody", "get", json!([])));
    world.hub.shutdown(world.now, world.now + std::time::Duration::from_secs(5));
    world.settle();
    assert_eq!(world.closed, [user], "nothing waits to be sent there");
    assert!(world.hub.accept(world.now, Peer::UNKNOWN).is_none());
    assert_eq!(world.answer(order).1, "SERVICE_NOT_FOUND");
    world.settle();
    assert_eq!(world.closed, [user, order]);
    use plimsoll_core::machine::{Machine, Peer};
    assert!(world.hub.is_finished());
}
