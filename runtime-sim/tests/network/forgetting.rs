//! Connections that something on the way has forgotten: half open for ever.

use super::*;

#[test]
fn nothing_passes_and_nobody_is_told_but_a_new_connection_is_fine() {
    let mut sim = Sim::new(1);
    sim.faults().usual_link(slow_way());
    let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
    let mut listener = sim.block_on(listen(&users));
    let mut here = sim.block_on(dial(&web, &users)).unwrap();
    let mut there = sim.block_on(accept(&mut listener));
    say(&mut sim, &mut here, "before");
    sim.faults().forget(&users, &web);
    say(&mut sim, &mut here, "after");
    say(&mut sim, &mut there, "after");
    sim.run_for(ms(60_000));
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"before", "it was past that place already");
    for socket in [&mut here, &mut there] {
        let is_ready =
            sim.block_on(poll_fn(|cx| std::task::Poll::Ready(socket.poll_readable(cx).is_ready())));
        assert!(!is_ready);
    }
    let mut here = sim.block_on(dial(&web, &users)).unwrap();
    let mut there = sim.block_on(accept(&mut listener));
    say(&mut sim, &mut here, "a new one");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"a new one");
}
