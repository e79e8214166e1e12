//! What a recorded client does, its log does again.

use core::num::NonZeroU32;

use plimsoll_core::record::Options;
use plimsoll_core::replay::Query;
use plimsoll_core::service::Uw;
use plimsoll_core::testing::laws::{self, Op};
use plimsoll_core::testing::play::client_laws::Surroundings;
use plimsoll_core::testing::play::rig::{Polite, Toy};
use quickcheck::quickcheck;

/// Segments so small that most logs have many, and none is dropped.
fn small() -> Options {
    let limit = |n| NonZeroU32::new(n).unwrap();
    Options { segment: limit(300), segments: limit(100_000), content: false }
}

quickcheck! {
    fn a_recorded_client_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Uw>>(seed, &ops, Options::default())
    }

    fn a_client_recorded_in_many_segments_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Uw>>(seed, &ops, small())
    }

    fn a_recorded_client_of_a_wire_without_ids_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Toy>>(seed, &ops, small())
    }

    fn a_client_recorded_with_content_decodes_and_encodes_again(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Uw>>(seed, &ops, Options { content: true, ..small() })
    }

    fn a_client_recorded_with_content_on_an_unknown_wire_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Polite>>(seed, &ops, Options { content: true, ..small() })
    }

    fn a_recorded_client_that_greets_is_replayed(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_replayed::<Surroundings<Polite>>(seed, &ops, small())
    }

    fn what_a_client_has_counted_is_told(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recorded_and_told::<Surroundings<Uw>>(seed, &ops, small(), |client| {
            let metrics = client.metrics();
            vec![(Query::Failures, "ended", metrics.failed), (Query::Failures, "refused", metrics.rejected)]
        })
    }
}
