//! Wake-ups that could be lost: callers that move, wait for something else, give up, come and go.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::future::Future;
use std::pin::Pin;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{CallError, Client, Service, ServiceConfig};
use plimsoll_core::rng::Pcg;

use crate::support::*;

type Echoing<'a> = Pin<Box<dyn Future<Output = Result<u32, CallError>> + Send + 'a>>;

fn begun(service: &Service, n: u32) -> Echoing<'_> {
    let mut call: Echoing<'_> = Box::pin(async move { service.request("echo", &n).await });
    begin(&mut call);
    call
}

/// Nothing is left of any call.
fn is_idle<R: Runtime>(client: &Client<R>) {
    let status = || within("the metrics", client.metrics("test")).unwrap().status;
    until("all calls have ended", || (status().in_flight, status().waiting) == (0, 0));
}

/// As one does that lost a `select!` and is kept: nobody looks at it, though its answer is there. Those who wait on
/// other threads were to be woken by it.
pub fn a_call_that_is_kept_and_not_polled_keeps_nobody_asleep(world: World<impl Runtime>) {
    let server = serve(&world);
    let (_client, service) = connect(&world, ServiceConfig::new(server.local_addr().to_string()));
    side_by_side(|callers| {
        for caller in 0..4 {
            let service = &service;
            callers.spawn(move || {
                let mut losers = Vec::new();
                for n in 0..50 {
                    losers.push((n, begun(service, n)));
                    echo(service, caller * 1_000 + n);
                    if losers.len() == 10 {
                        losers.drain(..5).for_each(|(n, call)| assert_eq!(within("it ended", call), Ok(n)));
                    }
                }
            });
        }
    });
}

pub fn a_call_may_move_to_another_thread_while_it_waits(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let (_client, service) = connect(&world, ServiceConfig::new(server.local_addr().to_string()));
    side_by_side(|callers| {
        for n in 0..50u32 {
            let service = &service;
            let mut call = Box::pin(async move { service.request::<u32>("wait", &n).await });
            // Polled here, with a waker that wakes nobody.
            begin(&mut call);
            callers.spawn(move || assert_eq!(within("the answer", call), Ok(n)));
        }
        gate.open();
    });
}

/// Threads that live for a few calls: what was remembered of one must not be held against the next.
pub fn caller_threads_come_and_go(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, ServiceConfig::new(server.local_addr().to_string()));
    for round in 0..40 {
        side_by_side(|callers| {
            for caller in 0..4 {
                let service = service.clone();
                callers.spawn(move || {
                    echo(&service, round * 10 + caller);
                    // Its last call goes with it.
                    let _abandoned = begun(&service, 7);
                });
            }
        });
    }
    echo(&service, 1);
    is_idle(&client);
}

/// Before it is taken, while it waits, and when its answer is there already.
pub fn calls_that_are_given_up_at_any_moment_leave_nothing_behind(world: World<impl Runtime>) {
    let server = serve(&world);
    let config = ServiceConfig::new(server.local_addr().to_string()).max_connections(2).in_flight(3);
    let (client, service) = connect(&world, config);
    let together = Meeting::of(4);
    side_by_side(|callers| {
        for caller in 0..4 {
            let (service, together) = (&service, &together);
            callers.spawn(move || {
                let mut dice = Pcg::new(caller, 0);
                for n in 0..100 {
                    together.wait();
                    let call = begun(service, n);
                    for _ in 0..dice.below(4) {
                        ground().moment();
                    }
                    match dice.below(3) {
                        0 => drop(call),
                        1 => {
                            echo(service, n + 1);
                            drop(call);
                        }
                        _ => assert_eq!(within("the answer", call), Ok(n)),
                    }
                }
            });
        }
    });
    is_idle(&client);
    echo(&service, 1);
}

pub fn shards_share_the_listener_and_the_calls(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = within("a free port", methods(&world, &gate).shards(2).bind(&world.any_address())).unwrap();
    let client = Client::on(world.runtime.clone()).shards(3).seed(7).build();
    let config = ServiceConfig::new(server.local_addr().to_string()).max_connections(6);
    let service = client.configure_service("test", config).unwrap();
    side_by_side(|callers| {
        for caller in 0..6 {
            let service = &service;
            callers.spawn(move || (0..100).for_each(|n| echo(service, caller * 1_000 + n)));
        }
    });
    let answered = within("the metrics", server.metrics()).metrics.answered;
    let snapshot = within("the metrics", client.metrics("test")).unwrap();
    assert_eq!((answered, snapshot.metrics.succeeded), (600, 600));
    assert!(snapshot.status.connections >= 3, "each shard has one of its own");
    within("the shutdown", client.shutdown(PATIENCE));
    assert_eq!(within("the shutdown", server.shutdown(PATIENCE)), Default::default());
}
