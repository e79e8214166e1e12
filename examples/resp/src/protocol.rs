//! RESP as a [`Protocol`], and as one that is [`Callable`].

use std::fmt;

use plimsoll_core::drive::client::Callable;
use plimsoll_core::error::{Misuse, ProtocolError};
use plimsoll_core::service::{Decoded, Protocol, Verdict};
use plimsoll_core::wire::WireId;

use crate::command::{Args, Command};
use crate::decode::{DEEPEST, Found, Progress};
use crate::value::Answer;

/// RESP2, as Redis speaks it since version 6. Whoever it is greeted as, and which database is chosen, holds for every
/// connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Resp {
    limits: Limits,
    user: Option<String>,
    password: Option<String>,
    database: u32,
}

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest command, in bytes without its head; 64 MiB by default.
    pub command: u32,
    /// The longest answer, and so the longest string, in bytes; 32 MiB by default. What all connections have received in
    /// part is limited besides, by the client's
    /// [`receive_budget`](plimsoll_core::service::client::Config::receive_budget).
    pub answer: u32,
    /// Values in one array; 4,194,304 by default.
    pub items: u32,
    /// Arrays in each other, up to 16; 8 by default.
    pub depth: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { command: 64 << 20, answer: 32 << 20, items: 4 << 20, depth: 8 }
    }
}

impl Limits {
    pub(crate) fn depth(&self) -> usize {
        usize::from(self.depth).min(DEEPEST)
    }
}

impl Resp {
    /// Takes and sends no more than this.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Logs in as `user`; as `default` otherwise.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Logs in with this password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The database that all commands are about; 0 by default.
    pub fn database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }
}

/// Whoever prints it does not print the password.
impl fmt::Debug for Resp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Resp")
            .field("limits", &self.limits)
            .field("user", &self.user)
            .field("password", &password)
            .field("database", &self.database)
            .finish()
    }
}

impl Protocol for Resp {
    type Request<'a> = Command<'a>;
    type Progress = Progress;
    const HAS_IDS: bool = false;

    /// A server that wants a password refuses the hello of one that has none, so that the connection never stands.
    fn greet(&self, out: &mut Vec<u8>) -> u32 {
        let mut hello = Args::from(["2"]);
        if let Some(password) = &self.password {
            hello = hello.arg("AUTH").arg(self.user.as_deref().unwrap_or("default")).arg(password);
        }
        Command::new("HELLO", &hello).write(out);
        if self.database == 0 {
            return 1;
        }
        Command::new("SELECT", &Args::from([self.database.to_string()])).write(out);
        2
    }

    fn encode(&self, out: &mut Vec<u8>, _: WireId, command: &Command<'_>) -> Result<(), Misuse> {
        command.check(self.limits.command)?;
        command.write(out);
        Ok(())
    }

    fn ping(&self, out: &mut Vec<u8>, _: WireId, _: u64) -> bool {
        Command::new("PING", &Args::new()).write(out);
        true
    }

    fn decode(&self, progress: &mut Progress, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        Ok(match progress.find(bytes, &self.limits)? {
            Found::Need(total) => Decoded::Need(total),
            Found::Whole(len) => Decoded::Response { id: None, content: 0..len, len },
        })
    }

    fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a> {
        let [b'-', error @ .., b'\r', b'\n'] = content else { return Verdict::Success };
        // Its code is a word. An error may quote a key or a command, which are any bytes: it is read as far as it is text.
        let text = error.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let (code, message) = text.split_once(' ').unwrap_or((text, ""));
        let overloaded = code == "BUSY";
        Verdict::Failure { code, message, unhealthy: overloaded || UNHEALTHY.contains(&code), overloaded }
    }
}

/// What a server says that serves nobody: it still reads its data, or has lost its primary or its cluster.
///
/// One that is out of memory (`OOM`), cannot save (`MISCONF`) or is a replica (`READONLY`) refuses to write and goes on to
/// answer whoever reads, so that it is no fault of its health: its caller is told, and nobody else. `BUSY` (a script runs
/// for too long) refuses everything, for as long as there is too much to do.
const UNHEALTHY: [&str; 3] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN"];

impl Callable for Resp {
    type Content = Args;
    type Answer = Answer;

    fn request<'a>(name: &'a str, args: &'a [u8]) -> Command<'a> {
        Command::read(name, args)
    }

    fn answer(content: Vec<u8>) -> Answer {
        Answer::new(content)
    }
}
