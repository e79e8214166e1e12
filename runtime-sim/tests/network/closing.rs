//! Ends of streams.

use super::*;

#[test]
fn what_was_written_arrives_before_the_end() {
    let Pair { mut sim, mut here, mut there, .. } = Pair::new();
    say(&mut sim, &mut here, "last words");
    drop(here);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"last words");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"");
}

#[test]
fn who_closes_with_something_unread_resets() {
    let Pair { mut sim, mut here, mut there, .. } = Pair::new();
    say(&mut sim, &mut here, "nobody reads this");
    sim.block_on(poll_fn(|cx| there.poll_readable(cx))).unwrap();
    drop(there);
    assert_eq!(sim.block_on(read(&mut here)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn who_writes_to_one_that_has_closed_is_told_by_a_reset() {
    let Pair { mut sim, mut here, there, .. } = Pair::new();
    drop(there);
    say(&mut sim, &mut here, "hello?");
    assert_eq!(sim.block_on(read(&mut here)).unwrap(), b"", "first the end is read");
    sim.run_for(ms(20));
    assert_eq!(sim.block_on(write(&mut here, b"x")).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn who_writes_no_more_reads_on() {
    let Pair { mut sim, mut here, mut there, .. } = Pair::new();
    say(&mut sim, &mut here, "a question");
    here.finish();
    assert_eq!(sim.block_on(write(&mut here, b"x")).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"a question");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"");
    say(&mut sim, &mut there, "its answer");
    assert_eq!(sim.block_on(read(&mut here)).unwrap(), b"its answer");
}
