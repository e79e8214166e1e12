//! MessagePack (github.com/msgpack/msgpack/blob/master/spec.md), as far as wires read it: found, checked and passed on,
//! never built into a tree.

use alloc::vec::Vec;
use core::ops::Range;

use super::MAX_DEPTH;
use crate::error::Malformed;

/// How msgpackr writes JavaScript's `undefined`: an extension of one byte, of type 0.
pub(crate) const UNDEFINED: [u8; 3] = [0xd4, 0, 0];

/// The largest integer up to which every one is a float, too: 2⁵³.
pub(crate) const EXACT: u64 = 1 << 53;

/// A value, or what a container begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    /// Type and data.
    Extension(i8, &'a [u8]),
    /// So many values follow.
    Array(u32),
    /// So many pairs follow.
    Map(u32),
}

impl Head<'_> {
    /// How many values follow, if it is a container.
    #[inline]
    pub(crate) fn children(self) -> Option<u64> {
        match self {
            Head::Array(n) => Some(u64::from(n)),
            Head::Map(n) => Some(u64::from(n) * 2),
            _ => None,
        }
    }
}

/// Walks over MessagePack from its start. Iterates, so that no depth can overflow a stack.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0 }
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Steps over these bytes, if they are the next ones.
    pub(crate) fn take_if(&mut self, bytes: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(bytes);
        self.at += if found { bytes.len() } else { 0 };
        found
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Malformed::Syntax { at: self.at }) }
    }

    /// A whole value, or the start of a container.
    #[inline]
    pub(crate) fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let [marker] = self.array()?;
        Ok(match marker {
            0..=0x7f => Head::Unsigned(u64::from(marker)),
            0x80..=0x8f => Head::Map(u32::from(marker & 0xf)),
            0x90..=0x9f => Head::Array(u32::from(marker & 0xf)),
            0xa0..=0xbf => self.text(u32::from(marker & 0x1f))?,
            0xc0 => Head::Nil,
            0xc1 => return Err(Malformed::Syntax { at: self.at - 1 }),
            0xc2 | 0xc3 => Head::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.length(marker - 0xc4)?;
                Head::Binary(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.length(marker - 0xc7)?;
                self.extension(len)?
            }
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.array()?)),
            0xcc..=0xce => Head::Unsigned(u64::from(self.length(marker - 0xcc)?)),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => integer(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => integer(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => integer(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => integer(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.length(marker - 0xd9)?;
                self.text(len)?
            }
            0xdc | 0xdd => Head::Array(self.length(marker - 0xdb)?),
            0xde | 0xdf => Head::Map(self.length(marker - 0xdd)?),
            0xe0..=0xff => Head::Negative(i64::from(marker as i8)),
        })
    }

    /// Steps over a value that may hold `depth` containers within each other: its bytes.
    #[inline]
    pub(crate) fn value(&mut self, depth: u32) -> Result<&'a [u8], Malformed> {
        let span = self.span(depth)?;
        Ok(&self.bytes[span])
    }

    /// Steps over a value as [`value`](Self::value) does: where it stands.
    #[inline]
    pub(crate) fn span(&mut self, depth: u32) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        if let Some(children) = self.head()?.children() {
            self.container(children, depth)?;
        }
        Ok(start..self.at)
    }

    /// Steps over the rest of a container that has begun. What a header claims is only counted down.
    fn container(&mut self, children: u64, depth: u32) -> Result<(), Malformed> {
        let depth = depth.min(MAX_DEPTH) as usize;
        let mut left = [0u64; MAX_DEPTH as usize];
        *left[..depth].first_mut().ok_or(Malformed::TooDeep)? = children;
        let mut open = 1;
        while open > 0 {
            if left[open - 1] == 0 {
                open -= 1;
                continue;
            }
            left[open - 1] -= 1;
            if let Some(children) = self.head()?.children() {
                *left[..depth].get_mut(open).ok_or(Malformed::TooDeep)? = children;
                open += 1;
            }
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, len: u32) -> Result<Head<'a>, Malformed> {
        core::str::from_utf8(self.take(len)?).map(Head::Text).map_err(|_| Malformed::NotUtf8)
    }

    fn extension(&mut self, len: u32) -> Result<Head<'a>, Malformed> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok(Head::Extension(kind, self.take(len)?))
    }

    /// A number of 1, 2 or 4 bytes.
    #[inline]
    fn length(&mut self, width: u8) -> Result<u32, Malformed> {
        Ok(match width {
            0 => u32::from(u8::from_be_bytes(self.array()?)),
            1 => u32::from(u16::from_be_bytes(self.array()?)),
            _ => u32::from_be_bytes(self.array()?),
        })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let found = self.bytes[self.at..].first_chunk().ok_or(Malformed::Truncated)?;
        self.at += N;
        Ok(*found)
    }

    #[inline]
    fn take(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let found = self.bytes[self.at..].get(..len as usize).ok_or(Malformed::Truncated)?;
        self.at += found.len();
        Ok(found)
    }
}

fn integer(value: i64) -> Head<'static> {
    u64::try_from(value).map_or(Head::Negative(value), Head::Unsigned)
}

pub(crate) fn write_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub(crate) fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends an integer as msgpackr does: in up to 32 bits as one, above that up to 2⁵³ as a float (it would read a 64-bit
/// integer as a BigInt, which its users cannot calculate with), beyond that as an integer.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => marked(out, 0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => marked(out, 0xce, (value as u32).to_be_bytes()),
        _ if value <= EXACT => write_float(out, value as f64),
        _ => marked(out, 0xcf, value.to_be_bytes()),
    }
}

/// Appends a negative integer, by the same rule.
pub(crate) fn write_negative(out: &mut Vec<u8>, value: i64) {
    match value {
        -0x20.. => out.push(value as u8),
        -0x80..-0x20 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..-0x80 => marked(out, 0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => marked(out, 0xd2, (value as i32).to_be_bytes()),
        _ if value.unsigned_abs() <= EXACT => write_float(out, value as f64),
        _ => marked(out, 0xd3, value.to_be_bytes()),
    }
}

pub(crate) fn write_float(out: &mut Vec<u8>, value: f64) {
    marked(out, 0xcb, value.to_be_bytes());
}

pub(crate) fn write_text_head(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0x1f => out.push(0xa0 | len as u8),
        0x20..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        0x100..=0xffff => marked(out, 0xda, (len as u16).to_be_bytes()),
        _ => marked(out, 0xdb, (len as u32).to_be_bytes()),
    }
}

pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_text_head(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn write_array_head(out: &mut Vec<u8>, len: u32) {
    match len {
        0..=0xf => out.push(0x90 | len as u8),
        0x10..=0xffff => marked(out, 0xdc, (len as u16).to_be_bytes()),
        _ => marked(out, 0xdd, len.to_be_bytes()),
    }
}

pub(crate) fn write_map_head(out: &mut Vec<u8>, len: u32) {
    match len {
        0..=0xf => out.push(0x80 | len as u8),
        0x10..=0xffff => marked(out, 0xde, (len as u16).to_be_bytes()),
        _ => marked(out, 0xdf, len.to_be_bytes()),
    }
}

fn marked<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use quickcheck::quickcheck;

    fn read(bytes: &[u8]) -> Head<'_> {
        let mut scanner = Scanner::new(bytes);
        let head = scanner.head().unwrap();
        scanner.finish().unwrap();
        head
    }

    quickcheck! {
        fn an_integer_that_is_written_is_read_back(value: u64, bits: u32) -> bool {
            let value = value >> (bits % 64);
            let mut out = Vec::new();
            write_unsigned(&mut out, value);
            let exact = value > EXACT || value <= u64::from(u32::MAX);
            if exact { read(&out) == Head::Unsigned(value) } else { read(&out) == Head::Float(value as f64) }
        }

        fn a_negative_integer_that_is_written_is_read_back(value: i64, bits: u32) -> bool {
            let value = !(value.unsigned_abs() >> 1 >> (bits % 63)) as i64;
            let mut out = Vec::new();
            write_negative(&mut out, value);
            read(&out) == Head::Negative(value) || read(&out) == Head::Float(value as f64)
        }

        fn text_that_is_written_is_read_back(text: String, times: u16) -> bool {
            let text = text.repeat(usize::from(times % 999));
            let mut out = Vec::new();
            write_text(&mut out, &text);
            read(&out) == Head::Text(&text)
        }

        /// Any bytes: a value or an error, and as many bytes as were shown at the most.
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) -> bool {
            let mut scanner = Scanner::new(&bytes);
            scanner.value(MAX_DEPTH).is_err() || scanner.at() <= bytes.len()
        }
    }

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (len, array, map) in [
            (0, &[0x90][..], &[0x80][..]),
            (15, &[0x9f], &[0x8f]),
            (16, &[0xdc, 0, 16], &[0xde, 0, 16]),
            (0xffff, &[0xdc, 0xff, 0xff], &[0xde, 0xff, 0xff]),
            (0x1_0000, &[0xdd, 0, 1, 0, 0], &[0xdf, 0, 1, 0, 0]),
        ] {
            let (mut arrays, mut maps) = (Vec::new(), Vec::new());
            write_array_head(&mut arrays, len);
            write_map_head(&mut maps, len);
            assert_eq!((&arrays[..], &maps[..]), (array, map));
            assert_eq!((read(&arrays), read(&maps)), (Head::Array(len), Head::Map(len)));
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (bytes, head) in [
            (&b"\xc0"[..], Head::Nil),
            (b"\xc2", Head::Bool(false)),
            (b"\xc3", Head::Bool(true)),
            (b"\x7f", Head::Unsigned(127)),
            (b"\xcc\xff", Head::Unsigned(255)),
            (b"\xcd\x01\x00", Head::Unsigned(256)),
            (b"\xce\xff\xff\xff\xff", Head::Unsigned(u64::from(u32::MAX))),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Head::Unsigned(u64::MAX)),
            (b"\xe0", Head::Negative(-32)),
            (b"\xd0\x80", Head::Negative(-128)),
            (b"\xd0\x05", Head::Unsigned(5)),
            (b"\xd1\x80\x00", Head::Negative(-32_768)),
            (b"\xd2\x80\x00\x00\x00", Head::Negative(-2_147_483_648)),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", Head::Negative(i64::MIN)),
            (b"\xca\x3f\xc0\x00\x00", Head::Float(1.5)),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", Head::Float(1.5)),
            (b"\xa2hi", Head::Text("hi")),
            (b"\xd9\x02hi", Head::Text("hi")),
            (b"\xda\x00\x02hi", Head::Text("hi")),
            (b"\xdb\x00\x00\x00\x02hi", Head::Text("hi")),
            (b"\xc4\x01\xff", Head::Binary(b"\xff")),
            (b"\xc5\x00\x01\xff", Head::Binary(b"\xff")),
            (b"\xc6\x00\x00\x00\x01\xff", Head::Binary(b"\xff")),
            (b"\xd4\x00\x00", Head::Extension(0, b"\0")),
            (b"\xd6\xff\0\0\0\0", Head::Extension(-1, b"\0\0\0\0")),
            (b"\xd8\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Head::Extension(5, &[0; 16])),
            (b"\xc7\x01\x05\xff", Head::Extension(5, b"\xff")),
            (b"\xc8\x00\x01\x05\xff", Head::Extension(5, b"\xff")),
            (b"\xc9\x00\x00\x00\x01\x05\xff", Head::Extension(5, b"\xff")),
        ] {
            assert_eq!(read(bytes), head, "{bytes:x?}");
            for cut in 0..bytes.len() {
                assert_eq!(Scanner::new(&bytes[..cut]).head(), Err(Malformed::Truncated), "{bytes:x?} {cut}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(Scanner::new(b"\xc1").head(), Err(Malformed::Syntax { at: 0 }));
        assert_eq!(Scanner::new(b"\xa1\xff").head(), Err(Malformed::NotUtf8));
        let nested = |depth: usize| [&[0x91].repeat(depth)[..], b"\xc0"].concat();
        assert!(Scanner::new(&nested(128)).value(MAX_DEPTH).is_ok());
        assert_eq!(Scanner::new(&nested(129)).value(MAX_DEPTH), Err(Malformed::TooDeep));
        assert_eq!(Scanner::new(&[0x81].repeat(1_000_000)).value(MAX_DEPTH), Err(Malformed::TooDeep));
        // Four billion values are claimed, and none is there.
        assert_eq!(Scanner::new(b"\xdd\xff\xff\xff\xff").value(MAX_DEPTH), Err(Malformed::Truncated));
        assert_eq!(Scanner::new(b"\xdf\xff\xff\xff\xff\xc0").value(MAX_DEPTH), Err(Malformed::Truncated));
    }
}
