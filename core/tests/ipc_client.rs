//! Clients of Bro IPC at a hub.

mod ipc_net;

use std::num::NonZeroU32;
use std::time::Duration;

use ipc_net::{Net, Seen, WALL};
use plimsoll_core::error::Fault;
use plimsoll_core::ipc::client::{CallError, Cause, Config, MethodError, Options, ReplyError, StateEvent};
use plimsoll_core::ipc::{Context, ContextError};
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::wire::ipc::{Format, Limits, Value};

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn json(text: &str) -> Option<Value<'_>> {
    Some(Value::parse(Format::Json, text.as_bytes()).unwrap())
}

#[test]
fn calls_come_back_between_all_formats_and_sizes_of_pools_however_the_bytes_are_cut() {
    for piece in [1, 7, usize::MAX] {
        for formats in [[Format::Json; 2], [Format::Json, Format::MessagePack], [Format::MessagePack; 2]] {
            for pool in [1, 3] {
                let mut net = Net::new();
                net.piece = piece;
                let order =
                    net.join(Config { format: formats[0], pool_size: limit(pool), ..Config::new("order") });
                let user =
                    net.join(Config { format: formats[1], pool_size: limit(pool), ..Config::new("user") });
                for _ in 0..4 {
                    assert_eq!(
                        net.ask(order, "user", "echo", r#"{"id":7,"é":[1.5]}"#),
                        r#"{"id":7,"é":[1.5]}"#
                    );
                    assert_eq!(net.ask(user, "order", "echo", "null"), "null");
                    assert_eq!(net.ask(order, "user", "fail", "1"), "NO_LUCK: it failed");
                }
                assert_eq!(
                    net.ask(order, "nobody", "echo", "1").split(':').next(),
                    Some("SERVICE_NOT_FOUND")
                );
                assert_eq!(net.ask(order, "user", "none", "1").split(':').next(), Some("METHOD_NOT_FOUND"));
                let answer = net.ask(user, "order", "drop", "1");
                assert_eq!(answer, "EXECUTION_FAILED: the call was dropped without an answer");
                let metrics = net.services[order].client.metrics();
                assert_eq!((metrics.calls, metrics.succeeded, metrics.remote), (10, 4, 6));
                assert_eq!((metrics.served, metrics.executed, metrics.execution_failed), (5, 4, 1));
            }
        }
    }
}

#[test]
fn a_context_grows_by_each_service_and_its_deadline_stays() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    let user = net.join(Config { format: Format::MessagePack, ..Config::new("user") });
    let role = net.join(Config::new("role"));
    assert_eq!(net.ask(order, "user", "chain", "\"role\""), "\"chained null\"");
    let (first, second) = (&net.services[user].contexts[0], &net.services[role].contexts[0]);
    assert_eq!((&*first.chain, first.depth), (&["order".to_string(), "user".into()][..], 2));
    assert_eq!(second.chain, ["order", "user", "role"]);
    assert_eq!((second.depth, second.caller()), (3, Some("user")));
    assert_eq!((&second.root, second.deadline), (&first.root, WALL + 30_000));
    assert!(first.root.starts_with("root-1699005123456-"));
}

#[test]
fn contexts_of_calls_at_the_same_time_do_not_mix() {
    let mut net = Net::new();
    let (order, cart) = (net.join(Config::new("order")), net.join(Config::new("cart")));
    net.join(Config::new("user"));
    let role = net.join(Config::new("role"));
    net.call(order, "user", "chain", "\"role\"", 1);
    net.call(cart, "user", "chain", "\"role\"", 2);
    net.run();
    let chains: Vec<_> = net.services[role].contexts.iter().map(|context| context.chain.join(" ")).collect();
    assert_eq!(chains, ["order user role", "cart user role"]);
    assert_ne!(net.services[role].contexts[0].root, net.services[role].contexts[1].root);
}

#[test]
fn a_circle_of_calls_ends_at_a_depth_of_100() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    let now = net.now;
    let client = &mut net.services[order].client;
    let mut deep = Context::create("r", "order", WALL, Duration::from_secs(9));
    deep.chain = vec!["order".into(); 100];
    deep.depth = 100;
    let refused = client.call(now, "order", "echo", None, Some(&deep), Options::default());
    assert_eq!(refused, Err(CallError::Context(ContextError::TooDeep { depth: 101 })));
    deep.depth = 99;
    assert!(client.call(now, "order", "echo", None, Some(&deep), Options::default()).is_ok());
    deep.deadline = WALL - 1;
    let late = client.call(now, "order", "echo", None, Some(&deep), Options::default());
    assert_eq!(late.unwrap_err().code(), "DEADLINE_EXCEEDED");
}

#[test]
fn a_call_takes_no_longer_than_its_context_or_its_timeout_allows() {
    let mut net = Net::new();
    let config = Config { timeout: Duration::from_secs(20), ..Config::new("order") };
    let order = net.join(config);
    let user = net.join(Config::new("user"));
    let now = net.now;
    let client = &mut net.services[order].client;
    let within = Context::create("r", "order", WALL, Duration::from_secs(5));
    let options = |tag| Options { tag, ..Options::default() };
    client.call(now, "user", "later", None, Some(&within), options(1)).unwrap();
    let short = Options { timeout: Some(Duration::from_secs(3)), tag: 2 };
    client.call(now, "user", "later", None, Some(&within), short).unwrap();
    client.call(now, "user", "later", None, None, options(3)).unwrap();
    net.sleep(2_999);
    assert_eq!(net.ended(order, 2), None);
    net.sleep(1);
    // The hub keeps the deadline that the context has by now, and may be the first to say so.
    assert!(
        ["Timeout { sent: true }", "DEADLINE_EXCEEDED: the deadline of the call has passed"]
            .contains(&&*net.ended(order, 2).unwrap())
    );
    net.sleep(2_000);
    assert!(net.ended(order, 1).unwrap().contains("ead"));
    net.sleep(15_000);
    assert!(net.ended(order, 3).is_some());
    let deadlines: Vec<_> =
        net.services[user].contexts.iter().map(|context| context.deadline - WALL).collect();
    assert_eq!(deadlines, [5_000, 3_000, 20_000]);
    assert_eq!(net.services[user].client.status().serving, 0, "their places are free");
    assert_eq!(net.services[order].client.status().pending, 0);
}

#[test]
fn an_answer_that_comes_too_late_is_counted_and_no_more() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    let id = net.call(order, "user", "later", "1", 1);
    net.run();
    let now = net.now;
    assert!(net.services[order].client.cancel(now, id) && !net.services[order].client.cancel(now, id));
    net.run();
    assert_eq!(net.ended(order, 1).as_deref(), Some("Cancelled"));
    let token = net.services[user].tokens[0];
    net.services[user].client.reply(now, token, json("1")).unwrap();
    net.run();
    assert_eq!(net.services[order].client.metrics().late, 1);
    // Its place in the table has a new tenant, which is not mistaken for it.
    net.call(order, "user", "later", "1", 2);
    net.run();
    assert_eq!(net.ended(order, 2), None);
}

#[test]
fn a_call_that_ends_before_any_byte_of_it_has_left_is_never_sent() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    let now = net.now;
    let short = |net: &mut Net, tag| {
        let options = Options { timeout: Some(Duration::ZERO), tag };
        net.services[order].client.call(now, "user", "echo", json("0"), None, options).unwrap();
    };
    net.call(order, "user", "echo", "1", 1);
    let second = net.call(order, "user", "echo", "[2,2]", 2);
    short(&mut net, 3);
    net.call(order, "user", "echo", "4", 4);
    assert!(net.services[order].client.cancel(now, second));
    net.tick();
    let ends = |net: &mut Net, tags: [u64; 4]| tags.map(|tag| net.ended(order, tag).unwrap_or_default());
    assert_eq!(ends(&mut net, [1, 2, 3, 4]), ["1", "Cancelled", "Timeout { sent: false }", "4"]);
    assert_eq!(net.services[user].contexts.len(), 2);
    // One byte of it has left, and of those behind it none.
    short(&mut net, 5);
    short(&mut net, 6);
    net.call(order, "user", "echo", "7", 7);
    let last = net.call(order, "user", "echo", "8", 8);
    net.piece = 1;
    net.round();
    net.services[order].client.handle(now, Input::Tick);
    assert!(net.services[order].client.cancel(now, last));
    net.piece = usize::MAX;
    net.run();
    let sent = |sent| format!("Timeout {{ sent: {sent} }}");
    assert_eq!(ends(&mut net, [5, 6, 7, 8]), [sent(true), sent(false), "7".into(), "Cancelled".into()]);
    assert_eq!(net.services[user].contexts.len(), 4);
}

#[test]
fn a_hub_that_takes_nothing_from_one_heartbeat_to_the_next_is_given_up() {
    let mut net = Net::new();
    let order = net.join(Config { timeout: Duration::from_secs(1), ..Config::new("order") });
    net.piece = 0;
    for tag in 0..59 {
        net.call(order, "user", "echo", "1", tag);
        net.sleep(1_000);
        assert_eq!(net.ended(order, tag).as_deref(), Some("Timeout { sent: false }"));
    }
    assert!(net.services[order].client.is_connected());
    net.sleep(1_000);
    let given_up = StateEvent::Disconnected { index: 0, cause: Cause::SlowReader };
    assert!(net.services[order].seen.contains(&Seen::State(given_up)));
    net.piece = usize::MAX;
    net.sleep(120_000);
    assert_eq!(net.ask(order, "order", "echo", "1"), "1");
}

#[test]
fn calls_that_were_put_off_are_answered_once_and_in_any_order() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    for tag in 0..3 {
        net.call(order, "user", "later", "1", tag);
    }
    net.run();
    let (now, tokens) = (net.now, net.services[user].tokens.clone());
    let client = &mut net.services[user].client;
    client.reply(now, tokens[2], json("\"two\"")).unwrap();
    client.fail(now, tokens[0], "ZERO", "nothing").unwrap();
    assert_eq!(client.reply(now, tokens[2], json("1")), Err(ReplyError::Gone));
    assert_eq!(client.status().serving, 1);
    net.run();
    assert_eq!(net.ended(order, 0).as_deref(), Some("ZERO: nothing"));
    assert_eq!(net.ended(order, 2).as_deref(), Some("\"two\""));
    assert_eq!(net.ended(order, 1), None);
    net.cut(user);
    net.run();
    assert!(net.ended(order, 1).unwrap().starts_with("CONNECTION_LOST"));
    assert_eq!(net.services[user].client.reply(now, tokens[1], None), Err(ReplyError::Gone));
}

#[test]
fn the_application_is_told_of_calls_that_it_has_put_off_and_nobody_waits_for_any_more() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    for tag in 0..3 {
        net.call(order, "user", "later", "1", tag);
    }
    net.run();
    let (now, tokens) = (net.now, net.services[user].tokens.clone());
    net.services[user].client.reply(now, tokens[1], None).unwrap();
    net.sleep(29_999);
    assert_eq!(net.services[user].abandoned, []);
    net.sleep(1);
    assert_eq!(net.services[user].abandoned, [tokens[0], tokens[2]], "their time is over");
    net.call(order, "user", "later", "1", 4);
    net.run();
    net.cut(user);
    net.run();
    assert_eq!(net.services[user].abandoned[2..], net.services[user].tokens[3..], "its connection has gone");
}

/// Found by the swarm (a hub, calls that are answered late and calls that never are): the place of the second call was the
/// first one's before, and was never free again.
#[test]
fn an_answer_that_comes_too_late_changes_nothing_for_who_has_its_place_by_then() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    let user = net.join(Config::new("user"));
    net.call(order, "user", "later", "1", 1);
    net.run();
    net.sleep(30_000);
    net.call(order, "user", "later", "1", 2);
    net.run();
    let (now, tokens) = (net.now, net.services[user].tokens.clone());
    assert_eq!(tokens[0].index(), tokens[1].index());
    let late = net.services[user].client.reply(now, tokens[0], None);
    assert_eq!(late, Err(ReplyError::Gone));
    net.sleep(30_000);
    assert_eq!(net.services[user].abandoned, tokens);
    assert_eq!(net.services[user].client.status().serving, 0);
}

#[test]
fn more_calls_than_may_be_put_off_are_answered_overloaded() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    net.join(Config { serving: limit(2), ..Config::new("user") });
    for tag in 0..3 {
        net.call(order, "user", "later", "1", tag);
    }
    net.run();
    assert!(net.ended(order, 2).unwrap().starts_with("OVERLOADED"));
    assert_eq!((net.ended(order, 0), net.ended(order, 1)), (None, None));
}

#[test]
fn what_the_wire_cannot_carry_is_told_to_both_sides() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    let user =
        net.join(Config { limits: Limits { body: 600 }, format: Format::MessagePack, ..Config::new("user") });
    net.call(order, "user", "later", "1", 1);
    net.call(order, "user", "later", "1", 2);
    net.run();
    let (now, tokens) = (net.now, net.services[user].tokens.clone());
    let large = format!("\"{}\"", "x".repeat(1_000));
    let client = &mut net.services[user].client;
    assert!(matches!(client.reply(now, tokens[0], json(&large)), Err(ReplyError::Misuse(_))));
    assert!(matches!(client.reply(now, tokens[1], json("1e999")), Err(ReplyError::Misuse(_))));
    let refused = client.call(now, "order", "echo", json(&large), None, Options::default());
    assert_eq!(refused.unwrap_err().code(), "SERIALIZATION_FAILED");
    net.run();
    for tag in [1, 2] {
        assert!(net.ended(order, tag).unwrap().starts_with("SERIALIZATION_FAILED"));
    }
}

#[test]
fn no_more_calls_are_taken_than_configured() {
    let mut net = Net::new();
    let order = net.join(Config { pending: limit(2), ..Config::new("order") });
    net.join(Config::new("user"));
    let now = net.now;
    let call =
        |net: &mut Net| net.services[order].client.call(now, "user", "later", None, None, Options::default());
    let first = call(&mut net).unwrap();
    call(&mut net).unwrap();
    assert_eq!(call(&mut net), Err(CallError::Overloaded));
    net.services[order].client.cancel(now, first);
    assert_eq!(call(&mut net), Err(CallError::Overloaded), "its end was not told yet");
    net.run();
    call(&mut net).unwrap();
    assert_eq!(net.services[order].client.metrics().rejected, 2);
}

#[test]
fn methods_come_and_go_while_connected() {
    let mut net = Net::new();
    let (order, user) =
        (net.join(Config::new("order")), net.join(Config { methods: limit(6), ..Config::new("user") }));
    assert!(net.ask(order, "user", "new", "1").starts_with("METHOD_NOT_FOUND"));
    let now = net.now;
    let client = &mut net.services[user].client;
    assert_eq!(client.register_method(now, "new"), Ok(true));
    assert_eq!(client.register_method(now, "new"), Ok(false));
    assert_eq!(client.register_method(now, "more"), Err(MethodError::TooMany { limit: 6 }));
    assert_eq!(client.register_method(now, ""), Err(MethodError::BadName));
    assert!(client.methods().eq(["chain", "drop", "echo", "fail", "later", "new"]));
    net.run();
    net.call(order, "user", "new", "1", 1);
    net.run();
    assert_eq!(net.services[user].seen.last(), Some(&Seen::Called("new".into())));
    let client = &mut net.services[user].client;
    assert!(client.unregister_method(now, "echo") && !client.unregister_method(now, "echo"));
    net.run();
    assert!(net.ask(order, "user", "echo", "1").starts_with("METHOD_NOT_FOUND"));
}

#[test]
fn without_a_registered_connection_no_call_is_taken() {
    let mut net = Net::new();
    let order = net.add(Config::new("order"));
    let now = net.now;
    let client = &mut net.services[order].client;
    let refused = client.call(now, "user", "echo", None, None, Options::default());
    assert_eq!((refused, refused.unwrap_err().code()), (Err(CallError::NotConnected), "NOT_CONNECTED"));
    assert!(!client.is_connected() && client.deadline().is_none());
}

#[test]
fn a_lost_hub_is_dialled_again_ever_more_seldom_and_registered_with_anew() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    net.call(order, "user", "later", "1", 1);
    net.run();
    net.call(order, "user", "later", "2", 2);
    net.kill_hub();
    assert_eq!(net.ended(order, 1).as_deref(), Some("Lost { sent: true }"));
    assert_eq!(net.ended(order, 2).as_deref(), Some("Lost { sent: false }"));
    let disconnected = StateEvent::Disconnected { index: 0, cause: Cause::Fault(Fault::Reset) };
    assert!(net.services[order].seen.contains(&Seen::State(disconnected)));
    assert!(!net.services[order].client.is_connected());
    let (start, before) = (net.now, net.dials.len());
    net.sleep(120_000);
    let mut after: Vec<_> = net.dials[before..].iter().map(|at| at.since(start).as_secs()).collect();
    after.dedup();
    assert_eq!(after, [5, 15, 35, 65, 95], "5, 10, 20, 30, 30 seconds apart");
    net.up = true;
    net.sleep(10_000);
    assert!(net.services[user].client.is_connected());
    assert_eq!(net.ask(order, "user", "echo", "3"), "3");
    // A connection that was taken begins anew.
    net.kill_hub();
    let before = net.dials.len();
    let start = net.now;
    net.sleep(5_000);
    assert_eq!(net.dials[before].since(start), Duration::from_secs(5));
}

#[test]
fn a_client_that_does_not_reconnect_stays_away() {
    let mut net = Net::new();
    let order = net.join(Config { auto_reconnect: false, ..Config::new("order") });
    net.kill_hub();
    net.up = true;
    net.sleep(100_000);
    assert!(!net.services[order].client.is_connected());
    let now = net.now;
    net.services[order].client.connect(now);
    net.run();
    assert!(net.services[order].client.is_connected());
}

#[test]
fn one_of_a_pool_that_is_lost_takes_only_its_calls_along() {
    let mut net = Net::new();
    let order = net.join(Config { pool_size: limit(3), ..Config::new("order") });
    assert_eq!(net.hub.status().connections, 3);
    net.join(Config::new("user"));
    assert_eq!(net.ask(order, "user", "echo", "1"), "1");
    net.cut(order);
    net.run();
    assert!(!net.services[order].client.is_connected());
    net.sleep(5_000);
    assert_eq!(net.hub.status().connections, 4);
    assert_eq!(net.hub.services().next().unwrap().connections, 3);
}

#[test]
fn a_client_that_disconnects_ends_its_calls_and_comes_back_only_if_asked() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    net.call(order, "user", "later", "1", 1);
    net.run();
    let now = net.now;
    net.services[order].client.disconnect(now);
    net.run();
    assert_eq!(net.ended(order, 1).as_deref(), Some("Disconnected"));
    assert!(!net.hub.is_connected("order"));
    net.sleep(100_000);
    assert!(!net.services[order].client.is_connected());
    let now = net.now;
    net.services[order].client.connect(now);
    net.run();
    assert_eq!(net.ask(order, "user", "echo", "1"), "1");
    assert!(net.services[user].client.is_connected());
}

#[test]
fn what_waits_is_sent_before_a_client_disconnects() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    net.call(order, "user", "later", "1", 1);
    net.run();
    let (now, token) = (net.now, net.services[user].tokens[0]);
    let client = &mut net.services[user].client;
    client.reply(now, token, json("\"last\"")).unwrap();
    client.disconnect(now);
    net.run();
    assert_eq!(net.ended(order, 1).as_deref(), Some("\"last\""));
    assert!(!net.hub.is_connected("user"));
}

#[test]
fn a_client_that_shuts_down_sees_its_calls_and_those_of_others_to_their_end() {
    let mut net = Net::new();
    let (order, user) = (net.join(Config::new("order")), net.join(Config::new("user")));
    net.call(order, "user", "later", "1", 1);
    net.call(user, "order", "later", "2", 2);
    net.run();
    let now = net.now;
    net.services[user].client.shutdown(now, now + Duration::from_secs(10));
    let client = &mut net.services[user].client;
    let refused = client.call(now, "order", "echo", None, None, Options::default());
    assert_eq!(refused, Err(CallError::ShuttingDown));
    for (at, answer) in [(user, "\"one\""), (order, "\"two\"")] {
        assert!(!net.services[user].client.is_finished());
        let token = net.services[at].tokens[0];
        net.services[at].client.reply(now, token, json(answer)).unwrap();
        net.run();
    }
    assert_eq!(net.ended(order, 1).as_deref(), Some("\"one\""));
    assert_eq!(net.ended(user, 2).as_deref(), Some("\"two\""));
    assert!(net.services[user].client.is_finished());
    // One that is not answered is waited for until the deadline.
    net.call(order, "order", "later", "3", 3);
    net.run();
    net.services[order].client.shutdown(now, now + Duration::from_secs(10));
    net.sleep(9_999);
    assert!(!net.services[order].client.is_finished());
    net.sleep(1);
    assert!(net.services[order].client.is_finished());
    assert_eq!(net.ended(order, 3).as_deref(), Some("Disconnected"));
}

#[test]
fn heartbeats_keep_an_idle_service_at_the_hub() {
    let mut net = Net::new();
    let order = net.join(Config { format: Format::MessagePack, ..Config::new("order") });
    net.sleep(3_600_000);
    assert_eq!(net.hub.metrics().heartbeats, 120);
    assert!(net.services[order].client.is_connected());
    assert_eq!(net.dials.len(), 1);
}

#[test]
fn a_name_that_is_taken_is_told_and_tried_again() {
    let mut net = Net::new();
    let first = net.join(Config::new("order"));
    let second = net.join(Config::new("order"));
    assert!(net.services[second].seen.contains(&Seen::Gateway("CONNECTION_FAILED".into())));
    assert!(!net.services[second].client.is_connected());
    let now = net.now;
    net.services[first].client.disconnect(now);
    net.sleep(5_000);
    assert!(net.services[second].client.is_connected());
}
