//! A cluster that drains serves those who wait, and does no more than that takes.

mod cluster_support;

use cluster_support::*;
use plimsoll_core::cluster::{Config, StateEvent, Want};
use plimsoll_core::policy::health_check::Level;

#[test]
fn nothing_is_dialled_that_nobody_who_waits_needs() {
    let config = Config { grow_at: 0, min_connections: 0, ..calm() };
    let mut fleet = Fleet::new(config, 0);
    fleet.add_that(Dial::Hangs, 0);
    fleet.wait(1, Want::default());
    fleet.cluster.drain(fleet.now);
    fleet.pass_ms(100);
    let [(_, _, conn)] = fleet.dialled[..] else { panic!("one dial: {:?}", fleet.dialled) };
    fleet.connect(conn);
    let place = fleet.place_of(1).expect("a place for the one who waits");
    let closed = fleet.states.iter().filter(|state| matches!(state, StateEvent::Closed { .. }));
    assert_eq!(closed.count(), 0, "a dial for a load that will not come, and is given up at once");
    fleet.cluster.release(fleet.now, place.conn);
    fleet.run();
    assert!(fleet.cluster.is_empty());
}

#[test]
fn an_idle_connection_ends_as_soon_as_nobody_waits() {
    let config = Config { in_flight: limit(2), max_connections: limit(1), ..calm() };
    let mut fleet = Fleet::new(config, 2);
    let (busy, idle) = (fleet.endpoints[0], fleet.endpoints[1]);
    fleet.set_health(idle, Level::Unhealthy);
    let place = fleet.take();
    fleet.take();
    fleet.wait(1, Want::default());
    fleet.cluster.drain(fleet.now);
    fleet.run();
    assert_eq!(fleet.conns(idle).len(), 1, "the one who waits might need it");
    fleet.cluster.release(fleet.now, place.conn);
    fleet.run();
    assert!(fleet.place_of(1).is_some());
    assert_eq!((fleet.conns(busy).len(), fleet.conns(idle).len()), (1, 0));
}
