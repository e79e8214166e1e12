//! Hosts that stand still, and hosts that are slow.

use plimsoll_core::drive::Timer;

use super::*;

/// A task that wants to run every ten milliseconds; when it did.
fn clockwork(host: &Host) -> Arc<Mutex<Vec<u64>>> {
    let ran = Arc::new(Mutex::new(Vec::new()));
    let (at, host) = (ran.clone(), host.clone());
    host.clone().run(async move {
        loop {
            host.sleep(ms(10)).await;
            at.lock().unwrap().push(host.now().as_nanos() / 1_000_000);
        }
    });
    ran
}

#[test]
fn nothing_runs_while_a_host_is_paused_and_then_it_goes_on() {
    let mut sim = Sim::new(1);
    let (users, other) = (sim.host("users.internal"), sim.host("other.internal"));
    let (ran, others) = (clockwork(&users), clockwork(&other));
    sim.run_for(ms(25));
    sim.faults().pause(&users, ms(100));
    sim.run_for(ms(115));
    assert_eq!(*ran.lock().unwrap(), [10, 20, 125, 135]);
    assert_eq!(others.lock().unwrap().len(), 14);
}

#[test]
fn its_kernel_goes_on_and_what_comes_is_read_later() {
    let Pair { mut sim, users, mut here, there, .. } = Pair::new();
    let heard = reads(there, &users);
    sim.run_for(ms(1));
    sim.faults().pause(&users, ms(1_000));
    let paused = sim.now();
    say(&mut sim, &mut here, "one");
    sim.run_for(ms(100));
    say(&mut sim, &mut here, "two");
    sim.run_for(ms(2_000));
    assert_eq!(heard.take(), [(paused + ms(1_000), Ok(b"onetwo".to_vec()))]);
}

#[test]
fn a_longer_pause_counts() {
    let mut sim = Sim::new(1);
    let users = sim.host("users.internal");
    let ran = clockwork(&users);
    sim.faults().pause(&users, ms(100));
    sim.faults().pause(&users, ms(50));
    sim.run_for(ms(105));
    assert_eq!(ran.lock().unwrap().first(), None);
    sim.run_for(ms(10));
    assert_eq!(*ran.lock().unwrap(), [110], "it first slept when it first ran");
}

#[test]
fn on_a_slow_host_turns_queue() {
    let mut sim = Sim::new(1);
    let users = sim.host("users.internal");
    sim.faults().slow(&users, ms(30));
    let (one, two) = (clockwork(&users), clockwork(&users));
    sim.run_for(ms(200));
    // Each turn takes 30 ms: with two of them, each has one in 60.
    assert_eq!(*one.lock().unwrap(), [60, 120, 180]);
    assert_eq!(*two.lock().unwrap(), [90, 150]);
    sim.faults().slow(&users, Duration::ZERO);
    sim.run_for(ms(300));
    assert!(one.lock().unwrap().len() > 25, "it is as fast as ever");
}

#[test]
fn a_paused_host_that_crashes_and_restarts_is_paused_no_more() {
    let mut sim = Sim::new(1);
    let users = sim.host("users.internal");
    sim.faults().pause(&users, ms(1_000_000));
    sim.faults().crash(&users);
    sim.run_for(ms(1));
    sim.faults().restart(&users);
    sim.run_for(ms(1));
    let ran = clockwork(&users);
    sim.run_for(ms(15));
    assert_eq!(ran.lock().unwrap().len(), 1);
    sim.faults().pause(&users, ms(100));
    sim.run_for(ms(150));
    assert!(ran.lock().unwrap().len() > 1, "nor does the old pause count for the next");
}
