//! How version 1 says that a request failed: by the shape of the response's content.
//!
//! Exactly an object whose only key is `error`, which holds an object with the string `code` and, if there is
//! one, the string `message`:
//!
//! ```json
//! {"error":{"code":"METHOD_NOT_FOUND","message":"no method getUser"}}
//! ```

use alloc::vec::Vec;

use crate::wire::json::{escape_len, write_string};

/// The codes that our server answers with.
pub mod code {
    /// No handler has this name.
    pub const METHOD_NOT_FOUND: &str = "METHOD_NOT_FOUND";
    /// The content is not what the method takes, or not JSON at all.
    pub const BAD_REQUEST: &str = "BAD_REQUEST";
    /// The handler failed, or dropped the request unanswered.
    pub const EXECUTION_FAILED: &str = "EXECUTION_FAILED";
    /// The server has as many requests in flight as it may.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The caller's time ran out before there was an answer.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// Something is wrong with the server itself.
    pub const INTERNAL_ERROR: &str = "INTERNAL_ERROR";
}

/// What a server answered instead of a result, lent out of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteError<'a> {
    /// The code, as it stands between the quotes: escapes are not resolved.
    pub code: &'a str,
    /// The message, as it stands between the quotes: escapes are not resolved. Empty if there is none.
    pub message: &'a str,
}

/// The error that `content` says, if it has exactly that shape; anything else is an ordinary answer, other keys
/// beside these, repeated keys, and keys written with escapes too. Ordinary answers cost a look at their first
/// few bytes.
///
/// ```
/// use plimsoll_core::wire::uw::{code, read_error};
///
/// let error = read_error(br#"{"error":{"code":"OVERLOADED"}}"#).unwrap();
/// assert_eq!((error.code, error.message), (code::OVERLOADED, ""));
/// assert_eq!(read_error(br#"{"error":null,"id":1}"#), None);
/// ```
#[inline]
pub fn read_error(content: &[u8]) -> Option<RemoteError<'_>> {
    let mut scanner = Scanner { rest: content };
    scanner.expect(b'{')?;
    scanner.skip_whitespace();
    scanner.rest = scanner.rest.strip_prefix(br#""error""#)?;
    scanner.rest_of_error()
}

/// Appends the content that says an error.
pub fn write_error(out: &mut Vec<u8>, code: &str, message: &str) {
    out.extend_from_slice(br#"{"error":{"code":"#);
    write_string(out, code);
    out.extend_from_slice(br#","message":"#);
    write_string(out, message);
    out.extend_from_slice(b"}}");
}

/// What is left to read of JSON text (RFC 8259).
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// What follows the key `error`.
    #[cold]
    fn rest_of_error(&mut self) -> Option<RemoteError<'a>> {
        self.expect(b':')?;
        let error = self.error()?;
        self.expect(b'}')?;
        self.skip_whitespace();
        self.rest.is_empty().then_some(error)
    }

    fn error(&mut self) -> Option<RemoteError<'a>> {
        let (mut code, mut message) = (None, None);
        self.expect(b'{')?;
        loop {
            let value = match self.string()? {
                "code" => &mut code,
                "message" => &mut message,
                _ => return None,
            };
            self.expect(b':')?;
            if value.replace(self.string()?).is_some() {
                return None;
            }
            match self.token()? {
                b',' => {}
                b'}' => return Some(RemoteError { code: code?, message: message.unwrap_or("") }),
                _ => return None,
            }
        }
    }

    /// A whole string, without its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let mut len = 0;
        loop {
            match *self.rest.get(len)? {
                b'"' => break,
                b'\\' => len += escape_len(&self.rest[len..])?,
                0..=0x1f => return None,
                _ => len += 1,
            }
        }
        let (string, rest) = self.rest.split_at(len);
        self.rest = &rest[1..];
        core::str::from_utf8(string).ok()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then_some(())
    }

    /// The next byte that is not whitespace.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        self.skip_whitespace();
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use quickcheck::quickcheck;
    use serde_json::{Value, json};

    quickcheck! {
        fn what_is_written_is_json_and_is_read_back(code: String, message: String) -> bool {
            let mut content = Vec::new();
            write_error(&mut content, &code, &message);
            let resolve = |raw: &str| serde_json::from_str::<String>(&alloc::format!("\"{raw}\"")).unwrap();
            let error = read_error(&content).unwrap();
            resolve(error.code) == code
                && resolve(error.message) == message
                && serde_json::from_slice::<Value>(&content).unwrap()
                    == json!({"error": {"code": code, "message": message}})
        }

        /// Bytes of the alphabet that errors are made of, so that near misses are common: whatever is read as an
        /// error is JSON.
        fn what_is_read_is_json(at: usize, bytes: Vec<u8>, removed: usize) -> bool {
            let mut content = br#" {"error" : {"message":"\u00e9\n" , "code":"A"} }"#.to_vec();
            let alphabet = b"{}\":,\\un0e \x07\x80";
            let at = at % content.len();
            let bytes = bytes.iter().take(4).map(|&b| alphabet[usize::from(b) % alphabet.len()]);
            let end = content.len().min(at + removed % 4);
            content.splice(at..end, bytes);
            read_error(&content).is_none() || serde_json::from_slice::<Value>(&content).is_ok()
        }
    }

    #[track_caller]
    fn assert_reads(content: &str, code: &str, message: &str) {
        assert_eq!(read_error(content.as_bytes()), Some(RemoteError { code, message }), "{content}");
    }

    #[test]
    fn the_exact_shape_is_an_error() {
        assert_reads(r#"{"error":{"code":"A","message":"b"}}"#, "A", "b");
        assert_reads(r#"{"error":{"message":"b","code":"A"}}"#, "A", "b");
        assert_reads(r#"{"error":{"code":"A"}}"#, "A", "");
        assert_reads(" {\t\"error\" :\r\n{ \"code\" : \"A\" , \"message\" : \"b\" } } \n", "A", "b");
        assert_reads(
            r#"{"error":{"code":"A","message":"say \"é\" \u00e9\n}}"}}"#,
            "A",
            r#"say \"é\" \u00e9\n}}"#,
        );
    }

    #[test]
    fn anything_else_is_an_ordinary_answer() {
        for content in [
            "",
            "{",
            "{}",
            "null",
            r#"["error"]"#,
            r#""error""#,
            r#"{"error":null}"#,
            r#"{"error":"A"}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"code":1}}"#,
            r#"{"error":{"code":"A","message":null}}"#,
            r#"{"error":{"message":"b"}}"#,
            r#"{"error":{"code":"A","detail":"b"}}"#,
            r#"{"error":{"code":"A","code":"B"}}"#,
            r#"{"error":{"code":"A",}}"#,
            r#"{"error":{"code":"A"},"id":1}"#,
            r#"{"id":1,"error":{"code":"A"}}"#,
            r#"{"errors":{"code":"A"}}"#,
            r#"{"error":{"code":"A"}}x"#,
            r#"{"error":{"code":"A"}"#,
            r#"{"error":{"code":"A"#,
            r#"{"error":{"code":"\x"}}"#,
            r#"{"error":{"code":"\u00g0"}}"#,
            r#"{"error" {"code":"A"}}"#,
            "{\"error\":{\"code\":\"A\nB\"}}",
            "{\"error\":{\"code\":\"A\x1fB\"}}",
        ] {
            assert_eq!(read_error(content.as_bytes()), None, "{content}");
        }
        assert_eq!(read_error(b"{\"error\":{\"code\":\"\xff\"}}"), None, "not UTF-8");
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut content = Vec::new();
        write_error(&mut content, code::BAD_REQUEST, "a\"b\\c\nd\te\x01\x1f/é");
        let expected = r#"{"error":{"code":"BAD_REQUEST","message":"a\"b\\c\nd\te\u0001\u001f/é"}}"#;
        assert_eq!(core::str::from_utf8(&content), Ok(expected));
    }
}
