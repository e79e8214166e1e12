//! Giving a request up.

mod client_support;

use client_support::{ADDRESS, Dial, Done, Rig, limit, steady};
use plimsoll_core::service::Uw;

#[test]
fn a_request_that_waits_is_forgotten() {
    let mut rig = Rig::<Uw>::new(steady());
    rig.dial = Dial::Hangs;
    rig.add(ADDRESS);
    let id = rig.request();
    assert_eq!(rig.client.status().waiting, 1);
    assert!(rig.cancel(id));
    rig.assert_done(id, Done::Cancelled);
    rig.check_rest();
}

#[test]
fn an_unsent_frame_is_taken_back_from_the_queue() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.send_only(0);
    let ids = [rig.request(), rig.request(), rig.request()];
    assert!(rig.cancel(ids[1]));
    rig.send_only(usize::MAX);
    assert_eq!(rig.tags(conn), [0, 2]);
    rig.assert_done(ids[1], Done::Cancelled);
}

#[test]
fn a_frame_that_has_begun_to_leave_leaves_whole() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.send_only(5);
    let (first, second) = (rig.request(), rig.request());
    assert!(rig.cancel(first));
    rig.send_only(usize::MAX);
    assert_eq!(rig.tags(conn), [0, 1]);
    rig.assert_done(first, Done::Cancelled);
    assert_eq!(rig.outcome(second), None);
}

#[test]
fn its_place_is_free_at_once_and_its_answer_is_dropped() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let (first, second) = (rig.request(), rig.request());
    let frames = rig.frames(conn);
    assert_eq!(rig.client.status().waiting, 1);
    assert!(rig.cancel(first));
    assert_eq!(rig.client.status().waiting, 0);
    rig.answer(conn, &frames[0], "late");
    assert_eq!(rig.client.metrics().late_responses, 1);
    rig.answer_all(conn);
    rig.assert_answered(second, "{}");
    rig.check_rest();
}

#[test]
fn after_the_answer_there_is_nothing_to_cancel() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    let id = rig.request();
    rig.answer_all(conn);
    assert!(!rig.cancel(id));
    rig.assert_answered(id, "{}");
    let next = rig.request();
    assert_eq!((next.slot(), next == id), (id.slot(), false), "the slot is used again");
    assert!(!rig.cancel(id));
    assert_eq!(rig.outcome(next), None);
}

#[test]
fn many_large_frames_that_are_taken_back_leave_nothing_in_the_way() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    rig.send_only(0);
    let content = vec![b' '; 40_000];
    let now = rig.now;
    let big = plimsoll_core::service::UwRequest { method: "t999", content: &content };
    let ids: Vec<_> =
        (0..8).map(|_| rig.client.request(now, &big, Default::default()).expect("a place")).collect();
    let last = rig.request();
    rig.drains = false;
    for id in ids {
        assert!(rig.client.cancel(now, id));
    }
    rig.send_only(usize::MAX);
    let frames = rig.frames(conn);
    assert_eq!(frames.len(), 1);
    assert_eq!(rig.outcome(last), None);
}

#[test]
fn a_place_that_comes_free_is_not_given_to_a_request_that_was_cancelled_before_it_was_told() {
    let mut config = steady();
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let ids = [rig.request(), rig.request(), rig.request()];
    let frames = rig.frames(conn);
    // The answer is settled when it is looked at, behind the one that is lent: the hand-off is still to be done
    // when the waiter is cancelled.
    rig.drains = false;
    rig.answer(conn, &frames[0], "1");
    assert!(rig.cancel(ids[1]));
    rig.drains = true;
    rig.run();
    rig.answer_all(conn);
    rig.assert_answered(ids[2], "{}");
    rig.check_rest();
}
