//! Bro IPC: a hub and its services, under faults.

use std::time::Duration;

use plimsoll_core::drive::Timer;
use plimsoll_core::drive::ipc::client::{CallError, Ctx};
use plimsoll_core::drive::ipc::{Client, Hub};
use plimsoll_sim::{Host, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// A hub, a service `users`, and one that calls it; each on a host of its own.
struct Town {
    sim: Sim,
    hub: Host,
    users_at: Host,
    orders_at: Host,
    orders: Client<Host>,
}

impl Town {
    fn new() -> Town {
        let mut sim = Sim::new(5);
        let (hub, users_at, orders_at) =
            (sim.host("hub.internal"), sim.host("users.internal"), sim.host("orders.internal"));
        open(&hub);
        users(&users_at);
        let orders = client(&orders_at, "orders", 2).build().unwrap();
        sim.block_on(orders.connect()).unwrap();
        sim.run_for(SECOND);
        Town { sim, hub, users_at, orders_at, orders }
    }

    fn call(&mut self, n: u32) -> Result<u32, CallError> {
        self.sim.block_on(self.orders.call::<u32>("users", "echo", &n))
    }
}

fn open(host: &Host) {
    let at = host.clone();
    host.run(async move {
        let _hub = Hub::on(at).seed(1).bind("0.0.0.0:9000").await.expect("nobody else listens there");
        std::future::pending::<()>().await;
    });
}

fn client(host: &Host, name: &str, seed: u64) -> plimsoll_core::drive::ipc::client::Builder<Host> {
    Client::on(host.clone(), name).path("hub.internal:9000").seed(seed).reconnect_delay(SECOND)
}

fn users(host: &Host) {
    let at = host.clone();
    let users = client(host, "users", 1).method("echo", move |n: u32, _: Ctx| {
        let host = at.clone();
        async move {
            host.sleep(Duration::from_millis(100)).await;
            Ok(n)
        }
    });
    let users = users.build().unwrap();
    host.run(async move {
        users.connect().await.expect("the hub is there");
        std::future::pending::<()>().await;
    });
}

#[test]
fn calls_go_by_way_of_the_hub() {
    let mut town = Town::new();
    let began = town.sim.now();
    assert_eq!(town.call(7), Ok(7));
    // Half a millisecond on each of four ways.
    assert_eq!(town.sim.now() - began, Duration::from_millis(102));
}

#[test]
fn a_hub_that_crashes_and_comes_back_is_found_again_by_all() {
    let mut town = Town::new();
    let faults = town.sim.faults();
    faults.crash(&town.hub);
    assert!(town.call(1).is_err(), "nobody passes it on");
    faults.restart(&town.hub);
    town.sim.run_for(Duration::from_millis(1));
    open(&town.hub);
    town.sim.run_for(120 * SECOND);
    assert_eq!(town.call(2), Ok(2));
}

#[test]
fn a_service_that_crashes_under_a_call_ends_it_and_comes_back() {
    let mut town = Town::new();
    let (faults, users_at) = (town.sim.faults(), town.users_at.clone());
    town.sim.host("fate").run({
        let (faults, users) = (faults.clone(), users_at.clone());
        async move {
            users.sleep(Duration::from_millis(50)).await;
            faults.crash(&users);
            users.sleep(3_600 * SECOND).await;
        }
    });
    let error = town.call(1).unwrap_err();
    assert!(matches!(error.code(), "TIMEOUT" | "DEADLINE_EXCEEDED"), "{error}");
    faults.restart(&users_at);
    town.sim.run_for(Duration::from_millis(1));
    // The hub has heard that it is gone by now, so that its name is free.
    town.sim.run_for(120 * SECOND);
    users(&users_at);
    town.sim.run_for(SECOND);
    assert_eq!(town.call(2), Ok(2));
}

#[test]
fn a_short_partition_only_delays_a_call() {
    let mut town = Town::new();
    let (faults, hub, users) = (town.sim.faults(), town.hub.clone(), town.users_at.clone());
    faults.partition(&hub, &users);
    town.sim.host("fate").run(async move {
        hub.sleep(2 * SECOND).await;
        faults.heal(&hub, &users);
    });
    let began = town.sim.now();
    assert_eq!(town.call(1), Ok(1));
    assert!(town.sim.now() - began >= 2 * SECOND);
}

#[test]
fn after_a_long_partition_the_service_registers_again() {
    let mut town = Town::new();
    let faults = town.sim.faults();
    faults.partition(&town.hub, &town.users_at);
    town.sim.run_for(600 * SECOND);
    let error = town.call(1).unwrap_err();
    assert_eq!(error.code(), "SERVICE_NOT_FOUND", "{error}");
    faults.heal(&town.hub, &town.users_at);
    town.sim.run_for(120 * SECOND);
    assert_eq!(town.call(2), Ok(2));
    faults.reset(&town.hub, &town.orders_at);
    town.sim.run_for(60 * SECOND);
    assert_eq!(town.call(3), Ok(3));
}

#[test]
fn services_of_one_host_meet_at_a_path() {
    let mut sim = Sim::new(1);
    let host = sim.host("one.internal");
    let path = "/run/bro.sock";
    let hub = sim.block_on(Hub::on(host.clone()).seed(1).bind(path)).unwrap();
    assert_eq!(hub.local_addr().to_string(), path);
    let echo = |n: u32, _: Ctx| async move { Ok(n) };
    let users = Client::on(host.clone(), "users").path(path).seed(1).method("echo", echo).build().unwrap();
    let orders = Client::on(host, "orders").path(path).seed(2).build().unwrap();
    sim.block_on(users.connect()).unwrap();
    sim.block_on(orders.connect()).unwrap();
    assert_eq!(sim.block_on(orders.call::<u32>("users", "echo", &5)), Ok(5));
    let service = sim.block_on(hub.service("users")).unwrap();
    assert_eq!(service.connections, 1);
}
