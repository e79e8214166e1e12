//! Pick, rate limit, breaker and checkout together, beside tower `p2c`, governor, recloser and deadpool.
//!
//! Allocations are not counted: tower makes one a request, and would pay for the counting.

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll_benches::parts::{peers, pick};

const REQUESTS: u32 = 1_000;

fn main() {
    divan::main();
}

fn measure(bencher: Bencher<'_, '_>, mut request: impl FnMut()) {
    // The first ones dial, fill pools and grow tables.
    (0..10_000).for_each(|_| request());
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| (0..REQUESTS).for_each(|_| request()));
}

#[divan::bench(args = [10, 100])]
fn ours(bencher: Bencher<'_, '_>, endpoints: usize) {
    let mut ours = pick::Ours::new(endpoints);
    measure(bencher, || ours.request());
}

#[divan::bench(args = [10, 100])]
fn four_by_peak_ewma(bencher: Bencher<'_, '_>, endpoints: usize) {
    let mut four = peers::by_peak_ewma(endpoints);
    measure(bencher, || four.request());
}

#[divan::bench(args = [10, 100])]
fn four_by_pending_requests(bencher: Bencher<'_, '_>, endpoints: usize) {
    let mut four = peers::by_pending_requests(endpoints);
    measure(bencher, || four.request());
}
