//! What makes one state another than others, in 128 bits.

use core::fmt::{self, Write};

use crate::save::{Save, Writer};
use crate::time::Instant;

/// Odd numbers without a pattern: the fractional parts of the golden ratio and of the square root of 3.
const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];

/// Takes in what is to be told apart, by its `Debug` form: machines derive theirs, so that it shows all that they are.
///
/// Times are taken by how far away they are, if it is told what time it [is](Self::now). Fields that decide nothing, such as
/// counts for a metric, can be [left out](Self::without).
///
/// The form is never written down. It comes in pieces as the formatter makes them (a name, a bracket, the digits of a
/// number), and each is mixed in as it comes.
#[derive(Debug)]
pub struct Digest {
    now: Option<Instant>,
    without: &'static [&'static str],
    state: [u64; 2],
    time: Time,
    /// The last piece was the name of a field that is left out, if it is one of a field.
    may_leave_out: bool,
    /// Inside a field that is left out.
    left_out: Option<LeftOut>,
}

/// How much of a time has come: [`Instant`] writes seconds, a point, and nine digits.
#[derive(Clone, Copy, Debug)]
enum Time {
    None,
    Seconds(u64),
    Fraction { seconds: u64, digits: usize, nanos: u64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl Digest {
    pub(super) fn of(tell: impl FnOnce(&mut Digest)) -> u128 {
        let mut digest = Digest {
            now: None,
            without: &[],
            state: FACTORS,
            time: Time::None,
            may_leave_out: false,
            left_out: None,
        };
        tell(&mut digest);
        u128::from(digest.state[0]) << 64 | u128::from(digest.state[1])
    }

    /// From here on, times count from `now`.
    pub fn now(&mut self, now: Instant) -> &mut Self {
        self.now = Some(now);
        self
    }

    /// From here on, fields of these names do not count, whatever is in them.
    pub fn without(&mut self, fields: &'static [&'static str]) -> &mut Self {
        self.without = fields;
        self
    }

    /// Takes in a value.
    pub fn add(&mut self, value: &dyn fmt::Debug) -> &mut Self {
        let _ = write!(self, "{value:?}");
        self.end_time();
        self.left_out = None;
        // Where one value ends is known.
        self.mix(u64::MAX);
        self
    }

    /// Takes in a machine by the bytes that it is saved as. Nothing of it is left out, not even what it has counted, and
    /// times are absolute.
    pub fn add_saved(&mut self, machine: &impl Save) -> &mut Self {
        let mut bytes = Writer::new();
        machine.save(&mut bytes);
        self.text(bytes.as_bytes());
        self
    }

    fn mix(&mut self, word: u64) {
        let [one, other] = self.state;
        let mixed = (one ^ word).wrapping_mul(FACTORS[0]);
        self.state[0] = mixed ^ (mixed >> 29);
        self.state[1] = (other.rotate_left(23) ^ word).wrapping_mul(FACTORS[1]);
    }

    /// A piece of text: its length goes into the first word.
    fn text(&mut self, text: &[u8]) {
        let mut word = text.len() as u64;
        let mut filled = 1;
        for byte in text {
            if filled == 8 {
                self.mix(word);
                (word, filled) = (0, 0);
            }
            word = word << 8 | u64::from(*byte);
            filled += 1;
        }
        self.mix(word);
    }

    /// What looked like a time at first.
    fn end_time(&mut self) {
        match core::mem::replace(&mut self.time, Time::None) {
            Time::None => {}
            Time::Seconds(number) => self.mix(number),
            Time::Fraction { seconds, digits, nanos } => {
                self.mix(seconds);
                self.mix(digits as u64);
                self.mix(nanos);
            }
        }
    }

    fn number(&mut self, piece: &str) {
        let Ok(number) = piece.parse::<u64>() else {
            self.end_time();
            return self.text(piece.as_bytes());
        };
        match &mut self.time {
            Time::Fraction { digits, nanos, .. } if *digits + piece.len() <= 9 => {
                *nanos = *nanos * 10_u64.pow(piece.len() as u32) + number;
                *digits += piece.len();
            }
            _ => {
                self.end_time();
                self.time = Time::Seconds(number);
            }
        }
    }

    /// Whether the piece goes on with a time, or ends it.
    fn goes_on(&mut self, piece: &str) -> bool {
        let Some(now) = self.now else { return false };
        match (piece, self.time) {
            (".", Time::Seconds(seconds)) => {
                self.time = Time::Fraction { seconds, digits: 0, nanos: 0 };
                true
            }
            ("s", Time::Fraction { seconds, digits: 9, nanos }) => {
                self.time = Time::None;
                let time = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
                self.mix(time.wrapping_sub(if time == u64::MAX { 0 } else { now.as_nanos() }));
                true
            }
            _ => false,
        }
    }

    /// Whether the piece belongs to what is left out.
    fn skips(&mut self, piece: &str) -> bool {
        let Some(LeftOut { depth, quoted, escaped }) = &mut self.left_out else { return false };
        match piece {
            _ if *escaped => *escaped = false,
            "\\" if *quoted => *escaped = true,
            "\"" => *quoted = !*quoted,
            _ if *quoted => {}
            "{" | " { " | "(" | "[" => *depth += 1,
            ", " | "}" | " }" | ")" | "]" if *depth == 0 => {
                self.left_out = None;
                return false;
            }
            "}" | " }" | ")" | "]" | ",)" | ", .. }" => *depth -= 1,
            _ => {}
        }
        true
    }
}

/// One piece of a `Debug` form.
impl Write for Digest {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.skips(piece) {
            return Ok(());
        }
        let may_leave_out = core::mem::take(&mut self.may_leave_out);
        match piece.as_bytes().first() {
            Some(byte) if byte.is_ascii_digit() => self.number(piece),
            _ if self.goes_on(piece) => {}
            _ if may_leave_out && piece == ": " => self.left_out = Some(LeftOut::default()),
            _ => {
                self.end_time();
                self.text(piece.as_bytes());
                self.may_leave_out = self.without.contains(&piece);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[derive(Debug)]
    #[allow(dead_code, reason = "it is shown")]
    struct Shown {
        at: Option<Instant>,
        takes: Duration,
        stats: (u32, &'static str, [u32; 2]),
        last: u32,
    }

    fn digest(millis: u64, last: u32, count: u32) -> u128 {
        let now = Instant::from_millis(millis);
        let at = Some(now + Duration::from_millis(1_500));
        let stats = (count, "a \"}, b: 2", [count; 2]);
        let shown = Shown { at, takes: Duration::from_millis(1), stats, last };
        Digest::of(|digest| {
            digest.now(now).without(&["stats"]).add(&shown);
        })
    }

    #[test]
    fn times_count_from_now_and_what_is_left_out_does_not_count() {
        assert_eq!(digest(5, 1, 1), digest(9_123, 1, 700));
        assert_ne!(digest(5, 1, 1), digest(5, 2, 1));
        let never = |now| Digest::of(|digest| _ = digest.now(now).add(&Instant::MAX).add(&7));
        assert_eq!(never(Instant::ZERO), never(Instant::from_millis(3)));
    }

    #[test]
    fn values_are_not_confused_with_their_neighbours() {
        let of = |one: &str, other: &str| Digest::of(|digest| _ = digest.add(&one).add(&other));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("", "abcdefgh"), of("abcdefgh", ""));
        let of = |one: u64, other: &str| Digest::of(|digest| _ = digest.add(&one).add(&other));
        assert_ne!(of(12, ""), of(1, "2"));
    }
}
