//! Bytes, into frames.

use core::ops::Range;

use memchr::memmem;

use super::{ID_END, Limits, MAGIC, PREFIX, REQUEST_HEADER, RESPONSE_HEADER};
use crate::error::ProtocolError;
use crate::wire::WireId;

/// Where the method of a request starts.
const METHOD_START: usize = ID_END + 1;

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
crate::saved!(enum Mode { 0 = Strict, 1 = Resync });

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
crate::saved!(struct RequestHead { id, method, content });

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
// Always, as what it is made of: handed over through memory, what was found costs half as much as finding it.
#[inline(always)]
pub fn decode_request(bytes: &[u8], limits: &Limits, mode: Mode) -> Result<Step<RequestHead>, ProtocolError> {
    match request_ends(bytes, limits) {
        Ok((method, frame)) if frame <= bytes.len() => Ok(Step::Frame(RequestHead {
            id: id(bytes),
            method: METHOD_START..method,
            content: method + size_of::<u32>()..frame,
        })),
        Ok((_, needed)) => Ok(Step::Need(needed)),
        Err(error) => resync(bytes, error, mode),
    }
}

/// Looks for a response at the start of `bytes`.
///
/// # Errors
/// In [`Mode::Strict`], as soon as the bytes that are there cannot begin a response: at the first byte of a wrong
/// magic, at a wrong version, at a content length above the limit.
#[inline(always)]
pub fn decode_response(
    bytes: &[u8],
    limits: &Limits,
    mode: Mode,
) -> Result<Step<ResponseHead>, ProtocolError> {
    match response_end(bytes, limits) {
        Ok(frame) if frame <= bytes.len() => {
            Ok(Step::Frame(ResponseHead { id: id(bytes), content: RESPONSE_HEADER..frame }))
        }
        Ok(needed) => Ok(Step::Need(needed)),
        Err(error) => resync(bytes, error, mode),
    }
}

/// Where the method ends, and where the frame does. While the header is not all there, the second is where the part
/// of it ends that has to be there next; either way more is needed if the slice is shorter.
///
/// The ends alone, because building a `Step` here and passing it on costs a copy that takes as long as the rest.
#[inline(always)]
fn request_ends(bytes: &[u8], limits: &Limits) -> Result<(usize, usize), ProtocolError> {
    let Some(head) = bytes.first_chunk::<REQUEST_HEADER>() else { return short_request(bytes) };
    check_prefix(head)?;
    let method_end = METHOD_START + usize::from(head[ID_END]);
    check_method(bytes, method_end)?;
    match bytes[METHOD_START..].get(method_end - METHOD_START..).and_then(<[u8]>::first_chunk) {
        Some(content_len) => Ok((method_end, content_end(method_end, *content_len, limits)?)),
        None => Ok((method_end, method_end + size_of::<u32>())),
    }
}

/// Where the frame ends, or else the header, if it is not all there.
#[inline(always)]
fn response_end(bytes: &[u8], limits: &Limits) -> Result<usize, ProtocolError> {
    check_prefix(bytes)?;
    match bytes.first_chunk::<RESPONSE_HEADER>() {
        Some(&[.., a, b, c, d]) => content_end(ID_END, [a, b, c, d], limits),
        None => Ok(RESPONSE_HEADER),
    }
}

#[cold]
fn short_request(bytes: &[u8]) -> Result<(usize, usize), ProtocolError> {
    check_prefix(bytes)?;
    if let Some(&len) = bytes.get(ID_END) {
        check_method(bytes, METHOD_START + usize::from(len))?;
    }
    Ok((METHOD_START, REQUEST_HEADER))
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

/// Whether the method is UTF-8, once all of it is there. Nearly all are ASCII, which is told without a call.
#[inline]
fn check_method(bytes: &[u8], end: usize) -> Result<(), ProtocolError> {
    let unusual = bytes.get(METHOD_START..end).filter(|method| !method.is_ascii());
    match unusual.map(core::str::from_utf8) {
        Some(Err(_)) => Err(ProtocolError::BadMethod),
        _ => Ok(()),
    }
}

/// Where the content ends whose length is written at `at`. Content that this machine cannot address never
/// arrives, so that saturating is only a longer wait.
#[inline]
fn content_end(at: usize, len: [u8; 4], limits: &Limits) -> Result<usize, ProtocolError> {
    let len = u32::from_le_bytes(len);
    if len > limits.content {
        return Err(ProtocolError::TooLarge { len: u64::from(len), limit: u64::from(limits.content) });
    }
    Ok((at + size_of::<u32>()).saturating_add(len as usize))
}

#[inline]
fn id(frame: &[u8]) -> WireId {
    let mut id = [0; 16];
    id.copy_from_slice(&frame[PREFIX.len()..ID_END]);
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
