//! The same machine, told the same.

mod client;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

pub(crate) use client::ClientPlayer;

use super::format::{Damage, Log, Record, Segment, What};
use super::kinds::{Kind, Side};
use super::recorder::Recorder;
use super::words::Words;
use super::{Options, Subject};
use crate::cluster::StateEvent;
use crate::id::RequestId;
use crate::machine::Action;
use crate::save::Reader;
use crate::time::Instant;

/// So many calls before a difference are told.
const SURROUNDINGS: usize = 12;

/// A log that was replayed, and did the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Whose log it is.
    pub subject: Subject,
    /// How many segments were replayed.
    pub segments: u64,
    /// Calls of the machine: inputs, commands, drained actions and events.
    pub calls: u64,
    /// Findings that bodies were replaced by.
    pub findings: u64,
    /// The time of the first record, and of the last.
    pub from: Instant,
    /// See [`from`](Self::from).
    pub to: Instant,
    /// What could not be read behind all this.
    pub damage: Option<Damage>,
}

impl Replayed {
    /// How long the machine was recorded.
    pub fn time(&self) -> Duration {
        self.to.since(self.from)
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed { calls, segments, .. } = self;
        write!(f, "{calls} calls in {segments} segments over {:?}: all the same", self.time())?;
        match &self.damage {
            Some(damage) => write!(f, "; then {damage}"),
            None => Ok(()),
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

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Nothing,
    Action(Action),
    Ended { id: RequestId, told: super::Told },
    State(StateEvent),
    Taken(RequestId),
    Refused,
}

/// A machine that plays a log.
pub(crate) trait Player {
    /// Loads the machine from the head of a segment.
    fn load(segment: &Segment<'_>) -> Result<Self, crate::save::Damaged>
    where
        Self: Sized;
    /// A finding of the calls to come.
    fn expect(&mut self, finding: &Record<'_>);
    /// Does what was done. `name`: the word of a request.
    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came;
    /// Notes from now on what it does.
    fn compare(&mut self, options: Options, now: Instant, hash: u64);
    /// A segment begins.
    fn restart(&mut self, now: Instant, hash: u64);
    fn recorder(&mut self) -> Option<&mut Recorder>;
}

/// One call, as whoever watches a replay sees it.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) call: u64,
    pub(crate) record: &'a Record<'a>,
    pub(crate) name: &'a str,
    pub(crate) came: Came,
}

/// Plays a log to a machine, and compares what it does with what it did.
///
/// # Errors
/// [`Unreplayable`]: nothing can be read, or the first difference.
pub fn replay(bytes: &[u8]) -> Result<Replayed, Unreplayable> {
    let log = Log::read(bytes)?;
    match (log.subject(), log.segments[0].head.has_ids) {
        (Subject::Client, true) => start::<ClientPlayer<true>>(&log, |_, _| {}),
        (Subject::Client, false) => start::<ClientPlayer<false>>(&log, |_, _| {}),
        _ => Err(Unreplayable::Unknown("no machine for it")),
    }
}

/// Plays a log to the machine at its head.
pub(crate) fn start<P: Player>(
    log: &Log<'_>,
    watch: impl FnMut(&mut P, &Step<'_>),
) -> Result<Replayed, Unreplayable> {
    let first = &log.segments[0];
    let player = P::load(first).map_err(|damaged| Damage {
        at: first.at,
        segment: first.head.segment,
        what: What::Snapshot(damaged),
    })?;
    play(player, log, true, watch)
}

/// Plays a log to a machine. `compare`: whether it is to do the same.
pub(crate) fn play<P: Player>(
    mut player: P,
    log: &Log<'_>,
    compare: bool,
    mut watch: impl FnMut(&mut P, &Step<'_>),
) -> Result<Replayed, Unreplayable> {
    let first = &log.segments[0];
    if compare {
        player.compare(Options { content: log.has_content(), ..Options::default() }, first.now, first.hash);
    }
    let mut tape = Tape {
        now: first.now,
        replayed: Replayed {
            subject: log.subject(),
            segments: 0,
            calls: 0,
            findings: 0,
            from: first.now,
            to: first.now,
            damage: log.damage,
        },
        names: Vec::new(),
        before: VecDeque::new(),
    };
    for segment in &log.segments {
        tape.now = segment.now;
        tape.names.clear();
        tape.before.clear();
        player.restart(segment.now, segment.hash);
        tape.replayed.segments += 1;
        for &(at, block) in &segment.blocks {
            tape.play_block(&mut player, segment, at, block, compare, &mut watch)?;
        }
    }
    tape.replayed.to = tape.now;
    Ok(tape.replayed)
}

struct Tape {
    now: Instant,
    replayed: Replayed,
    names: Vec<String>,
    before: VecDeque<String>,
}

impl Tape {
    fn play_block<P: Player>(
        &mut self,
        player: &mut P,
        segment: &Segment<'_>,
        at: usize,
        block: &[u8],
        compare: bool,
        watch: &mut impl FnMut(&mut P, &Step<'_>),
    ) -> Result<(), Unreplayable> {
        let mut from = Reader::new(block);
        let mut compared = 0;
        while !from.left().is_empty() {
            let start = from.at();
            let record = Record::read(&mut from).map_err(|_| Damage {
                at: at + start,
                segment: segment.head.segment,
                what: What::Record,
            })?;
            self.now = self.now + Duration::from_nanos(record.passed);
            if record.side == Side::Finding {
                self.find(player, &record);
                continue;
            }
            self.replayed.calls += 1;
            let name = match record.kind {
                Kind::Request => self.names.get(record.fields[1] as usize).map_or("", |name| &**name),
                _ => "",
            };
            let came = player.call(self.now, &record, name);
            let step = Step { now: self.now, call: self.replayed.calls, record: &record, name, came };
            watch(player, &step);
            if !compare {
                continue;
            }
            // That room was given in vain is noted only with the next call.
            if record.kind != Kind::Room {
                let expected = &block[compared..from.at()];
                let got = player.recorder().map_or(&[][..], |log| log.written());
                if got != expected
                    && let Some((expected, got)) = differ(expected, got)
                {
                    return Err(self.difference(segment, at + compared, expected, got).into());
                }
                compared = from.at();
            }
            if self.before.len() == SURROUNDINGS {
                self.before.pop_front();
            }
            self.before.push_back(alloc::format!("{:?} {}", self.now, Words(&record, name)));
        }
        Ok(())
    }

    fn find<P: Player>(&mut self, player: &mut P, record: &Record<'_>) {
        if record.kind == Kind::Name {
            // As whoever writes forgets them.
            if self.names.len() == super::recorder::NAMES {
                self.names.clear();
            }
            self.names.push(String::from_utf8_lossy(record.bytes).into());
            return;
        }
        self.replayed.findings += 1;
        player.expect(record);
    }

    fn difference(&self, segment: &Segment<'_>, at: usize, expected: String, got: String) -> Difference {
        Difference {
            at,
            segment: segment.head.segment,
            call: self.replayed.calls,
            time: self.now,
            before: self.before.iter().cloned().collect(),
            expected,
            got,
        }
    }
}

/// The first records that differ, in words. What the wire has found wrong was kept as it came, and a replay has only zeros.
fn differ(expected: &[u8], got: &[u8]) -> Option<(String, String)> {
    let (mut left, mut right) = (Reader::new(expected), Reader::new(got));
    loop {
        if left.left().is_empty() && right.left().is_empty() {
            return None;
        }
        let (one, other) = (Record::read(&mut left).map(found), Record::read(&mut right).map(found));
        if one.is_ok() && one == other {
            continue;
        }
        let words = |record: &Result<Record<'_>, _>| match record {
            Ok(record) => Words(record, "").to_string(),
            Err(_) => String::from("nothing more"),
        };
        let (mut expected, mut got) = (words(&one), words(&other));
        if let (Ok(one), Ok(other)) = (one, other)
            && expected == got
        {
            expected.push_str(&alloc::format!("; by then, its outputs have the check {:02x}", one.check));
            got.push_str(&alloc::format!("; by then, its outputs have the check {:02x}", other.check));
        }
        return Some((expected, got));
    }
}

fn found(record: Record<'_>) -> Record<'_> {
    match record.kind {
        Kind::Skip | Kind::Broken | Kind::Failure => Record { bytes: &[], ..record },
        _ => record,
    }
}
