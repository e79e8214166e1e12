//! How a log is played: its records, one after another, to a machine that does what was done.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::alike::Last;
use super::outcome::{Difference, Replayed, Unreplayable};
use super::words::Words;
use crate::cluster::StateEvent;
use crate::id::{ConnId, RequestId};
use crate::machine::{Action, Input, Machine};
use crate::record::format::{Damage, Log, Record, Segment, What};
use crate::record::kinds::Kind;
use crate::record::names::NAMES;
use crate::record::{Options, Record as _, Recorder, Told, codes};
use crate::save::{Damaged, Reader};
use crate::time::Instant;

/// So many calls before a difference are told.
const SURROUNDINGS: usize = 12;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Nothing,
    Action(Action),
    Ended { id: RequestId, told: Told },
    State(StateEvent),
    Taken(RequestId),
    Refused,
}

/// A machine that plays a log.
pub(crate) trait Player {
    type Machine: crate::record::Record;
    fn machine(&mut self) -> &mut Self::Machine;
    /// Loads the machine from the head of a segment.
    fn load(segment: &Segment<'_>) -> Result<Self, Damaged>
    where
        Self: Sized;
    /// A finding of the calls to come.
    /// `name`: the word of a request.
    fn expect(&mut self, finding: &Record<'_>, name: &str);
    /// Does what was done. `name`: the word of a request.
    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came;
    /// A segment begins: what was remembered for the one before it is forgotten.
    fn restart(&mut self) {}
    /// Whether it can be compared with what was recorded, byte by byte.
    fn compares(_: &Segment<'_>) -> bool {
        true
    }
    /// Whether it is in the state that a segment begins with.
    fn is_at(&mut self, segment: &Segment<'_>) -> bool {
        let machine = self.machine();
        let whole = if segment.head.whole { machine.whole_snapshot() } else { None };
        whole.unwrap_or_else(|| machine.masked_snapshot()) == segment.snapshot
    }
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

/// Whoever looks on while a log is played.
pub(crate) trait Watch<P> {
    /// A call is about to be made, at this time.
    fn before(&mut self, _: &mut P, _: Instant) {}
    /// A call was made.
    fn after(&mut self, player: &mut P, step: &Step<'_>);
}

impl<P, F: FnMut(&mut P, &Step<'_>)> Watch<P> for F {
    fn after(&mut self, player: &mut P, step: &Step<'_>) {
        self(player, step);
    }
}

/// Nobody looks on.
pub(super) struct Nobody;

impl<P> Watch<P> for Nobody {
    fn after(&mut self, _: &mut P, _: &Step<'_>) {}
}

/// The machine at the head of a log.
pub(crate) fn load<P: Player>(log: &Log<'_>) -> Result<P, Damage> {
    let first = &log.segments[0];
    let (at, segment) = (first.at, first.head.segment);
    P::load(first).map_err(|damaged| Damage { at, segment, what: What::Snapshot(damaged) })
}

/// Plays a log to a machine. `compare`: whether it is to do the same.
pub(super) fn play<P: Player>(
    player: &mut P,
    log: &Log<'_>,
    compare: bool,
    watch: &mut impl Watch<P>,
) -> Result<Replayed, Unreplayable> {
    let first = &log.segments[0];
    // Where nothing is compared, too: it knows whose answer it is that a log only says to be the next.
    let options = Options { content: log.has_content(), ..Options::default() };
    player.machine().compare(options, log.is_whole(), first.now, first.hash);
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
            ended: log.ended,
            damage: log.damage,
        },
        names: Names(Vec::new()),
        before: VecDeque::new(),
        last: Last::default(),
        expected: Vec::new(),
    };
    for segment in &log.segments {
        tape.now = segment.now;
        tape.names.0.clear();
        tape.last = Last::default();
        tape.expected.clear();
        player.restart();
        if let Some(log) = player.machine().recorder() {
            log.restart_at(segment.now);
        }
        if compare && !player.is_at(segment) {
            let (expected, got) = ("the snapshot of the machine", "a machine in another state");
            return Err(tape.difference(segment, segment.at, expected.into(), got.into()).into());
        }
        tape.replayed.segments += 1;
        for &(at, block) in &segment.blocks {
            let place = Place { segment, at, compare };
            tape.play_block(player, place, block, watch)?;
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

/// Where a block stands, and whether the machine is to do the same.
#[derive(Clone, Copy)]
struct Place<'a> {
    segment: &'a Segment<'a>,
    at: usize,
    compare: bool,
}

struct Tape<'a> {
    now: Instant,
    replayed: Replayed,
    names: Names,
    before: VecDeque<String>,
    last: Last<'a>,
    /// What the machine has not noted yet: much is only counted until something else comes.
    expected: Vec<u8>,
}

impl<'a> Tape<'a> {
    fn play_block<P: Player>(
        &mut self,
        player: &mut P,
        place: Place<'_>,
        block: &'a [u8],
        watch: &mut impl Watch<P>,
    ) -> Result<(), Unreplayable> {
        let mut from = Reader::new(block);
        let mut owes = false;
        while !from.left().is_empty() {
            let start = from.at();
            let place = Place { at: place.at + start, ..place };
            let (segment, what) = (place.segment.head.segment, What::Record);
            let senseless = Damage { at: place.at, segment, what };
            let record = Record::read(&mut from).map_err(|_| senseless)?;
            let steps = self.last.steps(record).ok_or(senseless)?;
            self.expected.extend_from_slice(&block[start..from.at()]);
            for _ in 0..steps.times {
                if let Some(finding) = steps.finding {
                    self.find(player, &finding);
                }
                if let Some(call) = steps.call {
                    self.call(player, place, &call, watch)?;
                }
            }
            // That room was given in vain is noted only with the next call.
            owes = steps.call.is_some() && record.kind != Kind::Room && !player.defers();
        }
        if place.compare {
            // Whoever has written the log has written what was pending before it closed the block.
            if let Some(log) = player.machine().recorder() {
                log.write_pending();
            }
            self.compare(player, place)?;
            if owes && let Ok(missing) = Record::read(&mut Reader::new(&self.expected)) {
                let (expected, got) = (Words(&missing, "").to_string(), "nothing more".into());
                return Err(self.difference(place.segment, place.at + block.len(), expected, got).into());
            }
        }
        Ok(())
    }

    fn call<P: Player>(
        &mut self,
        player: &mut P,
        place: Place<'_>,
        record: &Record<'_>,
        watch: &mut impl Watch<P>,
    ) -> Result<(), Unreplayable> {
        self.now = self.now + Duration::from_nanos(record.passed);
        if record.kind == Kind::Check {
            player.machine().recorder().into_iter().for_each(Recorder::check);
            return self.compare(player, place);
        }
        self.replayed.count(record.kind);
        let name = self.names.of(record);
        watch.before(player, self.now);
        let came = player.call(self.now, record, name);
        let step = Step { now: self.now, call: self.replayed.calls, record, name, came };
        watch.after(player, &step);
        self.compare(player, place)?;
        if !place.compare {
            return Ok(());
        }
        if self.before.len() == SURROUNDINGS {
            self.before.pop_front();
        }
        self.before.push_back(alloc::format!("{:?} {}", self.now, Words(record, self.names.of(record))));
        Ok(())
    }

    /// Whether what the machine has noted is what the log has.
    fn compare<P: Player>(&mut self, player: &mut P, place: Place<'_>) -> Result<(), Unreplayable> {
        let whole = place.segment.head.whole;
        let got = player.machine().recorder().map_or(&[][..], |log| log.written());
        let n = match self.expected.starts_with(got) {
            _ if !place.compare => Ok(self.expected.len()),
            true => Ok(got.len()),
            false => agree(&self.expected, got, whole),
        };
        match n {
            Ok(n) => drop(self.expected.drain(..n)),
            Err((expected, got)) => {
                return Err(self.difference(place.segment, place.at, expected, got).into());
            }
        }
        Ok(())
    }

    fn find<P: Player>(&mut self, player: &mut P, record: &Record<'_>) {
        if record.kind == Kind::Name {
            // As whoever writes forgets them.
            if self.names.0.len() == NAMES {
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

/// How many bytes of what is expected are there, or the first records that differ, in words. What the wire has found wrong was
/// kept as it came, and a replay that is not `whole` has only zeros.
fn agree(expected: &[u8], got: &[u8], whole: bool) -> Result<usize, (String, String)> {
    let (mut left, mut right) = (Reader::new(expected), Reader::new(got));
    while !right.left().is_empty() {
        let found = |record| if whole { record } else { found(record) };
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
        return Err((expected, got));
    }
    Ok(left.at())
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
            match call.bytes.len() == n {
                true => buf[..n].copy_from_slice(call.bytes),
                false => buf[..n].fill(0),
            }
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

/// The code of an error that was answered, and its message, or as many letters.
pub(crate) fn error<'a>(call: &Record<'a>, len: u64) -> (&'a str, Cow<'a, str>) {
    let words = core::str::from_utf8(call.bytes).unwrap_or("");
    match words.split_once('\0') {
        Some((code, message)) => (code, message.into()),
        None => (words, "1".repeat(usize::try_from(len).unwrap_or(0)).into()),
    }
}

fn found(record: Record<'_>) -> Record<'_> {
    match record.kind {
        Kind::Skip | Kind::Broken | Kind::Failure => Record { bytes: &[], ..record },
        // Content, if it is kept, is for people.
        Kind::Received | Kind::Request | Kind::Reply | Kind::LateReply => Record { bytes: &[], ..record },
        _ => record,
    }
}
