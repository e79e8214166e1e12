//! Messages, into bytes.

use alloc::vec::Vec;

use super::{ConvertError, Format, HEADER, Limits, Text, Value, convert};
use crate::error::Misuse;
use crate::wire::{json, msgpack};

/// Appends a body, piece by piece, in either format.
///
/// Objects and arrays are to be ended as they were begun, with as many values as were announced.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
    /// A value was written: in JSON, a comma comes before the next.
    comma: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(format: Format, out: &'a mut Vec<u8>) -> Self {
        Writer { out, format, comma: false }
    }

    /// How it writes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Begins an object of so many members.
    pub fn object(&mut self, members: u32) {
        self.value(|out| out.push(b'{'), |out| msgpack::write_map_head(out, members));
        self.comma = false;
    }

    /// Ends the object.
    pub fn end_object(&mut self) {
        if self.format == Format::Json {
            self.out.push(b'}');
        }
        self.comma = true;
    }

    /// Begins an array of so many values.
    pub fn array(&mut self, values: u32) {
        self.value(|out| out.push(b'['), |out| msgpack::write_array_head(out, values));
        self.comma = false;
    }

    /// Ends the array.
    pub fn end_array(&mut self) {
        if self.format == Format::Json {
            self.out.push(b']');
        }
        self.comma = true;
    }

    /// The key of the next value.
    #[inline]
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.text(key);
        if self.format == Format::Json {
            self.out.push(b':');
        }
        self.comma = false;
        self
    }

    /// Text.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.value(|out| json::write_string(out, text), |out| msgpack::write_text(out, text));
    }

    /// Text that stands in another message.
    pub fn lent_text(&mut self, text: Text<'_>) {
        self.text(&text.get());
    }

    /// A number, at most 2⁵³ for a reader that has floats only.
    #[inline]
    pub fn number(&mut self, value: u64) {
        self.value(|out| write_decimal(out, value), |out| msgpack::write_unsigned(out, value));
    }

    /// Yes or no.
    pub fn bool(&mut self, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.value(|out| out.extend_from_slice(word), |out| msgpack::write_bool(out, value));
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.value(|out| out.extend_from_slice(b"null"), msgpack::write_nil);
    }

    /// A value that stands elsewhere, byte for byte if it is in this format. What this format cannot say is null.
    pub fn copy(&mut self, value: Value<'_>) {
        let to = self.format;
        let append = |out: &mut Vec<u8>| {
            if convert(value, to, out, usize::MAX).is_err() {
                Writer::new(to, out).null();
            }
        };
        self.value(append, append);
    }

    /// A value that stands elsewhere, in at most `limit` bytes.
    ///
    /// # Errors
    /// If this format cannot say it.
    pub fn convert(&mut self, value: Value<'_>, limit: usize) -> Result<(), ConvertError> {
        self.value(|_| {}, |_| {});
        convert(value, self.format, self.out, limit)
    }

    #[inline]
    fn value(&mut self, json: impl FnOnce(&mut Vec<u8>), packed: impl FnOnce(&mut Vec<u8>)) {
        match self.format {
            Format::Json => {
                if self.comma {
                    self.out.push(b',');
                }
                json(self.out);
            }
            Format::MessagePack => packed(self.out),
        }
        self.comma = true;
    }
}

/// Appends a message whose body `write` appends.
///
/// # Errors
/// Those of `write`, and a body above the limit; `out` is then as it was.
pub fn write_frame<E: From<Misuse>>(
    out: &mut Vec<u8>,
    format: Format,
    limits: &Limits,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let written = write(&mut Writer::new(format, out));
    let result = written.and_then(|()| Ok(set_length(&mut out[start..], limits)?));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Writes the length of a body before it.
fn set_length(frame: &mut [u8], limits: &Limits) -> Result<(), Misuse> {
    let len = frame.len() - HEADER;
    let too_large = Misuse::ContentTooLarge { len: len as u64, limit: u64::from(limits.body) };
    let length = u32::try_from(len).ok().filter(|&length| length <= limits.body).ok_or(too_large)?;
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn write_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}
