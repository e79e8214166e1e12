//! The service client and server that ship, with their handles, under faults.

use std::time::Duration;

use plimsoll_core::drive::Timer;
use plimsoll_core::drive::client::{Cause, Client, ServiceConfig};
use plimsoll_core::drive::server::{Ctx, Server};
use plimsoll_sim::{Host, Sim};

/// A client and two servers, which answer with their own numbers.
struct Town {
    sim: Sim,
    web: Host,
    users: [Host; 2],
    client: Client<Host>,
}

impl Town {
    fn new() -> Town {
        let sim = Sim::new(3);
        let users = [sim.host("users-0.internal"), sim.host("users-1.internal")];
        users.iter().zip(0..).for_each(|(host, number)| serve(host, number));
        let web = sim.host("web.internal");
        let client = Client::on(web.clone()).seed(3).build();
        let config = ServiceConfig::new("users-0.internal:80")
            .endpoint("users-1.internal:80")
            .reconnect_delay(Duration::from_millis(100));
        client.configure_service("users", config).unwrap();
        Town { sim, web, users, client }
    }

    /// Who answers: each of so many calls, which may be made again.
    fn answers(&mut self, calls: usize) -> Vec<u32> {
        let client = self.client.clone();
        self.sim.block_on(async {
            let mut answers = Vec::new();
            for _ in 0..calls {
                let call = client.call("users", "who").idempotent().json::<u32>(&()).await;
                answers.push(call.expect("one of them is well"));
            }
            answers
        })
    }
}

fn serve(host: &Host, number: u32) {
    let at = host.clone();
    host.run(async move {
        let who = move |(): (), _: Ctx| async move { Ok(number) };
        let wait = {
            let host = at.clone();
            move |ms: u64, _: Ctx| {
                let host = host.clone();
                async move {
                    host.sleep(Duration::from_millis(ms)).await;
                    Ok(ms)
                }
            }
        };
        let server = Server::on(at).method("who", who).method("wait", wait).bind("0.0.0.0:80").await;
        let _server = server.expect("nobody else listens there");
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_handler_may_sleep_and_a_day_is_soon_over() {
    let mut town = Town::new();
    let day = Duration::from_secs(86_400);
    let client = town.client.clone();
    let call = client.call("users", "wait").timeout(2 * day);
    let began = town.sim.now();
    assert_eq!(town.sim.block_on(call.json::<u64>(&(day.as_millis() as u64))), Ok(day.as_millis() as u64));
    let took = town.sim.now() - began;
    assert!(took >= day && took < day + Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_server_that_crashes_is_left_for_the_other_and_found_again() {
    let mut town = Town::new();
    let both = town.answers(20);
    assert!(both.contains(&0) && both.contains(&1));
    let faults = town.sim.faults();
    faults.crash(&town.users[0]);
    // Silence: it is found dead by its heartbeat at the latest, and calls to it are made again at the other.
    town.sim.run_for(Duration::from_secs(60));
    assert_eq!(town.answers(20), [1; 20]);
    faults.restart(&town.users[0]);
    town.sim.run_for(Duration::from_millis(1));
    serve(&town.users[0], 0);
    town.sim.run_for(Duration::from_secs(120));
    assert!(town.answers(40).contains(&0), "it is back");
}

#[test]
fn a_partition_is_waited_out_by_calls_that_have_the_time() {
    let mut town = Town::new();
    town.answers(2);
    let (faults, web) = (town.sim.faults(), town.web.clone());
    for users in &town.users {
        faults.partition(&web, users);
    }
    let users = town.users.clone();
    town.sim.host("fate").run({
        let (faults, web) = (faults.clone(), web.clone());
        async move {
            web.sleep(Duration::from_millis(1_500)).await;
            users.iter().for_each(|users| faults.heal(&web, users));
        }
    });
    let began = town.sim.now();
    assert_eq!(town.answers(1).len(), 1);
    assert!(town.sim.now() - began >= Duration::from_millis(1_500));
}

#[test]
fn a_connection_that_is_reset_loses_what_was_under_way_and_nothing_else() {
    let mut town = Town::new();
    town.answers(2);
    let (faults, web, users) = (town.sim.faults(), town.web.clone(), town.users.clone());
    town.sim.host("fate").run(async move {
        web.sleep(Duration::from_millis(20)).await;
        users.iter().for_each(|users| faults.reset(&web, users));
    });
    let client = town.client.clone();
    let error = town.sim.block_on(client.request::<u64>("users", "wait", &1_000)).unwrap_err();
    assert_eq!(error.cause, Cause::Lost { sent: true });
    assert_eq!(town.answers(10).len(), 10);
}

#[test]
fn a_server_that_is_paused_answers_late() {
    let mut town = Town::new();
    town.answers(2);
    let faults = town.sim.faults();
    town.users.iter().for_each(|users| faults.pause(users, Duration::from_millis(700)));
    let began = town.sim.now();
    town.answers(1);
    let took = town.sim.now() - began;
    assert!((700..710).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_name_that_means_another_host_leads_new_connections_there() {
    let mut sim = Sim::new(1);
    let (old, new, web) = (sim.host("old.internal"), sim.host("new.internal"), sim.host("web.internal"));
    serve(&old, 0);
    serve(&new, 1);
    sim.faults().resolve_to("users.internal", &[&old]);
    let client = Client::on(web.clone()).seed(1).build();
    let config = ServiceConfig::new("users.internal:80").reconnect_delay(Duration::from_millis(100));
    client.configure_service("users", config).unwrap();
    let who = |sim: &mut Sim| sim.block_on(client.request::<u32>("users", "who", &())).unwrap();
    assert_eq!(who(&mut sim), 0);
    sim.faults().resolve_to("users.internal", &[&new]);
    assert_eq!(who(&mut sim), 0, "a connection that stands, stands");
    sim.faults().reset(&old, &web);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(who(&mut sim), 1);
}

#[test]
fn a_client_that_uses_a_part_of_a_large_fleet_dials_that_part_alone() {
    let mut sim = Sim::new(3);
    let name = |n: u32| format!("users-{n}.internal");
    (0..1_000).for_each(|n| serve(&sim.host(&name(n)), n));
    let config = (1..1_000).fold(ServiceConfig::new(format!("{}:80", name(0))), |config, n| {
        config.endpoint(format!("{}:80", name(n)))
    });
    let client = Client::on(sim.host("web.internal")).seed(3).build();
    client.configure_service("users", config.subset(20)).unwrap();
    sim.run_for(Duration::from_secs(10));
    let snapshot = sim.block_on(client.metrics("users")).unwrap();
    assert_eq!((snapshot.status.endpoints, snapshot.status.connections), (1_000, 20));
    assert_eq!(snapshot.metrics.dials, 20);
}
