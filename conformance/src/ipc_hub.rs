//! Hubs among services that are plain sockets.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::ipc::Hub;
use plimsoll_core::drive::ipc::hub::{Cause, HubEvent};
use plimsoll_core::wire::ipc::Format;
use serde_json::json;

use crate::ipc_support::*;
use crate::support::*;

pub fn a_hub_passes_calls_on_and_says_what_it_does(runtime: impl Runtime) {
    let builder = Hub::on(runtime);
    let mut events = builder.events();
    let hub = within("a free port", builder.bind("127.0.0.1:0")).unwrap();
    let mut changes = hub.changes();
    let mut next = || within("an event", events.next()).expect("the hub is there");
    assert_eq!(next(), HubEvent::Started { address: hub.local_addr().to_string() });

    let mut users = RawService::registered(&port(&hub), "users", &["get", "add"]);
    let HubEvent::Registered(registration) = next() else { panic!("it has registered") };
    assert_eq!(
        (registration.service.as_str(), registration.methods),
        ("users", vec!["get".into(), "add".into()])
    );
    let mut orders = RawService::registered(&port(&hub), "orders", &[]);
    assert!(matches!(next(), HubEvent::Registered(registration) if registration.service == "orders"));

    orders.call("orders", "users", "get", "1", json!({ "id": 7 }));
    let call = users.next().expect("the call");
    let HubEvent::CallRouted(passing) = next() else { panic!("a call was passed on") };
    assert_eq!(passing.to_string(), "[root-1] orders → users (depth: 2): users.get (1)");
    users.echo(&call);
    assert_eq!(orders.next().expect("the answer")["data"], json!({ "id": 7 }));
    let (from, to, id) = ("users".into(), "orders".into(), "1".into());
    assert_eq!(next(), HubEvent::ResponseRouted { from, to, id, success: true });
    orders.call("orders", "users", "drop", "2", json!(null));
    assert_eq!(orders.next().expect("a refusal")["error"]["code"], "METHOD_NOT_FOUND");
    assert!(matches!(next(), HubEvent::CallAnswered { refused: Some(_), .. }));

    let status = within("the status", hub.status());
    assert!(status.running && status.socket_path == hub.local_addr().to_string());
    assert_eq!(
        (status.connected_services, status.routed, status.refused, status.pending_calls),
        (2, 1, 1, 0)
    );
    assert!(within("an answer", hub.is_connected("users")) && !within("an answer", hub.is_connected("x")));
    let service = within("the service", hub.service("users")).expect("it is registered");
    assert_eq!((service.methods, service.connections), (vec!["add".to_string(), "get".into()], 1));
    assert_eq!(within("the services", hub.services()).len(), 2);
    assert_eq!(within("the metrics", hub.metrics()).answered, 1);

    drop(users);
    let gone = HubEvent::Disconnected { service: Some("users".into()), cause: Cause::Peer };
    assert_eq!(next(), gone);
    drop(hub);
    assert!(matches!(next(), HubEvent::Disconnected { service: Some(name), .. } if name == "orders"));
    assert_eq!(next(), HubEvent::Stopped);
    assert_eq!(within("the end", events.next()), None);

    // Whoever asked for changes alone was told of no call.
    let mut heard = Vec::new();
    while let Some(event) = within("an event", changes.next()) {
        heard.push(event);
    }
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert!(heard.contains(&gone));
}

pub fn a_hub_that_shuts_down_takes_nobody_in_and_closes_its_connections(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let address = &port(&hub);
    let mut users = RawService::registered(address, "users", &["get"]);
    let mut packed = RawService::connect(address, Format::MessagePack);
    packed.send(&json!({ "type": "REGISTER", "serviceName": "packed", "methods": [] }));
    assert_eq!(packed.next().expect("an acknowledgement")["type"], "REGISTER_ACK");
    packed.call("packed", "users", "get", "1", json!(1));
    assert_eq!(users.next().expect("the call")["params"], 1);
    assert_eq!(within("the end", hub.shutdown(Duration::from_secs(5))).calls, 1);
    assert_eq!(users.next(), None);
    while packed.next().is_some() {}
    until("nobody listens", || is_refused(address));
}
