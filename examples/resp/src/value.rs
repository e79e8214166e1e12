//! What is answered.

use std::fmt;

use crate::command::Args;
use crate::decode::number;

/// A value, borrowed from the answer that it is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A short text, such as `OK`.
    Simple(&'a [u8]),
    /// A failure among the values of an array. One that is the whole answer is no value, but the call's
    /// [error](plimsoll_core::drive::client::Cause::Remote).
    Error(&'a [u8]),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(&'a [u8]),
    /// Nothing: a key that does not exist, for example.
    Null,
    /// Values.
    Array(Items<'a>),
}

/// The values of an array, one after the other.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    left: usize,
    /// They begin here; what follows them may be there too.
    bytes: &'a [u8],
}

/// An answer, in the memory in which its command was sent.
#[derive(Clone)]
pub struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// `bytes` are a whole answer, as the decoder has found it.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Answer { bytes }
    }

    /// What it says.
    pub fn value(&self) -> Value<'_> {
        read(&self.bytes).0
    }

    /// The text or the bytes that it consists of, if it consists of one.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self.value() {
            Value::Simple(bytes) | Value::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// As [`bytes`](Self::bytes), without a copy into other memory.
    pub fn into_bytes(mut self) -> Option<Vec<u8>> {
        let len = self.bytes()?.len();
        // The end of a line stands behind them.
        self.bytes.truncate(self.bytes.len() - 2);
        self.bytes.drain(..self.bytes.len() - len);
        Some(self.bytes)
    }

    /// The number that it is.
    pub fn integer(&self) -> Option<i64> {
        match self.value() {
            Value::Integer(n) => Some(n),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        self.value() == Value::Null
    }

    /// No arguments yet, for the next command, in the memory of this answer.
    pub fn into_args(self) -> Args {
        Args::within(self.bytes)
    }
}

/// By what they say, however it is written.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Eq for Answer {}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = read(self.bytes);
        self.bytes = match value {
            // An array's values are not read by those who do not want them, only passed by.
            Value::Array(items) => behind(items),
            _ => rest,
        };
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Items<'_> {}

impl PartialEq for Items<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && Iterator::eq(*self, *other)
    }
}

impl Eq for Items<'_> {}

/// The value that `bytes` begin with, and what follows it, or its head, if it is an array. Of bytes that the decoder has
/// not found whole, nothing.
fn read(bytes: &[u8]) -> (Value<'_>, &[u8]) {
    try_read(bytes).unwrap_or((Value::Null, &[]))
}

fn try_read(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    if let b'+' | b'-' = kind {
        let end = rest.iter().position(|&byte| byte == b'\r')?;
        let (text, rest) = (&rest[..end], rest.get(end + 2..)?);
        return Some((if *kind == b'+' { Value::Simple(text) } else { Value::Error(text) }, rest));
    }
    let (number, len) = number(rest).ok()??;
    let rest = &rest[len..];
    Some(match (kind, usize::try_from(number)) {
        (b':', _) => (Value::Integer(number), rest),
        (b'$', Ok(len)) => (Value::Bulk(rest.get(..len)?), rest.get(len + 2..)?),
        (b'*', Ok(left)) => (Value::Array(Items { left, bytes: rest }), rest),
        _ => (Value::Null, rest),
    })
}

/// What stands behind the values of an array.
fn behind(items: Items<'_>) -> &[u8] {
    let (mut left, mut bytes) = (items.left, items.bytes);
    while left > 0 && !bytes.is_empty() {
        left -= 1;
        let (value, rest) = read(bytes);
        if let Value::Array(items) = value {
            left += items.left;
        }
        bytes = rest;
    }
    bytes
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        match self {
            Value::Simple(bytes) => f.debug_tuple("Simple").field(&text(bytes)).finish(),
            Value::Error(bytes) => f.debug_tuple("Error").field(&text(bytes)).finish(),
            Value::Integer(n) => f.debug_tuple("Integer").field(n).finish(),
            Value::Bulk(bytes) => f.debug_tuple("Bulk").field(&text(bytes)).finish(),
            Value::Null => f.write_str("Null"),
            Value::Array(items) => items.fmt(f),
        }
    }
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
