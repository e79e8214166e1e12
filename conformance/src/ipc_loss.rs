//! Connections that break, and who notices.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::Timer;
use plimsoll_core::drive::ipc::Hub;
use plimsoll_core::drive::ipc::client::{Cause, Client, Ctx, HandlerError, NotRegistered, Retry};
use plimsoll_core::error::Fault;
use plimsoll_core::ipc::client as machine;

use crate::ipc_support::*;
use crate::support::*;

pub fn connecting_says_why_it_cannot_be(runtime: impl Runtime) {
    let address = Listener::bind("127.0.0.1:0").unwrap().address.clone();
    let nobody = Client::on(runtime.clone(), "users").path(&address).auto_reconnect(false).build().unwrap();
    let error = within("a refusal", nobody.connect()).unwrap_err();
    assert_eq!(error.why, NotRegistered::Ended(machine::Cause::Fault(Fault::Refused)));
    let told = format!("users cannot register with the hub at {address}: connection refused");
    assert!(error.to_string().starts_with(&told), "{error}");
    assert_eq!(within("a refusal", nobody.call::<()>("x", "y", &())).unwrap_err().cause, Cause::NotConnected);

    let hub = hub(&runtime);
    let _users = connected(service(&runtime, &hub, "users"));
    let twin = service(&runtime, &hub, "users").auto_reconnect(false).build().unwrap();
    let error = within("a refusal", twin.connect()).unwrap_err();
    assert!(
        matches!(&error.why, NotRegistered::Refused { code, .. } if code == "CONNECTION_FAILED"),
        "{error}"
    );
    assert!(Client::on(runtime.clone(), "$hub").build().is_err());
    // Somebody listens there who is no hub.
    let silent = Listener::bind("127.0.0.1:0").unwrap();
    let lost = Client::on(runtime, "lost").path(&silent.address);
    let lost = lost.auto_reconnect(false).register_timeout(Duration::from_millis(20)).build().unwrap();
    let error = within("a timeout", lost.connect()).unwrap_err();
    assert_eq!(error.why, NotRegistered::Ended(machine::Cause::RegisterTimeout));
}

pub fn a_client_registers_again_when_its_hub_is_back(runtime: impl Runtime) {
    let first = hub(&runtime);
    let address = first.local_addr().to_string();
    let eager = |name: &str| service(&runtime, &first, name).reconnect_delay(Duration::from_millis(10));
    let users = connected(eager("users").method("echo", |n: u32, _| async move { Ok(n) }));
    let orders = connected(eager("orders"));
    within("a place", users.register_method("twice", |n: u32, _| async move { Ok(2 * n) })).unwrap();
    assert_eq!(within("an answer", orders.call::<u32>("users", "echo", &1)), Ok(1));
    drop(first);
    until("it is noticed", || !users.is_connected() && !orders.is_connected());
    let mut second = None;
    until("the port is free again", || {
        second = within("the port", Hub::on(runtime.clone()).bind(&address)).ok();
        second.is_some()
    });
    until("they are back", || users.is_connected() && orders.is_connected());
    assert_eq!(within("an answer", orders.call::<u32>("users", "twice", &2)), Ok(4));
}

pub fn when_the_hub_dies_each_pending_call_has_an_end(runtime: impl Runtime) {
    let hub = hub(&runtime);
    // Counts itself as long as its handler is there.
    let handlers = Arc::new(());
    let here = handlers.clone();
    let wait = move |(): (), _: Ctx| {
        let here = here.clone();
        async move {
            let answer = std::future::pending::<Result<(), HandlerError>>().await;
            drop(here);
            answer
        }
    };
    let users = connected(service(&runtime, &hub, "users").method("wait", wait));
    let orders = connected(service(&runtime, &hub, "orders"));
    let mut calls: Vec<_> = (0..10).map(|_| Box::pin(orders.call::<()>("users", "wait", &()))).collect();
    calls.iter_mut().for_each(begin);
    until("they are served", || within("the status", users.status()).serving == 10);
    drop(hub);
    for call in calls {
        let cause = within("an end", call).unwrap_err().cause;
        assert_eq!(cause, Cause::Lost { sent: true });
    }
    // Nobody can be answered, so the handlers are dropped. One is left that makes them.
    until("they are dropped", || Arc::strong_count(&handlers) == 2);
    assert_eq!(within("the status", users.status()).serving, 0);
}

pub fn a_service_that_dies_between_call_and_answer_is_told(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let mut users = RawService::registered(&port(&hub), "users", &["get"]);
    let orders = connected(service(&runtime, &hub, "orders"));
    let mut call = Box::pin(orders.call::<()>("users", "get", &()));
    begin(&mut call);
    users.next().expect("the call");
    drop(users);
    let error = within("an end", call).unwrap_err();
    assert_eq!(error.code(), "CONNECTION_LOST");
    assert!(matches!(error.cause, Cause::Remote { .. }), "the hub says so: {error}");
    assert_eq!(
        within("an end", orders.call::<()>("users", "get", &())).unwrap_err().code(),
        "SERVICE_NOT_FOUND"
    );
}

pub fn a_client_that_disconnects_ends_its_calls_and_can_connect_again(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let users = service(&runtime, &hub, "users")
        .method("echo", |n: u32, _| async move { Ok(n) })
        .method("wait", |(): (), _| async { std::future::pending::<Result<(), HandlerError>>().await });
    let users = connected(users);
    let mut call = Box::pin(users.call::<()>("users", "wait", &()));
    begin(&mut call);
    until("it is on its way", || within("the status", users.status()).pending == 1);
    within("the end", users.disconnect());
    let error = within("an end", call).unwrap_err();
    assert_eq!((error.code(), &error.cause), ("NOT_CONNECTED", &Cause::Disconnected));
    until("the hub knows", || !within("an answer", hub.is_connected("users")));
    within("the connection", users.connect()).unwrap();
    assert_eq!(within("an answer", users.call::<u32>("users", "echo", &1)), Ok(1));
    assert_eq!(within("the end", users.shutdown(Duration::from_secs(5))).calls, 0);
    assert_eq!(within("an end", users.call::<u32>("users", "echo", &1)).unwrap_err().cause, Cause::Closed);
    assert!(within("an end", users.connect()).is_err());
}

pub fn a_shutdown_sees_calls_to_their_end(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let gate = Gate::default();
    let behind = gate.clone();
    let wait = move |n: u32, _: Ctx| {
        let gate = behind.clone();
        async move {
            gate.passed().await;
            Ok(n)
        }
    };
    let users = connected(service(&runtime, &hub, "users").method("wait", wait));
    let orders = connected(service(&runtime, &hub, "orders"));
    let mut call = Box::pin(orders.call::<u32>("users", "wait", &7));
    begin(&mut call);
    until("it is served", || within("the status", users.status()).serving == 1);
    let mut shutdown = Box::pin(users.shutdown(Duration::from_secs(30)));
    begin(&mut shutdown);
    gate.open();
    assert_eq!(within("an answer", call), Ok(7));
    assert_eq!(within("the end", shutdown).calls, 0);
}

pub fn four_connections_share_the_calls(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let users = service(&runtime, &hub, "users").pool_size(4);
    let users = connected(users.method("echo", |n: u32, _| async move { Ok(n) }));
    let pooled = || within("the service", hub.service("users")).map(|service| service.connections);
    until("all are registered", || pooled() == Some(4));
    let orders = connected(service(&runtime, &hub, "orders").pool_size(4));
    let calls = (0..200u32).map(|n| {
        let orders = &orders;
        async move { assert_eq!(orders.call::<u32>("users", "echo", &n).await, Ok(n)) }
    });
    within("the answers", all(calls));
    assert_eq!(within("the status", hub.status()).connections, 8);
    let metadata = within("the service", hub.service("users")).unwrap().metadata.unwrap();
    assert_eq!(metadata["poolSize"], 4);
    drop(users);
    until("all are gone", || pooled().is_none());
}

pub fn a_call_with_retry_waits_for_the_hub(runtime: impl Runtime + Timer) {
    let address = Listener::bind("127.0.0.1:0").unwrap().address.clone();
    let builder =
        Client::on(runtime.clone(), "users").path(&address).reconnect_delay(Duration::from_millis(10));
    let users = builder.method("echo", |n: u32, _| async move { Ok(n) }).build().unwrap();
    within("a refusal", users.connect()).unwrap_err();
    let retry = Retry { times: 1_000, delay: Duration::from_millis(1) };
    let mut call = Box::pin(users.call_with_retry::<u32>("users", "echo", &1, retry));
    begin(&mut call);
    let _hub = within("the port", Hub::on(runtime).bind(&address)).unwrap();
    assert_eq!(within("an answer", call), Ok(1));
    let error = within("an end", users.call_with_retry::<u32>("nobody", "echo", &1, retry)).unwrap_err();
    assert_eq!(error.code(), "SERVICE_NOT_FOUND", "once is enough for that");
}

pub fn handles_that_are_dropped_end_the_service(runtime: impl Runtime) {
    let long = Duration::from_secs(3_600);
    let hub = within("a free port", Hub::on(runtime.clone()).timeout(long).bind("127.0.0.1:0")).unwrap();
    let call_on = |n: u32, ctx: Ctx| async move {
        if n == 0 { Ok(0) } else { Ok(ctx.call::<u32>("users", "get", &(n - 1)).await?) }
    };
    // Nor does one that waits in a handler keep its client.
    let wait = |(): (), ctx: Ctx| async move { Ok(ctx.call::<()>("silent", "get", &()).await?) };
    let _silent = RawService::registered(&port(&hub), "silent", &["get"]);
    let users = service(&runtime, &hub, "users").timeout(long);
    let users = connected(users.method("get", call_on).method("wait", wait));
    let other = users.clone();
    drop(users);
    assert_eq!(within("an answer", other.call::<u32>("users", "get", &3)), Ok(0));
    let mut call = Box::pin(other.call::<()>("users", "wait", &()));
    begin(&mut call);
    until("it waits", || within("the status", other.status()).pending == 2);
    drop(call);
    drop(other);
    until("it is gone", || !within("an answer", hub.is_connected("users")));
}
