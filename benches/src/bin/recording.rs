//! `recording [REQUESTS]`: what a log of a loaded client and its server holds, and how fast it replays.
//!
//! Both are on tokio in this process, one connection with 256 requests of 64 B in flight. What recording costs in CPU is
//! measured elsewhere: `side-by-side --only recorded`.

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_benches::usage::cpu_time;
use plimsoll_core::replay;
use plimsoll_tokio::{Client, Recording, Server, Service, ServiceConfig};

const IN_FLIGHT: u64 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let requests = std::env::args().nth(1).map_or(Ok(500_000), |n| n.parse())?;
    let all = || Recording::memory().segments(NonZeroU32::MAX);
    let (asked, served) = (all(), all());
    let server = Server::builder()
        .raw_method("echo", |content, _| async move { Ok(content) })
        .record(&served)
        .bind("127.0.0.1:0")
        .await?;
    let client = Client::builder().record(&asked).build();
    let config = ServiceConfig::new(server.local_addr().to_string()).max_connections(1);
    let service = client.configure_service("echo", config)?;
    let began = cpu_time();
    let callers: Vec<_> =
        (0..IN_FLIGHT).map(|_| tokio::spawn(call(service.clone(), requests / IN_FLIGHT))).collect();
    for caller in callers {
        caller.await??;
    }
    client.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
    let spent = cpu_time() - began;
    println!("{requests} requests: {spent:?} of CPU in client and server together");
    tell("client", &asked.log(0), requests)?;
    tell("server", &served.log(0), requests)
}

async fn call(service: Service, times: u64) -> Result<(), plimsoll_tokio::CallError> {
    let mut content = vec![b'1'; 64];
    for _ in 0..times {
        content = service.call("echo").send(content).await?;
    }
    Ok(())
}

fn tell(what: &str, log: &[u8], requests: u64) -> Result<(), Box<dyn Error>> {
    let began = cpu_time();
    let replayed = black_box(replay::replay(log)?);
    let took = cpu_time() - began;
    let (bytes, calls) = (log.len() as f64, replayed.calls as f64);
    println!(
        "{what}: recorded for {:?}: {} calls, {:.1} bytes per call, {:.1} per request; replayed in {took:?} of CPU, \
         {:.1} times as fast as time passed then, {:.0} ns per call",
        replayed.time(),
        replayed.calls,
        bytes / calls,
        bytes / requests as f64,
        replayed.time().as_secs_f64() / took.as_secs_f64(),
        took.as_nanos() as f64 / calls,
    );
    Ok(())
}
