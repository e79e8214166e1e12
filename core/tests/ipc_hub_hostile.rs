//! Peers that mean no good: the other services do not notice.

mod ipc_support;

use std::num::NonZeroU32;

use ipc_support::{World, call, frame, success};
use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::Config;
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::policy::watermark::Band;
use serde_json::json;

/// Two services that work, and one that is up to something.
struct Town {
    world: World,
    order: ConnId,
    user: ConnId,
    hostile: ConnId,
}

impl Town {
    fn new(config: Config) -> Town {
        let mut world = World::new(config);
        let (order, user) = (world.service("order", &[]), world.service("user", &["get"]));
        let hostile = world.service("hostile", &["get"]);
        Town { world, order, user, hostile }
    }

    #[track_caller]
    fn works(&mut self) {
        assert!(self.world.works((self.order, "order"), (self.user, "user"), "get"));
    }

    /// Whether the hostile connection was told this, and closed.
    #[track_caller]
    fn is_expelled(&mut self, code: &str) {
        let heard = self.world.hears(self.hostile);
        let last = heard.last().expect("it is told why");
        assert_eq!((&last["type"], &last["error"]["code"]), (&json!("ERROR"), &json!(code)));
        assert_eq!(self.world.closed, [self.hostile]);
        assert!(!self.world.hub.is_connected("hostile"));
    }
}

fn town() -> Town {
    Town::new(Config::default())
}

#[test]
fn a_length_of_4_gib_costs_no_memory_and_the_connection() {
    let mut town = town();
    let allocated = allocation_counter::measure(|| {
        town.world.send(town.hostile, b"\xff\xff\xff\xff{");
    });
    assert!(allocated.bytes_max < 100_000, "{}", allocated.bytes_max);
    town.is_expelled("INVALID_MESSAGE");
    town.works();
}

#[test]
fn a_large_length_that_is_allowed_costs_what_has_come() {
    let mut town = town();
    let allocated = allocation_counter::measure(|| {
        town.world.send(town.hostile, b"\x01\x00\x00\x00{\"type\":\"CALL\"");
        town.works();
    });
    assert!(allocated.bytes_max < 300_000, "{}", allocated.bytes_max);
    town.world.sleep(10_000);
    assert_eq!(town.world.closed, [town.hostile], "a message is finished in time");
    assert!(town.world.events.last().unwrap().contains("Stalled"));
    town.works();
}

#[test]
fn deep_json_is_refused_without_recursion() {
    for body in [
        format!(r#"{{"type":"CALL","params":{}"#, "[".repeat(10_000_000)),
        format!(r#"{{"type":"CALL","params":{}1{}}}"#, "{\"a\":".repeat(129), "}".repeat(129)),
    ] {
        let mut town = town();
        town.world.send(town.hostile, &frame(body.as_bytes()));
        town.is_expelled("DESERIALIZATION_FAILED");
        town.works();
    }
}

#[test]
fn deep_message_pack_is_refused_without_recursion() {
    let mut town = town();
    town.hostile = town.world.packed_service("packed", &[]);
    let body = [b"\x82\xa4type\xa4CALL\xa6params", &[0x91].repeat(10_000_000)[..]].concat();
    town.world.send(town.hostile, &frame(&body));
    let heard = town.world.hears(town.hostile);
    assert_eq!(heard[0]["error"]["code"], "DESERIALIZATION_FAILED");
    assert_eq!(town.world.closed, [town.hostile]);
    town.works();
}

#[test]
fn a_map_that_claims_four_billion_members_is_not_believed() {
    let mut town = town();
    town.hostile = town.world.packed_service("packed", &[]);
    let allocated = allocation_counter::measure(|| {
        town.world.send(town.hostile, &frame(b"\xdf\xff\xff\xff\xff\xa4type\xa4CALL"));
    });
    assert!(allocated.bytes_max < 100_000, "{}", allocated.bytes_max);
    assert_eq!(town.world.hears(town.hostile)[0]["error"]["code"], "DESERIALIZATION_FAILED");
    town.works();
}

#[test]
fn what_the_public_client_could_not_read_is_never_passed_on() {
    let open = r#"{"type":"CALL","id":"1","from":"hostile","to":"user","method":"get","context":{"root":"r","chain":[],"depth":1,"deadline":9e15},"params":"#;
    for params in
        [&b"\"\xff\""[..], b"tru", b"[1,]", b"01", b"'a'", b"\"\x01\"", b"{\"a\":1,}", b"1}{", b"NaN"]
    {
        let mut town = town();
        town.world.send(town.hostile, &frame(&[open.as_bytes(), params, b"}"].concat()));
        assert!(town.world.unsent(town.user).is_empty(), "{params:?}");
        town.is_expelled("DESERIALIZATION_FAILED");
        town.works();
    }
}

#[test]
fn a_message_that_says_two_things_is_not_passed_on() {
    let mut town = town();
    let twice = r#"{"type":"CALL","id":"1","from":"hostile","fr\u006fm":"order","to":"user","method":"get","context":{"root":"r","chain":[],"depth":1,"deadline":9e15}}"#;
    town.world.send(town.hostile, &frame(twice.as_bytes()));
    assert_eq!(town.world.hears(town.hostile)[0]["error"]["code"], "INVALID_MESSAGE");
    assert!(town.world.unsent(town.user).is_empty());
    town.works();
}

#[test]
fn a_connection_keeps_to_its_format() {
    let mut town = town();
    town.world.send(town.hostile, &frame(&ipc_support::pack(r#"{"type":"HEARTBEAT","from":"hostile"}"#)));
    town.is_expelled("DESERIALIZATION_FAILED");
    town.works();
}

#[test]
fn what_is_no_message_is_told_and_costs_nothing_else() {
    let mut town = town();
    for message in
        [json!({"type": "HELLO"}), json!({"no": "type"}), json!({"type": 7}), json!({"type": "ERROR"})]
    {
        town.world.say(town.hostile, &message);
        assert_eq!(town.world.hears(town.hostile)[0]["error"]["code"], "INVALID_MESSAGE");
    }
    assert!(town.world.closed.is_empty());
    town.works();
    let mut town = self::town();
    town.world.send(town.hostile, &frame(b""));
    town.is_expelled("DESERIALIZATION_FAILED");
}

#[test]
fn a_service_that_dies_between_a_call_and_its_answer_is_answered_for() {
    let mut town = town();
    town.world.say(town.order, &call("1", "order", "hostile", "get", json!([])));
    town.world.handle(Input::Closed(town.hostile, Fault::Reset));
    assert_eq!(town.world.answer(town.order), ("1".into(), json!("CONNECTION_LOST")));
    town.works();
}

#[test]
fn calls_to_a_service_that_stops_reading_fail_and_others_go_on() {
    let unsent = Band::new(50_000, 100_000).unwrap();
    let mut town = Town::new(Config { unsent, ..Config::default() });
    let large = "x".repeat(30_000);
    for n in 0..4 {
        town.world.say(town.order, &call(&n.to_string(), "order", "hostile", "get", json!(large)));
    }
    assert!(town.world.hears(town.order).is_empty(), "so much may wait");
    town.world.say(town.order, &call("5", "order", "hostile", "get", json!(large)));
    assert_eq!(town.world.answer(town.order), ("5".into(), json!("OVERLOADED")));
    town.works();
    // It reads again: not before most of it has gone, calls go to it again.
    town.world.handle(Input::Sent(town.hostile, 60_000));
    town.world.say(town.order, &call("6", "order", "hostile", "get", json!([])));
    assert_eq!(town.world.answer(town.order).1, "OVERLOADED");
    town.world.handle(Input::Sent(town.hostile, 20_000));
    town.world.say(town.order, &call("7", "order", "hostile", "get", json!([])));
    assert!(town.world.hears(town.order).is_empty());
    assert_eq!(town.world.hub.metrics().overloaded, 2);
}

#[test]
fn who_makes_calls_and_does_not_read_the_answers_is_refused_and_then_closed() {
    let unsent = Band::new(50_000, 100_000).unwrap();
    let mut town = Town::new(Config { unsent, ..Config::default() });
    let large = "x".repeat(30_000);
    let mut asked = 0;
    for n in 0..10 {
        town.world.say(town.hostile, &call(&n.to_string(), "hostile", "user", "get", json!([])));
        let calls = town.world.hears(town.user).len();
        asked += calls;
        if calls == 1 {
            town.world.say(town.user, &success(&n.to_string(), "user", "hostile", json!(large)));
        }
    }
    assert_eq!(asked, 4, "no more is asked of others for it");
    town.works();
    // Refusals wait, too.
    for n in 10..1_000 {
        town.world.say(town.hostile, &call(&n.to_string(), "hostile", "user", "get", json!([])));
    }
    assert_eq!(town.world.closed, [town.hostile]);
    assert_eq!(town.world.hub.status().unsent, 0, "what it had waiting is gone");
    assert!(town.world.events.last().unwrap().contains("SlowReader"));
    town.works();
}

#[test]
fn a_flood_of_calls_leaves_room_for_others() {
    let limit = |n| NonZeroU32::new(n).unwrap();
    let config = Config { pending: limit(100), pending_total: limit(8), ..Config::default() };
    let mut town = Town::new(config);
    for n in 0..100 {
        town.world.say(town.hostile, &call(&n.to_string(), "hostile", "user", "get", json!([])));
    }
    let refused = town.world.hears(town.hostile);
    assert_eq!(refused.len(), 94, "a quarter of eight places is kept");
    assert!(refused.iter().all(|answer| answer["error"]["code"] == "OVERLOADED"));
    town.world.take(town.user);
    town.works();
    let config = Config { pending: limit(3), ..Config::default() };
    let mut town = Town::new(config);
    for n in 0..10 {
        town.world.say(town.hostile, &call(&n.to_string(), "hostile", "user", "get", json!([])));
    }
    assert_eq!(town.world.hears(town.hostile).len(), 7);
    town.world.take(town.user);
    town.works();
}

#[test]
fn many_that_do_not_read_do_not_fill_the_memory_together() {
    let config = Config {
        unsent: Band::new(10_000, 1_000_000).unwrap(),
        unsent_total: NonZeroU32::new(100_000).unwrap(),
        ..Config::default()
    };
    let mut town = Town::new(config);
    let slow: Vec<_> = (0..10).map(|n| town.world.service(&format!("slow-{n}"), &["get"])).collect();
    let large = "x".repeat(9_000);
    let mut refused = 0;
    for n in 0..20 {
        let to = format!("slow-{}", n % 10);
        town.world.say(town.order, &call(&n.to_string(), "order", &to, "get", json!(large)));
        refused += town.world.hears(town.order).len();
    }
    assert!(refused > 0 && town.world.hub.status().unsent < 120_000);
    assert!(town.world.closed.is_empty());
    // An answer is not refused, so that what goes beyond costs who lets it wait.
    town.world.handle(Input::Closed(slow[0], Fault::Reset));
    town.world.say(slow[1], &call("1", "slow-1", "user", "get", json!([])));
    town.world.hears(town.user);
    town.world.say(town.user, &success("1", "user", "slow-1", json!("x".repeat(50_000))));
    assert_eq!(town.world.closed, [slow[1]]);
    town.world.hears(town.order);
    town.works();
}

#[test]
fn one_that_floods_takes_turns_with_the_others() {
    let mut town = town();
    let beat = frame(br#"{"type":"HEARTBEAT","from":"hostile"}"#);
    let flood = beat.repeat(1_000);
    let hub = &mut town.world.hub;
    assert_eq!(hub.feed(town.world.now, town.hostile, &flood), flood.len());
    let message = frame(call("1", "order", "user", "get", json!([])).to_string().as_bytes());
    assert_eq!(hub.feed(town.world.now, town.order, &message), message.len());
    let mut before = 0;
    while let Some(plimsoll_core::ipc::hub::Event::Heartbeat { .. }) = hub.event() {
        before += 1;
    }
    assert_eq!(before, 64);
}

#[test]
fn many_parts_of_long_messages_do_not_fill_the_memory() {
    let config = Config { receive_budget: NonZeroU32::new(1).unwrap(), ..Config::default() };
    let mut town = Town::new(config);
    let part = frame(&vec![b'{'; 1 << 20]);
    let mut taken = 0;
    for n in 0..50 {
        let conn = town.world.service(&format!("part-{n}"), &[]);
        taken += town.world.send(conn, &part[..1 << 19]);
        assert!(n < 5 || taken < 2 << 20, "{taken} bytes");
    }
    town.works();
    town.world.sleep(20_000);
    assert_eq!(town.world.closed.len(), 50);
    assert!(town.world.events.last().unwrap().contains("Stalled"));
}
