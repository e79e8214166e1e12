//! UW v1: a stream of frames, decoded by the library and by the plainest loop that could do it.
//!
//! The loop trusts its peer: it looks at lengths alone. What the library costs beyond it is the checking.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const FRAMES: u32 = 1_000;
const METHOD: &str = "getUserProfile";

fn main() {
    divan::main();
}

/// 1,000 requests of 92 bytes each, all but the last one followed by the next.
fn requests() -> Vec<u8> {
    let content = [b'x'; 92 - 24 - METHOD.len()];
    let mut bytes = Vec::new();
    for n in 0..FRAMES {
        encode_request(&mut bytes, WireId::new(n, 0, 7), METHOD, &content, &Limits::default()).unwrap();
    }
    assert_eq!(bytes.len(), 92 * FRAMES as usize);
    bytes
}

/// 1,000 responses of 92 bytes each.
fn responses() -> Vec<u8> {
    let content = [b'x'; 92 - 23];
    let mut bytes = Vec::new();
    for n in 0..FRAMES {
        encode_response(&mut bytes, WireId::new(n, 0, 7), &content, &Limits::default()).unwrap();
    }
    assert_eq!(bytes.len(), 92 * FRAMES as usize);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

#[divan::bench]
fn decode_requests(bencher: Bencher<'_, '_>) {
    let bytes = requests();
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut rest = black_box(&bytes[..]);
        while let Ok(Step::Frame(head)) = decode_request(rest, &limits, Mode::Strict) {
            let end = head.content.end;
            black_box((head.id, &rest[head.method], &rest[head.content]));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
    });
}

#[divan::bench]
fn decode_requests_by_hand(bencher: Bencher<'_, '_>) {
    let bytes = requests();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut rest = black_box(&bytes[..]);
        while rest.len() >= 24 {
            let method = 20 + usize::from(rest[19]);
            let end = method + 4 + u32_at(rest, method);
            black_box((&rest[3..19], &rest[20..method], &rest[method + 4..end]));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
    });
}

#[divan::bench]
fn decode_responses(bencher: Bencher<'_, '_>) {
    let bytes = responses();
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut rest = black_box(&bytes[..]);
        while let Ok(Step::Frame(head)) = decode_response(rest, &limits, Mode::Strict) {
            let end = head.content.end;
            black_box((head.id, &rest[head.content]));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
    });
}

#[divan::bench]
fn decode_responses_by_hand(bencher: Bencher<'_, '_>) {
    let bytes = responses();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut rest = black_box(&bytes[..]);
        while rest.len() >= 23 {
            let end = 23 + u32_at(rest, 19);
            black_box((&rest[3..19], &rest[23..end]));
            rest = &rest[end..];
        }
        assert!(rest.is_empty());
    });
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
