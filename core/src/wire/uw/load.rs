//! A ping that asks how busy the peer is, and its answer: an addition of ours, which other servers answer as any ping.

use alloc::vec::Vec;
use core::time::Duration;

use super::encode::write_number;
use super::write_ping_content;
use crate::wire::Load;

/// The content of a ping that asks for the load.
pub const LOAD_PING: &[u8] = br#"{"timestamp":0,"load":true}"#;

/// Content up to this length is searched; a ping's is short.
const SEARCHED: usize = 128;

/// Whether the content of a ping asks for the load.
pub fn asks_for_load(content: &[u8]) -> bool {
    find(content, br#""load":true"#).is_some()
}

/// Appends the answer to a ping that asked: `{"timestamp":N,"in_flight":N,"latency_us":N}`.
pub fn write_load(out: &mut Vec<u8>, unix_ms: u64, load: Load) {
    write_ping_content(out, unix_ms);
    out.pop();
    out.extend_from_slice(br#","in_flight":"#);
    write_number(out, u64::from(load.in_flight));
    out.extend_from_slice(br#","latency_us":"#);
    write_number(out, u64::try_from(load.latency.as_micros()).unwrap_or(u64::MAX));
    out.push(b'}');
}

/// The load in the answer to a ping; `None` from a server that does not tell.
pub fn read_load(content: &[u8]) -> Option<Load> {
    let in_flight = number(content, br#""in_flight":"#)?;
    let latency = Duration::from_micros(number(content, br#""latency_us":"#)?);
    Some(Load { in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX), latency })
}

/// What follows the first `needle`.
fn find<'a>(content: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    let content = &content[..content.len().min(SEARCHED)];
    let at = content.windows(needle.len()).position(|window| window == needle)?;
    Some(&content[at + needle.len()..])
}

fn number(content: &[u8], name: &[u8]) -> Option<u64> {
    let rest = find(content, name)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    core::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn what_is_written_is_json_and_is_read_back(unix_ms: u64, in_flight: u32, micros: u64) -> bool {
            let load = Load { in_flight, latency: Duration::from_micros(micros) };
            let mut content = Vec::new();
            write_load(&mut content, unix_ms, load);
            let json: serde_json::Value = serde_json::from_slice(&content).unwrap();
            read_load(&content) == Some(load) && json["timestamp"] == unix_ms && json["in_flight"] == in_flight
        }

        fn anything_can_be_read(content: Vec<u8>) -> bool {
            read_load(&content).is_none() && !asks_for_load(&content)
        }
    }

    #[test]
    fn only_a_ping_that_asks_is_told_more() {
        assert!(asks_for_load(LOAD_PING));
        assert!(
            !asks_for_load(br#"{"timestamp":1}"#)
                && !asks_for_load(b"")
                && !asks_for_load(br#"{"load":false}"#)
        );
        assert_eq!(read_load(br#"{"timestamp":1}"#), None);
        assert_eq!(read_load(br#"{"in_flight":,"latency_us":3}"#), None);
        assert_eq!(read_load(br#"{"in_flight":99999999999999999999,"latency_us":3}"#), None);
    }
}
