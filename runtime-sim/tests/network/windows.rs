//! Readers that are slow, and how much a connection holds.

use plimsoll_core::drive::Timer;

use super::*;

#[test]
fn no_more_is_taken_than_the_window_holds_until_it_is_read() {
    let Pair { mut sim, users, mut here, mut there, .. } = Pair::over(small_window());
    let long = [b'a'; 1_500];
    assert_eq!(sim.block_on(write(&mut here, &long)).unwrap(), 1_000);
    let began = sim.now();
    users.clone().run(async move {
        users.sleep(ms(500)).await;
        assert_eq!(read(&mut there).await.unwrap().len(), 1_000);
        std::future::pending::<()>().await;
    });
    assert_eq!(sim.block_on(write(&mut here, &long[1_000..])).unwrap(), 500);
    assert_eq!(sim.now() - began, ms(500 + 10), "the news of room takes its time as well");
}

#[test]
fn a_read_into_little_room_leaves_the_rest() {
    let Pair { mut sim, mut here, mut there, .. } = Pair::new();
    say(&mut sim, &mut here, "hello");
    let mut buf = [0; 3];
    let mut take = || {
        let n = sim.block_on(poll_fn(|cx| there.poll_read(cx, &mut buf))).unwrap();
        buf[..n].to_vec()
    };
    assert_eq!((take(), take()), (b"hel".to_vec(), b"lo".to_vec()));
}

#[test]
fn a_writer_whose_reader_goes_is_told() {
    let Pair { mut sim, users, mut here, there, .. } = Pair::over(small_window());
    assert_eq!(sim.block_on(write(&mut here, &[0; 1_000])).unwrap(), 1_000);
    users.run(async move { drop(there) });
    let error = sim.block_on(write(&mut here, &[0; 1])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
