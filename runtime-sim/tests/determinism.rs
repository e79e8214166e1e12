//! The same seed gives the same history, byte for byte, whatever happened in this process before.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use plimsoll_core::drive::client::{Client, ServiceConfig};
use plimsoll_core::drive::ipc::{Client as Ipc, Hub};
use plimsoll_core::drive::server::{Ctx, Server};
use plimsoll_core::drive::{Time, Timer};
use plimsoll_core::rng::Pcg;
use plimsoll_sim::{Faults, Host, Link, Sim};

const SERVERS: usize = 3;

/// What came of every call, in the order in which it came; and the number of the whole history.
#[derive(Debug, PartialEq)]
struct Run {
    outcomes: Vec<String>,
    history: u64,
    events: u64,
}

/// A small world in which everything goes wrong now and then, for a while.
fn run(seed: u64) -> Run {
    let mut sim = Sim::new(seed);
    let ms = Duration::from_millis;
    sim.faults().usual_link(Link { latency: ms(2), jitter: ms(3), late_per_mille: 5, ..Link::default() });
    let servers: Vec<Host> = (0..SERVERS).map(|n| sim.host(&format!("users-{n}.internal"))).collect();
    let web = sim.host("web.internal");
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    servers.iter().for_each(serve);
    ask(&web, seed, &outcomes);
    hub(&web, &servers[0], seed, &outcomes);
    break_things(sim.host("fate"), sim.faults(), seed, servers, web);
    sim.run_for(Duration::from_secs(20));
    let outcomes = outcomes.lock().unwrap().clone();
    Run { outcomes, history: sim.history(), events: sim.events() }
}

fn serve(host: &Host) {
    let at = host.clone();
    host.run(async move {
        let echo = |n: u32, _: Ctx| async move { Ok(n) };
        let server = Server::on(at.clone()).method("echo", echo).bind("0.0.0.0:80").await;
        let _server = server.expect("nobody else listens there");
        std::future::pending::<()>().await;
    });
}

fn ask(web: &Host, seed: u64, outcomes: &Arc<Mutex<Vec<String>>>) {
    let client = Client::on(web.clone()).seed(seed).build();
    let config = (1..SERVERS).fold(ServiceConfig::new("users-0.internal:80"), |config, n| {
        config.endpoint(format!("users-{n}.internal:80"))
    });
    let service = client.configure_service("users", config).unwrap();
    for caller in 0..4u32 {
        let (service, web, client) = (service.clone(), web.clone(), client.clone());
        let outcomes = outcomes.clone();
        web.clone().run(async move {
            let _client = client;
            for n in 0.. {
                let outcome = service.request::<u32>("echo", &n).await;
                outcomes.lock().unwrap().push(format!("{:?} {caller}.{n} {outcome:?}", web.now()));
                web.sleep(Duration::from_millis(u64::from(20 + caller))).await;
            }
        });
    }
}

/// A hub on one host, a service on another, and who calls it.
fn hub(web: &Host, users: &Host, seed: u64, outcomes: &Arc<Mutex<Vec<String>>>) {
    let at = web.clone();
    web.run(async move {
        let _hub = Hub::on(at).seed(seed).bind("0.0.0.0:9000").await.expect("nobody else listens there");
        std::future::pending::<()>().await;
    });
    let client = |host: &Host, name: &str, seed| {
        Ipc::on(host.clone(), name)
            .path("web.internal:9000")
            .seed(seed)
            .reconnect_delay(Duration::from_millis(100))
    };
    let echo = client(users, "users", seed).method("echo", |n: u32, _| async move { Ok(n) }).build().unwrap();
    users.run(async move {
        let _ = echo.connect().await;
        std::future::pending::<()>().await;
    });
    let (orders, web, outcomes) =
        (client(web, "orders", !seed).build().unwrap(), web.clone(), outcomes.clone());
    web.clone().run(async move {
        let _ = orders.connect().await;
        for n in 0.. {
            let outcome = orders.call::<u32>("users", "echo", &n).await;
            outcomes.lock().unwrap().push(format!("{:?} ipc {n} {outcome:?}", web.now()));
            web.sleep(Duration::from_millis(50)).await;
        }
    });
}

fn break_things(fate: Host, faults: Faults, seed: u64, servers: Vec<Host>, web: Host) {
    fate.clone().run(async move {
        let mut dice = Pcg::new(seed, 99);
        loop {
            fate.sleep(Duration::from_millis(u64::from(dice.below(2_000)))).await;
            let victim = &servers[dice.below(SERVERS as u32) as usize];
            let length = Duration::from_millis(u64::from(dice.below(3_000)));
            match dice.below(7) {
                0 => {
                    faults.crash(victim);
                    fate.sleep(length).await;
                    faults.restart(victim);
                    fate.sleep(Duration::from_millis(1)).await;
                    serve(victim);
                }
                1 => faults.pause(victim, length),
                2 => faults.reset(victim, &web),
                3 => {
                    faults.partition(victim, &web);
                    fate.sleep(length).await;
                    faults.heal(victim, &web);
                }
                4 => faults.forget(victim, &web),
                5 => {
                    faults.slow(victim, length / 100);
                    fate.sleep(length).await;
                    faults.slow(victim, Duration::ZERO);
                }
                _ => faults.skew(victim, i64::from(dice.below(1_000_000)) - 500_000),
            }
        }
    });
}

#[test]
fn the_same_seed_has_the_same_history() {
    for seed in 1..=3 {
        let first = run(seed);
        assert!(first.outcomes.iter().any(|outcome| outcome.contains("Ok")), "it works mostly");
        assert!(first.outcomes.iter().any(|outcome| outcome.contains("Err")), "and sometimes it does not");
        assert_eq!(first, run(seed));
    }
}

#[test]
fn another_seed_has_another_history() {
    assert_ne!(run(1).history, run(2).history);
}

#[test]
fn what_else_goes_on_in_the_process_makes_no_difference() {
    let alone = run(7);
    let others: Vec<_> = (20..22).map(|seed| thread::spawn(move || run(seed))).collect();
    let among_others = thread::spawn(|| run(7)).join().unwrap();
    others.into_iter().for_each(|other| drop(other.join().unwrap()));
    assert_eq!(alone, among_others);
}

#[test]
fn a_history_tells_one_byte_and_one_nanosecond() {
    let said = |text: &'static [u8], after: Duration| {
        let mut sim = Sim::new(1);
        let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
        serve(&users);
        let client = Client::on(web.clone()).seed(1).build();
        client.configure_service("users", ServiceConfig::new("users.internal:80")).unwrap();
        let text = str::from_utf8(text).unwrap();
        let _ = sim.block_on(async {
            web.sleep(after).await;
            client.request::<u32>("users", "echo", &text).await
        });
        sim.history()
    };
    let ms = Duration::from_millis(1);
    assert_eq!(said(b"abcdefgh", ms), said(b"abcdefgh", ms));
    assert_ne!(said(b"abcdefgh", ms), said(b"abcdefgi", ms));
    assert_ne!(said(b"abcdefgh", ms), said(b"abcdefgh", ms + Duration::from_nanos(1)));
}
