//! Where an answer ends: looked for once, however many pieces it comes in.

use plimsoll_core::error::ProtocolError;

use crate::Limits;

/// How a server has broken the rules: the number in [`ProtocolError::Other`].
pub mod broken {
    /// A value begins with a byte that begins none.
    pub const TYPE: u16 = 1;
    /// A line does not end with a carriage return and a line feed, or is longer than 64 KiB.
    pub const LINE: u16 = 2;
    /// A number, or a length, is none.
    pub const NUMBER: u16 = 3;
    /// A bulk string does not end where its length says.
    pub const BULK: u16 = 4;
    /// Arrays stand in each other deeper than is allowed.
    pub const DEPTH: u16 = 5;
}

/// How deep arrays may stand in each other, whatever is configured.
pub(crate) const DEEPEST: usize = 32;
/// A simple string, an error or a number may have so many bytes.
const LINE: usize = 64 << 10;
/// The shortest value: an empty simple string.
const LEAST: u64 = 3;

/// How far the first answer of a stream is known.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Before this byte all values are whole.
    at: usize,
    /// Of the line that begins there, so many bytes do not end it.
    seen: usize,
    /// Arrays that are not at their end, and how many values each still lacks.
    depth: usize,
    lacking: [u32; DEEPEST],
    /// Values that follow the one that is looked at.
    behind: u64,
}

/// An answer whose end is there, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has so many bytes.
    Whole(usize),
    /// It has at least so many.
    Need(usize),
}

fn broken(why: u16) -> ProtocolError {
    ProtocolError::Other(why)
}

impl Progress {
    /// Looks on, for the end of the answer that `bytes` begin with; all of them that were shown before are there.
    pub(crate) fn find(&mut self, bytes: &[u8], limits: &Limits) -> Result<Found, ProtocolError> {
        loop {
            let Some((line, head)) = self.line(bytes)? else {
                return Ok(self.need(bytes.len() + 1));
            };
            let mut end = self.at + head;
            // Whatever is wrong is found with the head of a value, so that it is the same however the stream is cut.
            match line {
                [b'$', text @ ..] => {
                    if let Some(len) = length(text)? {
                        within(len, limits.answer)?;
                        end += len as usize + 2;
                    }
                }
                [b'*', text @ ..] => {
                    if let Some(items @ 1..) = length(text)? {
                        within(items, limits.items)?;
                        self.begin_array(items as u32, limits)?;
                        within(self.least(end), limits.answer)?;
                        self.pass(end);
                        continue;
                    }
                }
                [b':', text @ ..] => _ = integer(text)?,
                _ => {}
            }
            within(self.least(end), limits.answer)?;
            if bytes.len() < end {
                return Ok(self.need(end));
            }
            if !bytes[..end].ends_with(b"\r\n") {
                return Err(broken(broken::BULK));
            }
            if self.is_last() {
                return Ok(Found::Whole(end));
            }
            self.pass(end);
        }
    }

    /// The line that begins the next value, and its length with its end; `None` if that is not there.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, ProtocolError> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let end = rest[self.seen..].iter().position(|&byte| byte == b'\r' || byte == b'\n');
        let at = self.seen + end.unwrap_or(rest.len() - self.seen);
        match rest {
            [] | [b'+' | b'-', ..] if at <= LINE => {}
            [b'+' | b'-', ..] => return Err(broken(broken::LINE)),
            [b':' | b'$' | b'*', ..] if at <= LONGEST_NUMBER => {}
            [b':' | b'$' | b'*', ..] => return Err(broken(broken::NUMBER)),
            _ => return Err(broken(broken::TYPE)),
        }
        match &rest[at..] {
            [b'\r', b'\n', ..] => Ok(Some((&rest[..at], at + 2))),
            [] | [b'\r'] => {
                self.seen = at;
                Ok(None)
            }
            _ => Err(broken(broken::LINE)),
        }
    }

    fn begin_array(&mut self, items: u32, limits: &Limits) -> Result<(), ProtocolError> {
        if self.depth == limits.depth() {
            return Err(broken(broken::DEPTH));
        }
        self.lacking[self.depth] = items;
        self.depth += 1;
        // The first of them is looked at next.
        self.behind += u64::from(items) - 1;
        Ok(())
    }

    /// The value that is looked at is whole: whether it is the last.
    fn is_last(&mut self) -> bool {
        while self.depth > 0 {
            let lacking = &mut self.lacking[self.depth - 1];
            *lacking -= 1;
            if *lacking > 0 {
                self.behind -= 1;
                return false;
            }
            // And with it, the array that it was the last of.
            self.depth -= 1;
        }
        true
    }

    /// Goes on behind `end`.
    fn pass(&mut self, end: usize) {
        (self.at, self.seen) = (end, 0);
    }

    /// How many bytes the answer has at least, if what is looked at ends no earlier than at `end`: each value behind it
    /// has a least length.
    fn least(&self, end: usize) -> u64 {
        end as u64 + LEAST * self.behind
    }

    fn need(&self, end: usize) -> Found {
        Found::Need(self.least(end) as usize)
    }
}

fn within(len: u64, limit: u32) -> Result<(), ProtocolError> {
    let limit = u64::from(limit);
    if len > limit { Err(ProtocolError::TooLarge { len, limit }) } else { Ok(()) }
}

/// Bytes of the longest line of a number: its kind, its sign, 19 digits.
const LONGEST_NUMBER: usize = 21;

/// A decimal number of 64 bits.
pub(crate) fn integer(text: &[u8]) -> Result<i64, ProtocolError> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let add = |sum: i64, &digit: &u8| {
        let digit = char::from(digit).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(sign * i64::from(digit))
    };
    let number = digits.iter().try_fold(0, add).filter(|_| !digits.is_empty());
    number.ok_or(broken(broken::NUMBER))
}

/// The length of what is not null.
fn length(text: &[u8]) -> Result<Option<u64>, ProtocolError> {
    match integer(text)? {
        -1 => Ok(None),
        len => u64::try_from(len).map(Some).map_err(|_| broken(broken::NUMBER)),
    }
}
