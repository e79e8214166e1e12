//! Insert and take of a request that waits for its answer, 256 in flight, beside a hash map.

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll_benches::parts::pending::{ByHash, Ours};

const REQUESTS: u32 = 1_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn ours(bencher: Bencher<'_, '_>) {
    let mut ours = Ours::default();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| (0..REQUESTS).for_each(|_| ours.request()));
}

#[divan::bench]
fn hash_map(bencher: Bencher<'_, '_>) {
    let mut map = ByHash::default();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| (0..REQUESTS).for_each(|_| map.request()));
}
