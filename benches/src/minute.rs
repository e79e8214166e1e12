//! `side-by-side minute`: whether the gateway stands a minute of load without an error, in memory that does not grow.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::contestants::edge::{Edge, Standing};

/// When memory is looked at, in seconds; by the first of them pools and tables have grown.
const LOOKS: [u64; 3] = [10, 30, 60];
/// How much more at the last look than at the first still counts as flat, in per cent: an allocator that gives nothing
/// back at once wanders.
const FLAT: f64 = 5.0;

pub(crate) fn run() -> Result<()> {
    let gateway = Standing::start(Edge::Plimsoll)?;
    println!("at rest: {:.1} MB", mb(gateway.resident()?));
    let (began, cpu) = (Instant::now(), gateway.cpu()?);
    let [.., last] = LOOKS;
    let load = gateway.start_load(&[format!("-D{last}")])?;
    let mut seen = Vec::new();
    for look in LOOKS {
        // The load ends with the last second, and with it the connections.
        let at = Duration::from_secs(look).saturating_sub(Duration::from_millis(200));
        thread::sleep(at.saturating_sub(began.elapsed()));
        seen.push(mb(gateway.resident()?));
        println!("after {look} s: {:.1} MB", seen[seen.len() - 1]);
    }
    let loaded = load.finish()?;
    let cpu = (gateway.cpu()? - cpu).as_secs_f64() * 1e6 / loaded.succeeded as f64;
    println!(
        "{} answers, {} failed, {:.0} a second, {cpu:.2} us of CPU each",
        loaded.succeeded, loaded.failed, loaded.per_second
    );
    loaded.must_be_clean()?;
    let grown = (seen[seen.len() - 1] / seen[0] - 1.0) * 100.0;
    if grown > FLAT {
        return Err(format!("memory has grown by {grown:.1} % since the first look").into());
    }
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
