//! Endpoints that come and go while calls are made.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{EndpointCause, Service, ServiceConfig};
use plimsoll_core::drive::server::Server;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::slow_start;

use crate::support::*;

fn address<R: Runtime>(server: &Server<R>) -> String {
    server.local_addr().to_string()
}

fn answered<R: Runtime>(server: &Server<R>) -> u64 {
    within("the metrics", server.metrics()).metrics.answered
}

fn connections<R: Runtime>(server: &Server<R>) -> u32 {
    within("the metrics", server.metrics()).status.connections
}

/// In turns, and a new one has its full share at once.
fn in_turns(address: String) -> ServiceConfig {
    let at_once = slow_start::Config { window: Duration::ZERO, ..slow_start::Config::default() };
    ServiceConfig::new(address).strategy(Strategy::RoundRobin).slow_start(at_once)
}

/// Calls from some threads until it is dropped; each must be answered.
struct Load<'a> {
    stop: &'a AtomicBool,
    answers: &'a AtomicU32,
}

impl Load<'_> {
    fn call(&self, service: &Service, caller: u32) {
        for n in caller * 1_000_000.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            echo(service, n);
            self.answers.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn some_answers(&self) {
        let before = self.answers.load(Ordering::SeqCst);
        until("answers", || self.answers.load(Ordering::SeqCst) > before + 50);
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub fn endpoints_come_and_go_under_load_and_no_call_is_lost(world: World<impl Runtime>) {
    // Dropped after the load has stopped.
    let mut old = serve(&world);
    let (client, service) = connect(&world, in_turns(address(&old)));
    let (stop, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    side_by_side(|callers| {
        let load = Load { stop: &stop, answers: &answers };
        for caller in 0..4 {
            let (service, stop, answers) = (&service, &stop, &answers);
            callers.spawn(move || std::mem::ManuallyDrop::new(Load { stop, answers }).call(service, caller));
        }
        load.some_answers();
        for _ in 0..5 {
            let new = serve(&world);
            within("it is added", service.add_endpoint(&address(&new))).unwrap();
            until("the new one answers", || answered(&new) > 20);
            within("it is removed", service.remove_endpoint(&address(&old))).unwrap();
            until("the old one is left alone", || connections(&old) == 0);
            // Whoever called it after all would hear that the connection is lost.
            drop(std::mem::replace(&mut old, new));
            load.some_answers();
        }
    });
    let snapshot = within("the metrics", client.metrics("test")).unwrap();
    assert_eq!((snapshot.metrics.failed, snapshot.metrics.rejected), (0, 0));
    assert_eq!((snapshot.status.in_flight, snapshot.status.waiting), (0, 0));
    assert_eq!(snapshot.metrics.succeeded, u64::from(answers.load(Ordering::SeqCst)));
}

pub fn an_endpoint_can_be_drained_resumed_weighed_and_declared_unhealthy(world: World<impl Runtime>) {
    let (a, b) = (serve(&world), serve(&world));
    let config = in_turns(address(&a)).endpoint(address(&b)).strategy(Strategy::WeightedRoundRobin);
    let (_client, service) = connect(&world, config);
    let share_of_a = || {
        until("both are connected", || connections(&a) + connections(&b) > 0);
        let before = (answered(&a), answered(&b));
        (0..40).for_each(|n| echo(&service, n));
        (answered(&a) - before.0, answered(&b) - before.1)
    };
    until("both serve", || share_of_a() == (20, 20));

    within("a weight", service.set_weight(&address(&a), 3)).unwrap();
    until("it has three quarters", || share_of_a() == (30, 10));

    within("a drain", service.drain_endpoint(&address(&a))).unwrap();
    until("nobody is connected to it", || connections(&a) == 0);
    assert_eq!(share_of_a(), (0, 40));
    within("its end", service.resume_endpoint(&address(&a))).unwrap();
    until("it has its share again", || share_of_a() == (30, 10));

    within("a level", service.set_health(&address(&a), Level::Unhealthy)).unwrap();
    assert_eq!(share_of_a(), (0, 40));
    within("a level", service.set_health(&address(&a), Level::Healthy)).unwrap();
    until("it has its share again", || share_of_a() == (30, 10));

    within("more connections", service.scale(3)).unwrap();
    // On both sides: what is still a dial to the client when it scales down is no idle connection yet.
    let dialing = || within("the metrics", service.snapshot()).unwrap().status.dialing;
    until("they stand", || (connections(&a), connections(&b)) == (3, 3) && dialing() == 0);
    within("fewer", service.scale(1)).unwrap();
    until("the others close", || (connections(&a), connections(&b)) == (1, 1));
}

pub fn a_command_about_an_endpoint_that_nobody_knows_is_refused(world: World<impl Runtime>) {
    let server = serve(&world);
    let (client, service) = connect(&world, in_turns(address(&server)).endpoint(address(&server)));
    let endpoints = || within("the metrics", service.snapshot()).unwrap().status.endpoints;
    assert_eq!(endpoints(), 1, "one that is named twice counts once");
    let cause = |result: Result<(), plimsoll_core::drive::client::EndpointError>| result.unwrap_err().cause;
    let nobody = "nobody.internal:1";
    let unknown = within("an error", service.remove_endpoint(nobody)).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "test, endpoint nobody.internal:1: the service has no endpoint at this address"
    );
    assert_eq!(cause(within("an error", service.set_weight(nobody, 2))), EndpointCause::Unknown);
    assert_eq!(cause(within("an error", service.add_endpoint(&address(&server)))), EndpointCause::Known);
    assert!(matches!(cause(within("an error", service.add_endpoint("nobody"))), EndpointCause::Misuse(_)));
    within("nothing changes", service.resume_endpoint(&address(&server))).unwrap();

    // It can be removed once, and be added again at once.
    within("it is removed", service.remove_endpoint(&address(&server))).unwrap();
    let again = within("an error", service.drain_endpoint(&address(&server)));
    assert_eq!(cause(again), EndpointCause::Unknown);
    within("it is added", service.add_endpoint(&address(&server))).unwrap();
    echo(&service, 1);

    within("the shutdown", client.shutdown(Duration::from_secs(1)));
    assert_eq!(cause(within("an error", service.scale(2))), EndpointCause::Closed);
}
