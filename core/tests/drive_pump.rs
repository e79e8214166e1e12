//! The driver over sockets that do what a script says.

mod drive_support;

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use drive_support::echo::{Echo, ROOM};
use drive_support::scripted::{Bench, Peer, Step};
use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::Input;
use plimsoll_core::time::Instant;
use quickcheck::{Arbitrary, Gen, quickcheck};

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 6 {
            0 => Step::Block,
            1 => Step::Spurious,
            2 => Step::Interrupted,
            n => Step::Short(usize::from(n) * 3 - 8),
        }
    }
}

quickcheck! {
    fn whatever_the_sockets_do_every_byte_comes_back_in_order(
        script: Vec<Step>, other_script: Vec<Step>, bytes: Vec<u8>, limit: usize
    ) -> bool {
        let mut bench = Bench::new(Echo::with_room(1 + limit % 64));
        let (peer, other) = (bench.accept(), bench.accept());
        peer.0.borrow_mut().script.extend(script);
        other.0.borrow_mut().script.extend(other_script);
        for piece in bytes.chunks(7) {
            peer.sends(piece);
            other.sends(piece);
            bench.run();
        }
        bench.settle(&[&peer, &other]);
        peer.ends();
        bench.settle(&[&peer, &other]);
        peer.written() == bytes && other.written() == bytes && peer.0.borrow().dropped && !other.0.borrow().dropped
    }
}

fn count(bench: &Bench, wanted: impl Fn(&Input) -> bool) -> usize {
    bench.inputs.borrow().iter().filter(|input| wanted(input)).count()
}

#[test]
fn an_error_at_any_call_ends_that_connection_once_and_no_other() {
    for at in 1..40 {
        let mut bench = Bench::new(Echo::new());
        let (peer, other) = (bench.accept(), bench.accept());
        peer.0.borrow_mut().fail_at = Some((at, ErrorKind::ConnectionReset));
        for _ in 0..10 {
            peer.sends(b"0123456789abcdefghij");
            other.sends(b"0123456789abcdefghij");
            bench.settle(&[&peer, &other]);
        }
        assert!(peer.0.borrow().dropped, "call {at}");
        assert_eq!(count(&bench, |input| matches!(input, Input::Closed(_, Fault::Reset))), 1, "call {at}");
        assert_eq!(other.written().len(), 200, "call {at}");
    }
}

#[test]
fn what_the_peer_said_before_a_write_failed_is_still_read() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    bench.command(|_, machine| machine.say(ConnId::new(0, 0), b"hello"));
    assert_eq!(peer.written(), b"hello");
    bench.command(|_, machine| machine.say(ConnId::new(0, 0), b"more"));
    peer.0.borrow_mut().incoming.extend(b"last words");
    peer.0.borrow_mut().script.push_back(Step::Fail(ErrorKind::BrokenPipe));
    bench.command(|_, machine| machine.say(ConnId::new(0, 0), b"again"));
    bench.settle(&[&peer]);
    assert_eq!(bench.script.events.borrow()[0].1, b"last words");
    let inputs = bench.inputs.borrow();
    assert!(matches!(inputs.last(), Some(Input::Closed(_, Fault::Reset))), "{inputs:?}");
}

#[test]
fn all_that_the_peer_said_before_a_write_failed_is_read_however_much_it_is() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    peer.0.borrow_mut().incoming.extend([b'x'; 100 * ROOM]);
    peer.0.borrow_mut().script.push_back(Step::Fail(ErrorKind::BrokenPipe));
    bench.command(|_, machine| machine.say(ConnId::new(0, 0), b"again"));
    bench.settle(&[&peer]);
    let heard: usize = bench.script.events.borrow().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(heard, 100 * ROOM);
    let inputs = bench.inputs.borrow();
    assert!(matches!(inputs.last(), Some(Input::Closed(_, Fault::Reset))), "{inputs:?}");
}

#[test]
fn bytes_that_came_while_the_machine_had_no_room_are_read_when_it_has() {
    let mut bench = Bench::new(Echo::with_room(1));
    let (full, other) = (bench.accept(), bench.accept());
    full.0.borrow_mut().script.extend([Step::Short(99), Step::Short(99), Step::Block]);
    full.sends(&[b'f'; ROOM]);
    bench.run();
    assert_eq!(full.written(), b"", "blocked: its bytes fill the outbox");
    other.sends(b"waiting");
    bench.run();
    assert_eq!(other.0.borrow().reads, 0, "no room, so no read");
    full.wake();
    bench.run();
    assert_eq!((full.written().len(), &other.written()[..]), (ROOM, &b"waiting"[..]));
}

#[test]
fn a_paused_connection_is_not_read_and_loses_nothing() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    let conn = ConnId::new(0, 0);
    bench.command(move |_, machine| machine.read(conn, false));
    peer.sends(b"early");
    bench.settle(&[&peer]);
    assert_eq!(peer.0.borrow().reads, 0);
    bench.command(move |_, machine| machine.read(conn, true));
    assert_eq!(peer.written(), b"early");
}

#[test]
fn a_recycled_slot_starts_afresh() {
    let mut bench = Bench::new(Echo::new());
    let first = bench.accept();
    first.sends(b"0123456789abcdef");
    bench.run();
    // Everything that could survive: reading off, the end seen, bytes not written, a wake-up on its way.
    let conn = ConnId::new(0, 0);
    first.0.borrow_mut().script.extend([Step::Short(99), Step::Short(99), Step::Block]);
    first.sends(b"x");
    first.0.borrow_mut().end = true;
    bench.run();
    bench.command(move |_, machine| {
        machine.read(conn, false);
        machine.close(conn);
    });
    assert!(first.0.borrow().dropped);
    let second = bench.accept();
    first.wake();
    second.sends(b"second");
    bench.run();
    assert_eq!(second.written(), b"second");
    assert_eq!(bench.script.events.borrow().last().unwrap().0, ConnId::new(0, 1));
}

#[test]
fn a_close_and_a_dial_in_one_turn_share_a_slot_without_harm() {
    let mut bench = Bench::new(Echo::new());
    let first = bench.accept();
    bench.command(|_, machine| {
        machine.say(ConnId::new(0, 0), b"unsent");
        machine.close(ConnId::new(0, 0));
        assert_eq!(machine.dial("users.internal:1"), ConnId::new(0, 1));
    });
    assert!(first.0.borrow().dropped);
    let second = bench.dialed(ConnId::new(0, 1));
    second.sends(b"hi");
    bench.run();
    assert_eq!(second.written(), b"hi");
}

#[test]
fn a_dial_that_was_given_up_is_cancelled_and_its_late_success_dropped() {
    let mut bench = Bench::new(Echo::new());
    bench.command(|_, machine| _ = machine.dial("users.internal:1"));
    let conn = bench.last_dial();
    bench.command(move |_, machine| machine.close(conn));
    assert_eq!(bench.runtime.0.borrow().cancelled, [conn]);
    bench.command(|_, machine| _ = machine.dial("users.internal:2"));
    let late = bench.dialed(conn);
    assert!(late.0.borrow().dropped);
    assert_eq!(count(&bench, |input| matches!(input, Input::Connected(_))), 0);
    let wanted = bench.dialed(bench.last_dial());
    assert!(!wanted.0.borrow().dropped);
    assert_eq!(count(&bench, |input| matches!(input, Input::Connected(_))), 1);
}

#[test]
fn a_failed_dial_is_told_with_its_cause() {
    let mut bench = Bench::new(Echo::new());
    bench.command(|_, machine| _ = machine.dial("users.internal:1"));
    let conn = bench.last_dial();
    bench.dial_result(conn, Err(ErrorKind::ConnectionRefused.into()));
    assert_eq!(bench.inputs.borrow().last(), Some(&Input::Closed(conn, Fault::Refused)));
}

#[test]
fn after_a_short_read_the_socket_is_asked_whether_it_is_readable_and_not_read_again() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    for n in 1..=5 {
        peer.sends(b"short");
        bench.run();
        assert_eq!(peer.0.borrow().reads, n);
    }
}

#[test]
fn a_busy_connection_does_not_starve_another() {
    let mut bench = Bench::new(Echo::new());
    let (busy, quick) = (bench.accept(), bench.accept());
    busy.0.borrow_mut().incoming.extend([b'b'; 100 * ROOM]);
    quick.0.borrow_mut().incoming.extend(b"q");
    busy.wake();
    quick.wake();
    bench.run();
    let events = bench.script.events.borrow();
    let at = events.iter().position(|(_, bytes)| bytes == b"q").unwrap();
    assert!(at <= 8, "after {at} reads of the other");
    assert_eq!(busy.written().len(), 100 * ROOM);
}

#[test]
fn a_full_process_pauses_accepting_and_resumes_by_itself() {
    let mut bench = Bench::new(Echo::new());
    bench.accept_result(Err(io::Error::from_raw_os_error(24)));
    let accepts = bench.runtime.0.borrow().accepts;
    let waiting = bench.accept();
    waiting.sends(b"hello");
    bench.run();
    assert_eq!(bench.runtime.0.borrow().accepts, accepts, "paused");
    bench.advance(99);
    assert_eq!(waiting.written(), b"");
    bench.advance(1);
    bench.run();
    assert_eq!(waiting.written(), b"hello");
}

#[test]
fn a_full_process_that_listens_no_more_sleeps_while_its_connections_are_done() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    bench.accept_result(Err(io::Error::from_raw_os_error(24)));
    *bench.script.closed.borrow_mut() = true;
    bench.command(|_, _| {});
    let turns = bench.turns;
    bench.advance(100);
    assert!(bench.turns - turns <= 2, "the pause has no end that anybody waits for");
    peer.sends(b"still here");
    bench.run();
    assert_eq!(peer.written(), b"still here");
}

#[test]
fn a_connection_that_was_aborted_in_the_queue_does_not_pause_accepting() {
    let mut bench = Bench::new(Echo::new());
    bench.accept_result(Err(ErrorKind::ConnectionAborted.into()));
    let next = bench.accept();
    next.sends(b"hello");
    bench.run();
    assert_eq!(next.written(), b"hello");
}

#[test]
fn the_timer_is_set_anew_only_when_the_deadline_comes_closer() {
    let mut bench = Bench::new(Echo::new());
    let set = |bench: &Bench| bench.runtime.0.borrow().timers_set;
    let at = Instant::from_millis;
    bench.command(move |_, machine| machine.deadline = Some(at(50)));
    assert_eq!(set(&bench), 1);
    bench.command(move |_, machine| machine.deadline = Some(at(80)));
    assert_eq!(set(&bench), 1, "it may run out early");
    bench.command(move |_, machine| machine.deadline = Some(at(20)));
    assert_eq!(set(&bench), 2);
    bench.command(move |_, machine| machine.deadline = Some(at(80)));
    let ticks = |bench: &Bench| count(bench, |input| *input == Input::Tick);
    bench.advance(20);
    assert_eq!((set(&bench), ticks(&bench)), (3, 0));
    bench.advance(60);
    assert_eq!((set(&bench), ticks(&bench)), (3, 1));
}

#[test]
fn silent_connections_cost_no_call() {
    let mut bench = Bench::new(Echo::new());
    let silent: Vec<Peer> = (0..1_000).map(|_| bench.accept()).collect();
    let before: usize = silent.iter().map(|peer| peer.0.borrow().calls).sum();
    let active = bench.accept();
    for _ in 0..100 {
        active.sends(b"x");
        bench.run();
    }
    assert_eq!(active.written().len(), 100);
    assert_eq!(silent.iter().map(|peer| peer.0.borrow().calls).sum::<usize>(), before);
}

#[test]
fn the_driver_ends_when_the_machine_has() {
    let mut bench = Bench::new(Echo::new());
    assert!(!bench.finished);
    bench.command(|_, machine| machine.finished = true);
    assert!(bench.finished);
}

#[test]
fn the_wall_clock_is_told_first_and_after_a_jump() {
    let mut bench = Bench::new(Echo::new());
    assert_eq!(bench.inputs.borrow()[..], [Input::Wall(0)]);
    bench.runtime.0.borrow_mut().wall_offset_ms = 60_000;
    bench.command(|_, machine| machine.deadline = Some(Instant::from_millis(2_000)));
    bench.advance(2_000);
    assert!(bench.inputs.borrow().contains(&Input::Wall(62_000)));
}

#[test]
fn a_host_that_listens_no_more_closes_the_listener_and_keeps_its_connections() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    *bench.script.closed.borrow_mut() = true;
    bench.command(|_, _| {});
    let accepts = bench.runtime.0.borrow().accepts;
    peer.sends(b"still here");
    let late = bench.accept();
    assert_eq!(peer.written(), b"still here");
    let world = bench.runtime.0.borrow();
    assert_eq!((world.accepts, world.stopped), (accepts, 1));
    assert!(!late.0.borrow().dropped, "nobody took it");
}

#[test]
fn after_the_end_of_the_stream_nothing_is_read_and_what_is_left_is_still_written() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    peer.0.borrow_mut().script.extend([
        Step::Short(99),
        Step::Short(99),
        Step::Short(99),
        Step::Short(99),
        Step::Block,
    ]);
    peer.0.borrow_mut().incoming.extend(b"last words");
    peer.ends();
    bench.run();
    assert_eq!((peer.written(), peer.0.borrow().dropped), (vec![], false), "the answer is blocked");
    let conn = ConnId::new(0, 0);
    bench.command(move |_, machine| machine.read(conn, true));
    assert_eq!(count(&bench, |input| matches!(input, Input::ReadClosed(_))), 1);
    peer.wake();
    bench.run();
    assert_eq!((peer.written(), peer.0.borrow().dropped), (b"last words".to_vec(), true));
    assert_eq!(count(&bench, |input| matches!(input, Input::ReadClosed(_))), 1);
}

#[test]
fn a_socket_that_takes_little_at_a_time_is_written_to_turn_after_turn() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    peer.0.borrow_mut().script.extend([Step::Short(1); 60]);
    bench.command(|_, machine| machine.say(ConnId::new(0, 0), &[b'x'; 50]));
    assert_eq!(peer.written().len(), 50);
}

#[test]
fn what_the_host_makes_of_an_event_leaves_in_the_same_turn() {
    let mut bench = Bench::new(Echo::new());
    let peer = bench.accept();
    *bench.script.repeats.borrow_mut() = true;
    let turns = bench.turns;
    peer.sends(b"hello");
    bench.run();
    assert_eq!(peer.written(), b"hellohello");
    assert_eq!(bench.turns - turns, 1);
}

#[test]
fn a_machine_that_has_panicked_is_asked_nothing_more() {
    let mut bench = Bench::new(Echo::new());
    let run = move || {
        bench.command(|_, machine| {
            machine.broken = true;
            panic!("a panic that the test is about");
        });
    };
    // A second panic, while the driver is dropped, would end the process.
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}
