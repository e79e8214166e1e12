//! Frames and the content of pings, into bytes.

use alloc::vec::Vec;

use super::{ID_END, Limits, MAX_METHOD, PREFIX, REQUEST_HEADER, RESPONSE_HEADER};
use crate::error::Misuse;
use crate::wire::WireId;

/// Appends a request.
///
/// # Errors
/// A method above 255 bytes, or content above the limit; `out` is then as it was.
pub fn encode_request(
    out: &mut Vec<u8>,
    id: WireId,
    method: &str,
    content: &[u8],
    limits: &Limits,
) -> Result<(), Misuse> {
    let method_len = u8::try_from(method.len())
        .map_err(|_| Misuse::MethodTooLong { len: method.len() as u64, limit: MAX_METHOD as u64 })?;
    let content_len = content_len(content, limits)?;
    out.reserve(REQUEST_HEADER + method.len() + content.len());
    let mut head = [0; ID_END + 1];
    head[..PREFIX.len()].copy_from_slice(&PREFIX);
    head[PREFIX.len()..ID_END].copy_from_slice(&id.0);
    head[ID_END] = method_len;
    out.extend_from_slice(&head);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(&content_len);
    out.extend_from_slice(content);
    Ok(())
}

/// Appends a response.
///
/// # Errors
/// Content above the limit; `out` is then as it was.
pub fn encode_response(out: &mut Vec<u8>, id: WireId, content: &[u8], limits: &Limits) -> Result<(), Misuse> {
    let content_len = content_len(content, limits)?;
    out.reserve(RESPONSE_HEADER + content.len());
    let mut head = [0; RESPONSE_HEADER];
    head[..PREFIX.len()].copy_from_slice(&PREFIX);
    head[PREFIX.len()..ID_END].copy_from_slice(&id.0);
    head[ID_END..].copy_from_slice(&content_len);
    out.extend_from_slice(&head);
    out.extend_from_slice(content);
    Ok(())
}

/// Gives an encoded frame another id: a request that is tried again must not be mistaken for its first attempt.
///
/// # Panics
/// If `frame` is shorter than a frame's id reaches.
pub fn set_request_id(frame: &mut [u8], id: WireId) {
    frame[PREFIX.len()..ID_END].copy_from_slice(&id.0);
}

/// Appends the content of a ping, `{"timestamp":N}`; the time in milliseconds since 1970.
pub fn write_ping_content(out: &mut Vec<u8>, unix_ms: u64) {
    out.extend_from_slice(br#"{"timestamp":"#);
    write_number(out, unix_ms);
    out.push(b'}');
}

/// Appends a number in decimal digits.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
}

fn content_len(content: &[u8], limits: &Limits) -> Result<[u8; 4], Misuse> {
    match u32::try_from(content.len()) {
        Ok(len) if len <= limits.content => Ok(len.to_le_bytes()),
        _ => Err(Misuse::ContentTooLarge { len: content.len() as u64, limit: u64::from(limits.content) }),
    }
}
