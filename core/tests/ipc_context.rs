//! Contexts: what travels with a call.

use std::time::Duration;

use plimsoll_core::ipc::{Context, ContextError, MAX_DEPTH, write_id};
use plimsoll_core::rng::Pcg;
use plimsoll_core::wire::ipc::{Format, MessageError, Value, Writer, code};
use quickcheck::quickcheck;

const NOW: u64 = 1_699_005_123_456;

fn context() -> Context {
    Context::create("root-1", "order", NOW, Duration::from_secs(30))
}

#[test]
fn each_hop_adds_whom_it_calls_and_finds_who_called_before_the_last() {
    let origin = context();
    assert_eq!((origin.depth, origin.caller(), origin.deadline), (1, None, NOW + 30_000));
    let role = origin.extend("user").unwrap().extend("role").unwrap();
    assert_eq!(role.chain, ["order", "user", "role"]);
    assert_eq!((role.depth, role.caller(), &*role.root), (3, Some("user"), "root-1"));
    assert_eq!(role.to_string(), "[root-1] order → user → role (depth: 3)");
}

#[test]
fn the_deadline_only_comes_closer() {
    let context = context();
    assert_eq!(context.clone().within(NOW + 10_000, Duration::from_secs(5)).deadline, NOW + 15_000);
    assert_eq!(context.clone().within(NOW + 10_000, Duration::from_secs(60)).deadline, NOW + 30_000);
    assert_eq!(context.remaining(NOW + 29_000), Duration::from_secs(1));
    assert_eq!(context.remaining(NOW + 31_000), Duration::ZERO);
    assert!(!context.is_exceeded(NOW + 30_000) && context.is_exceeded(NOW + 30_001));
}

#[test]
fn a_circle_of_calls_comes_to_an_end_at_100() {
    let mut circle = context();
    while let Ok(next) = circle.extend("again") {
        circle = next;
    }
    assert_eq!((circle.depth, circle.chain.len()), (MAX_DEPTH, 100));
    assert!(circle.validate(NOW).is_ok());
    assert_eq!(circle.extend("again"), Err(ContextError::TooDeep { depth: 101 }));
    circle.depth = 101;
    assert_eq!(circle.validate(NOW).unwrap_err().code(), code::MAX_DEPTH_EXCEEDED);
}

#[test]
fn what_is_no_context_is_refused() {
    let refused = |context: Context| context.validate(NOW).unwrap_err().code();
    assert_eq!(refused(Context { root: String::new(), ..context() }), code::INVALID_CONTEXT);
    assert_eq!(refused(Context { depth: 0, ..context() }), code::INVALID_CONTEXT);
    assert_eq!(refused(Context { deadline: NOW - 1, ..context() }), code::DEADLINE_EXCEEDED);
    let read = |text: &str| Context::read(Value::parse(Format::Json, text.as_bytes()).unwrap());
    let chain = MessageError::BadField("context.chain");
    let wrong = read(r#"{"root":"a","chain":[1],"depth":1,"deadline":1}"#);
    assert_eq!(wrong, Err(ContextError::Invalid(chain)));
    let deep = read(r#"{"root":"a","chain":[],"depth":1e9,"deadline":1}"#);
    assert_eq!(deep, Err(ContextError::TooDeep { depth: 1_000_000_000 }));
    let chain = vec![r#""a""#; 101].join(",");
    let long = read(&format!(r#"{{"root":"a","chain":[{chain}],"depth":1,"deadline":1}}"#));
    assert_eq!(long, Err(ContextError::TooDeep { depth: 101 }));
}

#[test]
fn ids_look_like_those_of_the_public_client() {
    let mut id = String::new();
    write_id(&mut id, "req", NOW, &mut Pcg::new(1, 1));
    let (head, tail) = id.split_at("req-1699005123456-".len());
    assert_eq!(head, "req-1699005123456-");
    assert!(
        tail.len() == 6 && tail.bytes().all(|digit| digit.is_ascii_digit() || digit.is_ascii_lowercase())
    );
}

quickcheck! {
    fn a_context_that_is_written_is_read_back(root: String, chain: Vec<String>, depth: u32, deadline: u64, json: bool) -> bool {
        let context = Context {
            root: root + "r",
            chain: chain.into_iter().take(100).collect(),
            depth: depth % MAX_DEPTH + 1,
            deadline: deadline >> 11,
        };
        let format = if json { Format::Json } else { Format::MessagePack };
        let mut out = Vec::new();
        context.write(&mut Writer::new(format, &mut out));
        Context::read(Value::parse(format, &out).unwrap()) == Ok(context)
    }
}
