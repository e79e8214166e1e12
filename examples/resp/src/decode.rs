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
pub(crate) const DEEPEST: usize = 16;
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
    /// What is looked at is the head of an array.
    begun: bool,
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
            let rest = bytes.get(self.at..).unwrap_or_default();
            let line = match rest {
                [] => None,
                [b'+' | b'-', ..] => self.text(rest)?,
                [kind @ (b':' | b'$' | b'*'), text @ ..] => match number(text)? {
                    None => None,
                    Some((number, len)) => self.head(*kind, number, 1 + len, limits)?,
                },
                _ => return Err(broken(broken::TYPE)),
            };
            let Some(len) = line else { return Ok(self.need(bytes.len() + 1)) };
            let end = self.at + len;
            // Whatever is too much is found with the head of a value, so that it is the same however the stream is cut.
            within(self.least(end), limits.answer)?;
            if bytes.len() < end {
                return Ok(self.need(end));
            }
            if !bytes[..end].ends_with(b"\r\n") {
                return Err(broken(broken::BULK));
            }
            // What an array begins with is followed by the first of its values.
            let goes_on = core::mem::take(&mut self.begun) || !self.is_last();
            if !goes_on {
                return Ok(Found::Whole(end));
            }
            (self.at, self.seen) = (end, 0);
        }
    }

    /// The length of a line of text, with its end; `None` if that is not there.
    fn text(&mut self, rest: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let end = rest[self.seen..].iter().position(|&byte| byte == b'\r' || byte == b'\n');
        let at = self.seen + end.unwrap_or(rest.len() - self.seen);
        if at > LINE {
            return Err(broken(broken::LINE));
        }
        match &rest[at..] {
            [b'\r', b'\n', ..] => Ok(Some(at + 2)),
            [] | [b'\r'] => {
                self.seen = at;
                Ok(None)
            }
            _ => Err(broken(broken::LINE)),
        }
    }

    /// The length of what begins with a number, as far as it can be passed over: of an array, that is its head.
    fn head(
        &mut self,
        kind: u8,
        number: i64,
        len: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        if kind == b':' || number == -1 {
            return Ok(Some(len));
        }
        let count = u64::try_from(number).map_err(|_| broken(broken::NUMBER))?;
        if kind == b'$' {
            within(count, limits.answer)?;
            return Ok(Some(len + count as usize + 2));
        }
        within(count, limits.items)?;
        if count > 0 {
            self.begin_array(count as u32, limits)?;
        }
        Ok(Some(len))
    }

    fn begin_array(&mut self, items: u32, limits: &Limits) -> Result<(), ProtocolError> {
        if self.depth == limits.depth() {
            return Err(broken(broken::DEPTH));
        }
        self.lacking[self.depth] = items;
        self.depth += 1;
        // The first of them is looked at next.
        self.behind += u64::from(items) - 1;
        self.begun = true;
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

/// As many digits as 64 bits have at most.
const DIGITS: usize = 19;

/// The decimal number of 64 bits that a line consists of, and the length of the line with its end; `None` if that is not
/// there.
#[inline]
pub(crate) fn number(line: &[u8]) -> Result<Option<(i64, usize)>, ProtocolError> {
    let Some(&first) = line.first() else { return Ok(None) };
    let sign = usize::from(first == b'-' || first == b'+');
    let (mut at, mut number) = (sign, 0u64);
    let after = loop {
        let Some(&byte) = line.get(at) else { return Ok(None) };
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || at - sign == DIGITS {
            break byte;
        }
        number = number * 10 + u64::from(digit);
        at += 1;
    };
    if after != b'\r' || at == sign {
        return Err(broken(broken::NUMBER));
    }
    let signed = if first == b'-' { 0i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() };
    let number = signed.ok_or(broken(broken::NUMBER))?;
    match line.get(at + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((number, at + 2))),
        Some(_) => Err(broken(broken::LINE)),
    }
}
