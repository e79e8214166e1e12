//! Whether a silent peer is still there.

mod client_support;

use client_support::{Done, Rig, Wire, millis, steady};
use plimsoll_core::machine::Input;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::CloseCause;

#[test]
fn a_silent_connection_is_pinged_with_the_time_of_the_wall_clock() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.handle(Input::Wall(1_700_000_000_000));
    let start = rig.now;
    rig.pass_to_ping(conn);
    let content = String::from_utf8_lossy(&rig.peers[&conn].bytes[28..]).into_owned();
    let sent_ms: u64 = content[13..content.len() - 1].parse().unwrap();
    let elapsed = rig.now.since(start).as_millis() as u64;
    assert!(elapsed > 15_000 && elapsed <= 30_000, "pinged after {elapsed} ms");
    assert!((elapsed - 100..=elapsed).contains(&(sent_ms - 1_700_000_000_000)), "{content} at {elapsed}");
}

#[test]
fn a_connection_that_is_used_is_not_pinged() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    for _ in 0..12 {
        rig.request();
        rig.answer_all(conn);
        rig.pass(millis(10_000));
    }
    assert_eq!(rig.client.metrics().pings, 0);
}

#[test]
fn any_byte_answers_a_ping_and_pings_are_not_requests() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    for _ in 0..3 {
        let ping = rig.pass_to_ping(conn);
        rig.answer(conn, &ping, "pong");
    }
    let ping = rig.pass_to_ping(conn);
    rig.feed(conn, &Uw::answer(&ping, "pong")[..1]);
    rig.pass_ms(3_000);
    assert!(rig.peers[&conn].open);
    let metrics = rig.client.metrics();
    assert_eq!((metrics.pings, metrics.requests, metrics.succeeded, metrics.failed), (4, 0, 0, 0));
    assert_eq!((metrics.late_responses, metrics.latency.count()), (0, 0));
}

#[test]
fn a_peer_that_does_not_answer_a_ping_in_time_is_replaced() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request_within(600_000);
    let idempotent = rig.request_with(plimsoll_core::service::client::Options {
        idempotent: true,
        timeout: Some(millis(600_000)),
        ..Default::default()
    });
    rig.pass_to_ping(conn);
    rig.pass_ms(1_899);
    assert!(rig.peers[&conn].open);
    rig.pass_ms(101);
    assert_eq!(rig.closes(), [CloseCause::Silent]);
    assert!(!rig.peers[&conn].open);
    rig.assert_done(id, Done::Lost { sent: true });
    rig.pass_ms(1_000);
    rig.answer_all(rig.last_conn());
    rig.assert_answered(idempotent, "{}");
    assert_eq!(rig.client.metrics().reconnects, 1);
}

#[test]
fn a_peer_that_we_do_not_read_is_not_taken_for_dead() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.request();
    let frame = rig.frames(conn)[0].clone();
    rig.drains = false;
    let long = "x".repeat(300_000);
    rig.answer(conn, &frame, "{}");
    for _ in 0..2 {
        // Late answers fill the buffer behind the one that nobody takes.
        rig.feed(conn, &Uw::answer(&frame, &long));
    }
    assert!(!rig.peers[&conn].outbox.is_empty(), "it is held back");
    rig.pass(millis(120_000));
    assert!(rig.peers[&conn].open, "{:?}", rig.closes());
    rig.drains = true;
    rig.run();
    assert!(rig.peers[&conn].outbox.is_empty());
    // From now on its silence counts again.
    rig.pass_to_ping(conn);
    rig.pass_ms(2_000);
    assert!(!rig.peers[&conn].open);
}
