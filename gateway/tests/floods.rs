//! Floods of frames, byte by byte and with the default settings: each ends the connection that sends it, costs
//! little memory, and leaves others alone.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use common::{Gateway, PATIENCE};

const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET http://a/
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
/// POST http://a/api/projects
const POST: &[u8] = b"\x83\x86\x44\x0d/api/projects\x41\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn stream_id(n: u32) -> u32 {
    2 * n + 1
}

/// Sends up to `limit` pieces and takes what comes back; whether the gateway ended the connection.
fn flood(gateway: &Gateway, begin: &[u8], limit: u32, piece: impl Fn(u32) -> Vec<u8>) -> bool {
    const LAST: &[u8; 8] = b"at last!";
    let mut socket = TcpStream::connect(gateway.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = socket.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::<u8>::new(), [0; 65_536]);
        loop {
            match answers.read(&mut buffer) {
                Ok(0) => return true,
                // The answer may be cut in two.
                Ok(n) => all = [&all[all.len().saturating_sub(LAST.len())..], &buffer[..n]].concat(),
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::WouldBlock, "neither an answer nor an end");
                    return true;
                }
            }
            if all.windows(LAST.len()).any(|bytes| bytes == LAST) {
                return false;
            }
        }
    });
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], begin].concat();
    socket.write_all(&preface).unwrap();
    let _ = (0..limit).try_for_each(|n| socket.write_all(&piece(n)));
    let _ = socket.write_all(&frame(PING, 0, 0, LAST));
    reader.join().unwrap()
}

fn peak_memory_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.running.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn every_flood_ends_its_own_connection_in_bounded_memory() {
    let gateway = Gateway::cleartext(&[]);
    let before = peak_memory_kib(&gateway);
    let ten = |bytes: Vec<u8>| bytes.repeat(10);
    let get = |n| frame(HEADERS, END_STREAM | END_HEADERS, stream_id(n), &GET);

    let ended = flood(&gateway, &[], 10_000, |_| ten(frame(PING, 0, 0, b"12345678")));
    assert!(ended, "PING");
    assert!(flood(&gateway, &[], 10_000, |_| ten(frame(SETTINGS, 0, 0, &[]))), "SETTINGS");
    assert!(flood(&gateway, &[], 10_000, |_| ten(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]))), "PRIORITY");
    assert!(flood(&gateway, &[], 10_000, |_| ten(frame(0x77, 0, 0, b"x"))), "unknown frames");
    let open = frame(HEADERS, END_STREAM, 1, &GET);
    assert!(flood(&gateway, &open, 10_000, |_| ten(frame(CONTINUATION, 0, 1, &[]))), "empty CONTINUATION");
    let crumbs = b"\x00\x01a\x01b".repeat(100);
    assert!(flood(&gateway, &open, 10_000, |_| frame(CONTINUATION, 0, 1, &crumbs)), "CONTINUATION");
    let post = frame(HEADERS, END_HEADERS, 1, POST);
    assert!(flood(&gateway, &post, 10_000, |_| ten(frame(0, 0, 1, &[]))), "empty DATA");
    let mistake = |n| [get(n), frame(WINDOW_UPDATE, 0, stream_id(n), &[0; 4])].concat();
    assert!(flood(&gateway, &[], 10_000, mistake), "MadeYouReset");
    // One long header in the table, then thousands of references to it.
    let long = [&GET[..], b"\x40\x01a\x7f\xbd\x1d", &[b'v'; 3_900]].concat();
    let bomb = [&GET[..], &[0xbe; 8_000]].concat();
    let refer = |n| frame(HEADERS, END_STREAM | END_HEADERS, stream_id(n + 1), &bomb);
    let first = frame(HEADERS, END_STREAM | END_HEADERS, 1, &long);
    assert!(flood(&gateway, &first, 10_000, refer), "HPACK bomb");

    let grown = peak_memory_kib(&gateway) - before;
    assert!(grown < 32 << 10, "{grown} KiB more at the peak");
    let answer = gateway.curl("/metrics", &[]);
    assert_eq!(answer.json()["server"]["ended_connections"]["flood"], 4, "{}", answer.body);
}

#[test]
fn busy_clients_that_look_alike_are_left_alone() {
    let gateway = Gateway::cleartext(&[]);
    let pings = flood(&gateway, &[], 5_000, |_| frame(PING, 0, 0, b"12345678"));
    assert!(!pings, "measuring round trips");
    // No more answers than fit a window that this client never widens.
    let gets = |n| frame(HEADERS, END_STREAM | END_HEADERS, stream_id(n), &GET);
    assert!(!flood(&gateway, &[], 200, gets), "many small requests");
    let bodies = |n| match n {
        0..100 => frame(HEADERS, END_HEADERS, stream_id(n), POST),
        n => frame(0, 0, stream_id(n % 100), b" "),
    };
    assert!(!flood(&gateway, &[], 1_100, bodies), "a hundred bodies in single bytes");
}
