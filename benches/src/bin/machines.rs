//! `machines client|server [recorded] [BURSTS]`: the same work every time, for counting instructions. What a burst of 256
//! requests takes is the difference between two runs:
//!
//! ```text
//! for bursts in 200 400; do
//!   valgrind --tool=callgrind target/release/machines client recorded $bursts
//! done
//! ```

use plimsoll_benches::parts::machines::{Clients, IN_FLIGHT, Servers};

fn main() -> Result<(), String> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (mut which, mut recorded, mut bursts) = ("", false, 400);
    for argument in &arguments {
        match argument.as_str() {
            "recorded" => recorded = true,
            machine @ ("client" | "server") => which = machine,
            number => bursts = number.parse().map_err(|_| format!("{number:?} is no number of bursts"))?,
        }
    }
    let log = match which {
        "client" => {
            let mut clients = if recorded { Clients::recorded() } else { Clients::default() };
            (0..bursts).for_each(|_| clients.burst());
            clients.log()
        }
        "server" => {
            let mut servers = if recorded { Servers::recorded() } else { Servers::default() };
            (0..bursts).for_each(|_| servers.burst());
            servers.log()
        }
        _ => return Err("which machine: client or server?".into()),
    };
    println!("{:.2} bytes of log per request", log.len() as f64 / (bursts * IN_FLIGHT) as f64);
    Ok(())
}
