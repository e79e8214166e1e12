//! Logs of recorded machines, as files: how they are asked for, and what the commands that read them have in common.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plimsoll_core::drive::{Recording, RecordingStatus};
use plimsoll_core::record::{Damage, Log, Subject};
use plimsoll_core::replay::{Difference, Unreplayable};

use crate::call::USAGE;

/// Something is otherwise than the log has it, or than it was under its policy.
pub(crate) const DIFFERS: u8 = 1;
/// A log cannot be read, or not to its end.
const UNREADABLE: u8 = 3;

/// What is to be recorded, and where to.
#[derive(clap::Args)]
pub(crate) struct Record {
    /// Record what is told to the machine that decides, for replay, explain and diff; the last 16 MiB or so are kept,
    /// and a log that is there as FILE.before. A process that is killed loses 0.1 s of it
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record bodies too, and let a replay compare every byte; without this only how long they are, and whether they are
    /// failures
    #[arg(long, requires = "record")]
    record_bodies: bool,
}

impl Record {
    /// Fails, with a sentence, if the file cannot be written.
    pub(crate) fn recording(&self) -> Result<Option<Recording>, String> {
        self.record.as_deref().map(|file| recording(file, self.record_bodies)).transpose()
    }
}

/// A recording to a file, which can be written: nobody finds out only after the incident that it could not.
pub(crate) fn recording(file: &Path, bodies: bool) -> Result<Recording, String> {
    let open = OpenOptions::new().append(true).create(true).open(file);
    open.map_err(|error| format!("{}: cannot be written: {error}", file.display()))?;
    Ok(Recording::file(file).content(bodies))
}

/// What is wrong with a recording that has ended.
pub(crate) fn loss(recording: &Recording) -> Option<String> {
    match recording.status() {
        RecordingStatus { error: Some(error), .. } => Some(format!("the recording is not whole: {error}")),
        RecordingStatus { lost: 0, .. } => None,
        RecordingStatus { lost, .. } => {
            Some(format!("the recording is not whole: the disk was too slow for {lost} pieces of it"))
        }
    }
}

/// Why there is no answer, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error("{0}")]
    Damaged(Damage),
    #[error("{0}")]
    Unknown(&'static str),
    /// What comes before was used.
    #[error("{0}; what comes before that was used")]
    Cut(Damage),
    /// As before, and it cannot be told where it would have ended.
    #[error(
        "the log was cut: its process was killed or still runs, or the disk was full; all that is there was used, and what \
         happened last is missing"
    )]
    Unended,
    #[error("{0}")]
    Different(Box<Difference>),
    #[error("the answer cannot be printed: {0}")]
    Print(#[from] io::Error),
}

impl From<Unreplayable> for Failure {
    fn from(why: Unreplayable) -> Failure {
        match why {
            Unreplayable::Damaged(damage) => Failure::Damaged(damage),
            Unreplayable::Different(difference) => Failure::Different(difference),
            Unreplayable::Unknown(what) => Failure::Unknown(what),
        }
    }
}

/// A log, in memory.
pub(crate) struct LogFile {
    pub(crate) bytes: Vec<u8>,
    subject: Subject,
    segments: u64,
    has_content: bool,
    /// Whether a replay compares every byte.
    pub(crate) is_whole: bool,
    ended: bool,
    damage: Option<Damage>,
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> Result<LogFile, Failure> {
        let bytes = std::fs::read(path).map_err(Failure::Read)?;
        let log = Log::read(&bytes).map_err(Failure::Damaged)?;
        let Log { ended, damage, .. } = log;
        let (subject, has_content, is_whole) = (log.subject(), log.has_content(), log.is_whole());
        let segments = log.segments().count() as u64;
        Ok(LogFile { bytes, subject, segments, has_content, is_whole, ended, damage })
    }

    /// Whose it is, in how many segments, and whether that is all.
    pub(crate) fn title(&self) -> String {
        let machine = match self.subject {
            Subject::Client => "a client of a service",
            Subject::Server => "a server",
            Subject::Hub => "a hub",
            Subject::IpcClient => "a client of a hub",
            _ => "a machine",
        };
        let plural = if self.segments == 1 { "" } else { "s" };
        let bodies = if self.has_content { "with bodies" } else { "bodies masked" };
        let end = if self.ended { "ended in order" } else { "cut" };
        format!("the log of {machine}, {} segment{plural}, {bodies}, {end}", self.segments)
    }

    /// Fails if it could not be read to its end.
    pub(crate) fn whole(&self) -> Result<(), Failure> {
        match self.damage {
            Some(damage) => Err(Failure::Cut(damage)),
            None if self.ended => Ok(()),
            None => Err(Failure::Unended),
        }
    }
}

/// Reads the log, prints what `tell` makes of it, and exits: with the code that it comes to, or because of a failure.
pub(crate) fn run(path: &Path, tell: impl FnOnce(&LogFile) -> Result<(String, u8), Failure>) -> ExitCode {
    let told = LogFile::open(path).and_then(|log| {
        let (text, code) = tell(&log)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        log.whole()?;
        Ok(code)
    });
    let failure = match told {
        Ok(code) => return code.into(),
        Err(failure) => failure,
    };
    anstream::eprintln!("plimsoll: {}: {}", path.display(), plain(&failure.to_string()));
    match failure {
        Failure::Usage(_) => USAGE.into(),
        Failure::Different(_) => DIFFERS.into(),
        _ => UNREADABLE.into(),
    }
}

/// What comes from a file must not speak to the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
