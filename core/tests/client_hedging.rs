//! A slow request has a second copy at another endpoint; the first answer counts, and nothing is left of the other.

mod client_support;

use std::time::Duration;

use client_support::{Done, Rig, Toy, Wire, limit, steady};
use plimsoll_core::id::{ConnId, EndpointId, RequestId};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::{breaker, concurrency, hedge, retry_budget};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Config;

fn hedging() -> Config {
    let mut config = steady();
    config.hedging = Some(hedge::Config { volume: 10, ..Default::default() });
    config.concurrency =
        Some(concurrency::Config { minimum: limit(100), maximum: 100, ..Default::default() });
    config.cluster.breaker.mode = breaker::Mode::Count { failures: limit(u32::MAX) };
    config.cluster.strategy = Strategy::RoundRobin;
    config.cluster.max_connections = limit(1);
    config
}

/// Two endpoints, with a connection each, that have answered ten requests after 10 ms each.
struct Pair<W: Wire> {
    rig: Rig<W>,
    endpoints: [EndpointId; 2],
    conns: [ConnId; 2],
}

impl<W: Wire + Default> Pair<W> {
    fn new(config: Config) -> Self {
        let mut rig = Rig::<W>::new(config);
        let endpoints = ["a", "b"].map(|name| rig.add(&format!("users-{name}.internal:3001")));
        let conns = <[ConnId; 2]>::try_from(rig.open()).expect("two connections");
        for _ in 0..10 {
            rig.request();
            rig.pass_ms(10);
            rig.answer_everybody();
        }
        Pair { rig, endpoints, conns }
    }

    /// An idempotent request that nobody answers for 10 ms, and where its copies are: the first, the second.
    fn slow(&mut self) -> (RequestId, [ConnId; 2]) {
        let id = self.rig.idempotent();
        let first = self.holder().expect("it was sent");
        self.rig.pass_ms(10);
        let second = self.conns[usize::from(self.conns[0] == first)];
        assert_eq!(self.rig.peers[&second].frames.len(), 1, "the second copy");
        (id, [first, second])
    }

    fn holder(&self) -> Option<ConnId> {
        self.conns.into_iter().find(|conn| !self.rig.peers[conn].frames.is_empty())
    }

    /// How many frames the two have that they did not answer.
    fn copies(&self) -> usize {
        self.conns.iter().map(|conn| self.rig.peers[conn].frames.len()).sum()
    }

    fn check_rest(&self) {
        self.rig.client.audit();
        self.rig.check_rest();
        assert_eq!(self.rig.client.admission().concurrency().map(|limit| limit.in_flight()), Some(0));
    }
}

#[test]
fn a_slow_request_is_sent_to_another_endpoint_and_the_first_answer_counts() {
    for winner in 0..2 {
        let mut pair = Pair::<Uw>::new(hedging());
        let (id, conns) = pair.slow();
        let frames = conns.map(|conn| pair.rig.frames(conn).remove(0));
        assert_eq!(frames[0].tag, frames[1].tag, "the same request");
        assert_ne!(frames[0].id, frames[1].id, "under ids of their own");
        pair.rig.answer(conns[winner], &frames[winner], "\"first\"");
        pair.rig.assert_answered(id, "\"first\"");
        pair.check_rest();
        pair.rig.answer(conns[1 - winner], &frames[1 - winner], "\"second\"");
        let metrics = pair.rig.client.metrics();
        assert_eq!((metrics.hedges, metrics.hedges_won, metrics.late_responses), (1, winner as u64, 1));
        assert_eq!((metrics.requests, metrics.succeeded, metrics.retries), (11, 11, 0));
    }
}

#[test]
fn one_that_is_answered_in_time_is_sent_once() {
    let mut pair = Pair::<Uw>::new(hedging());
    pair.rig.idempotent();
    pair.rig.pass(Duration::from_nanos(9_999_999));
    assert_eq!(pair.copies(), 1);
    pair.rig.answer_everybody();
    pair.rig.pass_ms(1_000);
    assert_eq!((pair.copies(), pair.rig.client.metrics().hedges), (0, 0));
}

#[test]
fn what_must_not_run_twice_is_never_sent_twice() {
    let mut pair = Pair::<Uw>::new(hedging());
    pair.rig.request();
    pair.rig.pass_ms(4_000);
    assert_eq!((pair.copies(), pair.rig.client.metrics().hedges), (1, 0));
}

#[test]
fn without_another_endpoint_nothing_is_sent_twice() {
    let mut pair = Pair::<Uw>::new(hedging());
    pair.rig.remove(pair.endpoints[0]);
    pair.rig.idempotent();
    pair.rig.pass_ms(4_000);
    assert_eq!((pair.copies(), pair.rig.client.metrics().hedges), (1, 0));
}

#[test]
fn an_endpoint_without_room_gets_no_copy_and_those_who_wait_are_not_overtaken() {
    let mut config = hedging();
    config.cluster.in_flight = limit(1);
    let mut pair = Pair::<Uw>::new(config);
    let ids = [pair.rig.request(), pair.rig.idempotent(), pair.rig.request()];
    assert_eq!((pair.copies(), pair.rig.client.status().waiting), (2, 1));
    pair.rig.pass_ms(1_000);
    assert_eq!((pair.copies(), pair.rig.client.metrics().hedges), (2, 0));
    pair.rig.answer_everybody();
    pair.rig.answer_everybody();
    ids.into_iter().for_each(|id| pair.rig.assert_answered(id, "{}"));
    pair.check_rest();
}

#[test]
fn copies_are_paid_for_by_the_retry_budget() {
    let retry_budget =
        retry_budget::Config { ratio: Ratio::per_mille(0), per_second: 0, ..Default::default() };
    let mut pair = Pair::<Uw>::new(Config { retry_budget, ..hedging() });
    pair.rig.idempotent();
    pair.rig.pass_ms(1_000);
    assert_eq!((pair.copies(), pair.rig.client.metrics().hedges), (1, 0));
    pair.rig.answer_everybody();
    pair.check_rest();
}

#[test]
fn a_copy_counts_as_an_attempt() {
    let mut pair = Pair::<Uw>::new(Config { attempts: 1.try_into().unwrap(), ..hedging() });
    pair.rig.idempotent();
    pair.rig.pass_ms(1_000);
    assert_eq!(pair.copies(), 1);
}

#[test]
fn when_one_copy_is_lost_the_other_goes_on_alone() {
    for lost in 0..2 {
        let mut pair = Pair::<Uw>::new(hedging());
        let (id, conns) = pair.slow();
        pair.rig.drop_conn(conns[lost]);
        pair.rig.client.audit();
        assert_eq!((pair.rig.outcome(id), pair.rig.client.metrics().retries), (None, 0));
        pair.rig.answer_all(conns[1 - lost]);
        pair.rig.assert_answered(id, "{}");
        pair.check_rest();
    }
}

#[test]
fn when_both_are_lost_it_is_tried_again_once() {
    let mut pair = Pair::<Uw>::new(hedging());
    let (id, conns) = pair.slow();
    conns.into_iter().for_each(|conn| pair.rig.drop_conn(conn));
    assert_eq!(pair.rig.outcome(id), None);
    pair.rig.pass_ms(2_000);
    let metrics = pair.rig.client.metrics();
    assert_eq!((metrics.hedges, metrics.retries), (1, 1), "three attempts");
    pair.rig.answer_everybody();
    pair.rig.assert_answered(id, "{}");
    pair.check_rest();
}

#[test]
fn when_both_are_lost_and_no_attempt_is_left_it_is_lost_and_was_sent() {
    for order in [[0, 1], [1, 0]] {
        let mut pair = Pair::<Uw>::new(Config { attempts: 2.try_into().unwrap(), ..hedging() });
        let (id, conns) = pair.slow();
        order.into_iter().for_each(|at| pair.rig.drop_conn(conns[at]));
        pair.rig.assert_done(id, Done::Lost { sent: true });
        pair.check_rest();
    }
}

#[test]
fn however_it_ends_both_copies_are_given_back() {
    fn each<W: Wire + Default>() {
        type End<W> = fn(&mut Rig<W>, RequestId);
        let ends: [End<W>; 3] = [
            |rig, id| assert!(rig.cancel(id)),
            |rig, _| rig.pass_ms(5_000),
            |rig, _| {
                rig.shutdown_within(5);
                rig.pass_ms(5);
            },
        ];
        for (end, alone) in ends.into_iter().flat_map(|end| [(end, None), (end, Some(0)), (end, Some(1))]) {
            let mut pair = Pair::<W>::new(hedging());
            let (id, conns) = pair.slow();
            if let Some(lost) = alone {
                pair.rig.drop_conn(conns[lost]);
            }
            end(&mut pair.rig, id);
            assert!(pair.rig.outcome(id).is_some());
            assert!(!pair.rig.cancel(id), "it has ended");
            pair.rig.answer_everybody();
            pair.check_rest();
        }
    }
    each::<Uw>();
    each::<Toy>();
}

#[test]
fn on_a_wire_without_ids_the_one_that_came_second_keeps_its_place_until_its_answer_has_passed() {
    for winner in 0..2 {
        let mut pair = Pair::<Toy>::new(hedging());
        let (id, conns) = pair.slow();
        pair.rig.answer_all(conns[winner]);
        pair.rig.assert_answered(id, "ok {}");
        assert_eq!(pair.rig.client.status().in_flight, 1);
        pair.rig.answer_all(conns[1 - winner]);
        assert_eq!(pair.rig.client.metrics().late_responses, 1);
        pair.check_rest();
    }
}

#[test]
fn a_copy_of_which_no_byte_has_left_does_not_run() {
    let mut pair = Pair::<Uw>::new(hedging());
    let id = pair.rig.idempotent();
    let first = pair.holder().unwrap();
    pair.rig.send_only(0);
    pair.rig.pass_ms(10);
    assert_eq!((pair.rig.client.metrics().hedges, pair.copies()), (1, 1));
    pair.rig.answer_all(first);
    pair.rig.assert_answered(id, "{}");
    pair.rig.send_only(usize::MAX);
    pair.rig.pass_ms(100);
    assert_eq!(pair.copies(), 0);
    pair.check_rest();
}

#[test]
fn a_request_with_two_copies_ends_as_not_sent_only_if_neither_was() {
    let mut pair = Pair::<Uw>::new(hedging());
    pair.rig.send_only(0);
    let id = pair.rig.idempotent();
    pair.rig.pass_ms(10);
    assert_eq!(pair.rig.client.metrics().hedges, 1);
    pair.rig.pass_ms(5_000);
    pair.rig.assert_done(id, Done::Timeout { sent: false });
    pair.rig.send_only(usize::MAX);
    assert_eq!(pair.copies(), 0);
    pair.check_rest();
}

#[test]
fn the_balancer_learns_of_the_copy_that_was_too_slow() {
    let mut pair = Pair::<Uw>::new(hedging());
    let (_, conns) = pair.slow();
    let round_trip = |pair: &Pair<Uw>, at: usize| {
        let of = |status: &plimsoll_core::cluster::EndpointStatus<'_>| status.id == pair.endpoints[at];
        pair.rig.client.endpoint_status().find(of).unwrap().round_trip
    };
    let slow = pair.conns.iter().position(|conn| *conn == conns[0]).unwrap();
    let before = round_trip(&pair, slow);
    pair.rig.pass_ms(400);
    pair.rig.answer_all(conns[1]);
    let after = round_trip(&pair, slow);
    // A tenth of the 410 ms that it has taken so far, beside nine of what it took before.
    assert_eq!(after.as_millis(), (before * 9 / 10 + Duration::from_millis(41)).as_millis());
    pair.check_rest();
}
