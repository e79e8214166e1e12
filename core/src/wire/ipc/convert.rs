//! From one format to the other; the table is in the [module](super)'s documentation.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use thiserror::Error;

use super::value::Checked;
use super::{Format, Value};
use crate::error::{Malformed, Misuse};
use crate::wire::msgpack::{EXACT, Head, UNDEFINED};
use crate::wire::{MAX_DEPTH, json, msgpack};

/// Why a value cannot be said in the other format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A MessagePack extension: nobody but its writer knows what it means.
    #[error("MessagePack's extension type {0} has no counterpart in JSON")]
    Extension(i8),
    /// A key that is no text.
    #[error("a key in the MessagePack map is no text, as every key in JSON is")]
    Key,
    /// A number that no 64-bit float comes near.
    #[error("a number in the JSON is beyond the range of 64-bit floats")]
    Number,
    /// The result is larger than allowed.
    #[error("the message has more than {limit} bytes in the other format, which is the limit")]
    TooLarge {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// It is no value at all; not so for what was checked before.
    #[error("the message cannot be read: {0}")]
    Malformed(#[from] Malformed),
}
crate::saved!(enum ConvertError {
    0 = Extension(value), 1 = Key, 2 = Number, 3 = TooLarge { limit }, 4 = Malformed(value)
});

/// Of no use to its caller but to know that it will never work.
impl From<ConvertError> for Misuse {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::TooLarge { limit } => {
                Misuse::ContentTooLarge { len: limit as u64 + 1, limit: limit as u64 }
            }
            _ => Misuse::Unencodable("the format of the peer has no such value"),
        }
    }
}

/// Appends a value in the format `to`, in at most `limit` bytes.
///
/// # Errors
/// [`ConvertError`]; what was appended is then taken back.
pub fn convert(value: Value<'_>, to: Format, out: &mut Vec<u8>, limit: usize) -> Result<(), ConvertError> {
    let start = out.len();
    let limit = Limit { end: start.saturating_add(limit), limit };
    let result = match (value.0, to) {
        (Checked::Json(text), Format::MessagePack) => pack(text, out, limit),
        (Checked::MessagePack(bytes), Format::Json) => unpack(bytes, out, limit),
        _ => {
            out.extend_from_slice(value.bytes());
            limit.check(out)
        }
    };
    if result.is_err() {
        out.truncate(start);
    }
    result
}

#[derive(Clone, Copy)]
struct Limit {
    end: usize,
    limit: usize,
}

impl Limit {
    fn check(self, out: &[u8]) -> Result<(), ConvertError> {
        if out.len() <= self.end { Ok(()) } else { Err(ConvertError::TooLarge { limit: self.limit }) }
    }
}

/// A container that was begun in MessagePack, whose length is not known before its end.
#[derive(Clone, Copy, Default)]
struct Open {
    object: bool,
    /// Whether its length has four bytes, or two.
    wide: bool,
    /// Where its length stands.
    length_at: usize,
    items: u32,
}

impl Open {
    /// Writes a container's head with room for its length: no more values can follow than half as many as there are
    /// bytes left, so that the room is known beforehand and nothing moves.
    fn begin(object: bool, left: usize, out: &mut Vec<u8>) -> Open {
        let wide = left / 2 > usize::from(u16::MAX);
        out.push(0xdc + 2 * u8::from(object) + u8::from(wide));
        let length_at = out.len();
        out.extend_from_slice(if wide { &[0; 4] } else { &[0; 2] });
        Open { object, wide, length_at, items: 0 }
    }

    fn end(self, out: &mut [u8]) {
        let length = self.items.to_be_bytes();
        let length = if self.wide { &length[..] } else { &length[2..] };
        out[self.length_at..][..length.len()].copy_from_slice(length);
    }
}

fn pack(text: &str, out: &mut Vec<u8>, limit: Limit) -> Result<(), ConvertError> {
    let mut scanner = json::Scanner::new(text);
    let mut stack = [Open::default(); MAX_DEPTH as usize];
    let mut depth = 0;
    loop {
        limit.check(out)?;
        let first = scanner.peek()?;
        if let b'{' | b'[' = first {
            scanner.expect(first)?;
            let place = stack.get_mut(depth).ok_or(Malformed::TooDeep)?;
            *place = Open::begin(first == b'{', scanner.left(), out);
            depth += 1;
            if !scanner.take(if first == b'{' { b'}' } else { b']' })? {
                stack[depth - 1].items = 1;
                if first == b'{' {
                    pack_text(scanner.key()?.0, out);
                }
                continue;
            }
            depth -= 1;
            stack[depth].end(out);
        } else {
            pack_scalar(&mut scanner, out)?;
        }
        while depth > 0 {
            let open = &mut stack[depth - 1];
            if scanner.take(b',')? {
                open.items += 1;
                if open.object {
                    pack_text(scanner.key()?.0, out);
                }
                break;
            }
            scanner.expect(if open.object { b'}' } else { b']' })?;
            open.end(out);
            depth -= 1;
        }
        if depth == 0 {
            return limit.check(out);
        }
    }
}

fn pack_scalar(scanner: &mut json::Scanner<'_>, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    match scanner.value(0)? {
        "null" => msgpack::write_nil(out),
        "true" => msgpack::write_bool(out, true),
        "false" => msgpack::write_bool(out, false),
        text => match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(raw) => pack_text(raw, out),
            None => return pack_number(text, out),
        },
    }
    Ok(())
}

fn pack_text(raw: &str, out: &mut Vec<u8>) {
    let mut len = 0;
    json::for_each_piece(raw, |piece| len += piece.len());
    msgpack::write_text_head(out, len);
    json::for_each_piece(raw, |piece| out.extend_from_slice(piece.as_bytes()));
}

fn pack_number(text: &str, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    if let Ok(value) = text.parse() {
        msgpack::write_unsigned(out, value);
    } else if let Some(value) = text.parse().ok().filter(|&value: &i64| value < 0) {
        msgpack::write_negative(out, value);
    } else {
        let value = text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(ConvertError::Number)?;
        msgpack::write_float(out, value);
    }
    Ok(())
}

/// A container that was begun in JSON.
#[derive(Clone, Copy, Default)]
struct Left {
    object: bool,
    /// Whether something was written in it, so that a comma has to come first.
    comma: bool,
    items: u32,
}

fn unpack(bytes: &[u8], out: &mut Vec<u8>, limit: Limit) -> Result<(), ConvertError> {
    let mut scanner = msgpack::Scanner::new(bytes);
    let mut stack = [Left::default(); MAX_DEPTH as usize];
    let mut depth = 0;
    loop {
        limit.check(out)?;
        let head = scanner.head()?;
        if let Head::Array(items) | Head::Map(items) = head {
            let object = matches!(head, Head::Map(_));
            out.push(if object { b'{' } else { b'[' });
            *stack.get_mut(depth).ok_or(Malformed::TooDeep)? = Left { object, comma: false, items };
            depth += 1;
        } else {
            unpack_scalar(head, out)?;
        }
        // On to the next value: past the ends of containers, and past members that hold nothing.
        while depth > 0 {
            let left = &mut stack[depth - 1];
            if left.items == 0 {
                out.push(if left.object { b'}' } else { b']' });
                depth -= 1;
                continue;
            }
            left.items -= 1;
            if !left.object {
                separate(left, out);
                break;
            }
            let Head::Text(key) = scanner.head()? else { return Err(ConvertError::Key) };
            if scanner.take_if(&UNDEFINED) {
                continue;
            }
            separate(left, out);
            json::write_string(out, key);
            out.push(b':');
            break;
        }
        if depth == 0 {
            return limit.check(out);
        }
    }
}

fn separate(left: &mut Left, out: &mut Vec<u8>) {
    if core::mem::replace(&mut left.comma, true) {
        out.push(b',');
    }
}

fn unpack_scalar(head: Head<'_>, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    match head {
        Head::Nil | Head::Extension(0, [_]) => out.extend_from_slice(b"null"),
        Head::Bool(value) => append(out, format_args!("{value}")),
        Head::Unsigned(value) => append(out, format_args!("{value}")),
        Head::Negative(value) => append(out, format_args!("{value}")),
        Head::Float(value) => write_float(out, value),
        Head::Text(text) => json::write_string(out, text),
        Head::Binary(bytes) => write_base64(out, bytes),
        Head::Extension(kind, _) => return Err(ConvertError::Extension(kind)),
        Head::Array(_) | Head::Map(_) => {}
    }
    Ok(())
}

/// The shortest digits that are read as the same float; whole numbers without a point, as JavaScript writes them.
fn write_float(out: &mut Vec<u8>, value: f64) {
    const WHOLE: f64 = EXACT as f64;
    match value {
        _ if !value.is_finite() => out.extend_from_slice(b"null"),
        _ if value.abs() <= WHOLE && (value.abs() >= 1e-6 || value == 0.0) => {
            append(out, format_args!("{value}"))
        }
        _ => append(out, format_args!("{value:e}")),
    }
}

fn append(out: &mut Vec<u8>, what: fmt::Arguments<'_>) {
    struct Sink<'a>(&'a mut Vec<u8>);
    impl Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let _ = Sink(out).write_fmt(what);
}

/// A string of base64 (RFC 4648, section 4).
fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |at: usize| match at {
            _ if at > three.len() => b'=',
            _ => DIGITS[(bits >> (18 - 6 * at)) as usize & 63],
        };
        out.extend_from_slice(&[digit(0), digit(1), digit(2), digit(3)]);
    }
    out.push(b'"');
}
