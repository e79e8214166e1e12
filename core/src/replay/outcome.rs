//! What comes of a replay.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

use crate::record::kinds::Kind;
use crate::record::{Damage, Subject};
use crate::time::Instant;

/// A log that was replayed, and did the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Whose log it is.
    pub subject: Subject,
    /// How many segments were replayed.
    pub segments: u64,
    /// Calls of the machine: inputs, commands, and whether there was an action or an event.
    pub calls: u64,
    /// Those of them by which a runtime has told something.
    pub inputs: u64,
    /// Actions that came of them, each as it was.
    pub actions: u64,
    /// Events that came of them, each as it was.
    pub events: u64,
    /// Findings that bodies were replaced by.
    pub findings: u64,
    /// The time of the first record, and of the last.
    pub from: Instant,
    /// See [`from`](Self::from).
    pub to: Instant,
    /// Whether the log ends behind that. If not, its process was killed or still runs, or the disk was full; what happened last is
    /// missing.
    pub ended: bool,
    /// What could not be read behind all this.
    pub damage: Option<Damage>,
}

impl Replayed {
    /// How long the machine was recorded.
    pub fn time(&self) -> Duration {
        self.to.since(self.from)
    }

    pub(super) fn count(&mut self, kind: Kind) {
        self.calls += 1;
        match kind {
            Kind::PolledConnect
            | Kind::PolledClose
            | Kind::PolledReadOn
            | Kind::PolledReadOff
            | Kind::PolledFlush => self.actions += 1,
            Kind::Event | Kind::Answered | Kind::Lent => self.events += 1,
            // What is made of a request says that it was lent.
            Kind::Reply | Kind::Fail | Kind::Defer | Kind::Unanswered if self.subject == Subject::Server => {
                self.events += 1;
            }
            Kind::Connected
            | Kind::Received
            | Kind::Filled
            | Kind::Sent
            | Kind::ReadClosed
            | Kind::Closed
            | Kind::Tick
            | Kind::Wall
            | Kind::Accept => self.inputs += 1,
            _ => {}
        }
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed { calls, segments, .. } = self;
        write!(f, "{calls} calls in {segments} segments over {:?}: all the same", self.time())?;
        match &self.damage {
            Some(damage) => write!(f, "; then {damage}"),
            None if self.ended => Ok(()),
            None => write!(f, "; then the log is cut"),
        }
    }
}

/// The first call after which a replay was not as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where in the log it stands, in bytes from its start.
    pub at: usize,
    /// In which segment.
    pub segment: u64,
    /// The number of the call, from 1.
    pub call: u64,
    /// When it was.
    pub time: Instant,
    /// The calls before it, in words.
    pub before: Vec<String>,
    /// What the log has.
    pub expected: String,
    /// What the replay did.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { at, segment, call, time, .. } = self;
        writeln!(f, "the replay differs at call {call}, {time:?} (segment {segment}, byte {at}):")?;
        self.before.iter().try_for_each(|before| writeln!(f, "    {before}"))?;
        writeln!(f, "  - {}", self.expected)?;
        write!(f, "  + {}", self.got)
    }
}

/// Why a log was not replayed to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreplayable {
    /// Nothing of it can be read.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The machine did something else.
    #[error("{0}")]
    Different(Box<Difference>),
    /// There is no replay of such a log.
    #[error("a log of this kind cannot be replayed here: {0}")]
    Unknown(&'static str),
}

impl From<Difference> for Unreplayable {
    fn from(difference: Difference) -> Self {
        Unreplayable::Different(Box::new(difference))
    }
}
