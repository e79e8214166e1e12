//! What a way is like: latency, jitter, tails, bandwidth, packets.

use std::num::{NonZeroU32, NonZeroU64};

use super::*;

/// How long each of so many messages takes.
fn lengths(link: Link, messages: usize) -> Vec<Duration> {
    let Pair { mut sim, mut here, mut there, .. } = Pair::over(link);
    let take = |_| {
        let before = sim.now();
        say(&mut sim, &mut here, "a");
        assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"a");
        sim.now() - before
    };
    (0..messages).map(take).collect()
}

#[test]
fn everything_takes_the_latency() {
    assert_eq!(lengths(slow_way(), 3), [ms(10); 3]);
}

#[test]
fn connecting_takes_it_there_and_back() {
    assert_eq!(Pair::new().sim.now(), Instant::from_millis(20));
}

#[test]
fn jitter_makes_it_longer_by_even_chance_and_by_no_more_than_was_said() {
    let lengths = lengths(Link { jitter: ms(4), ..slow_way() }, 1_000);
    assert!(lengths.iter().all(|length| (ms(10)..=ms(14)).contains(length)));
    let late = lengths.iter().filter(|&&length| length > ms(12)).count();
    assert!((400..600).contains(&late), "{late} of 1,000 in the upper half");
}

#[test]
fn so_many_of_a_thousand_are_late_by_the_tail() {
    let lengths = lengths(Link { late_per_mille: 50, tail: ms(200), ..slow_way() }, 2_000);
    assert!(lengths.iter().all(|&length| length == ms(10) || length == ms(210)));
    let late = lengths.iter().filter(|&&length| length == ms(210)).count();
    assert!((60..140).contains(&late), "{late} of 2,000");
}

#[test]
fn what_is_sent_after_something_late_does_not_overtake_it() {
    let Pair { mut sim, web, mut here, mut there, users } = Pair::new();
    sim.faults().link(&web, &users, Link { late_per_mille: 1_000, ..slow_way() });
    say(&mut sim, &mut here, "first ");
    sim.faults().link(&web, &users, slow_way());
    say(&mut sim, &mut here, "second");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"first second");
}

#[test]
fn a_way_of_limited_bandwidth_is_shared_by_all_connections() {
    let thousand = NonZeroU64::new(1_000);
    let Pair { mut sim, web, users, mut here, there } = Pair::new();
    sim.faults().link(&web, &users, Link { bandwidth: thousand, ..slow_way() });
    let mut listener = {
        drop(there);
        sim.block_on(async {
            let (mut shares, _) = users.listen("0.0.0.0:81", &ListenOptions::default(), 1).await.unwrap();
            shares.pop().unwrap()
        })
    };
    let address = sim.block_on(web.resolve("users.internal:81")).unwrap()[0];
    let mut second = sim.block_on(web.connect(Address::Tcp(address))).unwrap();
    let mut there = sim.block_on(accept(&mut listener));
    let before = sim.now();
    say(&mut sim, &mut here, &"a".repeat(100));
    say(&mut sim, &mut second, &"b".repeat(100));
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), [b'b'; 100]);
    assert_eq!(sim.now() - before, ms(100 + 100 + 10));
}

#[test]
fn what_is_larger_than_a_packet_arrives_in_parts() {
    let packet = NonZeroU32::new(100);
    let Pair { mut sim, mut here, mut there, .. } =
        Pair::over(Link { packet, bandwidth: NonZeroU64::new(100_000), ..slow_way() });
    say(&mut sim, &mut here, &"a".repeat(250));
    let parts = [(); 3].map(|()| sim.block_on(read(&mut there)).unwrap().len());
    assert_eq!(parts, [100, 100, 50]);
}

#[test]
fn two_of_one_host_are_closer_to_each_other() {
    let mut sim = Sim::new(1);
    let users = sim.host("users.internal");
    let _listener = sim.block_on(listen(&users));
    let loopback = Address::Tcp(([127, 0, 0, 1], 80).into());
    sim.block_on(users.connect(loopback)).unwrap();
    assert_eq!(sim.now().as_nanos(), 20_000);
}
