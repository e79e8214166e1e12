//! An application that is slower than its peers.

mod client_support;

use client_support::{Dial, Rig, Wire, steady};
use plimsoll_core::machine::{Action, Machine};
use plimsoll_core::policy::Ratio;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::StateEvent;

#[test]
fn events_that_nobody_takes_hold_back_reading_and_do_not_spin() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let ids: Vec<_> = (0..10).map(|_| rig.request()).collect();
    rig.drains = false;
    let content = "x".repeat(60_000);
    for frame in rig.frames(conn) {
        rig.answer(conn, &frame, &content);
    }
    assert!(!rig.peers[&conn].outbox.is_empty());
    assert!(rig.client.has_event() && rig.client.recv_buf(conn).is_empty());
    assert!(rig.client.deadline().is_none_or(|at| at > rig.now), "{:?}", rig.client.deadline_reason());
    rig.drains = true;
    rig.run();
    for id in ids {
        rig.assert_answered(id, &content);
    }
}

#[test]
fn beyond_the_receive_budget_one_answer_is_read_to_its_end_and_then_the_next() {
    let mut config = steady();
    config.receive_budget = client_support::limit(1 << 20);
    config.cluster.min_connections = 3;
    config.cluster.max_connections = client_support::limit(3);
    config.cluster.in_flight = client_support::limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(500);
    let ids = [rig.request(), rig.request(), rig.request()];
    let open = rig.open();
    let content = "x".repeat(500_000);
    let answers: Vec<_> = open.iter().map(|&conn| Uw::answer(&rig.frames(conn)[0], &content)).collect();
    for n in 0..3 {
        rig.feed(open[n], &answers[n][..400_000]);
    }
    assert!(rig.peers[&open[1]].reads, "the second goes beyond the budget");
    assert!(rig.actions.contains(&Action::Read(open[2], false)), "the third has to wait");
    assert!(!rig.peers[&open[2]].reads);
    rig.feed(open[1], &answers[1][400_000..]);
    assert!(rig.actions.contains(&Action::Read(open[2], true)), "it is the third's turn");
    rig.feed(open[2], &answers[2][400_000..]);
    rig.feed(open[0], &answers[0][400_000..]);
    for id in ids {
        rig.assert_answered(id, &content);
    }
}

#[test]
fn a_tiny_receive_budget_does_not_spin() {
    let mut config = steady();
    config.receive_budget = client_support::limit(1);
    config.cluster.min_connections = 2;
    config.cluster.in_flight = client_support::limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    rig.pass_ms(50);
    rig.request();
    rig.request();
    let open = rig.open();
    let answers: Vec<_> = open.iter().map(|&conn| Uw::answer(&rig.frames(conn)[0], "{}")).collect();
    rig.feed(open[0], &answers[0][..24]);
    rig.feed(open[1], &answers[1][..24]);
    rig.feed(open[0], &answers[0][24..]);
    rig.feed(open[1], &answers[1][24..]);
    assert_eq!(rig.client.metrics().succeeded, 2);
}

#[test]
fn state_events_that_nobody_takes_are_counted_in_their_place() {
    let mut config = steady();
    // Only the dials have something to tell.
    config.cluster.panic.threshold = Ratio::percent(0);
    let mut rig = Rig::<Uw>::new(config);
    rig.drains = false;
    rig.dial = Dial::Fails;
    for n in 0..300 {
        rig.add(&format!("users-{n}.internal:3001"));
    }
    rig.drains = true;
    rig.run();
    assert_eq!(rig.states.len(), 257);
    assert_eq!(rig.states[256], StateEvent::Missed(44));
    let known = rig.states.len();
    rig.pass_ms(1_000);
    assert!(matches!(rig.states[known], StateEvent::Closed { .. }), "then all are told again");
}
