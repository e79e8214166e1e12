//! `events CLIENTS SERVERS REQUESTS_PER_SECOND SECONDS SUBSET`: how fast a fleet lives in virtual time, and what its
//! connections take. A subset is how many of the servers each client uses; 0: all.

use std::error::Error;
use std::process;
use std::time::Duration;

use plimsoll_benches::parts::worlds::{Fleet, Size};
use plimsoll_benches::usage::{cpu_time, resident};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<u32> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let [clients, servers, rate, seconds, subset] = arguments[..] else {
        return Err("CLIENTS SERVERS REQUESTS_PER_SECOND SECONDS SUBSET".into());
    };
    let mut fleet = Fleet::new(Size { clients, servers, subset, rate });
    let (built, memory) = (cpu_time(), resident(process::id())?);
    let (connections, before) = (fleet.connected(), fleet.events());
    println!(
        "{connections} connections, {before} events in {built:.1?}, {} MiB, {} bytes a connection",
        memory >> 20,
        memory / connections.max(1)
    );
    let began = cpu_time();
    fleet.live_for(Duration::from_secs(seconds.into()));
    let (took, events) = (cpu_time() - began, fleet.events() - before);
    let [asked, answered, failed] = fleet.requests();
    println!("{asked} requests: {answered} answered, {failed} failed");
    println!(
        "{events} events in {took:.2?} of a processor: {:.0} a second; {:.1} a request; {} MiB",
        events as f64 / took.as_secs_f64(),
        events as f64 / asked as f64,
        resident(process::id())? >> 20
    );
    Ok(())
}
