//! How many events of virtual time a core lives through in a second, beside a loop that does nothing in each.

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll_benches::parts::worlds::{BareLoop, Fleet, Size};

/// Events of one iteration.
const EVENTS: u64 = 10_000;

fn main() {
    divan::main();
}

/// Requests come so close together that many share an event.
#[divan::bench]
fn fleet_of_10_servers(bencher: Bencher<'_, '_>) {
    fleet(bencher, Size { clients: 4, servers: 10, subset: 10, rate: 100_000 });
}

/// Ten requests a second at each server, so that each has its events for itself; all of it fits into a cache.
#[divan::bench]
fn fleet_of_100_servers(bencher: Bencher<'_, '_>) {
    fleet(bencher, Size { clients: 10, servers: 100, subset: 10, rate: 1_000 });
}

/// The same, and nothing of it fits.
#[divan::bench]
fn fleet_of_10_000_servers(bencher: Bencher<'_, '_>) {
    fleet(bencher, Size { clients: 100, servers: 10_000, subset: 100, rate: 100_000 });
}

#[divan::bench(args = [10, 100, 10_000])]
fn bare_loop(bencher: Bencher<'_, '_>, hosts: u32) {
    bare(bencher, BareLoop::new(hosts, 1));
}

/// As many lines that are in no cache as an event of the largest fleet has, by callgrind's count: what memory alone costs.
#[divan::bench]
fn bare_loop_out_of_cache(bencher: Bencher<'_, '_>) {
    bare(bencher, BareLoop::new(10_000, 19));
}

fn bare(bencher: Bencher<'_, '_>, mut bare: BareLoop) {
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| bare.live(EVENTS));
}

fn fleet(bencher: Bencher<'_, '_>, size: Size) {
    let mut fleet = Fleet::new(size);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| fleet.live(EVENTS));
}
