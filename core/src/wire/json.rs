//! JSON text (RFC 8259), as far as wires read it: found, checked and passed on, never built into a tree.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::MAX_DEPTH;
use crate::error::Malformed;

/// So many bytes of a string are looked at in one go; a compiler makes a few vector instructions of it.
const STRIDE: usize = 32;

/// Walks over JSON text from its start. Iterates, so that no depth can overflow a stack.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// The next byte that is not whitespace, which stays where it is.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, Malformed> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(Malformed::Truncated),
            }
        }
    }

    /// Steps over this byte, if it is the next one.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> Result<bool, Malformed> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte)? { Ok(()) } else { Err(self.wrong()) }
    }

    /// Nothing but whitespace may be left.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Ok(_) => Err(self.wrong()),
            Err(_) => Ok(()),
        }
    }

    /// A string, without its quotes; escapes are checked, and not resolved. Whether there are any.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'a str, bool), Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let escapes = self.rest_of_string()?;
        Ok((&self.text[start..self.at - 1], escapes))
    }

    /// Steps over a string whose first quote is behind; whether it has escapes.
    #[inline]
    fn rest_of_string(&mut self) -> Result<bool, Malformed> {
        let bytes = self.text.as_bytes();
        self.at = plain_end(bytes, self.at);
        if let Some(b'"') = bytes.get(self.at) {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_escaped()
    }

    /// The same, from the first byte that is neither plain nor a quote.
    #[cold]
    fn rest_of_escaped(&mut self) -> Result<bool, Malformed> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => match escape_len(&bytes[self.at..]) {
                    Some(len) => self.at += len,
                    None if bytes.len() - self.at < 6 => return Err(Malformed::Truncated),
                    None => return Err(self.wrong()),
                },
                Some(_) => return Err(self.wrong()),
                None => return Err(Malformed::Truncated),
            }
            self.at = plain_end(bytes, self.at);
        }
        self.at += 1;
        Ok(true)
    }

    /// Steps over a value that may hold `depth` containers within each other: what stands there.
    #[inline]
    pub(crate) fn value(&mut self, depth: u32) -> Result<&'a str, Malformed> {
        let span = self.span(depth)?;
        Ok(&self.text[span])
    }

    /// Steps over a value as [`value`](Self::value) does: where it stands.
    #[inline]
    pub(crate) fn span(&mut self, depth: u32) -> Result<Range<usize>, Malformed> {
        self.peek()?;
        let start = self.at;
        if !self.begin_value()? {
            self.container(depth)?;
        }
        Ok(start..self.at)
    }

    /// Steps over a value that is no container; `false` if it is one, whose bracket is next.
    #[inline]
    fn begin_value(&mut self) -> Result<bool, Malformed> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.rest_of_string()?;
            }
            b'{' | b'[' => return Ok(false),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => return Err(self.wrong()),
        }
        Ok(true)
    }

    /// Steps over a container, whose bracket is next. One bit for each that is open says of which kind it is.
    fn container(&mut self, depth: u32) -> Result<(), Malformed> {
        let depth = depth.min(MAX_DEPTH);
        let (mut objects, mut open) = (0u128, 0);
        loop {
            if !self.begin_value()? {
                if open == depth {
                    return Err(Malformed::TooDeep);
                }
                let object = self.text.as_bytes()[self.at] == b'{';
                self.at += 1;
                objects = objects << 1 | u128::from(object);
                open += 1;
                if !self.take(if object { b'}' } else { b']' })? {
                    if object {
                        self.key()?;
                    }
                    continue;
                }
                (objects, open) = (objects >> 1, open - 1);
            }
            while open > 0 && !self.take(b',')? {
                self.expect(if objects & 1 == 1 { b'}' } else { b']' })?;
                (objects, open) = (objects >> 1, open - 1);
            }
            if open == 0 {
                return Ok(());
            }
            if objects & 1 == 1 {
                self.key()?;
            }
        }
    }

    /// A key and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(&'a str, bool), Malformed> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        let rest = &self.text.as_bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(if word.as_bytes().starts_with(rest) { Malformed::Truncated } else { self.wrong() })
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let next = |at: usize| self.text.as_bytes().get(at).copied();
        let digits = |at: usize| {
            let rest = &self.text.as_bytes()[at..];
            rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
        };
        let mut at = self.at + usize::from(next(self.at) == Some(b'-'));
        let mut parts = [(digits(at), at); 3];
        at += parts[0].0;
        if next(at) == Some(b'.') {
            parts[1] = (digits(at + 1), at + 1);
            at += 1 + parts[1].0;
        }
        if let Some(b'e' | b'E') = next(at) {
            let sign = usize::from(matches!(next(at + 1), Some(b'+' | b'-')));
            parts[2] = (digits(at + 1 + sign), at + 1 + sign);
            at += 1 + sign + parts[2].0;
        }
        if let Some(&(_, at)) = parts.iter().find(|(len, _)| *len == 0) {
            return Err(if at == self.text.len() { Malformed::Truncated } else { Malformed::Syntax { at } });
        }
        if parts[0].0 > 1 && next(parts[0].1) == Some(b'0') {
            return Err(Malformed::Syntax { at: parts[0].1 });
        }
        self.at = at;
        Ok(())
    }

    /// What is next cannot stand there.
    #[cold]
    fn wrong(&self) -> Malformed {
        Malformed::Syntax { at: self.at }
    }
}

/// Where the plain part of a string ends: at its first special byte, or at the end of the bytes.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    // Most strings are short: eight bytes at a time in one register, a few times.
    for _ in 0..4 {
        let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { break };
        match special_bytes(u64::from_le_bytes(*eight)) {
            0 => at += 8,
            found => return at + (found.trailing_zeros() / 8) as usize,
        }
    }
    while let Some(stride) = bytes.get(at..at + STRIDE)
        && !stride.iter().fold(false, |found, &byte| found | is_special(byte))
    {
        at += STRIDE;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

/// The highest bit of the first byte that is special is set, and none below it; 0 if no byte is. (The search for a zero
/// byte of "Bit Twiddling Hacks", S. E. Anderson; bits above the first that is found may be wrong.)
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zeros(word ^ (ONES * b'"' as u64));
    let backslash = zeros(word ^ (ONES * b'\\' as u64));
    (control | quote | backslash) & (ONES * 0x80)
}

/// Whether a string cannot just go on with this byte.
#[inline]
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The length of the escape that `bytes` start with, if it is one.
pub(crate) fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// What a string says that was [scanned](Scanner::string). Half of a surrogate pair becomes U+FFFD, as it does wherever
/// JavaScript turns a string into bytes.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    match memchr::memchr(b'\\', raw.as_bytes()) {
        None => Cow::Borrowed(raw),
        Some(_) => {
            let mut text = String::with_capacity(raw.len());
            for_each_piece(raw, |piece| text.push_str(piece));
            Cow::Owned(text)
        }
    }
}

/// Hands out what a string says piece by piece, without memory of its own.
pub(crate) fn for_each_piece(raw: &str, mut take: impl FnMut(&str)) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        take(&rest[..at]);
        let (said, len) = resolve(&rest[at..]);
        take(said.encode_utf8(&mut [0; 4]));
        rest = &rest[at + len..];
    }
    take(rest);
}

/// The character that an escape stands for, and the length of what says so.
fn resolve(escape: &str) -> (char, usize) {
    let plain = match escape.as_bytes()[1] {
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return resolve_unicode(escape),
        other => char::from(other),
    };
    (plain, 2)
}

fn resolve_unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| u32::from_str_radix(escape.get(at + 2..at + 6)?, 16).ok();
    let first = unit(0).unwrap_or(0xfffd);
    let second = escape.get(6..8).filter(|&next| next == r"\u").and_then(|_| unit(6));
    match (first, second) {
        (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) => {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        _ => (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
    }
}

/// Appends a string with its quotes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(plain) = rest.iter().position(|&byte| is_special(byte)) {
        out.extend_from_slice(&rest[..plain]);
        write_escape(out, rest[plain]);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(br"\n"),
        b'\r' => out.extend_from_slice(br"\r"),
        b'\t' => out.extend_from_slice(br"\t"),
        _ => {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use quickcheck::quickcheck;
    use serde_json::Value;

    fn scan(text: &str, depth: u32) -> Result<&str, Malformed> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value(depth)?;
        scanner.finish()?;
        Ok(value)
    }

    quickcheck! {
        /// Near misses of JSON: what is taken is what `serde_json` takes, but for halves of surrogate pairs and numbers
        /// that no float holds, which it refuses.
        fn it_takes_what_is_json(at: usize, bytes: Vec<u8>, removed: usize) -> bool {
            let mut text = br#" {"a" : [1, -2.5e+3, true,false , null,{} , []], "\u00e9\n": {"b":"","c":{"d":0}}} "#.to_vec();
            let alphabet = b"{}[]\":,\\un0e-.+19tfrasl \x07\x7f";
            let at = at % text.len();
            let bytes = bytes.iter().take(4).map(|&b| alphabet[usize::from(b) % alphabet.len()]);
            let end = text.len().min(at + removed % 5);
            text.splice(at..end, bytes);
            let Ok(text) = core::str::from_utf8(&text) else { return true };
            match (scan(text, MAX_DEPTH), serde_json::from_str::<Value>(text)) {
                (Ok(value), Ok(_)) => value == text.trim_matches([' ', '\t', '\n', '\r']),
                (Err(_), Err(_)) => true,
                (Ok(_), Err(error)) => error.to_string().contains("out of range"),
                (Err(_), Ok(_)) => false,
            }
        }

        fn a_string_that_is_written_is_read_back(text: String) -> bool {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let json = core::str::from_utf8(&out).unwrap();
            let (raw, escapes) = Scanner::new(json).string().unwrap();
            unescape(raw) == text && escapes == raw.contains('\\') && serde_json::from_str::<String>(json).unwrap() == text
        }

        fn the_plain_part_of_a_string_ends_where_it_should(bytes: Vec<u8>, plain: u8) -> bool {
            let bytes = [&[b'x'].repeat(usize::from(plain))[..], &bytes].concat();
            let expected = bytes.iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len());
            plain_end(&bytes, 0) == expected
        }

        fn escapes_say_what_serde_json_reads(units: Vec<u16>) -> bool {
            let raw: String = units.iter().map(|unit| alloc::format!("\\u{unit:04X}")).collect();
            unescape(&raw) == String::from_utf16_lossy(&units)
        }

        fn a_part_of_json_is_truncated_and_never_wrong(at: usize) -> bool {
            let text = r#"{"a":[1,-2.5e+3,true,false,null,{},[]],"\u00e9\\":{"b":"","c":{"d":0}}}"#;
            scan(&text[..at % text.len()], MAX_DEPTH) == Err(Malformed::Truncated)
        }
    }

    #[test]
    fn depth_is_limited_and_no_stack_is_used() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(scan(&nested(128), MAX_DEPTH).is_ok());
        assert_eq!(scan(&nested(129), MAX_DEPTH), Err(Malformed::TooDeep));
        assert_eq!(scan(&"{\"a\":".repeat(1_000_000), MAX_DEPTH), Err(Malformed::TooDeep));
        assert_eq!((scan("[]", 0), scan("1", 0)), (Err(Malformed::TooDeep), Ok("1")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, at) in [("[1,]", 3), ("{\"a\" 1}", 5), ("01", 0), ("[1.]", 3), ("[-x]", 2), ("[] []", 3)] {
            assert_eq!(scan(text, MAX_DEPTH), Err(Malformed::Syntax { at }), "{text}");
        }
        assert_eq!(scan("\"a\x1fb\"", MAX_DEPTH), Err(Malformed::Syntax { at: 2 }));
        assert_eq!(scan(r#""\x and more""#, MAX_DEPTH), Err(Malformed::Syntax { at: 1 }));
    }
}
