//! Calls there and back.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::ipc::client::{Cause, Client, ClientEvent, Ctx, Format, HandlerError};
use plimsoll_core::drive::ipc::hub::{HubStatus, ServiceInfo};
use serde_json::{Value, json};

use crate::ipc_support::*;
use crate::support::*;

/// A number, a name, and parts.
type Order = (u64, String, Vec<Option<f64>>);

pub fn calls_come_back_in_both_formats_and_across_them(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let format = [("json", Format::Json), ("packed", Format::MessagePack)];
    let services = format.map(|(name, format)| {
        let doubled = |mut order: Order, ctx: Ctx| async move {
            order.0 *= 2;
            order.1 = format!("{} for {} by {}", ctx.method, ctx.caller, order.1);
            Ok(order)
        };
        let builder = service(&runtime, &hub, name).serializer(format);
        connected(builder.method("double", doubled).method("nothing", |(): (), _| async { Ok(()) }))
    });
    for (caller, (from, _)) in services.iter().zip(format) {
        for (to, _) in format {
            let order: Order = (1 << 60, "Ada \"é\"".into(), vec![Some(1.5), None]);
            let answer = within("an answer", caller.call::<Order>(to, "double", &order)).unwrap();
            assert_eq!(answer, (1 << 61, format!("double for {from} by Ada \"é\""), order.2));
            within("an answer", caller.call::<()>(to, "nothing", &())).unwrap();
        }
    }
    let metrics = within("the metrics", hub.metrics());
    assert_eq!((metrics.answered, metrics.invalid), (8, 0));
    assert_eq!(metrics.converted, 8, "calls and answers between the two formats");
}

pub fn raw_calls_carry_bytes_as_they_are(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let echo = |params: Vec<u8>, _: Ctx| async move { Ok(params) };
    let users = connected(
        service(&runtime, &hub, "users")
            .raw_method("echo", echo)
            .raw_method("bad", |_, _| async { Ok(b"{".to_vec()) }),
    );
    let params = b"{\"b\": 1, \"a\":\t1.0}".to_vec();
    let answer = within("an answer", users.prepare("users", "echo").send(params.clone()));
    assert_eq!(answer, Ok(params));
    let error = within("a refusal", users.prepare("users", "echo").send(b"{".to_vec())).unwrap_err();
    assert!(matches!(error.cause, Cause::Unserializable(_)));
    let error = within("an answer", users.prepare("users", "bad").send(Vec::new())).unwrap_err();
    assert_eq!(error.code(), "SERIALIZATION_FAILED");
    assert!(users.is_connected(), "what would break the connection was not sent");
}

pub fn nested_calls_at_the_same_time_keep_their_contexts_apart(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let role = |n: u32, ctx: Ctx| async move {
        Ok(json!({ "n": n, "chain": ctx.context.chain, "root": ctx.context.root }))
    };
    let _roles = connected(service(&runtime, &hub, "role").method("get", role));
    let user = |n: u32, ctx: Ctx| async move {
        let answer: Value = ctx.call("role", "get", &n).await?;
        Ok(json!({ "mine": ctx.context.root, "theirs": answer }))
    };
    let _users = connected(service(&runtime, &hub, "user").method("get", user));
    let orders = connected(service(&runtime, &hub, "order"));
    let calls = (0..200u32).map(|n| {
        let orders = &orders;
        async move { (n, orders.call::<Value>("user", "get", &n).await.unwrap()) }
    });
    let mut roots = std::collections::BTreeSet::new();
    for (n, answer) in within("the answers", all(calls)) {
        assert_eq!(answer["theirs"]["n"], n);
        assert_eq!(answer["theirs"]["chain"], json!(["order", "user", "role"]));
        assert_eq!(answer["theirs"]["root"], answer["mine"]);
        roots.insert(answer["mine"].to_string());
    }
    assert_eq!(roots.len(), 200, "each call is the root of its own");
}

pub fn a_deadline_only_shrinks_on_the_way(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let deadline = |(): (), ctx: Ctx| async move { Ok(ctx.context.deadline) };
    let _roles = connected(service(&runtime, &hub, "role").method("deadline", deadline));
    let user = |timeout: u64, ctx: Ctx| async move {
        let call = ctx.prepare("role", "deadline").timeout(Duration::from_millis(timeout));
        Ok((ctx.context.deadline, call.json::<u64>(&()).await?, ctx.remaining() <= Duration::from_secs(20)))
    };
    let _users = connected(service(&runtime, &hub, "user").method("get", user));
    let orders = connected(service(&runtime, &hub, "order").timeout(Duration::from_secs(20)));
    let get =
        |timeout: u64| within("an answer", orders.call::<(u64, u64, bool)>("user", "get", &timeout)).unwrap();
    let (own, nested, bounded) = get(60_000);
    assert_eq!(nested, own, "no more time than the caller has");
    assert!(bounded);
    let (own, nested, _) = get(5_000);
    assert!(nested < own, "less, if it wants so");
}

pub fn calls_that_call_each_other_in_a_circle_come_to_an_end(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let again = |depth: u32, ctx: Ctx| async move {
        match ctx.call::<Value>("circle", "again", &(depth + 1)).await {
            Ok(answer) => Ok(answer),
            // The innermost tells why it went no further.
            Err(error) => Ok(json!({ "depth": ctx.context.depth, "code": error.code() })),
        }
    };
    let circle = connected(service(&runtime, &hub, "circle").method("again", again));
    let answer = within("an answer", circle.call::<Value>("circle", "again", &1)).unwrap();
    assert_eq!(answer, json!({ "depth": 100, "code": "MAX_DEPTH_EXCEEDED" }));
}

pub fn failures_say_what_is_wrong(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let builder = service(&runtime, &hub, "users")
        .method("add", |(a, b): (u32, u32), _: Ctx| async move { Ok(a + b) })
        .method("fail", |(): (), _: Ctx| async {
            Err::<(), _>(HandlerError::new("TEAPOT", "short and stout"))
        })
        .method("panic", |(): (), _: Ctx| async { if true { panic!("as planned") } else { Ok(()) } })
        .method("late", |(): (), _: Ctx| async { std::future::pending::<Result<(), HandlerError>>().await });
    let users = connected(builder);
    let orders = connected(service(&runtime, &hub, "orders"));
    let code = |service: &str, method: &str, params: Value| {
        let error = within("a failure", orders.call::<Value>(service, method, &params)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{service}.{method}: ")), "{error}");
        error.code().to_owned()
    };
    assert_eq!(code("nobody", "get", json!(1)), "SERVICE_NOT_FOUND");
    assert_eq!(code("users", "drop", json!(1)), "METHOD_NOT_FOUND");
    assert_eq!(code("users", "add", json!("x")), "DESERIALIZATION_FAILED");
    assert_eq!(code("users", "fail", json!(null)), "TEAPOT");
    assert_eq!(code("users", "panic", json!(null)), "INTERNAL_ERROR");
    assert_eq!(within("an answer", orders.call::<u32>("users", "add", &(1, 2))), Ok(3));
    let error = within("a failure", orders.call::<String>("users", "add", &(1, 2))).unwrap_err();
    assert!(matches!(error.cause, Cause::Unreadable(_)));
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let error = within("a failure", orders.call::<u32>("users", "add", &deep)).unwrap_err();
    assert!(matches!(error.cause, Cause::Unserializable(_)));
    let call = orders.prepare("users", "late").timeout(Duration::from_millis(20)).json::<()>(&());
    // The hub keeps the same deadline, and may be the first to say so.
    let code = within("a timeout", call).unwrap_err().code().to_owned();
    assert!(["TIMEOUT", "DEADLINE_EXCEEDED"].contains(&&*code), "{code}");
    // Its handler is dropped once nobody waits.
    until("the handler is dropped", || within("the status", users.status()).serving == 0);
    assert!(orders.is_connected() && users.is_connected());
}

pub fn a_service_can_ask_the_hub(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let echo = |n: u32, _: Ctx| async move { Ok(n) };
    let users =
        connected(service(&runtime, &hub, "users").serializer(Format::MessagePack).method("echo", echo));
    assert_eq!(within("an answer", users.call::<u32>("users", "echo", &1)), Ok(1));
    let status: HubStatus = within("the status", users.call("$hub", "status", &())).unwrap();
    assert_eq!((status.running, status.services, status.routed), (true, vec!["users".to_string()], 1));
    let service: ServiceInfo =
        within("the service", users.call("$hub", "service", &json!({ "name": "users" }))).unwrap();
    assert_eq!(service.methods, ["echo"]);
    assert_eq!(Some(service), within("the service", hub.service("users")));
}

pub fn methods_can_come_and_go_while_connected(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let users = connected(service(&runtime, &hub, "users"));
    let get = || within("an end", users.call::<u32>("users", "get", &1));
    assert_eq!(get().unwrap_err().code(), "METHOD_NOT_FOUND");
    within("its place", users.register_method("get", |n: u32, _| async move { Ok(n) })).unwrap();
    assert_eq!(get(), Ok(1));
    within("its place", users.register_method("get", |n: u32, _| async move { Ok(n + 1) })).unwrap();
    assert_eq!(get(), Ok(2));
    assert_eq!(within("the methods", users.methods()), ["get"]);
    assert!(within("its end", users.unregister_method("get")));
    assert!(!within("its end", users.unregister_method("get")));
    assert_eq!(get().unwrap_err().code(), "METHOD_NOT_FOUND");
    assert!(within("a refusal", users.register_method("", |n: u32, _| async move { Ok(n) })).is_err());
}

pub fn two_thousand_calls_at_once_are_all_answered(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let _users = connected(service(&runtime, &hub, "users").method("echo", |n: u32, _| async move { Ok(n) }));
    let orders = connected(service(&runtime, &hub, "orders"));
    let calls = (0..2_000u32).map(|n| {
        let orders = &orders;
        async move { assert_eq!(orders.call::<u32>("users", "echo", &n).await, Ok(n)) }
    });
    within("the answers", all(calls));
    assert_eq!(within("the metrics", hub.metrics()).answered, 2_000);
}

pub fn a_batch_is_one_write_and_its_results_are_in_order(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let gate = Gate::default();
    let open = gate.clone();
    let users = service(&runtime, &hub, "users")
        .method("echo", |n: u32, _| async move { Ok(n) })
        .method("last", move |n: u32, _| {
            open.open();
            async move { Ok(n) }
        })
        .method("wait", move |n: u32, _| {
            let gate = gate.clone();
            async move {
                gate.passed().await;
                Ok(n)
            }
        });
    let _users = connected(users);
    let orders = connected(service(&runtime, &hub, "orders"));
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    // The first waits for the last: they are on their way together.
    let batch = orders
        .batch()
        .call("users", "wait", &1)
        .call("users", "echo", &unwritable)
        .call("nobody", "get", &2)
        .call("users", "last", &3);
    let results = within("the results", batch.send::<u32>());
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().map_err(|error| error.code())).collect();
    assert_eq!(codes, [Ok(&1), Err("SERIALIZATION_FAILED"), Err("SERVICE_NOT_FOUND"), Ok(&3)]);
    assert_eq!(within("nothing", orders.batch().send::<u32>()), []);

    let calls = (0..500).fold(orders.batch(), |batch, n| batch.call("users", "echo", &n));
    let results = within("the results", calls.send::<u32>());
    assert!(results.into_iter().eq((0..500).map(Ok)));
}

pub fn calls_of_a_batch_beyond_the_limit_are_refused(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let orders = service(&runtime, &hub, "orders").configure(|config| config.pending = NonZeroU32::MIN);
    let orders = connected(orders.method("echo", |n: u32, _| async move { Ok(n) }));
    let batch = orders.batch().call("orders", "echo", &1).call("orders", "echo", &2);
    let results = within("the results", batch.send::<u32>());
    assert_eq!(results[0], Ok(1));
    assert_eq!(results[1].as_ref().unwrap_err().cause, Cause::Overloaded);
}

pub fn results_are_kept_of_methods_that_were_opted_in(runtime: impl Runtime) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let hub = hub(&runtime);
    let made = Arc::new(AtomicU32::new(0));
    let count = made.clone();
    let next = move |_: u32, _: Ctx| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(n) }
    };
    let orders = service(&runtime, &hub, "orders")
        .method("kept", next.clone())
        .method("fresh", next)
        .method("fail", |(): (), _| async { Err::<u32, _>(HandlerError::new("NO", "no")) })
        .cached("orders", "kept", Duration::from_secs(600))
        .cached("orders", "fail", Duration::from_secs(600));
    let orders = connected(orders);
    let call = |method: &str, n: u32| within("an answer", orders.call::<u32>("orders", method, &n)).unwrap();
    assert_eq!([call("kept", 7), call("kept", 7), call("kept", 8), call("kept", 7)], [0, 0, 1, 0]);
    assert_eq!([call("fresh", 7), call("fresh", 7)], [2, 3]);
    orders.clear_cache();
    assert_eq!(call("kept", 7), 4);
    for _ in 0..2 {
        within("a failure", orders.call::<u32>("orders", "fail", &())).unwrap_err();
    }
    assert_eq!(within("the metrics", orders.metrics()).remote, 2, "failures are not kept");
}

pub fn clients_say_what_they_do(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let builder = service(&runtime, &hub, "users").method("echo", |n: u32, _| async move { Ok(n) });
    let users = builder.build().unwrap();
    let (mut events, mut changes) = (users.events(), users.changes());
    within("the connection", users.connect()).unwrap();
    assert_eq!(within("an answer", users.call::<u32>("users", "echo", &1)), Ok(1));
    within("the end", users.disconnect());
    assert!(!users.is_connected());
    drop(users);
    let mut told = Vec::new();
    while let Some(event) = within("an event", events.next()) {
        told.push(event.to_string());
    }
    let expected = [
        "connection 0 to the hub stands",
        "connection 0 is registered with the hub",
        "echo was executed for users",
        "users.echo has answered",
        "connection 0 to the hub has ended: the application has disconnected",
    ];
    assert_eq!(told, expected);
    let mut count = 0;
    while let Some(event) = within("an event", changes.next()) {
        assert!(!matches!(event, ClientEvent::MethodExecuted { .. } | ClientEvent::ResponseReceived { .. }));
        count += 1;
    }
    assert_eq!(count, 3);
}

pub fn a_dropped_call_is_given_up_at_once(runtime: impl Runtime) {
    let hub = hub(&runtime);
    let wait = |(): (), _: Ctx| async { std::future::pending::<Result<(), HandlerError>>().await };
    let users: Client<_> = connected(service(&runtime, &hub, "users").method("wait", wait));
    let pending = || within("the status", users.status()).pending;
    let mut call = Box::pin(users.call::<()>("users", "wait", &()));
    begin(&mut call);
    until("the call is on its way", || pending() == 1);
    drop(call);
    until("its place is free", || pending() == 0);
    let mut batch =
        Box::pin(users.batch().call("users", "wait", &()).call("users", "wait", &()).send::<()>());
    begin(&mut batch);
    until("they are on their way", || pending() == 2);
    drop(batch);
    until("their places are free", || pending() == 0);
}
