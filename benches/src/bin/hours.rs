//! `hours HOURS REQUESTS_PER_SECOND`: how fast a small world lives under constant faults: a client with a handle, three
//! servers with handlers, and every other second something that crashes, is cut off, stands still, is slow, is reset or
//! forgotten.

use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_benches::usage::cpu_time;
use plimsoll_core::drive::Timer;
use plimsoll_core::drive::client::{Client, Service, ServiceConfig};
use plimsoll_core::drive::server::{Ctx, Server};
use plimsoll_core::rng::Pcg;
use plimsoll_sim::{Faults, Host, Link, Sim};

const SERVERS: u32 = 3;

/// Answered, failed, faults.
#[derive(Default)]
struct Counts([AtomicU64; 3]);

impl Counts {
    fn count(&self, which: usize) {
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let [hours, rate] = arguments[..] else {
        return Err("HOURS REQUESTS_PER_SECOND".into());
    };
    let mut sim = Sim::new(1);
    let jitter = Duration::from_micros(500);
    sim.faults().usual_link(Link { jitter, late_per_mille: 2, ..Link::default() });
    let counts = Arc::new(Counts::default());
    let servers: Vec<Host> = (0..SERVERS).map(|n| sim.host(&format!("users-{n}.internal"))).collect();
    servers.iter().for_each(serve);
    let web = sim.host("web.internal");
    let client = Client::on(web.clone()).seed(1).build();
    let config = (1..SERVERS).fold(ServiceConfig::new("users-0.internal:80"), |config, n| {
        config.endpoint(format!("users-{n}.internal:80"))
    });
    let mut config = config.timeout(Duration::from_secs(1)).reconnect_delay(Duration::from_millis(100));
    // What was forgotten is found out soon enough to be forgotten again.
    let heartbeat = &mut config.client.cluster.heartbeat;
    (heartbeat.interval, heartbeat.timeout) = (Duration::from_secs(1), Duration::from_millis(500));
    let service = client.configure_service("users", config)?;
    let pause = Duration::from_nanos(1_000_000_000 / rate);
    web.run(ask(web.clone(), service, pause, counts.clone()));
    let fate = sim.host("fate");
    fate.run(go_wrong(fate.clone(), sim.faults(), servers, web, counts.clone()));
    sim.run_for(Duration::from_secs(hours * 3_600));

    let spent = cpu_time();
    let [answered, failed, faults] = counts.0.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!("{answered} answered, {failed} failed, {faults} faults, {} events", sim.events());
    println!(
        "{hours} hours in {spent:.2?} of a processor: {:.0} hours a minute, {:.0} events a second",
        hours as f64 * 60.0 / spent.as_secs_f64(),
        sim.events() as f64 / spent.as_secs_f64()
    );
    Ok(())
}

fn serve(host: &Host) {
    let at = host.clone();
    host.run(async move {
        let echo = |n: u64, _: Ctx| async move { Ok(n) };
        let server = Server::on(at).method("echo", echo).bind("0.0.0.0:80").await;
        let _server = server.expect("nobody else listens there");
        pending::<()>().await;
    });
}

/// Asks whether it is answered or not, and never waits for anything but the time.
async fn ask(web: Host, service: Service, pause: Duration, counts: Arc<Counts>) {
    for n in 0..u64::MAX {
        let (service, counts) = (service.clone(), counts.clone());
        web.run(async move {
            let answer = service.request::<u64>("echo", &n).await;
            counts.count(usize::from(answer != Ok(n)));
        });
        web.sleep(pause).await;
    }
}

async fn go_wrong(fate: Host, faults: Faults, servers: Vec<Host>, web: Host, counts: Arc<Counts>) {
    let mut dice = Pcg::new(1, 1);
    loop {
        fate.sleep(Duration::from_millis(u64::from(dice.below(3_000)))).await;
        let length = Duration::from_millis(u64::from(dice.below(1_000)));
        let victim = &servers[dice.below(SERVERS) as usize];
        counts.count(2);
        match dice.below(6) {
            0 => {
                faults.crash(victim);
                fate.sleep(length).await;
                faults.restart(victim);
                fate.sleep(Duration::from_millis(1)).await;
                serve(victim);
            }
            1 => {
                faults.partition(&web, victim);
                fate.sleep(length).await;
                faults.heal(&web, victim);
            }
            2 => faults.pause(victim, length),
            3 => {
                faults.slow(victim, Duration::from_millis(2));
                fate.sleep(length).await;
                faults.slow(victim, Duration::ZERO);
            }
            4 => faults.reset(&web, victim),
            _ => faults.forget(&web, victim),
        }
    }
}
