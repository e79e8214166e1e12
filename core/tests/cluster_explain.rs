//! Every decision can be asked why, and being asked changes none.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::cluster::explain::{Decision, Exclusion, Explanation, Rule};
use plimsoll_core::cluster::{Action, Cluster, Config, EndpointOptions, Place, Unplaced, Want};
use plimsoll_core::error::{Fault, Rejected};
use plimsoll_core::id::{ConnId, EndpointId};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{self, Outcome, State};
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::{Ratio, outlier};
use plimsoll_core::time::Instant;

const NOW: Instant = Instant::from_millis(2_000);

fn cluster(config: Config, endpoints: usize) -> (Cluster, Vec<EndpointId>) {
    let mut cluster = Cluster::new(config, 3);
    cluster.set_explain(NonZeroU32::new(64));
    let ids = (0..endpoints).map(|n| cluster.add_endpoint(NOW, &format!("users-{n}.internal:3001")).unwrap());
    let ids = ids.collect();
    connect(&mut cluster);
    (cluster, ids)
}

fn dials(cluster: &mut Cluster) -> Vec<ConnId> {
    let dial = |action| if let Action::Dial(conn) = action { Some(conn) } else { None };
    std::iter::from_fn(|| cluster.poll()).filter_map(dial).collect()
}

fn connect(cluster: &mut Cluster) {
    for conn in dials(cluster) {
        cluster.connected(NOW, conn);
    }
}

fn request(cluster: &mut Cluster, at: Instant, took: u64, outcome: Outcome) -> Place {
    let place = cluster.checkout(at, Want::default()).unwrap();
    cluster.settle(at + Duration::from_millis(took), place, outcome);
    cluster.release(at, place.conn);
    place
}

fn last(cluster: &Cluster) -> &Explanation {
    cluster.explanations().next_back().unwrap()
}

#[test]
fn a_pick_names_the_two_that_were_drawn_what_they_cost_and_who_was_left_out_why() {
    let (mut cluster, ids) = cluster(Config::default(), 5);
    for n in 0..20 {
        request(&mut cluster, NOW, if n % 2 == 0 { 3 } else { 90 }, Outcome::Success);
    }
    cluster.set_health(NOW, ids[1], Level::Unhealthy);
    cluster.drain_endpoint(NOW, ids[2]);
    for _ in 0..20 {
        let place = cluster.checkout(NOW, Want::default()).unwrap();
        let Decision::Pick(pick) = &last(&cluster).decision else { panic!("{}", last(&cluster)) };
        assert_eq!(pick.endpoint.id, place.endpoint);
        assert_eq!((pick.of, pick.candidates.len()), (3, 3));
        let left: Vec<_> = pick.left.excluded.iter().map(|(endpoint, why)| (endpoint.id, *why)).collect();
        assert_eq!(left, [(ids[1], Exclusion::Unhealthy), (ids[2], Exclusion::Draining)]);
        let Rule::CheaperOf(one, other) = &pick.rule else { panic!("{:?}", pick.rule) };
        let cheaper = if other.cost < one.cost { other } else { one };
        assert_eq!(cheaper.endpoint.id, place.endpoint, "{}", last(&cluster));
        assert!(pick.candidates.contains(one) && pick.candidates.contains(other) && one != other);
    }
    let said = last(&cluster).to_string();
    assert!(said.starts_with("2.000 s: a request goes to users-"), "{said}");
    let tail = "drawn from 3 candidates; left out: users-1.internal:3001 (unhealthy), users-2.internal:3001 (drained)";
    assert!(said.ends_with(tail), "{said}");
}

#[test]
fn a_rejection_names_every_endpoint_and_what_keeps_it_from_serving() {
    let (mut cluster, ids) = cluster(Config::default(), 1);
    for _ in 0..5 {
        request(&mut cluster, NOW, 1, Outcome::Failure);
    }
    let Decision::Trip { endpoint, from, to, consecutive, window } = &last(&cluster).decision else {
        panic!("{}", last(&cluster))
    };
    assert_eq!((endpoint.id, *from, *to, *consecutive), (ids[0], State::Closed, State::Open, 5));
    assert_eq!((window.failures, window.successes), (4, 0));

    let far = EndpointOptions { priority: 1, ..EndpointOptions::default() };
    let standby = cluster.add_endpoint_with(NOW, "users-9.internal:3001", far).unwrap();
    let [dial] = dials(&mut cluster)[..] else { panic!("the new one is dialled") };
    assert_eq!(cluster.checkout(NOW, Want::default()), Err(Unplaced::Full));
    let Decision::Wait(left) = &last(&cluster).decision else { panic!("{}", last(&cluster)) };
    let why: Vec<_> = left.excluded.iter().map(|(endpoint, why)| (endpoint.id, *why)).collect();
    assert_eq!(why, [(ids[0], Exclusion::CircuitOpen), (standby, Exclusion::NotConnected)]);

    cluster.closed(NOW, dial, Fault::Refused);
    cluster.remove_endpoint(NOW, standby);
    assert_eq!(
        cluster.checkout(NOW, Want::default()),
        Err(Unplaced::Rejected(Rejected::CircuitOpen)),
        "nobody is left"
    );
    assert_eq!(
        last(&cluster).to_string(),
        "2.000 s: a request is refused (circuit open: every endpoint of the service has failed too often lately); \
         left out: users-0.internal:3001 (circuit open)"
    );
}

#[test]
fn an_ejection_says_what_was_done_and_how_many_are_out() {
    let outliers = outlier::Config { most: Ratio::percent(20), ..outlier::Config::default() };
    let mut config = Config { outliers: Some(outliers), strategy: Strategy::RoundRobin, ..Config::default() };
    config.breaker.mode = breaker::Mode::Count { failures: NonZeroU32::new(50).unwrap() };
    let (mut cluster, ids) = cluster(config, 10);
    for _ in 0..60 {
        let place = cluster.checkout(NOW, Want::default()).unwrap();
        let outcome = if place.endpoint == ids[4] { Outcome::Failure } else { Outcome::Success };
        cluster.settle(NOW, place, outcome);
        cluster.release(NOW, place.conn);
    }
    let ejections: Vec<String> = cluster
        .explanations()
        .filter(|why| matches!(why.decision, Decision::Ejection { .. }))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        ejections,
        [
            "2.000 s: users-4.internal:3001 is ejected until 32.000 s: 5 failures in a row; 1 of 10 are out now"
        ]
    );
    let Decision::Pick(pick) = &last(&cluster).decision else { panic!() };
    assert_eq!(pick.left.excluded[0].1, Exclusion::Ejected);
    assert_eq!(pick.rule, Rule::Turn);
}

#[test]
fn the_latest_are_kept_and_long_lists_are_counted() {
    let (mut cluster, _) = cluster(Config { strategy: Strategy::Random, ..Config::default() }, 40);
    for _ in 0..100 {
        request(&mut cluster, NOW, 1, Outcome::Success);
    }
    assert_eq!(cluster.explanations().count(), 64);
    let Decision::Pick(pick) = &last(&cluster).decision else { panic!() };
    assert_eq!((pick.of, pick.candidates.len()), (40, 16));
    cluster.set_explain(NonZeroU32::new(3));
    assert_eq!(cluster.explanations().count(), 3);
    cluster.set_explain(None);
    request(&mut cluster, NOW, 1, Outcome::Success);
    assert_eq!(cluster.explanations().count(), 0);
}

#[test]
fn a_request_that_was_to_go_elsewhere_says_so() {
    let (mut cluster, _) = cluster(Config::default(), 2);
    let mut avoided = 0;
    for _ in 0..20 {
        let first = request(&mut cluster, NOW, 1, Outcome::Success);
        let want = Want { avoid: Some(first.endpoint), ..Want::default() };
        let second = cluster.checkout(NOW, want).unwrap();
        assert_ne!(second.endpoint, first.endpoint);
        cluster.settle(NOW, second, Outcome::Success);
        cluster.release(NOW, second.conn);
        let Decision::Pick(pick) = &last(&cluster).decision else { panic!() };
        if let Some(named) = &pick.avoided {
            avoided += 1;
            assert_eq!(named.id, first.endpoint);
            assert!(
                last(&cluster).to_string().contains("since it has failed at users-"),
                "{}",
                last(&cluster)
            );
        }
    }
    assert!(avoided > 0);
}

#[test]
fn asking_why_changes_no_decision() {
    for strategy in Strategy::ALL {
        let places = |explain: bool| -> Vec<Place> {
            let (mut cluster, _) = cluster(Config { strategy, ..Config::default() }, 20);
            cluster.set_explain(NonZeroU32::new(8).filter(|_| explain));
            (0..500).map(|n| request(&mut cluster, NOW, n % 7, Outcome::Success)).collect()
        };
        assert_eq!(places(true), places(false), "{strategy}");
    }
}
