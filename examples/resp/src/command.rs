//! What is sent: a command's name and its arguments, all of them bulk strings.

use std::io::Write;

use plimsoll_core::error::Misuse;

/// Why a command is never sent: what [`Misuse::Unencodable`] says then.
pub mod refused {
    /// It would change what commands of other callers mean (`SELECT`, `AUTH`, `HELLO`, `RESET`, `MULTI`, `WATCH`, …).
    pub const CHANGES_THE_CONNECTION: &str = "it would change what commands of others mean";
    /// It is not answered exactly once (`SUBSCRIBE`, `MONITOR`, `CLIENT REPLY`, …), and those behind it would get each
    /// other's answers.
    pub const NOT_ANSWERED_ONCE: &str = "it is not answered exactly once";
    /// It waits (`BLPOP`, `WAIT`, …), and everybody behind it would.
    pub const BLOCKS: &str = "it waits, and all behind it would";
}

/// By the lengths of their names, which few commands share with them.
const REFUSED: [&[(&str, &str)]; 13] = {
    use refused::*;
    [
        &[],
        &[],
        &[],
        &[],
        &[
            ("AUTH", CHANGES_THE_CONNECTION),
            ("EXEC", CHANGES_THE_CONNECTION),
            ("QUIT", CHANGES_THE_CONNECTION),
            ("SYNC", NOT_ANSWERED_ONCE),
            ("WAIT", BLOCKS),
        ],
        &[
            ("HELLO", CHANGES_THE_CONNECTION),
            ("MULTI", CHANGES_THE_CONNECTION),
            ("RESET", CHANGES_THE_CONNECTION),
            ("WATCH", CHANGES_THE_CONNECTION),
            ("PSYNC", NOT_ANSWERED_ONCE),
            ("BLPOP", BLOCKS),
            ("BRPOP", BLOCKS),
        ],
        &[("SELECT", CHANGES_THE_CONNECTION), ("BLMOVE", BLOCKS), ("BLMPOP", BLOCKS), ("BZMPOP", BLOCKS)],
        &[
            ("DISCARD", CHANGES_THE_CONNECTION),
            ("UNWATCH", CHANGES_THE_CONNECTION),
            ("MONITOR", NOT_ANSWERED_ONCE),
            ("WAITAOF", BLOCKS),
        ],
        &[("BZPOPMAX", BLOCKS), ("BZPOPMIN", BLOCKS)],
        &[("SUBSCRIBE", NOT_ANSWERED_ONCE)],
        &[("PSUBSCRIBE", NOT_ANSWERED_ONCE), ("SSUBSCRIBE", NOT_ANSWERED_ONCE), ("BRPOPLPUSH", BLOCKS)],
        &[("UNSUBSCRIBE", NOT_ANSWERED_ONCE)],
        &[("PUNSUBSCRIBE", NOT_ANSWERED_ONCE), ("SUNSUBSCRIBE", NOT_ANSWERED_ONCE)],
    ]
};

/// The letters that names of each length begin with, as bits; and that of `CLIENT`, of which some are refused.
const FIRST_LETTERS: [u32; REFUSED.len()] = {
    let mut letters = [0; REFUSED.len()];
    letters["CLIENT".len()] = letter(b'C');
    let mut at = 0;
    while at < REFUSED.len() {
        let mut names = REFUSED[at];
        while let [(name, _), rest @ ..] = names {
            letters[at] |= letter(name.as_bytes()[0]);
            names = rest;
        }
        at += 1;
    }
    letters
};

/// The bit of a letter in any case.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

/// The arguments of a command, in their order: any bytes.
///
/// ```
/// use plimsoll_resp::Args;
///
/// let key = format!("user:{}", 7);
/// let args = Args::from([&*key, "Ada"]).arg("EX").arg(60.to_string());
/// assert_eq!(args.len(), 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Their number, in as many bytes as [`HEAD`], and each as a bulk string. Empty without any.
    bytes: Vec<u8>,
}

const HEAD: usize = size_of::<u32>();
/// What there is to an argument besides its bytes, and the command's name, which comes behind the last.
const SPARE: usize = 32;

impl Args {
    /// None.
    pub fn new() -> Self {
        Args::default()
    }

    /// None, in memory that was used before.
    pub(crate) fn within(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Args { bytes }
    }

    /// One more.
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.push(arg.as_ref());
        self
    }

    fn push(&mut self, arg: &[u8]) {
        let count = self.len() as u32 + 1;
        self.bytes.reserve(arg.len() + SPARE);
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD, 0);
        }
        self.bytes[..HEAD].copy_from_slice(&count.to_le_bytes());
        write_bulk(&mut self.bytes, arg);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        Command::read("", &self.bytes).args as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<A: AsRef<[u8]>, const N: usize> From<[A; N]> for Args {
    fn from(args: [A; N]) -> Self {
        args.into_iter().collect()
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for Args {
    fn from_iter<I: IntoIterator<Item = A>>(args: I) -> Self {
        args.into_iter().fold(Args::new(), Args::arg)
    }
}

impl From<Args> for Vec<u8> {
    fn from(args: Args) -> Self {
        args.bytes
    }
}

/// A command, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    name: &'a str,
    args: u32,
    /// As bulk strings.
    bulks: &'a [u8],
}

impl<'a> Command<'a> {
    /// The command `name`, in any case, of so many arguments.
    pub fn new(name: &'a str, args: &'a Args) -> Self {
        Command::read(name, &args.bytes)
    }

    /// `args` is what [`Args`] have gathered.
    pub(crate) fn read(name: &'a str, args: &'a [u8]) -> Self {
        match args.split_first_chunk() {
            Some((&count, bulks)) => Command { name, args: u32::from_le_bytes(count), bulks },
            None => Command { name, args: 0, bulks: &[] },
        }
    }

    /// Appends it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_head(out, b'*', u64::from(self.args) + 1);
        write_bulk(out, self.name.as_bytes());
        out.extend_from_slice(self.bulks);
    }

    /// Whether it may be sent among others, and is not longer than so many bytes.
    pub(crate) fn check(&self, limit: u32) -> Result<(), Misuse> {
        let len = (self.name.len() + self.bulks.len()) as u64;
        if len > u64::from(limit) {
            return Err(Misuse::ContentTooLarge { len, limit: limit.into() });
        }
        match self.refused() {
            Some(why) => Err(Misuse::Unencodable(why)),
            None => Ok(()),
        }
    }

    fn refused(&self) -> Option<&'static str> {
        // Few share the length and the first letter with one of them.
        if FIRST_LETTERS.get(self.name.len())? & letter(*self.name.as_bytes().first()?) == 0 {
            return None;
        }
        let alike = REFUSED[self.name.len()].iter();
        if let Some((_, why)) = alike.copied().find(|(name, _)| name.eq_ignore_ascii_case(self.name)) {
            return Some(why);
        }
        let reply = self.bulks.get(..11).is_some_and(|arg| arg.eq_ignore_ascii_case(b"$5\r\nREPLY\r\n"));
        (reply && self.name.eq_ignore_ascii_case("CLIENT")).then_some(refused::NOT_ANSWERED_ONCE)
    }
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The line that says a kind and a number.
#[inline(always)]
fn write_head(out: &mut Vec<u8>, kind: u8, n: u64) {
    let digit = |n: u64| b'0' + (n % 10) as u8;
    // Most are short, and then each instruction counts.
    match n {
        0..10 => out.extend_from_slice(&[kind, digit(n), b'\r', b'\n']),
        10..100 => out.extend_from_slice(&[kind, digit(n / 10), digit(n), b'\r', b'\n']),
        // A vector takes all that is written.
        _ => _ = write!(out, "{}{n}\r\n", char::from(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, args: &Args) -> Result<String, Misuse> {
        let (mut out, command) = (Vec::new(), Command::new(name, args));
        command.check(100)?;
        command.write(&mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(written("PING", &Args::new()).unwrap(), "*1\r\n$4\r\nPING\r\n");
        let args = Args::from(["a key", ""]).arg("0123456789");
        let expected = "*4\r\n$3\r\nSET\r\n$5\r\na key\r\n$0\r\n\r\n$10\r\n0123456789\r\n";
        assert_eq!(written("SET", &args).unwrap(), expected);
    }

    #[test]
    fn any_number_can_be_written() {
        for n in [0, 9, 10, 99, 100, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            write_head(&mut out, b'$', n);
            assert_eq!(out, format!("${n}\r\n").as_bytes());
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let args = Args::from(["x".repeat(90)]);
        let len = (3 + 5 + 90 + 2) as u64;
        assert_eq!(Command::new("GET", &args).check(100), Ok(()));
        let args = args.arg("");
        let refused = Misuse::ContentTooLarge { len: len + 6, limit: 100 };
        assert_eq!(Command::new("GET", &args).check(100), Err(refused));
    }

    #[test]
    fn what_would_spoil_the_connection_for_others_is_refused_in_any_case() {
        use refused::*;
        for (at, names) in REFUSED.iter().enumerate() {
            for (name, why) in *names {
                assert_eq!(name.len(), at, "{name} is in the wrong place");
                let lower = name.to_ascii_lowercase();
                assert_eq!(written(&lower, &Args::new()), Err(Misuse::Unencodable(why)));
            }
        }
        let reply = written("Client", &Args::from(["reply", "off"]));
        assert_eq!(reply, Err(Misuse::Unencodable(NOT_ANSWERED_ONCE)));
        assert!(written("CLIENT", &Args::from(["ID"])).is_ok());
        assert!(written("GET", &Args::from(["REPLY"])).is_ok());
    }
}
