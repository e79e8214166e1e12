//! Shutting down, at leisure and under load, and handles that are dropped in the middle.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Cause, Service, ServiceConfig};
use plimsoll_core::drive::server::Server;
use plimsoll_core::error::Rejected;

use crate::support::*;

/// Longer than any of these takes, and shorter than our patience.
const LONG: Duration = Duration::from_secs(30);

fn config<R: Runtime>(server: &Server<R>) -> ServiceConfig {
    ServiceConfig::new(server.local_addr().to_string()).timeout(LONG)
}

fn in_flight<R: Runtime>(server: &Server<R>) -> u32 {
    within("the status", server.metrics()).status.in_flight
}

fn connections<R: Runtime>(server: &Server<R>) -> u32 {
    within("the status", server.metrics()).status.connections
}

pub fn a_client_that_shuts_down_sees_its_calls_to_their_end(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let (client, service) = connect(&world, config(&server));
    let mut call = Box::pin(service.request::<u32>("wait", &1));
    begin(&mut call);
    until("it arrives", || in_flight(&server) == 1);
    let mut shutdown = Box::pin(client.shutdown(LONG));
    begin(&mut shutdown);
    let refused = within("a refusal", service.request::<u32>("echo", &2)).unwrap_err();
    assert_eq!(refused.cause, Cause::Rejected(Rejected::ShuttingDown));
    assert!(poll_once(&mut shutdown).is_pending(), "one call is under way");
    gate.open();
    assert_eq!(within("the answer", call), Ok(1));
    assert_eq!(within("the shutdown", shutdown).requests, 0);
    until("it has closed its connections", || connections(&server) == 0);
}

pub fn a_shutdown_that_takes_too_long_cuts_off_what_is_left_and_counts_it(world: World<impl Runtime>) {
    let gate = Gate::default();
    let at_once = Duration::from_millis(20);
    let (first, second) = (serve_behind(&world, &gate), serve_behind(&world, &gate));
    let waiting = |server: &Server<_>| {
        let (client, service) = connect(&world, config(server));
        let mut call = Box::pin(async move { service.request::<u32>("wait", &1).await });
        begin(&mut call);
        until("it arrives", || in_flight(server) == 1);
        (client, call)
    };
    let (client, call) = waiting(&first);
    assert_eq!(within("the shutdown", client.shutdown(at_once)).requests, 1);
    assert_eq!(within("an end", call).unwrap_err().cause, Cause::Lost { sent: true });

    let (_client, call) = waiting(&second);
    assert_eq!(within("the shutdown", second.shutdown(at_once)).requests, 1);
    assert_eq!(within("an end", call).unwrap_err().cause, Cause::Lost { sent: true });
}

/// Calls from eight threads until it is told to stop; what is no answer must be as `allowed` says.
fn under_load(service: &Service, allowed: fn(&Cause) -> bool, meanwhile: impl FnOnce()) -> u64 {
    let (answers, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    side_by_side(|callers| {
        for caller in 0..8u32 {
            let (answers, stop) = (&answers, &stop);
            callers.spawn(move || {
                for n in caller * 1_000_000.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    match within("an end", service.request::<u32>("echo", &n)) {
                        Ok(answer) => {
                            assert_eq!(answer, n);
                            answers.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => {
                            assert!(allowed(&error.cause), "{error}");
                            return;
                        }
                    }
                }
            });
        }
        let _stop = Raised(&stop);
        until("answers", || answers.load(Ordering::SeqCst) > 100);
        meanwhile();
    });
    answers.into_inner()
}

pub fn a_server_that_shuts_down_under_load_answers_all_that_it_took(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, config(&server).max_connections(3));
    let mut dropped = None;
    under_load(
        &service,
        |cause| matches!(cause, Cause::Lost { .. } | Cause::Closed | Cause::Rejected(_)),
        || {
            dropped = Some(within("the shutdown", server.shutdown(LONG)));
            // Or what it did not take would wait for another server.
            within("the shutdown", client.shutdown(Duration::ZERO));
        },
    );
    assert_eq!(dropped, Some(Default::default()));
}

pub fn a_client_that_shuts_down_under_load_loses_no_call(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, config(&server).max_connections(3));
    let mut dropped = None;
    let answers = under_load(
        &service,
        |cause| matches!(cause, Cause::Closed | Cause::Rejected(Rejected::ShuttingDown)),
        || dropped = Some(within("the shutdown", client.shutdown(LONG)).requests),
    );
    assert_eq!(dropped, Some(0));
    assert_eq!(within("the metrics", server.metrics()).metrics.answered, answers);
}

pub fn a_server_that_is_dropped_in_the_middle_ends_the_calls_that_it_had(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let (_client, service) = connect(&world, config(&server));
    let mut calls: Vec<_> = (0..20).map(|_| Box::pin(service.request::<u32>("wait", &1))).collect();
    calls.iter_mut().for_each(begin);
    until("they arrive", || in_flight(&server) == 20);
    drop(server);
    for ended in within("the ends", all(calls)) {
        assert_eq!(ended.unwrap_err().cause, Cause::Lost { sent: true });
    }
    gate.open();
}

pub fn a_client_that_is_dropped_in_the_middle_leaves_the_server_well(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    for round in 1..=4 {
        let (client, service) = connect(&world, config(&server));
        let mut calls: Vec<_> = (0..20).map(|_| Box::pin(service.request::<u32>("wait", &1))).collect();
        calls.iter_mut().for_each(begin);
        until("they arrive", || in_flight(&server) == 20 * round);
        // The handle first in one round, and the calls in the next.
        if round % 2 == 0 {
            drop(client);
            drop(calls);
        } else {
            drop(calls);
            drop(client);
        }
    }
    // To the server it looks as if they only said no more: the answers show it that nobody listens.
    gate.open();
    until("nothing is left", || (in_flight(&server), connections(&server)) == (0, 0));
    let (_client, service) = connect(&world, config(&server));
    echo(&service, 1);
}

pub fn a_server_that_half_closes_is_left_for_another(world: World<impl Runtime>) {
    let listener = world.listener();
    let config = ServiceConfig::new(listener.address.clone())
        .max_connections(1)
        .reconnect_delay(Duration::from_millis(10))
        .timeout(LONG);
    let (_client, service) = connect(&world, config);
    let mut call = Box::pin(service.request::<u32>("echo", &1));
    begin(&mut call);
    let mut peer = listener.accept();
    assert_eq!(peer.answers("1"), Some(1));
    assert_eq!(within("the answer", call), Ok(1));

    let mut call = Box::pin(service.request::<u32>("echo", &2));
    begin(&mut call);
    peer.has_unread();
    peer.socket.finish().unwrap();
    assert_eq!(within("the loss", call).unwrap_err().cause, Cause::Lost { sent: true });

    let mut call = Box::pin(service.request::<u32>("echo", &3));
    begin(&mut call);
    let mut peer = listener.accept();
    assert_eq!(peer.answers("3"), Some(1));
    assert_eq!(within("the answer", call), Ok(3));
}
