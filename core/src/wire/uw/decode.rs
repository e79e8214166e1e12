//! Bytes, into frames.

use core::ops::Range;

use memchr::memmem;

use super::{ID_END, Limits, MAGIC, PREFIX, REQUEST_HEADER, RESPONSE_HEADER};
use crate::error::ProtocolError;
use crate::wire::WireId;

/// What to do about bytes that cannot begin a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The first of them is an error, and nothing guesses what comes after it.
    #[default]
    Strict,
    /// They are skipped, as the public client does: up to the next magic; 1 byte for a version that is not
    /// spoken here; 3 bytes for content above the limit, or a method that is not UTF-8.
    Resync,
}

/// How far a decoder came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// What is there can begin a frame. Asking again makes sense once so many bytes are there, counted from the
    /// start of the slice; always more than it has. First the smallest header, then the header with the method,
    /// then the whole frame, so that a buffer can be sized by it.
    Need(usize),
    /// A whole frame stands at the start of the slice.
    Frame(T),
    /// [`Mode::Resync`] only: so many bytes, at least one, are garbage. Drop them, and ask again.
    Skip(usize),
}

/// A request, lent: ranges into the slice that was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The peer's id of the request.
    pub id: WireId,
    /// Where the method stands; it is UTF-8.
    pub method: Range<usize>,
    /// Where the content stands; the frame ends with it.
    pub content: Range<usize>,
}

/// A response, lent: a range into the slice that was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The id of the request that this answers.
    pub id: WireId,
    /// Where the content stands; the frame ends with it.
    pub content: Range<usize>,
}

/// Looks for a request at the start of `bytes`.
///
/// # Errors
/// In [`Mode::Strict`], as soon as the bytes that are there cannot begin a request: at the first byte of a wrong
/// magic, at a wrong version, at the end of a method that is not UTF-8, at a content length above the limit.
#[inline]
pub fn decode_request(bytes: &[u8], limits: &Limits, mode: Mode) -> Result<Step<RequestHead>, ProtocolError> {
    request(bytes, limits).or_else(|error| resync(bytes, error, mode))
}

/// Looks for a response at the start of `bytes`.
///
/// # Errors
/// In [`Mode::Strict`], as soon as the bytes that are there cannot begin a response: at the first byte of a wrong
/// magic, at a wrong version, at a content length above the limit.
#[inline]
pub fn decode_response(
    bytes: &[u8],
    limits: &Limits,
    mode: Mode,
) -> Result<Step<ResponseHead>, ProtocolError> {
    response(bytes, limits).or_else(|error| resync(bytes, error, mode))
}

#[inline]
fn request(bytes: &[u8], limits: &Limits) -> Result<Step<RequestHead>, ProtocolError> {
    let Some(head) = bytes.first_chunk::<REQUEST_HEADER>() else { return short_request(bytes) };
    check_prefix(head)?;
    let method = method_range(head[ID_END]);
    check_method(bytes, &method)?;
    let Some(content_len) = bytes[method.start..].get(method.len()..).and_then(<[u8]>::first_chunk) else {
        return Ok(Step::Need(method.end + size_of::<u32>()));
    };
    let content = content_range(method.end, *content_len, limits)?;
    if bytes.len() < content.end {
        return Ok(Step::Need(content.end));
    }
    Ok(Step::Frame(RequestHead { id: id(head), method, content }))
}

#[inline]
fn response(bytes: &[u8], limits: &Limits) -> Result<Step<ResponseHead>, ProtocolError> {
    let Some(head) = bytes.first_chunk::<RESPONSE_HEADER>() else {
        return check_prefix(bytes).map(|()| Step::Need(RESPONSE_HEADER));
    };
    check_prefix(head)?;
    let content_len = [head[ID_END], head[ID_END + 1], head[ID_END + 2], head[ID_END + 3]];
    let content = content_range(ID_END, content_len, limits)?;
    if bytes.len() < content.end {
        return Ok(Step::Need(content.end));
    }
    Ok(Step::Frame(ResponseHead { id: id(head), content }))
}

#[cold]
fn short_request(bytes: &[u8]) -> Result<Step<RequestHead>, ProtocolError> {
    check_prefix(bytes)?;
    if let Some(&len) = bytes.get(ID_END) {
        check_method(bytes, &method_range(len))?;
    }
    Ok(Step::Need(REQUEST_HEADER))
}

/// Whether what is there of magic and version is right.
#[inline]
fn check_prefix(bytes: &[u8]) -> Result<(), ProtocolError> {
    if bytes.starts_with(&PREFIX) { Ok(()) } else { check_part_of_prefix(bytes) }
}

#[cold]
fn check_part_of_prefix(bytes: &[u8]) -> Result<(), ProtocolError> {
    let wrong = bytes.iter().zip(PREFIX).find(|&(&byte, expected)| byte != expected);
    match wrong {
        None => Ok(()),
        Some(_) if bytes.starts_with(&MAGIC) => Err(ProtocolError::BadVersion(bytes[MAGIC.len()])),
        Some(_) => Err(ProtocolError::BadMagic),
    }
}

/// Whether the method is UTF-8, once all of it is there.
#[inline]
fn check_method(bytes: &[u8], method: &Range<usize>) -> Result<(), ProtocolError> {
    match bytes.get(method.clone()).map(core::str::from_utf8) {
        Some(Err(_)) => Err(ProtocolError::BadMethod),
        _ => Ok(()),
    }
}

#[inline]
fn method_range(len: u8) -> Range<usize> {
    let start = ID_END + 1;
    start..start + usize::from(len)
}

/// Where the content stands whose length is written at `at`. A content that this machine cannot address never
/// arrives, so that saturating is only a longer wait.
#[inline]
fn content_range(at: usize, len: [u8; 4], limits: &Limits) -> Result<Range<usize>, ProtocolError> {
    let len = u32::from_le_bytes(len);
    if len > limits.content {
        return Err(ProtocolError::TooLarge { len: u64::from(len), limit: u64::from(limits.content) });
    }
    let start = at + size_of::<u32>();
    Ok(start..start.saturating_add(len as usize))
}

#[inline]
fn id<const N: usize>(head: &[u8; N]) -> WireId {
    let mut id = [0; 16];
    id.copy_from_slice(&head[PREFIX.len()..ID_END]);
    WireId(id)
}

#[cold]
fn resync<T>(bytes: &[u8], error: ProtocolError, mode: Mode) -> Result<Step<T>, ProtocolError> {
    match (mode, error) {
        (Mode::Strict, _) => Err(error),
        (Mode::Resync, ProtocolError::BadMagic) => Ok(Step::Skip(before_magic(bytes))),
        (Mode::Resync, ProtocolError::BadVersion(_)) => Ok(Step::Skip(1)),
        (Mode::Resync, _) => Ok(Step::Skip(PREFIX.len())),
    }
}

/// How many bytes, at least one, stand before the next magic, or before a last byte that may begin one.
fn before_magic(bytes: &[u8]) -> usize {
    match memmem::find(&bytes[1..], &MAGIC) {
        Some(skipped) => skipped + 1,
        None if bytes.len() > 1 && bytes.ends_with(&MAGIC[..1]) => bytes.len() - 1,
        None => bytes.len(),
    }
}
