//! UW v1: a stream of frames, decoded by the library and by the plainest loop that could do it.
//!
//! The loop trusts its peer: it looks at lengths alone. What the library costs beyond it is the checking.

use core::hint::black_box;

use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};

/// The method of every request.
pub const METHOD: &str = "getUserProfile";

/// Requests of 92 bytes each, all but the last one followed by the next.
pub fn requests(frames: u32) -> Vec<u8> {
    let content = [b'x'; 92 - 24 - METHOD.len()];
    let mut bytes = Vec::new();
    for n in 0..frames {
        encode_request(&mut bytes, WireId::new(n, 0, 7), METHOD, &content, &Limits::default())
            .expect("a small frame");
    }
    assert_eq!(bytes.len(), 92 * frames as usize);
    bytes
}

/// Responses of 92 bytes each.
pub fn responses(frames: u32) -> Vec<u8> {
    let content = [b'x'; 92 - 23];
    let mut bytes = Vec::new();
    for n in 0..frames {
        encode_response(&mut bytes, WireId::new(n, 0, 7), &content, &Limits::default())
            .expect("a small frame");
    }
    assert_eq!(bytes.len(), 92 * frames as usize);
    bytes
}

/// Decodes all requests.
///
/// # Panics
/// If one is not as it should be.
#[inline]
pub fn decode_requests(bytes: &[u8], mode: Mode) {
    let limits = Limits::default();
    let mut rest = black_box(bytes);
    while let Ok(Step::Frame(head)) = decode_request(rest, &limits, mode) {
        let end = head.content.end;
        black_box((head.id, &rest[head.method], &rest[head.content]));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
}

/// The same by hand.
///
/// # Panics
/// If one is not as it should be.
#[inline]
pub fn decode_requests_by_hand(bytes: &[u8]) {
    let mut rest = black_box(bytes);
    while rest.len() >= 24 {
        let method = 20 + usize::from(rest[19]);
        let end = method + 4 + u32_at(rest, method);
        black_box((&rest[3..19], &rest[20..method], &rest[method + 4..end]));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
}

/// Decodes all responses.
///
/// # Panics
/// If one is not as it should be.
#[inline]
pub fn decode_responses(bytes: &[u8], mode: Mode) {
    let limits = Limits::default();
    let mut rest = black_box(bytes);
    while let Ok(Step::Frame(head)) = decode_response(rest, &limits, mode) {
        let end = head.content.end;
        black_box((head.id, &rest[head.content]));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
}

/// The same by hand.
///
/// # Panics
/// If one is not as it should be.
#[inline]
pub fn decode_responses_by_hand(bytes: &[u8]) {
    let mut rest = black_box(bytes);
    while rest.len() >= 23 {
        let end = 23 + u32_at(rest, 19);
        black_box((&rest[3..19], &rest[23..end]));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}
