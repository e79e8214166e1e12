//! The same machine, told the same.

mod client;
mod hub;
mod ipc_client;
mod server;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

pub(crate) use client::ClientPlayer;
pub(crate) use hub::{Heard as HubHeard, HubPlayer, Letter};
pub(crate) use ipc_client::{Heard as IpcClientHeard, IpcClientPlayer};
pub(crate) use server::ServerPlayer;

use super::format::{Damage, Log, Record, Segment, What};
use super::kinds::{Kind, Side};
use super::words::Words;
use super::{Options, Record as _, Subject, codes};
use crate::cluster::StateEvent;
use crate::id::{ConnId, RequestId};
use crate::machine::{Action, Input, Machine};
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
    /// What could not be read behind all this.
    pub damage: Option<Damage>,
}

impl Replayed {
    /// How long the machine was recorded.
    pub fn time(&self) -> Duration {
        self.to.since(self.from)
    }

    fn count(&mut self, kind: Kind) {
        self.calls += 1;
        match kind {
            Kind::PolledConnect
            | Kind::PolledClose
            | Kind::PolledReadOn
            | Kind::PolledReadOff
            | Kind::PolledFlush => self.actions += 1,
            Kind::Event => self.events += 1,
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
    type Machine: super::Record;
    fn machine(&mut self) -> &mut Self::Machine;
    /// Loads the machine from the head of a segment.
    fn load(segment: &Segment<'_>) -> Result<Self, crate::save::Damaged>
    where
        Self: Sized;
    /// A finding of the calls to come.
    /// `name`: the word of a request.
    fn expect(&mut self, finding: &Record<'_>, name: &str);
    /// Does what was done. `name`: the word of a request.
    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came;
    /// A segment begins: what was remembered for the one before it is forgotten.
    fn restart(&mut self) {}
    /// Whether the last call is made together with the next one.
    fn defers(&self) -> bool {
        false
    }
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
        (Subject::IpcClient, _) => start::<IpcClientPlayer>(&log, |_, _| {}),
        (Subject::Hub, _) => start::<HubPlayer>(&log, |_, _| {}),
        (Subject::Server, _) => start::<ServerPlayer>(&log, |_, _| {}),
    }
}

/// Whoever looks on while a log is played.
pub(crate) trait Watch<P> {
    /// Something is about to happen at this time.
    fn before(&mut self, _: &mut P, _: Instant) {}
    /// A call was made.
    fn after(&mut self, player: &mut P, step: &Step<'_>);
}

impl<P, F: FnMut(&mut P, &Step<'_>)> Watch<P> for F {
    fn after(&mut self, player: &mut P, step: &Step<'_>) {
        self(player, step);
    }
}

/// Plays a log to the machine at its head.
pub(crate) fn start<P: Player>(
    log: &Log<'_>,
    mut watch: impl FnMut(&mut P, &Step<'_>),
) -> Result<Replayed, Unreplayable> {
    play(&mut load(log)?, log, true, &mut watch)
}

/// The machine at the head of a log.
pub(crate) fn load<P: Player>(log: &Log<'_>) -> Result<P, Damage> {
    let first = &log.segments[0];
    P::load(first).map_err(|damaged| Damage {
        at: first.at,
        segment: first.head.segment,
        what: What::Snapshot(damaged),
    })
}

/// Plays a log to a machine. `compare`: whether it is to do the same.
pub(crate) fn play<P: Player>(
    player: &mut P,
    log: &Log<'_>,
    compare: bool,
    watch: &mut impl Watch<P>,
) -> Result<Replayed, Unreplayable> {
    let first = &log.segments[0];
    if compare {
        let options = Options { content: log.has_content(), ..Options::default() };
        player.machine().compare(options, first.now, first.hash);
    }
    let mut tape = Tape {
        now: first.now,
        replayed: Replayed {
            subject: log.subject(),
            segments: 0,
            calls: 0,
            inputs: 0,
            actions: 0,
            events: 0,
            findings: 0,
            from: first.now,
            to: first.now,
            damage: log.damage,
        },
        names: Names(Vec::new()),
        before: VecDeque::new(),
        carried: Vec::new(),
    };
    for segment in &log.segments {
        tape.now = segment.now;
        tape.names.0.clear();
        tape.carried.clear();
        player.restart();
        if let Some(log) = player.machine().recorder() {
            log.restart_at(segment.now);
        }
        if compare && player.machine().masked_snapshot() != segment.snapshot {
            let (expected, got) = ("the snapshot of the machine", "a machine in another state");
            return Err(tape.difference(segment, segment.at, expected.into(), got.into()).into());
        }
        tape.replayed.segments += 1;
        for &(at, block) in &segment.blocks {
            tape.play_block(player, segment, at, block, compare, watch)?;
        }
    }
    tape.replayed.to = tape.now;
    Ok(tape.replayed)
}

/// The words of a segment, by their numbers.
struct Names(Vec<String>);

impl Names {
    /// The word that a record speaks of.
    fn of(&self, record: &Record<'_>) -> &str {
        match record.kind {
            Kind::Request | Kind::Asked | Kind::Call => {
                self.0.get(record.fields[1] as usize).map_or("", |name| name)
            }
            _ => "",
        }
    }
}

struct Tape {
    now: Instant,
    replayed: Replayed,
    names: Names,
    before: VecDeque<String>,
    /// What is not compared yet.
    carried: Vec<u8>,
}

impl Tape {
    fn play_block<P: Player>(
        &mut self,
        player: &mut P,
        segment: &Segment<'_>,
        at: usize,
        block: &[u8],
        compare: bool,
        watch: &mut impl Watch<P>,
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
            self.replayed.count(record.kind);
            let name = self.names.of(&record);
            watch.before(player, self.now);
            let came = player.call(self.now, &record, name);
            let step = Step { now: self.now, call: self.replayed.calls, record: &record, name, came };
            watch.after(player, &step);
            if !compare {
                continue;
            }
            // That room was given in vain is noted only with the next call.
            if record.kind != Kind::Room && !player.defers() {
                self.carried.extend_from_slice(&block[compared..from.at()]);
                let expected = &*self.carried;
                let got = player.machine().recorder().map_or(&[][..], |log| log.written());
                if got != expected
                    && let Some((expected, got)) = differ(expected, got)
                {
                    return Err(self.difference(segment, at + compared, expected, got).into());
                }
                compared = from.at();
                self.carried.clear();
            }
            if self.before.len() == SURROUNDINGS {
                self.before.pop_front();
            }
            self.before.push_back(alloc::format!("{:?} {}", self.now, Words(&record, name)));
        }
        // The call that these findings belong to is in the next block.
        self.carried.extend_from_slice(&block[compared..]);
        Ok(())
    }

    fn find<P: Player>(&mut self, player: &mut P, record: &Record<'_>) {
        if record.kind == Kind::Name {
            // As whoever writes forgets them.
            if self.names.0.len() == super::recorder::NAMES {
                self.names.0.clear();
            }
            self.names.0.push(String::from_utf8_lossy(record.bytes).into());
            return;
        }
        self.replayed.findings += 1;
        player.expect(record, self.names.of(record));
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

/// Tells a machine what a runtime told it, and takes its actions.
pub(crate) fn tell<M: Machine>(machine: &mut M, now: Instant, call: &Record<'_>) -> Came {
    let [a, b, c, ..] = call.fields;
    let conn = ConnId::new(a as u32, b as u32);
    let n = usize::try_from(c).unwrap_or(usize::MAX);
    match call.kind {
        Kind::PolledNothing
        | Kind::PolledConnect
        | Kind::PolledClose
        | Kind::PolledReadOn
        | Kind::PolledReadOff
        | Kind::PolledFlush => return machine.poll().map_or(Came::Nothing, Came::Action),
        Kind::Room => drop(machine.recv_buf(conn).len()),
        Kind::Received => {
            let buf = machine.recv_buf(conn);
            let n = n.min(buf.len());
            buf[..n].fill(0);
            machine.handle(now, Input::Received(conn, n));
        }
        Kind::Filled => machine.handle(now, Input::Received(conn, n)),
        Kind::Sent => machine.handle(now, Input::Sent(conn, n)),
        Kind::Connected => machine.handle(now, Input::Connected(conn)),
        Kind::ReadClosed => machine.handle(now, Input::ReadClosed(conn)),
        Kind::Closed => machine.handle(now, Input::Closed(conn, codes::to_fault(c))),
        Kind::Tick => machine.handle(now, Input::Tick),
        Kind::Wall => machine.handle(now, Input::Wall(a)),
        _ => {}
    }
    Came::Nothing
}

/// An id of which only what is new is in the log.
pub(crate) fn flat_id(last: &mut [u8; 16], record: &Record<'_>) -> [u8; 16] {
    let mut new = record.bytes.iter();
    for (at, byte) in last.iter_mut().enumerate() {
        if record.fields[0] >> at & 1 != 0 {
            *byte = new.next().copied().unwrap_or(0);
        }
    }
    *last
}

fn found(record: Record<'_>) -> Record<'_> {
    match record.kind {
        Kind::Skip | Kind::Broken | Kind::Failure => Record { bytes: &[], ..record },
        // Content, if it is kept, is for people.
        Kind::Received | Kind::Request | Kind::Reply | Kind::LateReply => Record { bytes: &[], ..record },
        _ => record,
    }
}
