//! What is sent: a command's name and its arguments, all of them bulk strings.

use plimsoll_core::error::Misuse;

/// Why a command is never sent: the number in [`Misuse::Unencodable`].
pub mod refused {
    /// It would change what commands of other callers mean (`SELECT`, `AUTH`, `HELLO`, `RESET`, `MULTI`, `WATCH`, …).
    pub const CHANGES_THE_CONNECTION: u16 = 1;
    /// It is not answered exactly once (`SUBSCRIBE`, `MONITOR`, `CLIENT REPLY`, …), and those behind it would get each
    /// other's answers.
    pub const NOT_ANSWERED_ONCE: u16 = 2;
    /// It waits (`BLPOP`, `WAIT`, …), and everybody behind it would.
    pub const BLOCKS: u16 = 3;
}

/// By the lengths of their names, which few commands share with them.
const REFUSED: [&[(&str, u16)]; 13] = {
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
        let alike = REFUSED.get(self.name.len()).copied().unwrap_or_default();
        if let Some((_, why)) = alike.iter().find(|(name, _)| name.eq_ignore_ascii_case(self.name)) {
            return Err(Misuse::Unencodable(*why));
        }
        let reply = self.bulks.get(..11).is_some_and(|arg| arg.eq_ignore_ascii_case(b"$5\r\nREPLY\r\n"));
        if reply && self.name.eq_ignore_ascii_case("CLIENT") {
            return Err(Misuse::Unencodable(refused::NOT_ANSWERED_ONCE));
        }
        Ok(())
    }
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn write_head(out: &mut Vec<u8>, kind: u8, mut n: u64) {
    // Its digits from the last to the first, as many as 64 bits can have.
    let mut line = [0; 23];
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    loop {
        at -= 1;
        line[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    line[at - 1] = kind;
    out.extend_from_slice(&line[at - 1..]);
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
    fn the_largest_number_of_bytes_can_be_written() {
        let mut out = Vec::new();
        write_head(&mut out, b'$', u64::MAX);
        assert_eq!(out, format!("${}\r\n", u64::MAX).as_bytes());
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
                assert_eq!(written(&lower, &Args::new()), Err(Misuse::Unencodable(*why)));
            }
        }
        let reply = written("Client", &Args::from(["reply", "off"]));
        assert_eq!(reply, Err(Misuse::Unencodable(NOT_ANSWERED_ONCE)));
        assert!(written("CLIENT", &Args::from(["ID"])).is_ok());
        assert!(written("GET", &Args::from(["REPLY"])).is_ok());
    }
}
