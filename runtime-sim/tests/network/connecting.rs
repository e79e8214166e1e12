//! Dials: refused, held up by a full queue, silent, to paths.

use plimsoll_core::drive::Timer;
use plimsoll_core::machine::Credentials;

use super::*;

fn world() -> (Sim, Host, Host) {
    let sim = Sim::new(1);
    sim.faults().usual_link(slow_way());
    let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
    (sim, web, users)
}

fn outcome(sim: &mut Sim, from: &Host, to: &Host) -> Result<Duration, (io::ErrorKind, Duration)> {
    let began = sim.now();
    let result = sim.block_on(dial(from, to));
    let took = sim.now() - began;
    result.map(|_| took).map_err(|error| (error.kind(), took))
}

#[test]
fn where_nobody_listens_a_dial_is_refused_after_the_way_there_and_back() {
    let (mut sim, web, users) = world();
    assert_eq!(outcome(&mut sim, &web, &users), Err((io::ErrorKind::ConnectionRefused, ms(20))));
}

#[test]
fn who_listens_when_the_dial_gets_there_is_found() {
    let (mut sim, web, users) = world();
    let late = users.clone();
    users.run(async move {
        late.sleep(ms(5)).await;
        let _listener = listen(&late).await;
        std::future::pending::<()>().await;
    });
    assert_eq!(outcome(&mut sim, &web, &users), Ok(ms(20)));
}

#[test]
fn a_host_that_refuses_keeps_the_connections_that_it_has() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    let listener = sim.block_on(async {
        let (shares, _) = users.listen("0.0.0.0:80", &ListenOptions::default(), 1).await.unwrap();
        shares
    });
    sim.faults().refuse(&users, true);
    assert_eq!(outcome(&mut sim, &web, &users), Err((io::ErrorKind::ConnectionRefused, ms(20))));
    say(&mut sim, &mut here, "still here");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"still here");
    sim.faults().refuse(&users, false);
    assert_eq!(outcome(&mut sim, &web, &users), Ok(ms(20)));
    drop(listener);
}

#[test]
fn who_finds_the_queue_full_knocks_again_after_a_second_and_then_later_and_later() {
    let (mut sim, web, users) = world();
    let one = ListenOptions { backlog: 1, ..ListenOptions::default() };
    let (mut shares, _) = sim.block_on(users.listen("0.0.0.0:80", &one, 1)).unwrap();
    let mut listener = shares.pop().unwrap();
    let _first = sim.block_on(dial(&web, &users)).unwrap();
    let late = users.clone();
    users.run(async move {
        late.sleep(ms(1_500)).await;
        let _first = accept(&mut listener).await;
        std::future::pending::<()>().await;
    });
    // After one second it is full still; after two more it is not.
    let took = outcome(&mut sim, &web, &users).unwrap();
    assert_eq!(took, ms(3 * 10 + 3_000 + 10));
}

#[test]
fn who_finds_it_full_for_two_minutes_gives_up() {
    let (mut sim, web, users) = world();
    let one = ListenOptions { backlog: 1, ..ListenOptions::default() };
    let _shares = sim.block_on(users.listen("0.0.0.0:80", &one, 1)).unwrap();
    let _first = sim.block_on(dial(&web, &users)).unwrap();
    let (kind, took) = outcome(&mut sim, &web, &users).unwrap_err();
    assert_eq!((kind, took.as_secs()), (io::ErrorKind::TimedOut, 63));
}

#[test]
fn a_listener_that_goes_refuses_whoever_waits_in_its_queue() {
    let (mut sim, web, users) = world();
    let listener = sim.block_on(listen(&users));
    let mut here = sim.block_on(dial(&web, &users)).unwrap();
    drop(listener);
    assert_eq!(sim.block_on(read(&mut here)).unwrap(), b"");
    assert_eq!(outcome(&mut sim, &web, &users), Err((io::ErrorKind::ConnectionRefused, ms(20))));
}

#[test]
fn a_port_is_had_by_one() {
    let (mut sim, _, users) = world();
    let _listener = sim.block_on(listen(&users));
    let again = sim.block_on(users.listen("0.0.0.0:80", &ListenOptions::default(), 1));
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_path_is_known_on_its_own_host_only_and_tells_who_comes() {
    let (mut sim, web, users) = world();
    let options = ListenOptions::default();
    let (mut shares, address) = sim.block_on(users.listen("/run/hub.sock", &options, 1)).unwrap();
    assert_eq!(sim.block_on(web.connect(address.clone())).unwrap_err().kind(), io::ErrorKind::NotFound);
    let _here = sim.block_on(users.connect(address)).unwrap();
    let listener = &mut shares[0];
    let (_, peer) = sim.block_on(poll_fn(|cx| listener.poll_accept(cx))).unwrap();
    assert!(matches!(peer.credentials, Some(Credentials { uid: 1_000, pid: Some(_), .. })), "{peer:?}");
    assert_eq!(peer.address, None);
}
