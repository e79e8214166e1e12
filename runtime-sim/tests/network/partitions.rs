//! Ways on which nothing arrives.

use plimsoll_core::drive::Timer;

use super::*;

#[test]
fn what_was_on_its_way_waits_too_and_arrives_in_its_order_once_the_way_is_free() {
    let pair = Pair::new();
    let Pair { mut sim, web, users, mut here, there } = pair;
    let began = sim.now();
    say(&mut sim, &mut here, "one ");
    sim.run_for(ms(5));
    sim.faults().partition(&web, &users);
    say(&mut sim, &mut here, "two ");
    let mut there = there;
    sim.run_for(ms(60_000));
    assert!(!sim.block_on(is_readable(&mut there)));
    sim.faults().heal(&web, &users);
    say(&mut sim, &mut here, "three");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"one two three");
    assert_eq!(sim.now() - began, ms(5 + 60_000 + 10));
}

async fn is_readable(socket: &mut Socket) -> bool {
    poll_fn(|cx| std::task::Poll::Ready(socket.poll_readable(cx).is_ready())).await
}

#[test]
fn one_way_may_be_cut_and_the_other_not() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    sim.faults().cut(&web, &users);
    say(&mut sim, &mut here, "not heard");
    say(&mut sim, &mut there, "heard");
    assert_eq!(sim.block_on(read(&mut here)).unwrap(), b"heard");
    sim.run_for(ms(1_000));
    assert!(!sim.block_on(is_readable(&mut there)));
}

#[test]
fn a_way_that_is_cut_for_two_reasons_is_free_when_both_are_over() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    let faults = sim.faults();
    faults.partition(&web, &users);
    faults.partition(&users, &web);
    faults.cut(&web, &users);
    say(&mut sim, &mut here, "late");
    say(&mut sim, &mut there, "soon");
    faults.heal(&web, &users);
    sim.run_for(ms(1_000));
    assert!(!sim.block_on(is_readable(&mut here)), "the other partition lasts");
    faults.heal(&web, &users);
    assert_eq!(sim.block_on(read(&mut here)).unwrap(), b"soon");
    assert!(!sim.block_on(is_readable(&mut there)), "this way is cut by itself");
    faults.join(&web, &users);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"late");
    // What is over for both is over: no way is joined in advance.
    faults.heal(&web, &users);
    faults.cut(&web, &users);
    say(&mut sim, &mut here, "later");
    sim.run_for(ms(1_000));
    assert!(!sim.block_on(is_readable(&mut there)));
}

#[test]
fn a_partition_concerns_nobody_else() {
    let Pair { mut sim, web, users, .. } = Pair::new();
    let third = sim.host("third.internal");
    sim.faults().partition(&web, &users);
    let _listener = sim.block_on(async {
        let (shares, _) = users.listen("0.0.0.0:80", &ListenOptions::default(), 1).await.unwrap();
        shares
    });
    sim.block_on(dial(&third, &users)).unwrap();
}

#[test]
fn a_dial_into_a_partition_is_neither_refused_nor_taken_before_it_heals() {
    let mut sim = Sim::new(1);
    sim.faults().usual_link(slow_way());
    let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
    let _listener = sim.block_on(listen(&users));
    sim.faults().partition(&web, &users);
    let (faults, a, b) = (sim.faults(), web.clone(), users.clone());
    users.run(async move {
        a.sleep(ms(500)).await;
        faults.heal(&a, &b);
    });
    sim.block_on(dial(&web, &users)).unwrap();
    assert_eq!(sim.now(), Instant::from_millis(500 + 20));
}

#[test]
fn the_end_of_a_stream_does_not_arrive_either() {
    let Pair { mut sim, web, users, here, mut there } = Pair::new();
    sim.faults().partition(&web, &users);
    drop(here);
    sim.run_for(ms(1_000));
    assert!(!sim.block_on(is_readable(&mut there)));
    sim.faults().heal(&web, &users);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"");
}

#[test]
fn what_is_late_when_the_way_is_free_again_arrives_all_the_same() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    sim.faults().partition(&web, &users);
    say(&mut sim, &mut here, "in time, ");
    sim.run_for(ms(20));
    sim.faults().link(&web, &users, Link { late_per_mille: 1_000, ..slow_way() });
    say(&mut sim, &mut here, "late");
    sim.faults().link(&web, &users, slow_way());
    sim.faults().heal(&web, &users);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"in time, ");
    let healed = sim.now();
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"late");
    assert_eq!(sim.now() - healed, ms(200), "it takes its time");
}
