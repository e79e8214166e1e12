//! Hosts that go, and come back.

use plimsoll_core::drive::Timer;

use super::*;

#[test]
fn whoever_is_connected_to_a_host_that_crashes_hears_silence() {
    let Pair { mut sim, users, mut here, there, .. } = Pair::new();
    users.run(async move {
        let _there = there;
        std::future::pending::<()>().await;
    });
    sim.run_for(ms(1));
    sim.faults().crash(&users);
    say(&mut sim, &mut here, "hello?");
    sim.run_for(ms(3_600_000));
    let is_readable = sim.block_on(poll_fn(|cx| std::task::Poll::Ready(here.poll_readable(cx).is_ready())));
    assert!(!is_readable);
}

#[test]
fn once_it_is_back_whoever_has_spoken_to_it_is_told_by_a_reset() {
    let Pair { mut sim, users, mut here, there, .. } = Pair::new();
    sim.faults().crash(&users);
    say(&mut sim, &mut here, "hello?");
    sim.run_for(ms(1_000));
    sim.faults().restart(&users);
    assert_eq!(sim.block_on(read(&mut here)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    drop(there);
}

#[test]
fn what_it_had_sent_arrives_and_what_it_would_have_sent_again_does_not() {
    let Pair { mut sim, web, users, here, mut there } = Pair::new();
    say(&mut sim, &mut there, "on its way");
    let heard = reads(here, &web);
    sim.faults().crash(&users);
    sim.run_for(ms(100));
    assert_eq!(heard.bytes(), b"on its way");

    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    sim.faults().cut(&users, &web);
    say(&mut sim, &mut there, "held back");
    sim.run_for(ms(100));
    sim.faults().crash(&users);
    sim.faults().heal(&web, &users);
    say(&mut sim, &mut here, "hello?");
    sim.faults().restart(&users);
    // Nobody is left to send it again.
    assert_eq!(sim.block_on(read(&mut here)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn nothing_runs_there_any_more_and_nothing_listens() {
    let mut sim = Sim::new(1);
    let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
    let turns = Arc::new(Mutex::new(0));
    let (counted, host) = (turns.clone(), users.clone());
    users.run(async move {
        let _listener = listen(&host).await;
        loop {
            host.sleep(ms(10)).await;
            *counted.lock().unwrap() += 1;
        }
    });
    sim.run_for(ms(105));
    sim.faults().crash(&users);
    sim.run_for(ms(1_000));
    assert_eq!(*turns.lock().unwrap(), 10);
    assert_eq!(Arc::strong_count(&turns), 1, "the task is dropped");
    sim.faults().restart(&users);
    let refused = sim.block_on(dial(&web, &users)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let _listener = sim.block_on(listen(&users));
    sim.block_on(dial(&web, &users)).unwrap();
}

#[test]
fn a_host_that_is_up_is_not_restarted() {
    let Pair { mut sim, users, mut here, mut there, .. } = Pair::new();
    sim.faults().restart(&users);
    say(&mut sim, &mut here, "as before");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"as before");
}
