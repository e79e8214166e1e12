//! How often a warm client and a warm server allocate for a request: a program of its own, because who counts has to be
//! the allocator, and would make contestants slower that do allocate.

use allocation_counter::measure;
use plimsoll_benches::parts::machines::{Clients, IN_FLIGHT, Servers};

/// Until tables and buffers have grown to their size, and then counted.
const WARM_UP: usize = 10_000;
const REQUESTS: usize = 100_000;

fn main() {
    let (mut clients, mut servers) = (Clients::default(), Servers::default());
    let client = per_request(|| clients.burst());
    let server = per_request(|| servers.burst());
    println!("{client} {server}");
}

fn per_request(mut burst: impl FnMut()) -> f64 {
    (0..WARM_UP.div_ceil(IN_FLIGHT)).for_each(|_| burst());
    let bursts = REQUESTS.div_ceil(IN_FLIGHT);
    let counted = measure(|| (0..bursts).for_each(|_| burst()));
    counted.count_total as f64 / (bursts * IN_FLIGHT) as f64
}
