//! Peers that mean harm to a hub or to each other. Whatever they do, two services go on calling each other.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::ipc::{Hub, Raw, answer, unix_ms};
use serde_json::{Value, json};

/// Two services, one of which calls the other until both are told to stop: then no call may have failed.
struct Bystanders {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<()>,
}

impl Bystanders {
    fn start(hub: &Hub) -> Bystanders {
        hub.echo("bystander");
        let mut caller = hub.register("caller", &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let calls = thread::spawn(move || {
            for id in 0.. {
                let response = caller.call(&id.to_string(), "bystander", "echo", &json!([id]));
                assert_eq!(response["data"], json!([id]), "{response}");
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Others need the processor too.
                thread::sleep(Duration::from_millis(1));
            }
        });
        Bystanders { stop, calls }
    }

    /// They have noticed nothing, and still do not.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.calls.join().expect("each call was answered");
    }
}

fn hostile(act: impl FnOnce(&Hub)) {
    let hub = Hub::start(&[]);
    let bystanders = Bystanders::start(&hub);
    act(&hub);
    // The hub still takes newcomers, and their calls.
    let mut newcomer = hub.register("newcomer", &[]);
    assert_eq!(newcomer.call("1", "bystander", "echo", &7.into())["data"], 7);
    bystanders.finish();
}

#[test]
fn a_name_that_is_taken_is_not_given_again() {
    hostile(|hub| {
        let mut thief = hub.connect();
        thief.send(&json!({ "type": "REGISTER", "serviceName": "bystander", "methods": ["echo"] }));
        assert_eq!(thief.receive()["error"]["code"], "CONNECTION_FAILED");
        assert!(thief.ends());
    });
}

#[test]
fn nobody_speaks_for_another() {
    hostile(|hub| {
        let mut liar = hub.register("liar", &[]);
        liar.name = "caller".into();
        liar.begin("1", "bystander", "echo", &Value::Null);
        assert_eq!(liar.receive()["error"]["code"], "INVALID_MESSAGE");
    });
}

#[test]
fn nobody_answers_calls_that_another_was_asked() {
    hostile(|hub| {
        let mut slow = hub.register("slow", &["wait"]);
        let mut orders = hub.register("orders", &[]);
        orders.begin("1", "slow", "wait", &Value::Null);
        let call = slow.receive();
        let mut liar = hub.register("liar", &[]);
        for from in ["slow", "liar"] {
            let mut lie = answer(&call, &"a lie".into());
            lie["from"] = from.into();
            liar.send(&lie);
        }
        // Once this is answered, what it has said before has been read.
        liar.begin("status", "$hub", "status", &Value::Null);
        while liar.receive()["id"] != "status" {}
        slow.send(&answer(&call, &"the truth".into()));
        assert_eq!(orders.receive()["data"], "the truth");
    });
}

#[test]
fn a_length_of_4_gib_ends_the_connection() {
    hostile(|hub| {
        for registered in [false, true] {
            let mut peer = if registered { hub.register("giant", &[]) } else { hub.connect() };
            peer.stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
            assert!(peer.ends());
        }
    });
}

#[test]
fn deep_json_invalid_utf8_and_garbage_hurt_only_their_sender() {
    let deep =
        [&b"{\"type\":\"CALL\",\"params\":"[..], &b"[".repeat(1 << 20), &b"]".repeat(1 << 20), b"}"].concat();
    let deep_maps = [&b"\x81\xa4type"[..], &b"\x81\xa1a".repeat(1 << 20), b"\xc0"].concat();
    let bodies: [&[u8]; 7] = [
        &deep,
        &deep_maps,
        b"{\"type\":\"REGISTER\",\"serviceName\":\"\xff\xfe\",\"methods\":[]}",
        b"{\"type\":\"REGISTER\",\"serviceName\":\"a\",\"methods\":[\"\xff\"]}",
        b"",
        b"garbage",
        b"{\"type\":\"CALL\",",
    ];
    hostile(|hub| {
        for body in bodies {
            for registered in [false, true] {
                let mut peer = if registered { hub.register("odd", &[]) } else { hub.connect() };
                // It may be cut off while it still sends.
                let _ = peer.send_body(body);
                let _ = peer.stream.shutdown(std::net::Shutdown::Write);
                assert!(peer.ends());
            }
        }
    });
}

#[test]
fn who_does_not_register_is_not_listened_to() {
    hostile(|hub| {
        let _silent: Vec<_> = (0..100).map(|_| hub.connect()).collect();
        let mut peer = hub.connect();
        peer.name = "nobody".into();
        peer.begin("1", "bystander", "echo", &Value::Null);
        assert_eq!(peer.receive()["error"]["code"], "NOT_CONNECTED");
        assert!(peer.ends());
        // Half a message, and then nothing.
        let mut half = hub.connect();
        half.stream.write_all(&[0, 0, 1]).unwrap();
        drop(half);
    });
}

/// What waits for it is bounded, and calls to it are refused from then on.
#[test]
fn a_service_that_does_not_read_fills_only_its_own_queue() {
    hostile(|hub| {
        let _deaf = hub.register("deaf", &["hear"]);
        let mut orders = hub.register("orders", &[]);
        let params = Value::from("x".repeat(1 << 20));
        let refused = (0..100).find_map(|id| {
            orders.begin(&id.to_string(), "deaf", "hear", &params);
            // Of calls that were passed on, nothing comes back.
            orders.begin("here?", "$hub", "status", &Value::Null);
            loop {
                let response = orders.receive();
                match response["error"]["code"].as_str() {
                    Some(code) => return Some(code.to_string()),
                    None if response["id"] == "here?" => return None,
                    None => {}
                }
            }
        });
        assert_eq!(refused.as_deref(), Some("OVERLOADED"));
    });
}

#[test]
fn a_flood_of_calls_is_answered_or_refused_and_never_lost() {
    const CALLS: usize = 20_000;
    hostile(|hub| {
        hub.echo("flooded");
        let mut flood = hub.register("flood", &[]);
        let mut reader = Raw { stream: flood.stream.try_clone().unwrap(), name: String::new() };
        let counted = thread::spawn(move || {
            (0..CALLS).map(|_| reader.receive()).filter(|response| response["type"] == "RESPONSE").count()
        });
        for id in 0..CALLS {
            flood.begin(&id.to_string(), "flooded", "echo", &Value::Null);
        }
        assert_eq!(counted.join().unwrap(), CALLS);
    });
}

#[test]
fn a_service_that_dies_between_call_and_answer_leaves_no_call_open() {
    hostile(|hub| {
        let mut orders = hub.register("orders", &[]);
        let mut users = hub.register("users", &["get"]);
        for id in 0..100 {
            orders.begin(&id.to_string(), "users", "get", &Value::Null);
        }
        (0..100).for_each(|_| drop(users.receive()));
        drop(users);
        for _ in 0..100 {
            assert_eq!(orders.receive()["error"]["code"], "CONNECTION_LOST");
        }
    });
}

#[test]
fn a_circle_of_calls_and_one_that_is_too_late_end() {
    hostile(|hub| {
        let mut orders = hub.register("orders", &[]);
        let mut with = |depth: u64, deadline: u64| {
            orders.send(&json!({
                "type": "CALL", "id": "1", "from": "orders", "to": "bystander", "method": "echo", "params": 1,
                "context": { "root": "r", "chain": ["orders"], "depth": depth, "deadline": deadline },
            }));
            orders.receive()["error"]["code"].clone()
        };
        assert_eq!(with(101, unix_ms() + 60_000), "MAX_DEPTH_EXCEEDED");
        assert_eq!(with(2, unix_ms() - 60_000), "DEADLINE_EXCEEDED");
        assert_eq!(with(0, unix_ms() + 60_000), "INVALID_CONTEXT");
        assert_eq!(with(100, unix_ms() + 60_000), Value::Null);
    });
}
