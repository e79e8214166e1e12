//! UW v1, decoded by the library and by hand, and encoded.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_benches::parts::decode::{self, METHOD};
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, encode_request};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const FRAMES: u32 = 1_000;

fn main() {
    divan::main();
}

#[divan::bench(args = [Mode::Strict, Mode::Resync])]
fn decode_requests(bencher: Bencher<'_, '_>, mode: Mode) {
    let bytes = decode::requests(FRAMES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| decode::decode_requests(&bytes, mode));
}

#[divan::bench]
fn decode_requests_by_hand(bencher: Bencher<'_, '_>) {
    let bytes = decode::requests(FRAMES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| decode::decode_requests_by_hand(&bytes));
}

#[divan::bench(args = [Mode::Strict, Mode::Resync])]
fn decode_responses(bencher: Bencher<'_, '_>, mode: Mode) {
    let bytes = decode::responses(FRAMES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| decode::decode_responses(&bytes, mode));
}

#[divan::bench]
fn decode_responses_by_hand(bencher: Bencher<'_, '_>) {
    let bytes = decode::responses(FRAMES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| decode::decode_responses_by_hand(&bytes));
}

#[divan::bench]
fn encode_requests(bencher: Bencher<'_, '_>) {
    let content = [b'x'; 92 - 24 - METHOD.len()];
    let limits = Limits::default();
    let mut bytes = Vec::with_capacity(92 * FRAMES as usize);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        bytes.clear();
        for n in 0..FRAMES {
            encode_request(&mut bytes, WireId::new(n, 0, 7), METHOD, black_box(&content), &limits).unwrap();
        }
        black_box(&bytes);
    });
}
