//! What a recorded server does, its log does again.

use core::num::NonZeroU32;

use plimsoll_core::record::Options;
use plimsoll_core::replay::Query;
use plimsoll_core::service::server::Closed;
use plimsoll_core::testing::laws::{self, Op};
use plimsoll_core::testing::play::server_laws::{Large, Small, with_connections};
use quickcheck::quickcheck;

fn small() -> Options {
    let limit = |n| NonZeroU32::new(n).unwrap();
    Options { segment: limit(300), segments: limit(100_000), content: false }
}

quickcheck! {
    fn a_recorded_server_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Large>(seed, &with_connections(&ops), Options::default())
    }

    fn a_server_recorded_with_content_decodes_and_answers_again(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        let options = Options { content: true, ..small() };
        laws::recorded_and_replayed::<Large>(seed, &with_connections(&ops), options)
    }

    fn a_server_recorded_in_many_segments_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Small>(seed, &with_connections(&ops), small())
    }

    fn what_a_server_has_counted_is_told(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_told::<Small>(seed, &with_connections(&ops), small(), |server| {
            let metrics = server.metrics();
            let Closed { peer, fault, protocol, idle, shutdown } = metrics.closed;
            vec![
                (Query::Failures, "answered", metrics.failed),
                (Query::Changes, "accepted", metrics.accepted),
                (Query::Changes, "turned_away", metrics.refused),
                (Query::Changes, "closed", peer + fault + protocol + idle + shutdown),
            ]
        })
    }
}
