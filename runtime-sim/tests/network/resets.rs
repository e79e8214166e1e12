//! Connections that are reset.

use super::*;

#[test]
fn both_ends_are_told_after_what_was_on_its_way() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    say(&mut sim, &mut here, "on its way");
    sim.faults().reset(&users, &web);
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"on its way");
    assert_eq!(sim.block_on(read(&mut there)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(sim.block_on(read(&mut here)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(sim.block_on(write(&mut here, b"x")).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn connections_to_others_stand() {
    let Pair { mut sim, web, users, mut here, mut there } = Pair::new();
    let third = sim.host("third.internal");
    sim.faults().reset(&third, &users);
    sim.faults().reset(&third, &web);
    say(&mut sim, &mut here, "as before");
    assert_eq!(sim.block_on(read(&mut there)).unwrap(), b"as before");
}
