//! Values of a message, lent where they stand.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::{Format, convert};
use crate::error::Malformed;
use crate::wire::msgpack::{Head, UNDEFINED};
use crate::wire::{MAX_DEPTH, json, msgpack};

/// One whole value, as its bytes: checked, and not looked into before somebody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(pub(super) Checked<'a>);

/// Bytes that are one whole value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked<'a> {
    Json(&'a str),
    MessagePack(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Checks that `bytes` are one whole value.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(format: Format, bytes: &'a [u8]) -> Result<Self, Malformed> {
        match format {
            Format::Json => {
                let text = core::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
                let mut scanner = json::Scanner::new(text);
                let value = scanner.value(MAX_DEPTH)?;
                scanner.finish()?;
                Ok(Value(Checked::Json(value)))
            }
            Format::MessagePack => {
                let mut scanner = msgpack::Scanner::new(bytes);
                let value = scanner.value(MAX_DEPTH)?;
                scanner.finish()?;
                Ok(Value(Checked::MessagePack(value)))
            }
        }
    }

    /// Text that was found to be one whole value before.
    pub(crate) const fn checked_json(text: &'a str) -> Self {
        Value(Checked::Json(text))
    }

    /// Bytes that were found to be one whole value before.
    pub(crate) const fn checked_message_pack(bytes: &'a [u8]) -> Self {
        Value(Checked::MessagePack(bytes))
    }

    /// A value that stands in this one.
    #[inline]
    pub(super) fn part(self, span: Range<usize>) -> Option<Value<'a>> {
        Some(Value(match self.0 {
            Checked::Json(text) => Checked::Json(text.get(span)?),
            Checked::MessagePack(bytes) => Checked::MessagePack(bytes.get(span)?),
        }))
    }

    /// Its format.
    pub fn format(self) -> Format {
        match self.0 {
            Checked::Json(_) => Format::Json,
            Checked::MessagePack(_) => Format::MessagePack,
        }
    }

    /// Its bytes, as they came.
    pub fn bytes(self) -> &'a [u8] {
        match self.0 {
            Checked::Json(text) => text.as_bytes(),
            Checked::MessagePack(bytes) => bytes,
        }
    }

    /// Whether it says that there is nothing: `null`, nil, or msgpackr's `undefined`.
    pub fn is_null(self) -> bool {
        match self.0 {
            Checked::Json(text) => text == "null",
            Checked::MessagePack(bytes) => bytes == [0xc0] || bytes == UNDEFINED,
        }
    }

    /// The text, if it is one.
    #[inline]
    pub fn text(self) -> Option<Text<'a>> {
        match self.0 {
            Checked::Json(text) => Some(Text::escaped(text.strip_prefix('"')?.strip_suffix('"')?)),
            Checked::MessagePack(bytes) => match msgpack::Scanner::new(bytes).head().ok()? {
                Head::Text(text) => Some(Text::from(text)),
                _ => None,
            },
        }
    }

    /// The number, if it is one, without what follows its point; 0 for a negative one, `u64::MAX` for one above that.
    /// JavaScript has floats only, so a time may come as `1699005123456`, as a float of that value, or with a fraction.
    #[inline]
    pub fn number(self) -> Option<u64> {
        match self.0 {
            Checked::Json(text) => text.parse().ok().or_else(|| Some(text.parse::<f64>().ok()? as u64)),
            Checked::MessagePack(bytes) => match msgpack::Scanner::new(bytes).head().ok()? {
                Head::Unsigned(value) => Some(value),
                Head::Negative(_) => Some(0),
                Head::Float(value) if !value.is_nan() => Some(value as u64),
                _ => None,
            },
        }
    }

    /// What it holds, if it is an object.
    pub fn members(self) -> Option<Members<'a>> {
        Cursor::of_object(self.0).ok().map(Members)
    }

    /// What stands under `key`, if it is an object.
    pub fn member(self, key: &str) -> Option<Value<'a>> {
        self.members()?.find(|(name, _)| name.is(key)).map(|(_, value)| value)
    }

    /// What it holds, if it is an array.
    pub fn elements(self) -> Option<Elements<'a>> {
        Cursor::of_array(self.0).ok().map(Elements)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As JSON, cut after 100 characters; what JSON has no words for, as its length alone.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 100;
        let mut converted = Vec::new();
        let text = match self.0 {
            Checked::Json(text) => text,
            Checked::MessagePack(bytes) => {
                if convert(*self, Format::Json, &mut converted, usize::MAX).is_err() {
                    return write!(f, "<{} bytes of MessagePack>", bytes.len());
                }
                core::str::from_utf8(&converted).map_err(|_| fmt::Error)?
            }
        };
        match text.char_indices().nth(SHOWN) {
            Some((cut, _)) => write!(f, "{}...", &text[..cut]),
            None => f.write_str(text),
        }
    }
}

/// Text where it stands, with the escapes of its format.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    escapes: bool,
}

impl<'a> Text<'a> {
    /// What stands between the quotes of JSON.
    fn escaped(raw: &'a str) -> Self {
        Text { raw, escapes: memchr::memchr(b'\\', raw.as_bytes()).is_some() }
    }

    /// Whether it says just this.
    #[inline]
    pub fn is(self, text: &str) -> bool {
        if self.escapes { self.get() == text } else { self.raw == text }
    }

    /// What it says; copied only if it has escapes.
    #[inline]
    pub fn get(self) -> Cow<'a, str> {
        if self.escapes { json::unescape(self.raw) } else { Cow::Borrowed(self.raw) }
    }

    /// How many bytes it has at the most, as UTF-8.
    pub fn len_at_most(self) -> usize {
        self.raw.len()
    }

    /// Appends what it says.
    #[inline]
    pub fn append_to(self, out: &mut Vec<u8>) {
        if self.escapes {
            json::for_each_piece(self.raw, |piece| out.extend_from_slice(piece.as_bytes()));
        } else {
            out.extend_from_slice(self.raw.as_bytes());
        }
    }
}

/// Text as it is.
impl<'a> From<&'a str> for Text<'a> {
    fn from(raw: &'a str) -> Self {
        Text { raw, escapes: false }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}
impl Eq for Text<'_> {}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.get())
    }
}

/// Walks over an object or an array, whose values it checks as it comes to them.
#[derive(Clone, Debug)]
pub(super) enum Cursor<'a> {
    Json { text: json::Scanner<'a>, first: bool },
    MessagePack { bytes: msgpack::Scanner<'a>, left: u32 },
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn of_object(value: Checked<'a>) -> Result<Self, Malformed> {
        match value {
            Checked::Json(text) => Self::json(text, b'{'),
            Checked::MessagePack(bytes) => {
                let mut bytes = msgpack::Scanner::new(bytes);
                match bytes.head()? {
                    Head::Map(left) => Ok(Cursor::MessagePack { bytes, left }),
                    _ => Err(Malformed::Syntax { at: 0 }),
                }
            }
        }
    }

    fn of_array(value: Checked<'a>) -> Result<Self, Malformed> {
        match value {
            Checked::Json(text) => Self::json(text, b'['),
            Checked::MessagePack(bytes) => {
                let mut bytes = msgpack::Scanner::new(bytes);
                match bytes.head()? {
                    Head::Array(left) => Ok(Cursor::MessagePack { bytes, left }),
                    _ => Err(Malformed::Syntax { at: 0 }),
                }
            }
        }
    }

    #[inline]
    fn json(text: &'a str, bracket: u8) -> Result<Self, Malformed> {
        let mut text = json::Scanner::new(text);
        text.expect(bracket)?;
        Ok(Cursor::Json { text, first: true })
    }

    /// Whether there is another item; `close` is what ends it in JSON.
    #[inline]
    fn has_next(&mut self, close: u8) -> Result<bool, Malformed> {
        match self {
            Cursor::Json { text, first } => {
                let first = core::mem::replace(first, false);
                if text.take(close)? {
                    return Ok(false);
                }
                if !first {
                    text.expect(b',')?;
                }
                Ok(true)
            }
            Cursor::MessagePack { left, .. } => {
                let more = *left > 0;
                *left = left.saturating_sub(1);
                Ok(more)
            }
        }
    }

    /// The next key of an object.
    #[inline]
    pub(super) fn next_key(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if !self.has_next(b'}')? {
            return Ok(None);
        }
        match self {
            Cursor::Json { text, .. } => {
                let (raw, escapes) = text.key()?;
                Ok(Some(Text { raw, escapes }))
            }
            Cursor::MessagePack { bytes, .. } => {
                let at = bytes.at();
                match bytes.head()? {
                    Head::Text(text) => Ok(Some(Text::from(text))),
                    _ => Err(Malformed::Syntax { at }),
                }
            }
        }
    }

    /// The value that is next.
    #[inline]
    pub(super) fn value(&mut self, depth: u32) -> Result<Value<'a>, Malformed> {
        Ok(Value(match self {
            Cursor::Json { text, .. } => Checked::Json(text.value(depth)?),
            Cursor::MessagePack { bytes, .. } => Checked::MessagePack(bytes.value(depth)?),
        }))
    }

    /// Where the value that is next stands.
    #[inline]
    pub(super) fn span(&mut self, depth: u32) -> Result<Range<usize>, Malformed> {
        match self {
            Cursor::Json { text, .. } => text.span(depth),
            Cursor::MessagePack { bytes, .. } => bytes.span(depth),
        }
    }

    /// Nothing may be left.
    #[inline]
    pub(super) fn finish(&mut self) -> Result<(), Malformed> {
        match self {
            Cursor::Json { text, .. } => text.finish(),
            Cursor::MessagePack { bytes, .. } => bytes.finish(),
        }
    }
}

/// The members of an object: keys and values.
#[derive(Clone, Debug)]
pub struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next_key().ok()??;
        Some((key, self.0.value(MAX_DEPTH).ok()?))
    }
}

/// The values in an array.
#[derive(Clone, Debug)]
pub struct Elements<'a>(Cursor<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.0.has_next(b']').ok()? { self.0.value(MAX_DEPTH).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn json(text: &str) -> Value<'_> {
        Value::parse(Format::Json, text.as_bytes()).unwrap()
    }

    fn packed(bytes: &[u8]) -> Value<'_> {
        Value::parse(Format::MessagePack, bytes).unwrap()
    }

    #[test]
    fn values_are_read_where_they_stand() {
        let value = json(r#" {"a": [1, "\u00e9", {}], "b\n": null} "#);
        let keys: Vec<_> =
            value.members().unwrap().map(|(key, value)| (key.get().into_owned(), value)).collect();
        assert_eq!(keys[0], ("a".to_string(), json(r#"[1, "\u00e9", {}]"#)));
        assert!(keys[1].0 == "b\n" && keys[1].1.is_null() && keys.len() == 2);
        let elements: Vec<_> = value.member("a").unwrap().elements().unwrap().collect();
        assert_eq!((elements[0].number(), elements[0].text()), (Some(1), None));
        assert!(elements[1].text().unwrap().is("é"));
        assert_eq!(elements[2].members().unwrap().count(), 0);

        let value = packed(b"\x82\xa1a\x93\x01\xa1x\x80\xa1b\xd4\0\0");
        assert!(value.member("b").unwrap().is_null());
        let elements: Vec<_> = value.member("a").unwrap().elements().unwrap().collect();
        assert_eq!(elements[0].number(), Some(1));
        assert!(elements[1].text().unwrap().is("x") && elements[2].members().unwrap().next().is_none());
        assert!(json("[1]").members().is_none() && packed(b"\x80").elements().is_none());
    }

    #[test]
    fn times_are_numbers_however_they_are_written() {
        let time = Some(1_699_005_123_456);
        assert_eq!(json("1699005123456").number(), time);
        assert_eq!(json("1699005123456.75").number(), time);
        assert_eq!(json("1.699005123456e12").number(), time);
        assert_eq!(packed(b"\xcb\x42\x78\xb9\x49\x8c\xb8\x00\x00").number(), time);
        assert_eq!(packed(b"\xcf\x00\x00\x01\x8b\x94\x98\xcb\x80").number(), time);
        assert_eq!((json("-5").number(), packed(b"\xff").number()), (Some(0), Some(0)));
        assert_eq!((json("1e300").number(), json("\"5\"").number()), (Some(u64::MAX), None));
        assert_eq!(packed(b"\xcb\x7f\xf8\0\0\0\0\0\0").number(), None, "not a number");
    }

    #[test]
    fn people_see_the_first_100_characters() {
        assert_eq!(json(r#"{"id":7}"#).to_string(), r#"{"id":7}"#);
        assert_eq!(packed(b"\x81\xa2id\x07").to_string(), r#"{"id":7}"#);
        assert_eq!(packed(b"\x81\x07\x07").to_string(), "<3 bytes of MessagePack>");
        let long = alloc::format!("\"{}\"", "é".repeat(200));
        assert_eq!(json(&long).to_string(), alloc::format!("\"{}...", "é".repeat(99)));
    }
}
