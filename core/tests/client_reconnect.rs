//! When an endpoint is dialled again.

mod client_support;

use client_support::{ADDRESS, Dial, Rig, limit, millis, steady};
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{CloseCause, Config};

/// The milliseconds between dials.
fn gaps(rig: &Rig<Uw>) -> Vec<u64> {
    rig.dials.windows(2).map(|two| two[1].0.since(two[0].0).as_millis() as u64).collect()
}

#[test]
fn without_jitter_the_delays_are_those_of_the_public_client() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Fails;
    rig.add(ADDRESS);
    rig.pass_ms(150_000);
    let expected = [1_000, 1_500, 2_250, 3_375, 5_062, 7_593, 11_390, 17_085, 25_628, 30_000, 30_000];
    assert_eq!(gaps(&rig)[..11], expected);
}

#[test]
fn with_full_jitter_the_delays_lie_below_the_ceiling_and_above_the_stagger() {
    let mut rig = Rig::<Uw>::new(Config::default());
    rig.dial = Dial::Fails;
    rig.add(ADDRESS);
    rig.pass_ms(600_000);
    let gaps = gaps(&rig);
    let mut ceiling = 1_000.0;
    for &gap in &gaps {
        assert!(gap >= 50 && gap as f64 <= ceiling, "{gaps:?}");
        ceiling = (ceiling * 1.5_f64).min(30_000.0);
    }
    assert!(gaps[10..].iter().any(|&gap| gap < 15_000), "{gaps:?}");
}

#[test]
fn a_connection_that_stood_but_never_answered_does_not_reset_the_delay() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.add(ADDRESS);
    for _ in 0..3 {
        rig.drop_conn(rig.last_conn());
        rig.pass_ms(3_000);
    }
    // The second was lost 2 s after its dial, and 1.5 s later comes the next.
    assert_eq!(gaps(&rig)[..2], [1_000, 3_500]);
    rig.request();
    rig.answer_all(rig.last_conn());
    let before = rig.now;
    rig.drop_conn(rig.last_conn());
    rig.pass_ms(5_000);
    assert_eq!(rig.dials.last().unwrap().0.since(before), millis(1_000), "it has proven itself");
}

#[test]
fn connections_that_are_lost_together_count_as_one_failure() {
    let mut config = steady();
    config.cluster.min_connections = 10;
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(1_000);
    let lost = rig.now;
    for conn in rig.open() {
        rig.drop_conn(conn);
    }
    rig.pass_ms(2_000);
    assert_eq!(rig.dials[10].0.since(lost), millis(1_000));
    assert_eq!(rig.open().len(), 10);
}

#[test]
fn the_minimum_is_kept_up_with_dials_50_ms_apart_and_one_at_a_time() {
    let mut config = steady();
    config.cluster.min_connections = 4;
    let mut rig = Rig::<Uw>::new(config);
    rig.add(ADDRESS);
    rig.pass_ms(1_000);
    assert_eq!(gaps(&rig), [50, 50, 50]);
    rig.dial = Dial::Hangs;
    for conn in rig.open() {
        rig.drop_conn(conn);
    }
    rig.pass_ms(4_000);
    assert_eq!(rig.client.status().dialing, 1);
}

#[test]
fn a_minimum_above_the_maximum_counts_as_the_maximum() {
    let mut config = steady();
    config.cluster.min_connections = 9;
    config.cluster.max_connections = limit(3);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(5_000);
    assert_eq!(rig.open().len(), 3);
}

#[test]
fn a_dial_that_hangs_is_given_up_and_a_late_success_is_ignored() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Hangs;
    rig.add(ADDRESS);
    let conn = rig.last_conn();
    rig.pass_ms(5_000);
    assert_eq!(rig.closes(), [CloseCause::DialTimeout]);
    rig.handle(Input::Connected(conn));
    assert_eq!(rig.client.status().connections, 0);
    rig.dial = Dial::Succeeds;
    rig.pass_ms(1_000);
    assert_eq!(rig.client.status().connections, 1);
    assert_eq!(rig.client.target(rig.last_conn()), Some(ADDRESS));
}
