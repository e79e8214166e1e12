//! The UW wire, version 1: vectors, and laws that hold for all bytes and all cuts.

use plimsoll_core::error::{Misuse, ProtocolError};
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, PING, REQUEST_HEADER, RESPONSE_HEADER, RequestHead, ResponseHead, Step, decode_request,
    decode_response, encode_request, encode_response, set_request_id, write_ping_content,
};
use quickcheck::{TestResult, quickcheck};

const LIMITS: Limits = Limits { content: 1_000 };
const ID: WireId =
    WireId([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);

const REQUEST: &str = "55 57 01 00112233445566778899aabbccddeeff 07 67657455736572 08000000 7b226964223a317d";
const RESPONSE: &str = "55 57 01 00112233445566778899aabbccddeeff 0b000000 7b226f6b223a747275657d";
const EMPTY_REQUEST: &str = "55 57 01 00112233445566778899aabbccddeeff 00 00000000";
const EMPTY_RESPONSE: &str = "55 57 01 00112233445566778899aabbccddeeff 00000000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn request(method: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&mut out, ID, method, content, &LIMITS).unwrap();
    out
}

fn response(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_response(&mut out, ID, content, &LIMITS).unwrap();
    out
}

#[test]
fn a_request_is_these_bytes() {
    assert_eq!(request("getUser", br#"{"id":1}"#), hex(REQUEST));
    assert_eq!(request("", b""), hex(EMPTY_REQUEST));
    assert_eq!(hex(EMPTY_REQUEST).len(), REQUEST_HEADER);
    let head = RequestHead { id: ID, method: 20..27, content: 31..39 };
    assert_eq!(decode_request(&hex(REQUEST), &LIMITS, Mode::Strict), Ok(Step::Frame(head)));
    let head = RequestHead { id: ID, method: 20..20, content: 24..24 };
    assert_eq!(decode_request(&hex(EMPTY_REQUEST), &LIMITS, Mode::Strict), Ok(Step::Frame(head)));
}

#[test]
fn a_response_is_these_bytes() {
    assert_eq!(response(br#"{"ok":true}"#), hex(RESPONSE));
    assert_eq!(response(b""), hex(EMPTY_RESPONSE));
    assert_eq!(hex(EMPTY_RESPONSE).len(), RESPONSE_HEADER);
    let head = ResponseHead { id: ID, content: 23..34 };
    assert_eq!(decode_response(&hex(RESPONSE), &LIMITS, Mode::Strict), Ok(Step::Frame(head)));
    let head = ResponseHead { id: ID, content: 23..23 };
    assert_eq!(decode_response(&hex(EMPTY_RESPONSE), &LIMITS, Mode::Strict), Ok(Step::Frame(head)));
}

#[test]
fn a_ping_is_these_bytes() {
    let ping = |unix_ms| {
        let mut content = Vec::new();
        write_ping_content(&mut content, unix_ms);
        String::from_utf8(content).unwrap()
    };
    assert_eq!(PING, "ping");
    assert_eq!(ping(0), r#"{"timestamp":0}"#);
    assert_eq!(ping(1_700_000_000_123), r#"{"timestamp":1700000000123}"#);
    assert_eq!(ping(u64::MAX), r#"{"timestamp":18446744073709551615}"#);
}

#[test]
fn a_method_has_at_most_255_bytes() {
    let longest = "m".repeat(255);
    let bytes = request(&longest, b"{}");
    let head = RequestHead { id: ID, method: 20..275, content: 279..281 };
    assert_eq!(decode_request(&bytes, &LIMITS, Mode::Strict), Ok(Step::Frame(head)));

    let mut out = b"before".to_vec();
    let refused = encode_request(&mut out, ID, &"m".repeat(256), b"{}", &LIMITS);
    assert_eq!(refused, Err(Misuse::MethodTooLong { len: 256, limit: 255 }));
    assert_eq!(out, b"before");
}

#[test]
fn content_above_the_limit_is_neither_sent_nor_waited_for() {
    let content = [b' '; 1_001];
    let mut out = b"before".to_vec();
    let misuse = Misuse::ContentTooLarge { len: 1_001, limit: 1_000 };
    assert_eq!(encode_request(&mut out, ID, "m", &content, &LIMITS), Err(misuse));
    assert_eq!(encode_response(&mut out, ID, &content, &LIMITS), Err(misuse));
    assert_eq!(out, b"before");
    let largest = response(&content[..1_000]);
    assert!(matches!(decode_response(&largest, &LIMITS, Mode::Strict), Ok(Step::Frame(_))));

    let error = ProtocolError::TooLarge { len: 0xffff_ffff, limit: 1_000 };
    let header = hex("55 57 01 00112233445566778899aabbccddeeff ffffffff");
    assert_eq!(decode_response(&header, &LIMITS, Mode::Strict), Err(error));
    let header = hex("55 57 01 00112233445566778899aabbccddeeff 01 6d ffffffff");
    assert!(decode_request(&header[..24], &LIMITS, Mode::Strict).is_ok());
    assert_eq!(decode_request(&header, &LIMITS, Mode::Strict), Err(error));
    assert_eq!(Limits::default().content, 10 * 1024 * 1024);
}

#[test]
fn a_header_says_how_much_to_wait_for() {
    let bytes = request("getUser", &[b'1'; 900]);
    let need = |n: usize| decode_request(&bytes[..n], &LIMITS, Mode::Strict);
    assert_eq!(need(0), Ok(Step::Need(24)));
    assert_eq!(need(23), Ok(Step::Need(24)));
    assert_eq!(need(24), Ok(Step::Need(31)));
    assert_eq!(need(31), Ok(Step::Need(931)));
    assert_eq!(need(930), Ok(Step::Need(931)));

    let bytes = response(&[b'1'; 900]);
    let need = |n: usize| decode_response(&bytes[..n], &LIMITS, Mode::Strict);
    assert_eq!(need(0), Ok(Step::Need(23)));
    assert_eq!(need(22), Ok(Step::Need(23)));
    assert_eq!(need(23), Ok(Step::Need(923)));
    assert_eq!(need(922), Ok(Step::Need(923)));
}

/// Writes `byte` at `at` of a good frame: the prefix before it must pass, the prefix with it must not.
#[track_caller]
fn assert_first_impossible(frame: &str, at: usize, byte: u8, error: ProtocolError) {
    let mut bytes = hex(frame);
    bytes[at] = byte;
    type Decoded = Result<usize, ProtocolError>;
    let as_request = |bytes: &[u8]| -> Decoded {
        decode_request(bytes, &LIMITS, Mode::Strict).map(|step| if let Step::Need(n) = step { n } else { 0 })
    };
    let as_response = |bytes: &[u8]| -> Decoded {
        decode_response(bytes, &LIMITS, Mode::Strict).map(|step| if let Step::Need(n) = step { n } else { 0 })
    };
    let decode: &dyn Fn(&[u8]) -> Decoded = if frame == RESPONSE { &as_response } else { &as_request };
    for n in 0..=at {
        assert!(decode(&bytes[..n]).unwrap() > n, "the first {n} bytes are good");
    }
    for n in at + 1..=bytes.len() {
        assert_eq!(decode(&bytes[..n]), Err(error), "with {n} bytes");
    }
}

#[test]
fn strict_fails_at_the_first_byte_that_cannot_be() {
    for frame in [REQUEST, RESPONSE] {
        assert_first_impossible(frame, 0, 0x54, ProtocolError::BadMagic);
        assert_first_impossible(frame, 1, 0x55, ProtocolError::BadMagic);
        assert_first_impossible(frame, 2, 0x02, ProtocolError::BadVersion(2));
    }
    let too_large = ProtocolError::TooLarge { len: 0x0100_0008, limit: 1_000 };
    assert_first_impossible(REQUEST, 30, 1, too_large);
    let too_large = ProtocolError::TooLarge { len: 0x0100_000b, limit: 1_000 };
    assert_first_impossible(RESPONSE, 22, 1, too_large);
}

#[test]
fn strict_fails_at_the_end_of_a_method_that_is_not_utf8() {
    assert_first_impossible(REQUEST, 26, 0xff, ProtocolError::BadMethod);
    // Complete before the smallest header is.
    let one_byte = "55 57 01 00112233445566778899aabbccddeeff 01 6d 00000000";
    assert_first_impossible(one_byte, 20, 0xc3, ProtocolError::BadMethod);
}

#[test]
fn resync_skips_as_the_public_client_does() {
    let skipped = |text: &str| match decode_response(&hex(text), &LIMITS, Mode::Resync).unwrap() {
        Step::Skip(n) => n,
        other => panic!("{other:?}"),
    };
    assert_eq!(skipped("00"), 1);
    assert_eq!(skipped("00 01 02"), 3, "no magic at all");
    assert_eq!(skipped("00 01 55"), 2, "the last byte may begin a magic");
    assert_eq!(skipped("55 55"), 1);
    assert_eq!(skipped("55 00 55 01 55 57 01"), 4, "up to the next magic");
    assert_eq!(skipped("55 57 02"), 1, "a version that is not spoken");
    assert_eq!(skipped("55 57 01 00112233445566778899aabbccddeeff ffffffff"), 3, "content above the limit");

    let bad_method = hex("55 57 01 00112233445566778899aabbccddeeff 01 ff");
    assert_eq!(decode_request(&bad_method, &LIMITS, Mode::Resync), Ok(Step::Skip(3)));
}

#[test]
fn a_retry_has_another_id_and_is_else_the_same() {
    let mut frame = request("getUser", b"{}");
    let other = WireId::new(1, 2, 3);
    set_request_id(&mut frame, other);
    let mut expected = Vec::new();
    encode_request(&mut expected, other, "getUser", b"{}", &LIMITS).unwrap();
    assert_eq!(frame, expected);
}

/// What a stream of bytes amounts to.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Method (none in responses) and content of each frame.
    frames: Vec<(Vec<u8>, Vec<u8>)>,
    skipped: usize,
    error: Option<ProtocolError>,
    /// Bytes that wait for more; 0 after an error.
    left: usize,
}

#[derive(Clone, Copy)]
enum Side {
    Requests,
    Responses,
}

/// One step over `bytes`: how many are consumed (0: wait), and the frame among them.
fn step(side: Side, bytes: &[u8], mode: Mode, seen: &mut Seen) -> Result<usize, ProtocolError> {
    let (step, method) = match side {
        Side::Requests => match decode_request(bytes, &LIMITS, mode)? {
            Step::Frame(head) => {
                assert!(std::str::from_utf8(&bytes[head.method.clone()]).is_ok());
                (Step::Frame(head.content), bytes[head.method].to_vec())
            }
            Step::Need(n) => (Step::Need(n), vec![]),
            Step::Skip(n) => (Step::Skip(n), vec![]),
        },
        Side::Responses => match decode_response(bytes, &LIMITS, mode)? {
            Step::Frame(head) => (Step::Frame(head.content), vec![]),
            Step::Need(n) => (Step::Need(n), vec![]),
            Step::Skip(n) => (Step::Skip(n), vec![]),
        },
    };
    match step {
        Step::Frame(content) => {
            seen.frames.push((method, bytes[content.clone()].to_vec()));
            Ok(content.end)
        }
        Step::Skip(n) => {
            assert!(mode == Mode::Resync && (1..=bytes.len()).contains(&n), "skips {n} of {}", bytes.len());
            seen.skipped += n;
            Ok(n)
        }
        Step::Need(n) => {
            assert!(n > bytes.len(), "needs {n}, has {}", bytes.len());
            Ok(0)
        }
    }
}

/// Feeds `bytes` in pieces of the given sizes (over and over), as a connection would.
fn feed(side: Side, bytes: &[u8], cuts: &[u8], mode: Mode) -> Seen {
    let mut seen = Seen { frames: vec![], skipped: 0, error: None, left: 0 };
    let mut sizes = cuts.iter().map(|&cut| usize::from(cut).max(1)).cycle();
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + sizes.next().unwrap_or(usize::MAX));
        loop {
            match step(side, &bytes[start..end], mode, &mut seen) {
                Ok(0) => break,
                Ok(n) => start += n,
                Err(error) => {
                    seen.error = Some(error);
                    return seen;
                }
            }
        }
    }
    seen.left = end - start;
    seen
}

/// A stream of frames and near misses: each item is (what, payload).
fn stream(side: Side, items: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (what, payload) in items {
        let frame_start = out.len();
        match side {
            Side::Requests => {
                let method = "é".repeat(payload.len() % 9);
                encode_request(&mut out, ID, &method, payload, &LIMITS).unwrap();
            }
            Side::Responses => encode_response(&mut out, ID, payload, &LIMITS).unwrap(),
        }
        match what % 8 {
            0 => out.extend_from_slice(payload),
            1 => out.extend_from_slice(&[0x55, 0x55]),
            2 => out[frame_start + 2] = 9,
            3 => out[frame_start + 22] = 0xff,
            4 => out[frame_start + 20] ^= 0x80,
            _ => {}
        }
    }
    out
}

quickcheck! {
    fn what_is_encoded_is_decoded(id: u128, method: String, content: Vec<u8>, more: Vec<u8>) -> TestResult {
        let id = WireId(id.to_be_bytes());
        let mut bytes = Vec::new();
        if encode_request(&mut bytes, id, &method, &content, &LIMITS).is_err() {
            return TestResult::from_bool(method.len() > 255 && bytes.is_empty());
        }
        let len = bytes.len();
        bytes.extend_from_slice(&more);
        let decoded = decode_request(&bytes, &LIMITS, Mode::Strict);
        let Ok(Step::Frame(head)) = decoded else { return TestResult::error(format!("{decoded:?}")) };
        let request_agrees = head.id == id
            && bytes[head.method] == *method.as_bytes()
            && head.content.end == len
            && bytes[head.content] == *content;

        bytes.clear();
        encode_response(&mut bytes, id, &content, &LIMITS).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(&more);
        let decoded = decode_response(&bytes, &LIMITS, Mode::Strict);
        let Ok(Step::Frame(head)) = decoded else { return TestResult::error(format!("{decoded:?}")) };
        TestResult::from_bool(
            request_agrees && head.id == id && head.content.end == len && bytes[head.content] == *content,
        )
    }

    fn a_part_of_a_frame_is_never_a_frame(method: String, content: Vec<u8>) -> bool {
        let method: String = method.chars().take(60).collect();
        let is_need = |needs: usize, n: usize, len: usize| n < needs && needs <= len;
        let (request, response) = (request(&method, &content), response(&content));
        (0..request.len()).all(|n| match decode_request(&request[..n], &LIMITS, Mode::Strict) {
            Ok(Step::Need(needs)) => is_need(needs, n, request.len()),
            _ => false,
        }) && (0..response.len()).all(|n| match decode_response(&response[..n], &LIMITS, Mode::Strict) {
            Ok(Step::Need(needs)) => is_need(needs, n, response.len()),
            _ => false,
        })
    }

    fn however_the_bytes_are_cut_the_frames_are_the_same(items: Vec<(u8, Vec<u8>)>, cuts: Vec<u8>) -> bool {
        [Side::Requests, Side::Responses].into_iter().all(|side| {
            let bytes = stream(side, &items);
            [Mode::Strict, Mode::Resync].into_iter().all(|mode| {
                let whole = feed(side, &bytes, &[], mode);
                whole == feed(side, &bytes, &cuts, mode) && whole == feed(side, &bytes, &[1], mode)
            })
        })
    }

    fn arbitrary_bytes_neither_panic_nor_get_stuck(bytes: Vec<u8>, prefixed: bool, cuts: Vec<u8>) -> bool {
        let prefix: &[u8] = if prefixed { &[0x55, 0x57, 0x01] } else { &[] };
        let bytes = [prefix, &bytes].concat();
        [Side::Requests, Side::Responses].into_iter().all(|side| {
            [Mode::Strict, Mode::Resync].into_iter().all(|mode| {
                let whole = feed(side, &bytes, &[], mode);
                whole == feed(side, &bytes, &cuts, mode) && (whole.error.is_none() || mode == Mode::Strict)
            })
        })
    }

    fn resync_finds_the_good_frame_after_garbage_without_magic(garbage: Vec<u8>, content: Vec<u8>) -> bool {
        let mut bytes: Vec<u8> = garbage.into_iter().map(|byte| if byte == 0x57 { 0x58 } else { byte }).collect();
        let skipped = bytes.len();
        bytes.extend_from_slice(&response(&content));
        let seen = feed(Side::Responses, &bytes, &[3, 1], Mode::Resync);
        seen == Seen { frames: vec![(vec![], content)], skipped, error: None, left: 0 }
    }
}
