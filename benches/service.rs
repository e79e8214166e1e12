//! One request through a whole machine: the client with all policy on (deadline, breaker, balancer, retry budget,
//! metrics), and the server.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_benches::parts::machines::{Clients, IN_FLIGHT, Servers, answer};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn client_request_and_answer(bencher: Bencher<'_, '_>) {
    let mut clients = Clients::default();
    (0..100).for_each(|_| clients.burst());
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| clients.burst());
}

/// What of it is the codec of the peer and the copying in between.
#[divan::bench]
fn codec_of_the_peer_alone(bencher: Bencher<'_, '_>) {
    let wire = Clients::wire();
    let mut answers = Vec::new();
    let mut buf = vec![0; 1 << 20];
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| {
        answer(&wire, &mut answers);
        buf[..answers.len()].copy_from_slice(&answers);
        black_box(&buf);
    });
}

#[divan::bench]
fn server_request_and_answer(bencher: Bencher<'_, '_>) {
    let mut servers = Servers::default();
    (0..100).for_each(|_| servers.burst());
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| servers.burst());
}
