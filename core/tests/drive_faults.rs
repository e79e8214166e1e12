//! One call on a socket fails, whichever it is and however it fails: each request that was taken still ends once, runs once
//! at most unless it may run again, and the client recovers.

#[path = "drive_support/memory.rs"]
mod memory;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use memory::{Failure, Memory};
use plimsoll_core::drive::client::{CallError, Cause, Client, Service, ServiceConfig};
use plimsoll_core::drive::server::{Ctx, Server};

const ADDRESS: &str = "192.0.2.1:3001";
const CALLS: usize = 8;
/// Of the calls of a story, these may run more than once.
const IDEMPOTENT: [usize; 2] = [1, 5];

/// Every [`Fault`](plimsoll_core::error::Fault), and every kind that the driver treats in its own way.
const FAILURES: [Failure; 13] = [
    Failure::Zero,
    Failure::Error(ErrorKind::Interrupted),
    Failure::Error(ErrorKind::ConnectionReset),
    Failure::Error(ErrorKind::ConnectionAborted),
    Failure::Error(ErrorKind::ConnectionRefused),
    Failure::Error(ErrorKind::BrokenPipe),
    Failure::Error(ErrorKind::UnexpectedEof),
    Failure::Error(ErrorKind::TimedOut),
    Failure::Error(ErrorKind::HostUnreachable),
    Failure::Error(ErrorKind::NotFound),
    Failure::Error(ErrorKind::OutOfMemory),
    Failure::Error(ErrorKind::Other),
    // Too many open files.
    Failure::Os(24),
];

/// How often each call ran on the server.
type Runs = Arc<Mutex<Vec<u32>>>;

fn serve(memory: &Memory, runs: &Runs) -> Server<Memory> {
    let build = || {
        let runs = runs.clone();
        Server::on(memory.clone()).method("note", move |(call, text): (usize, String), _: Ctx| {
            runs.lock().unwrap()[call] += 1;
            async move { Ok((call, text)) }
        })
    };
    memory.block_on(build().bind(ADDRESS)).unwrap_or_else(|_| {
        // A second time, as an operator would: a call fails once.
        memory.block_on(build().bind(ADDRESS)).unwrap()
    })
}

fn connect(memory: &Memory) -> (Client<Memory>, Service) {
    let client = Client::on(memory.clone()).seed(7).build();
    let config = ServiceConfig::new(ADDRESS)
        .max_connections(2)
        .in_flight(3)
        .reconnect_delay(Duration::from_millis(10));
    let service = client.configure_service("notes", config).unwrap();
    (client, service)
}

type Ended = Result<(usize, String), CallError>;

/// All calls at the same time; how each ended.
fn ends(memory: &Memory, service: &Service) -> Vec<Ended> {
    type Noting<'a> = Pin<Box<dyn Future<Output = Ended> + 'a>>;
    let begin = |n| -> (Noting<'_>, Option<Ended>) {
        let call = service.call("note");
        let call = if IDEMPOTENT.contains(&n) { call.idempotent() } else { call };
        (Box::pin(async move { call.json(&(n, text(n))).await }), None)
    };
    let mut calls: Vec<_> = (0..CALLS).map(begin).collect();
    memory.block_on(poll_fn(|cx| {
        for (call, end) in calls.iter_mut().filter(|(_, end)| end.is_none()) {
            if let Poll::Ready(ended) = call.as_mut().poll(cx) {
                *end = Some(ended);
            }
        }
        if calls.iter().all(|(_, end)| end.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    }));
    calls.into_iter().filter_map(|(_, end)| end).collect()
}

/// Some fit into the pipe, some do not.
fn text(n: usize) -> String {
    "0123456789abcdef".repeat(n * 3)
}

/// Everything from binding to shutting down, the failure somewhere in it.
fn story(memory: &Memory) {
    let runs = Runs::default();
    let server = serve(memory, &runs);
    let (client, service) = connect(memory);
    let mut calls = 0;
    for wave in 1.. {
        memory.settle();
        let recovered = memory.has_failed();
        *runs.lock().unwrap() = vec![0; CALLS];
        let ended = ends(memory, &service);
        calls += CALLS as u64;
        let runs = runs.lock().unwrap();
        for (n, (ended, ran)) in ended.iter().zip(&*runs).enumerate() {
            has_a_lawful_end(n, ended, *ran);
            assert!(ended.is_ok() || !recovered, "call {n}, after the failure: {ended:?}");
        }
        if recovered || (wave >= 2 && !memory.has_failed()) {
            break;
        }
    }
    let snapshot = memory.block_on(client.metrics("notes")).unwrap();
    assert_eq!(snapshot.metrics.succeeded + snapshot.metrics.failed, calls, "each has one end");
    assert_eq!((snapshot.status.in_flight, snapshot.status.waiting), (0, 0));
    assert_eq!(memory.block_on(client.shutdown(Duration::from_secs(1))).requests, 0);
    memory.block_on(server.shutdown(Duration::from_secs(1)));
    assert_eq!((memory.tasks(), memory.sockets()), (0, 0), "something is left");
}

fn has_a_lawful_end(n: usize, ended: &Ended, ran: u32) {
    match ended {
        Ok(answer) => assert!(*answer == (n, text(n)) && ran >= 1, "call {n} got another's answer"),
        Err(CallError { cause: Cause::Lost { sent: true }, .. }) => {}
        Err(CallError { cause: Cause::Lost { sent: false }, .. }) => assert_eq!(ran, 0, "call {n}"),
        Err(error) => panic!("call {n}: {error}"),
    }
    let idempotent = IDEMPOTENT.contains(&n);
    assert!(ran <= 1 || idempotent, "call {n} ran {ran} times");
    assert!(ended.is_ok() || !idempotent, "call {n} could have been sent again: {ended:?}");
}

#[test]
fn whichever_call_fails_and_however_each_request_ends_once_and_the_client_recovers() {
    let undisturbed = Memory::default();
    story(&undisturbed);
    assert!(undisturbed.calls() > 100);
    for failure in FAILURES {
        for call in 0.. {
            let memory = Memory::failing(call, failure);
            let told = catch_unwind(AssertUnwindSafe(|| story(&memory)));
            assert!(told.is_ok(), "as call {call} ended as {failure:?}");
            if !memory.has_failed() {
                break;
            }
        }
    }
}
