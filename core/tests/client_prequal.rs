//! Balancing by what the servers say of themselves.

mod client_support;

use std::collections::BTreeMap;

use client_support::{Frame, Rig, Wire, steady};
use plimsoll_core::id::ConnId;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Config;

fn prequal() -> Config {
    let mut config = steady();
    config.cluster.strategy = Strategy::Prequal;
    // No ramps beside what is looked at here.
    config.cluster.slow_start.window = std::time::Duration::ZERO;
    config
}

fn rig(endpoints: u32) -> Rig<Uw> {
    let mut rig = Rig::new(prequal());
    for n in 0..endpoints {
        rig.add(&format!("users-{n}.internal:3001"));
    }
    rig
}

/// Sends a request, answers all of it and of the probes, and tells who got the request.
fn round(rig: &mut Rig<Uw>, load: impl Fn(ConnId) -> String) -> ConnId {
    rig.request();
    let mut taken = None;
    for conn in rig.open() {
        for frame in rig.frames(conn) {
            let Frame { tag, .. } = &frame;
            let text = if tag.is_some() { "{}".to_owned() } else { load(conn) };
            if tag.is_some() {
                taken = Some(conn);
            }
            let bytes = Uw::answer(&frame, &text);
            rig.feed(conn, &bytes);
        }
    }
    rig.pass_ms(1);
    taken.expect("the request was sent")
}

#[test]
fn servers_that_say_they_are_busy_or_slow_get_little() {
    let mut rig = rig(20);
    let conns = rig.open();
    let (busy, slow) = (conns[3], conns[8]);
    let load = |conn| match conn {
        conn if conn == busy => r#"{"timestamp":1,"in_flight":90,"latency_us":500}"#.to_owned(),
        conn if conn == slow => r#"{"timestamp":1,"in_flight":2,"latency_us":900000}"#.to_owned(),
        _ => r#"{"timestamp":1,"in_flight":2,"latency_us":1000}"#.to_owned(),
    };
    let mut shares = BTreeMap::<ConnId, u32>::new();
    for _ in 0..2_000 {
        *shares.entry(round(&mut rig, load)).or_default() += 1;
    }
    let of = |conn| shares.get(&conn).copied().unwrap_or_default();
    assert!(of(busy) < 20 && of(slow) < 20, "{} {}", of(busy), of(slow));
    assert_eq!(shares.len() - [busy, slow].iter().filter(|conn| of(**conn) > 0).count(), 18);
    let metrics = rig.client.metrics();
    assert_eq!((metrics.probes, metrics.late_responses), (6_000, 0), "three for each request");
    assert_eq!(metrics.requests, 2_000);
}

#[test]
fn servers_that_do_not_tell_are_balanced_by_what_they_show() {
    let mut rig = rig(20);
    let mut shares = BTreeMap::<ConnId, u32>::new();
    for _ in 0..400 {
        *shares.entry(round(&mut rig, |_| r#"{"timestamp":1}"#.to_owned())).or_default() += 1;
    }
    assert_eq!(shares.len(), 20, "{shares:?}");
}

#[test]
fn a_server_that_does_not_answer_a_probe_is_asked_no_more_and_a_small_fleet_never() {
    let mut small = rig(15);
    small.request();
    assert_eq!(small.client.metrics().probes, 0);

    let mut rig = rig(16);
    for _ in 0..100 {
        rig.request();
    }
    assert_eq!(rig.client.metrics().probes, 16, "one for each, none of which was answered");
    rig.answer_everybody();
    rig.request();
    assert_eq!(rig.client.metrics().probes, 19);
}
