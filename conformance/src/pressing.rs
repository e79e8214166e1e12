//! Peers that do not take what they are sent, in either direction.

use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Cause, ServiceConfig};
use plimsoll_core::error::Rejected;

use crate::support::*;

/// The other way round than with a slow reader of answers: here it is our requests that nobody reads.
pub fn a_server_that_reads_nothing_holds_calls_up_and_gets_them_all_when_it_reads(
    world: World<impl Runtime>,
) {
    const ON_THE_CONNECTION: u32 = 100;
    const WAITING: u32 = 20;
    /// More than the kernel keeps of all of them together.
    const SIZE: usize = 131_072;
    let listener = world.listener();
    let config = ServiceConfig::new(listener.address.clone())
        .max_connections(1)
        .in_flight(ON_THE_CONNECTION)
        .wait_queue(WAITING)
        .timeout(PATIENCE);
    let (client, service) = connect(&world, config);
    let status = || within("the metrics", client.metrics("test")).unwrap().status;
    let mut peer = listener.accept();
    until("it is connected", || status().connections == 1);

    let text = "x".repeat(SIZE - 2);
    let mut calls: Vec<_> =
        (0..ON_THE_CONNECTION + WAITING).map(|_| Box::pin(service.request::<u32>("echo", &text))).collect();
    calls.iter_mut().for_each(begin);
    until("calls wait", || (status().in_flight, status().waiting) == (ON_THE_CONNECTION, WAITING));
    let refused = within("a refusal", service.request::<u32>("echo", &1));
    assert_eq!(refused.unwrap_err().cause, Cause::Rejected(Rejected::Overloaded));

    for n in 0..calls.len() {
        assert_eq!(peer.answers(&n.to_string()), Some(SIZE));
    }
    let mut answers: Vec<u32> =
        within("the answers", all(calls)).into_iter().map(|answer| answer.unwrap()).collect();
    answers.sort_unstable();
    assert!(answers.into_iter().eq(0..ON_THE_CONNECTION + WAITING));
}

/// Both sides send more than the kernel keeps, on one connection: neither may wait with reading until it has written.
pub fn megabytes_cross_each_other_on_one_connection(world: World<impl Runtime>) {
    let server = serve(&world);
    let config = ServiceConfig::new(server.local_addr().to_string())
        .max_connections(1)
        .timeout(Duration::from_secs(30));
    let (_client, service) = connect(&world, config);
    let text = "0123456789abcdef".repeat(16_384);
    for _ in 0..2 {
        let calls = (0..32).map(|_| service.request::<String>("echo", &text));
        for answer in within("the answers", all(calls)) {
            assert!(answer.unwrap() == text);
        }
    }
}
