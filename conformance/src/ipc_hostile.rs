//! Peers that break the rules, over real sockets: the services beside them do not notice.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::ipc::hub::Config;
use plimsoll_core::drive::ipc::{Client, Hub};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::wire::ipc::Format;
use serde_json::json;

use crate::ipc_support::*;
use crate::support::*;

/// Two services that go on with their work, whatever else happens at their hub.
struct Bystanders<R> {
    hub: Hub<R>,
    _users: Client<R>,
    orders: Client<R>,
}

impl<R: Runtime> Bystanders<R> {
    fn at(runtime: &R, config: Config) -> Self {
        let hub = Hub::on(runtime.clone()).limits(config).bind("127.0.0.1:0");
        let hub = within("a free port", hub).expect("a free port");
        let users = service(runtime, &hub, "users").method("echo", |n: u32, _| async move { Ok(n) });
        let (users, orders) = (connected(users), connected(service(runtime, &hub, "orders")));
        Bystanders { hub, _users: users, orders }
    }

    fn work(&self) {
        for n in 0..10 {
            assert_eq!(within("an answer", self.orders.call::<u32>("users", "echo", &n)), Ok(n));
        }
        assert!(self.orders.is_connected());
    }

    fn stranger(&self, format: Format) -> RawService {
        RawService::connect(&port(&self.hub), format)
    }

    fn service(&self, name: &str) -> RawService {
        RawService::registered(&port(&self.hub), name, &["get"])
    }
}

pub fn who_claims_to_be_another_is_not_believed(runtime: impl Runtime) {
    let town = Bystanders::at(&runtime, Config::default());
    let mut twin = town.stranger(Format::Json);
    twin.send(&json!({ "type": "REGISTER", "serviceName": "users", "methods": ["echo"] }));
    assert_eq!(twin.next().expect("a refusal")["error"]["code"], "CONNECTION_FAILED");
    assert_eq!(twin.next(), None, "the connection is closed");
    let mut mallory = town.service("mallory");
    mallory.call("orders", "users", "echo", "1", json!(1));
    let refusal = mallory.next().expect("a refusal");
    assert_eq!(
        (&refusal["type"], &refusal["error"]["code"]),
        (&json!("RESPONSE"), &json!("INVALID_MESSAGE"))
    );
    mallory.send(&json!({ "type": "HEARTBEAT", "from": "users", "timestamp": 1 }));
    assert_eq!(mallory.next().expect("a refusal")["error"]["code"], "INVALID_MESSAGE");
    town.work();
}

pub fn an_answer_is_taken_only_from_who_was_called(runtime: impl Runtime) {
    let town = Bystanders::at(&runtime, Config::default());
    let (mut bank, mut mallory) = (town.service("bank"), town.service("mallory"));
    let mut call = Box::pin(town.orders.call::<u32>("bank", "get", &1));
    begin(&mut call);
    let asked = bank.next().expect("the call");
    mallory.send(&json!({
        "type": "RESPONSE", "id": asked["id"], "from": "mallory", "to": "orders", "status": "success", "data": 1_000_000
    }));
    mallory.send(&json!({
        "type": "RESPONSE", "id": asked["id"], "from": "bank", "to": "orders", "status": "success", "data": 1_000_000
    }));
    assert_eq!(mallory.next().expect("a refusal")["error"]["code"], "INVALID_MESSAGE");
    until("the answer is dropped", || within("the metrics", town.hub.metrics()).foreign == 1);
    bank.echo(&asked);
    assert_eq!(within("an answer", call), Ok(1));
    town.work();
}

pub fn who_sends_what_cannot_be_read_is_closed(runtime: impl Runtime) {
    let town = Bystanders::at(&runtime, Config::default());
    let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
    let deep = [br#"{"type":"CALL","params":"#, &deep[..], b"}"].concat();
    let bad = [
        u32::MAX.to_be_bytes().to_vec(),
        frame(&deep),
        frame(b"{\"type\":\"CALL\",\"id\":\"\xff\xfe\"}"),
        frame(b"{\"type\":\"CALL\""),
        frame(b"[]"),
        frame(&[0xc1; 100]),
        frame(b""),
    ];
    for bytes in bad {
        let mut stranger = town.stranger(Format::Json);
        stranger.send_bytes(&bytes);
        assert_eq!(stranger.next().expect("a last word")["type"], "ERROR");
        assert_eq!(stranger.next(), None, "the connection is closed");
        // Registered or not.
        let mut mallory = town.service("mallory");
        mallory.send_bytes(&bytes);
        while mallory.next().is_some() {}
        until("its name is free", || !within("an answer", town.hub.is_connected("mallory")));
    }
    town.work();
}

pub fn who_never_registers_or_never_ends_a_message_is_closed(runtime: impl Runtime) {
    let patience = Duration::from_millis(50);
    let config = Config { register_timeout: patience, frame_timeout: patience, ..Config::default() };
    let town = Bystanders::at(&runtime, config);
    assert_eq!(town.stranger(Format::Json).next(), None);
    let mut slow = town.service("slow");
    slow.send_bytes(&1_000_u32.to_be_bytes());
    while slow.next().is_some() {}
    let mut early = town.stranger(Format::Json);
    early.call("early", "users", "echo", "1", json!(1));
    assert_eq!(early.next().expect("a refusal")["error"]["code"], "NOT_CONNECTED");
    assert_eq!(early.next(), None);
    town.work();
}

pub fn who_does_not_read_is_refused_more_and_then_closed(runtime: impl Runtime) {
    let config = Config { unsent: Band::new(64 << 10, 256 << 10).unwrap(), ..Config::default() };
    let town = Bystanders::at(&runtime, config);
    let _deaf = town.service("deaf");
    let text = "x".repeat(64 << 10);
    // What the kernel holds for it first is no business of ours.
    let mut calls: Vec<_> = Vec::new();
    until("too much waits for it", || {
        let mut call = Box::pin(town.orders.call::<u32>("deaf", "get", &text));
        begin(&mut call);
        calls.push(call);
        town.work();
        within("the metrics", town.hub.metrics()).overloaded > 0
    });
    let error = within("a refusal", town.orders.call::<u32>("deaf", "get", &text)).unwrap_err();
    assert_eq!(error.code(), "OVERLOADED");
    town.work();
    // A service that calls, and reads no answer, fills its own queue until it is closed, or is not read any more.
    let mut flood = town.service("flood");
    flood.stream.set_patience(Duration::from_millis(200));
    let context = json!({ "root": "r", "chain": ["flood"], "depth": 1, "deadline": u64::MAX >> 12 });
    let call = json!({
        "type": "CALL", "id": "1", "from": "flood", "to": "nobody", "method": "get", "context": context
    });
    let call = frame(call.to_string().as_bytes()).repeat(1_000);
    let stopped = (0..1_000).find_map(|_| flood.stream.write_all(&call).err()).expect("somebody stops it");
    let by_us = matches!(
        stopped.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::WouldBlock | ErrorKind::TimedOut
    );
    assert!(by_us, "{stopped}");
    town.work();
    until("the flood is gone", || !within("an answer", town.hub.is_connected("flood")));
}

pub fn a_flood_of_calls_fills_its_own_share_only(runtime: impl Runtime) {
    let limit = |n| NonZeroU32::new(n).unwrap();
    let config = Config { pending: limit(100), pending_total: limit(200), ..Config::default() };
    let town = Bystanders::at(&runtime, config);
    let _silent = town.service("silent");
    let mut flood = town.service("flood");
    for n in 0..300 {
        flood.call("flood", "silent", "get", &n.to_string(), json!(n));
    }
    for _ in 0..200 {
        assert_eq!(flood.next().expect("a refusal")["error"]["code"], "OVERLOADED");
    }
    town.work();
    assert_eq!(within("the status", town.hub.status()).pending_calls, 100);
}

pub fn the_hub_knows_whose_processes_its_services_are(runtime: impl Runtime) {
    let (path, own) = (crate::unix::free_path(), ground().process());
    let builder = Hub::on(runtime.clone()).require_uid(own.uid);
    let hub = within("the socket", builder.bind(&path)).expect("a free path");
    let users = Client::on(runtime.clone(), "users").path(&path);
    let users = connected(users.method("echo", |n: u32, _| async move { Ok(n) }));
    assert_eq!(within("an answer", users.call::<u32>("users", "echo", &1)), Ok(1));
    let peer = within("the service", hub.service("users")).expect("it is registered").peer;
    assert_eq!((peer.uid, peer.pid, peer.address), (Some(own.uid), own.pid, None));
    let asked: serde_json::Value =
        within("an answer", users.call("$hub", "service", &json!({ "name": "users" }))).unwrap();
    assert_eq!(asked["peer"]["uid"], own.uid);

    let (path, picky) = (crate::unix::free_path(), Hub::on(runtime.clone()).require_uid(own.uid + 1));
    let hub = within("the socket", picky.bind(&path)).expect("a free path");
    let stranger = Client::on(runtime, "stranger").path(&path).auto_reconnect(false).build().unwrap();
    within("a refusal", stranger.connect()).unwrap_err();
    assert_eq!(within("the metrics", hub.metrics()).strangers, 1);
    assert_eq!(within("the status", hub.status()).connections, 0);
}
