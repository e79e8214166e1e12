//! One function for each behaviour; each takes a world of its own, or, if it makes no difference which, a runtime.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Cause, Service, ServiceConfig};
use plimsoll_core::drive::server::Server;
use plimsoll_core::error::Fault;
use plimsoll_core::policy::backoff::Jitter;
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::service::client::{CloseCause, StateEvent};
use serde_json::Value;

use crate::support::*;

pub use crate::dialling::*;
pub use crate::ending::*;
pub use crate::guarding::*;
pub use crate::moving::*;
pub use crate::pressing::*;
pub use crate::protecting::*;
pub use crate::racing::*;
pub use crate::recording::*;
pub use crate::tls::*;
pub use crate::unix::*;

fn config<R: Runtime>(server: &Server<R>) -> ServiceConfig {
    ServiceConfig::new(server.local_addr().to_string())
}

/// Tries again soon, and gives nobody a rest.
fn eager(address: String) -> ServiceConfig {
    let mut config =
        ServiceConfig::new(address).reconnect_delay(Duration::from_millis(10)).breaker(breaker::Config {
            mode: breaker::Mode::Count { failures: 1_000_000.try_into().expect("not zero") },
            ..breaker::Config::default()
        });
    config.client.cluster.backoff.multiplier = Ratio::ONE;
    config.client.cluster.backoff.jitter = Jitter::None;
    config
}

fn serve_at<R: Runtime>(world: &World<R>, address: &str) -> io::Result<Server<R>> {
    within("the address", methods(world, &Gate::default()).bind(address))
}

fn in_flight<R: Runtime>(server: &Server<R>) -> u32 {
    within("the status", server.metrics()).status.in_flight
}

pub fn a_request_is_answered(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, config(&server));
    echo(&service, 1);
    let snapshot = within("the metrics", client.metrics("test")).unwrap();
    assert_eq!((snapshot.metrics.succeeded, snapshot.status.connections), (1, 1));
    assert_eq!(within("the metrics", server.metrics()).metrics.answered, 1);
}

pub fn five_hundred_requests_at_once_are_each_answered_with_their_own(world: World<impl Runtime>) {
    let server = serve(&world);
    let (_client, service) = connect(&world, config(&server).max_connections(1));
    let calls = (0..500u32).map(|n| {
        let service = &service;
        async move { assert_eq!(service.request::<u32>("echo", &n).await, Ok(n)) }
    });
    within("the answers", all(calls));
}

pub fn three_mebibytes_come_back_unchanged_many_at_a_time(world: World<impl Runtime>) {
    let server = serve(&world);
    let (_client, service) = connect(&world, config(&server).timeout(Duration::from_secs(30)));
    let text = "0123456789abcdef".repeat(3 * 65_536);
    // 15 MiB: all of it may have to wait for the first connection, and 16 MiB may wait.
    let calls = (0..5).map(|n| {
        let (service, sent) = (&service, format!("{n}{text}"));
        async move { assert!(service.request::<String>("echo", &sent).await.unwrap() == sent) }
    });
    within("the answers", all(calls));
}

/// Each call sleeps and is woken by itself: a wake-up that is lost is a call that hangs.
pub fn callers_on_many_threads_are_all_woken(world: World<impl Runtime>) {
    let server = serve(&world);
    let (_client, service) = connect(&world, config(&server).max_connections(2));
    side_by_side(|callers| {
        for caller in 0..8 {
            let service = &service;
            callers.spawn(move || (0..300).for_each(|n| echo(service, caller * 1_000 + n)));
        }
    });
}

pub fn requests_may_come_byte_by_byte(world: World<impl Runtime>) {
    let server = serve(&world);
    let mut peer = Peer::connect(&server.local_addr().to_string());
    for n in 0..5 {
        for byte in Peer::request(n, "echo", "\"12345\"") {
            peer.send(&[byte]);
        }
        assert_eq!(peer.answer(), Some((id(n), 7)));
    }
}

pub fn a_thousand_connections_are_served(world: World<impl Runtime>) {
    raise_descriptor_limit(2_400);
    let server = serve(&world);
    let mut peers: Vec<Peer> = (0..1_000).map(|_| Peer::connect(&server.local_addr().to_string())).collect();
    for _ in 0..3 {
        for (n, peer) in (0..).zip(&mut peers) {
            peer.send(&Peer::request(n, "echo", "[1]"));
        }
        for (n, peer) in (0..).zip(&mut peers) {
            assert_eq!(peer.answer(), Some((id(n), 3)));
        }
    }
    assert_eq!(within("the status", server.metrics()).status.connections, 1_000);
    drop(peers);
    until("they are gone", || within("the status", server.metrics()).status.connections == 0);
}

pub fn who_half_closes_is_still_answered(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let mut peer = Peer::connect(&server.local_addr().to_string());
    // The end of the stream comes along with the last bytes in one case, and by itself in the other.
    peer.send(&Peer::request(1, "wait", "1"));
    until("it arrives", || in_flight(&server) == 1);
    peer.send(&Peer::request(2, "wait", "2"));
    peer.socket.finish().unwrap();
    until("it arrives", || in_flight(&server) == 2);
    gate.open();
    let mut answers = [peer.answer(), peer.answer()];
    answers.sort_unstable_by_key(|answer| answer.map(|(id, _)| id.0));
    assert_eq!(answers, [Some((id(1), 1)), Some((id(2), 1))]);
    assert_eq!(peer.answer(), None, "and then the connection is closed");
}

pub fn a_slow_reader_disturbs_nobody_and_gets_everything(world: World<impl Runtime>) {
    const ANSWERS: u64 = 200;
    const SIZE: usize = 65_536;
    let server = serve(&world);
    let mut slow = Peer::connect(&server.local_addr().to_string());
    // All at once: together they are less than what the kernel holds for a server that reads no more.
    let requests = (0..ANSWERS).map(|n| Peer::request(n, "size", &SIZE.to_string()));
    slow.send(&requests.collect::<Vec<_>>().concat());
    let (_client, service) = connect(&world, config(&server));
    until("answers pile up", || within("the status", server.metrics()).status.unsent > 0);
    (0..100).for_each(|n| echo(&service, n));
    for n in 0..ANSWERS {
        assert_eq!(slow.answer(), Some((id(n), SIZE + 2)));
    }
}

pub fn a_server_that_comes_late_is_found(world: World<impl Runtime>) {
    let address = world.free_address();
    let (client, service) = connect(&world, eager(address.clone()));
    let mut events = client.events();
    let mut call = Box::pin(service.request::<u32>("echo", &1));
    begin(&mut call);
    let event = within("the refusal", events.next()).unwrap().event;
    assert!(matches!(event, StateEvent::Closed { .. }), "{event:?}");
    let _server = serve_at(&world, &address).unwrap();
    assert_eq!(within("the answer", call), Ok(1));
}

pub fn a_connection_that_is_reset_is_replaced(world: World<impl Runtime>) {
    let listener = world.listener();
    let address = listener.address.clone();
    let (_client, service) = connect(&world, eager(address.clone()).max_connections(1));
    let mut call = Box::pin(service.request::<u32>("echo", &1));
    begin(&mut call);
    let mut peer = listener.accept();
    // Closed with something unread, a socket is reset.
    peer.has_unread();
    drop((peer, listener));
    assert_eq!(within("the loss", call).unwrap_err().cause, Cause::Lost { sent: true });
    let _server = serve_at(&world, &address).unwrap();
    echo(&service, 2);
}

pub fn a_name_is_resolved_and_one_that_is_nobodys_is_told(runtime: impl Runtime) {
    let world = World::tcp(runtime);
    let server = serve(&world);
    let port = server.local_addr().tcp().expect("a port").port();
    let (client, service) = connect(&world, ServiceConfig::new(format!("localhost:{port}")));
    echo(&service, 1);
    let mut events = client.events();
    client.configure_service("nobody", eager("nobody.invalid:1".into())).unwrap();
    let event = within("the failure", async {
        loop {
            let event = events.next().await.unwrap();
            if &*event.service == "nobody" {
                return event.event;
            }
        }
    });
    assert!(
        matches!(event, StateEvent::Closed { cause: CloseCause::Dial(Fault::Unresolved), .. }),
        "{event:?}"
    );
}

pub fn a_server_killed_under_load_leaves_each_call_with_an_end(world: World<impl Runtime>) {
    let address = world.free_address();
    let mut server = serve_at(&world, &address).ok();
    let (client, service) =
        connect(&world, eager(address.clone()).max_connections(3).timeout(Duration::from_secs(30)));
    let (answered, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let call = |service: &Service, n: u32| match within("an end", service.request::<u32>("echo", &n)) {
        Ok(answer) => {
            assert_eq!(answer, n);
            answered.fetch_add(1, Ordering::SeqCst);
        }
        Err(error) => assert_eq!(error.cause, Cause::Lost { sent: true }),
    };
    side_by_side(|callers| {
        let _stop = Raised(&stop);
        for caller in 0..8 {
            let (service, call, stop) = (&service, &call, &stop);
            callers.spawn(move || {
                let mut numbers = caller * 1_000_000..;
                while !stop.load(Ordering::SeqCst) {
                    call(service, numbers.next().expect("no end"));
                }
            });
        }
        for _ in 0..5 {
            let before = answered.load(Ordering::SeqCst);
            until("answers", || answered.load(Ordering::SeqCst) > before + 50);
            drop(server.take());
            // The old listener closes when its driver is next polled.
            until("the port is free", || {
                server = serve_at(&world, &address).ok();
                server.is_some()
            });
        }
    });
    let status = within("the metrics", client.metrics("test")).unwrap().status;
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

pub fn a_call_that_takes_too_long_says_that_it_was_sent(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, config(&server));
    echo(&service, 1);
    let call = client.call("test", "wait").timeout(Duration::from_millis(30));
    let error = within("the timeout", call.json::<Value>(&1)).unwrap_err();
    assert_eq!(error.cause, Cause::Timeout { sent: true });
    echo(&service, 2);
}

pub fn a_dropped_call_frees_its_place_at_once(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let (client, service) = connect(&world, config(&server).max_connections(1).in_flight(1).wait_queue(1));
    let mut call = Box::pin(service.request::<Value>("wait", &1));
    begin(&mut call);
    until("it arrives", || in_flight(&server) == 1);
    drop(call);
    echo(&service, 2);
    gate.open();
    let metrics = || within("the metrics", client.metrics("test")).unwrap().metrics;
    until("the late answer passes", || metrics().late_responses == 1);
    assert_eq!(metrics().failures.cancelled, 1);
    echo(&service, 3);
}

pub fn errors_of_handlers_are_told(world: World<impl Runtime>) {
    let server = serve(&world);
    let (_client, service) = connect(&world, config(&server));
    let error =
        |method: &str| within("an error", service.request::<Value>(method, "TEAPOT")).unwrap_err().cause;
    assert_eq!(error("fail"), Cause::Remote { code: "TEAPOT".into(), message: "as it was told".into() });
    assert!(matches!(error("nobody"), Cause::Remote { code, .. } if code == "METHOD_NOT_FOUND"));
    assert!(matches!(error("size"), Cause::Remote { code, .. } if code == "BAD_REQUEST"));
    echo(&service, 1);
}

pub fn a_server_that_shuts_down_answers_what_it_took(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let address = server.local_addr().to_string();
    let (client, service) = connect(&world, config(&server));
    let mut call = Box::pin(service.request::<u32>("wait", &1));
    begin(&mut call);
    until("it arrives", || in_flight(&server) == 1);
    let mut shutdown = Box::pin(server.shutdown(Duration::from_secs(30)));
    begin(&mut shutdown);
    until("newcomers are refused", || is_refused(&address));
    gate.open();
    assert_eq!(within("the answer", call), Ok(1));
    assert_eq!(within("the shutdown", shutdown), Default::default());
    assert_eq!(within("the shutdown", client.shutdown(Duration::from_secs(30))).requests, 0);
    let refused = within("the refusal", service.request::<u32>("echo", &1)).unwrap_err();
    assert_eq!(refused.cause, Cause::Closed);
}

pub fn handles_that_are_dropped_close_what_they_held(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, config(&server));
    let mut events = client.events();
    echo(&service, 1);
    drop((client, service));
    until("it closes", || within("the status", server.metrics()).status.connections == 0);
    while within("the end of the events", events.next()).is_some() {}
    let address = server.local_addr().to_string();
    drop(server);
    until("the listener closes", || is_refused(&address));
}
