//! A machine as bytes, and back: what it costs to open a segment of a recording.

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use plimsoll_benches::parts::saved::{Snapshot, client, server};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Client;
use plimsoll_core::service::server::Server;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn client_of_10_endpoints_with_256_in_flight_saved(bencher: Bencher<'_, '_>) {
    saved(bencher, &client(10, 256));
}

#[divan::bench]
fn client_of_10_endpoints_with_256_in_flight_loaded(bencher: Bencher<'_, '_>) {
    loaded::<Client<Uw>>(bencher, &client(10, 256));
}

#[divan::bench]
fn server_of_1_000_connections_saved(bencher: Bencher<'_, '_>) {
    saved(bencher, &server(1_000));
}

#[divan::bench]
fn server_of_1_000_connections_loaded(bencher: Bencher<'_, '_>) {
    loaded::<Server>(bencher, &server(1_000));
}

fn saved(bencher: Bencher<'_, '_>, machine: &impl Snapshot) {
    let size = machine.snapshot().len();
    bencher.counter(BytesCount::new(size)).bench_local(|| machine.snapshot());
}

fn loaded<M: Snapshot>(bencher: Bencher<'_, '_>, machine: &M) {
    let snapshot = machine.snapshot();
    let size = BytesCount::new(snapshot.len());
    bencher.counter(size).bench_local(|| M::restore(&snapshot).expect("it was just saved"));
}
