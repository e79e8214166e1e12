//! Why: the story of a request, of a choice, or of a moment.
//!
//! A log is played to its machine once more. A [`Teller`] of that machine watches it, asks it how it stands, and notes what
//! has happened; what of that answers a [`Query`] is decided here, once for all machines.

mod client;
mod hub;
mod ipc_client;
mod server;
mod told;

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

pub use client::ClientHappening;
pub use hub::HubHappening;
pub use ipc_client::IpcClientHappening;
pub use server::ServerHappening;
pub use told::{Fact, Happening};

use super::comparing::start;
use super::outcome::Unreplayable;
use super::player::{Player, Step, Watch, load};
use super::words::Words;
use crate::record::Subject;
use crate::record::format::Log;
use crate::time::Instant;

/// What one wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// How a request or call fared, by its id as the other stories tell it: of a client `3.0`; of a server or hub its number
    /// in the log; of all of them its id on the wire, which is the same in the logs of both ends.
    Request(&'a str),
    /// The choice of this number, from 1: of an endpoint, of who serves a call, of the connection that it goes over.
    Pick(u64),
    /// How things stood at a time of the log, and what was decided shortly before and after.
    At(Instant),
    /// What has changed: connections, breakers, ejections, registrations, pauses, refusals.
    Changes,
    /// Requests that were refused, or ended without a good answer, by ids that can be asked about.
    Failures,
}

/// Decisions that are told before the time that was asked for, and after it.
const BEFORE: usize = 20;
const AFTER: usize = 5;
/// Lines of a story, at most; what is beyond is counted.
const LINES: usize = 10_000;

/// What a log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Whose log it is.
    pub subject: Subject,
    /// When the log begins and ends.
    pub from: Instant,
    /// See [`from`](Self::from).
    pub to: Instant,
    /// What has happened, in order.
    pub lines: Vec<Line>,
    /// How many more lines there were.
    pub more: u64,
    /// How things stood, for [`Query::At`], and around a [`Query::Pick`].
    pub standing: Vec<Happening>,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// The call of the machine during which it was, from 1.
    pub call: u64,
    /// What.
    pub what: Happening,
}

/// Since the start of the log, as the lines of a story begin.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.lines.iter().map(|line| (line.at, line.what.to_string())).collect();
        for alike in told.chunk_by(|one, next| one == next) {
            let (at, what) = &alike[0];
            let us = at.since(self.from).as_micros();
            write!(f, "{:>8}.{:06} s  {what}", us / 1_000_000, us % 1_000_000)?;
            match alike.len() {
                1 => writeln!(f)?,
                times => writeln!(f, " ({times} times)")?,
            }
        }
        if self.more > 0 {
            writeln!(f, "… and {} lines more", self.more)?;
        }
        self.standing.iter().try_for_each(|standing| writeln!(f, "{standing}"))
    }
}

/// Plays a log once more, and tells what was asked for.
///
/// # Errors
/// [`Unreplayable`]: as [`replay`](super::replay).
pub fn explain(bytes: &[u8], query: Query<'_>) -> Result<Story, Unreplayable> {
    let log = Log::read(bytes)?;
    match (log.subject(), log.segments[0].head.has_ids) {
        (Subject::Client, true) => tell::<_, client::Teller<true>>(&log, query),
        (Subject::Client, false) => tell::<_, client::Teller<false>>(&log, query),
        (Subject::Server, _) => tell::<_, server::Teller>(&log, query),
        (Subject::Hub, _) => tell::<_, hub::Teller>(&log, query),
        (Subject::IpcClient, _) => tell::<_, ipc_client::Teller>(&log, query),
    }
}

fn tell<P: Player, T: Teller<P>>(log: &Log<'_>, query: Query<'_>) -> Result<Story, Unreplayable> {
    let (subject, from) = (log.subject(), log.segments[0].now);
    let asked = match query {
        Query::Request(id) => Some(id),
        _ => None,
    };
    let mut player = load(log)?;
    let mut narrator = Narrator {
        query,
        teller: T::new(&mut player, from, asked),
        story: Story { subject, from, to: from, lines: Vec::new(), more: 0, standing: Vec::new() },
        notes: Notes { at: from, call: 0, list: Vec::new() },
        picks: 0,
        recent: VecDeque::new(),
        after: None,
    };
    let replayed = start(&mut player, log, &mut narrator)?;
    narrator.story.to = replayed.to;
    if let Query::At(at) = query
        && at >= replayed.to
    {
        narrator.arrive(&mut player);
    }
    Ok(narrator.story)
}

/// Tells what happens to one kind of machine.
trait Teller<P> {
    /// Of a machine that is about to play a log from `from` on. `asked`: the request that is asked for.
    fn new(player: &mut P, from: Instant, asked: Option<&str>) -> Self;

    /// A call is about to be made.
    fn expect(&mut self, _: &mut P) {}

    /// Notes what came of a call.
    fn watch(&mut self, player: &mut P, step: &Step<'_>, notes: &mut Notes);

    /// How the machine stands.
    fn standing(&self, player: &mut P, now: Instant) -> Vec<Happening>;
}

/// Which questions a happening answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matter {
    /// That of its request.
    Everyday,
    /// What was chosen.
    Choice,
    /// What has changed.
    Change,
    /// What has failed.
    Failure,
    /// Both: the machine has said no.
    Refusal,
}

/// What was noted of a call.
struct Notes {
    at: Instant,
    call: u64,
    list: Vec<Note>,
}

struct Note {
    line: Line,
    matter: Matter,
    /// Whether it is about the request that is asked for.
    asked: bool,
}

impl Notes {
    fn add(&mut self, matter: Matter, asked: bool, what: impl Into<Happening>) {
        let line = Line { at: self.at, call: self.call, what: what.into() };
        self.list.push(Note { line, matter, asked });
    }
}

/// Picks out what answers the question.
struct Narrator<'a, T> {
    query: Query<'a>,
    teller: T,
    story: Story,
    notes: Notes,
    picks: u64,
    recent: VecDeque<Line>,
    /// Once the time that was asked for has come: how many lines are still to come.
    after: Option<usize>,
}

impl<P: Player, T: Teller<P>> Watch<P> for Narrator<'_, T> {
    fn before(&mut self, player: &mut P, now: Instant) {
        if let Query::At(at) = self.query
            && now > at
            && self.after.is_none()
        {
            self.arrive(player);
        }
        self.teller.expect(player);
    }

    fn after(&mut self, player: &mut P, step: &Step<'_>) {
        (self.notes.at, self.notes.call) = (step.now, step.call);
        self.teller.watch(player, step, &mut self.notes);
        let notes = core::mem::take(&mut self.notes.list);
        if let Query::Pick(n) = self.query {
            return self.find_pick(player, step, n, notes);
        }
        for Note { line, matter, asked } in notes {
            let told = match self.query {
                Query::Request(_) => asked,
                Query::Changes => matches!(matter, Matter::Change | Matter::Refusal),
                Query::Failures => matches!(matter, Matter::Failure | Matter::Refusal),
                Query::At(_) => matter != Matter::Everyday,
                Query::Pick(_) => false,
            };
            match self.query {
                Query::At(_) if told => self.say_about_then(line),
                _ if told => self.say(line),
                _ => {}
            }
        }
    }
}

impl<T> Narrator<'_, T> {
    fn say(&mut self, line: Line) {
        if self.story.lines.len() < LINES {
            self.story.lines.push(line);
        } else {
            self.story.more += 1;
        }
    }

    /// The time that was asked for has come.
    fn arrive<P>(&mut self, player: &mut P)
    where
        T: Teller<P>,
    {
        let Query::At(at) = self.query else { return };
        self.after = Some(AFTER);
        self.story.lines.extend(self.recent.drain(..));
        self.story.standing = self.teller.standing(player, at);
    }

    fn say_about_then(&mut self, line: Line) {
        match &mut self.after {
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                self.story.lines.push(line);
            }
            None => {
                if self.recent.len() == BEFORE {
                    self.recent.pop_front();
                }
                self.recent.push_back(line);
            }
        }
    }

    /// Tells a choice with what else was noted of its call.
    fn find_pick<P>(&mut self, player: &mut P, step: &Step<'_>, n: u64, notes: Vec<Note>)
    where
        T: Teller<P>,
    {
        let picks = notes.iter().filter(|note| note.matter == Matter::Choice).count() as u64;
        let before = self.picks;
        self.picks += picks;
        if !(before + 1..=self.picks).contains(&n) {
            return;
        }
        let words = Happening::Input(Words(step.record, step.name).to_string());
        self.say(Line { at: step.now, call: step.call, what: words });
        let mut number = before;
        for Note { line, matter, .. } in notes {
            number += u64::from(matter == Matter::Choice);
            if matter != Matter::Choice || number == n {
                self.say(line);
            }
        }
        self.story.standing = self.teller.standing(player, step.now);
    }
}
