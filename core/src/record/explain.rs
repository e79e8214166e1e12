//! Why: the story of a request, of a choice, or of a moment.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use super::format::Log;
use super::kinds::Kind;
use super::replay::{Came, ClientPlayer, Step, Unreplayable, start};
use super::words::Words;
use super::{Subject, Told, codes};
use crate::cluster::explain::{Decision, Explanation};
use crate::cluster::{EndpointStatus, StateEvent};
use crate::id::RequestId;
use crate::machine::Machine;
use crate::time::Instant;

/// What one wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// How a request fared.
    Request(RequestId),
    /// The choice of an endpoint of this number, from 1.
    Pick(u64),
    /// How things stood at a time of the log, and what was decided shortly before and after.
    At(Instant),
    /// What has changed: connections, breakers, ejections, refusals.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// When the log begins and ends.
    pub from: Instant,
    /// See [`from`](Self::from).
    pub to: Instant,
    /// What has happened, in order.
    pub lines: Vec<Line>,
    /// How many more lines there were.
    pub more: u64,
    /// How the endpoints stood, for [`Query::At`].
    pub endpoints: Vec<EndpointStatus<'static>>,
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

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// A request was taken.
    Taken {
        /// Which one.
        id: RequestId,
        /// What it asks for.
        name: String,
        /// The length of its content, in bytes.
        len: u64,
        /// How many waited for a place before it, and how many were under way.
        waiting: u32,
        /// See [`waiting`](Self::Taken::waiting).
        in_flight: u32,
    },
    /// A request was not taken.
    Refused {
        /// What it asked for.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A request stands somewhere else than before.
    Moved {
        /// Which one.
        id: RequestId,
        /// The address; `None`: it waits.
        to: Option<String>,
        /// Which attempt it is.
        attempt: u8,
    },
    /// A decision of the cluster.
    Decision(Decision),
    /// A request has ended.
    Ended {
        /// Which one.
        id: RequestId,
        /// How.
        how: &'static str,
        /// The code of the failure, if the service has told one.
        code: Option<String>,
        /// How long it took, in nanoseconds, if its beginning is in the log.
        took: Option<u64>,
    },
    /// The cluster has changed.
    Changed(StateEvent, Option<String>),
    /// A call of the machine, in words.
    Call(String),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Taken { id, name, len, waiting, in_flight } => {
                write!(f, "request {id} {name:?} with {len} bytes is taken; {in_flight} are under way")?;
                match waiting {
                    0 => Ok(()),
                    waiting => write!(f, ", {waiting} wait before it"),
                }
            }
            Happening::Refused { name, why } => write!(f, "a request {name:?} is refused: {why}"),
            Happening::Moved { id, to: None, .. } => write!(f, "request {id} waits for a place"),
            Happening::Moved { id, to: Some(to), attempt: 1 } => write!(f, "request {id} goes to {to}"),
            Happening::Moved { id, to: Some(to), attempt } => {
                write!(f, "request {id} goes to {to}, attempt {attempt}")
            }
            Happening::Decision(decision) => {
                let explanation = Explanation { at: Instant::ZERO, decision: decision.clone() }.to_string();
                // Without the time, which stands before every line.
                f.write_str(explanation.split_once(": ").map_or(&*explanation, |(_, said)| said))
            }
            Happening::Ended { id, how, code, took } => {
                write!(f, "request {id} ends: {how}")?;
                if let Some(code) = code {
                    write!(f, " ({code})")?;
                }
                match took {
                    Some(took) => write!(f, ", after {:?}", core::time::Duration::from_nanos(*took)),
                    None => Ok(()),
                }
            }
            Happening::Changed(event, address) => match address {
                Some(address) => write!(f, "{address}: {}", change(event)),
                None => f.write_str(&change(event)),
            },
            Happening::Call(words) => f.write_str(words),
        }
    }
}

fn change(event: &StateEvent) -> String {
    match event {
        StateEvent::Connected { .. } => "a connection stands".into(),
        StateEvent::Closed { cause, .. } => alloc::format!("a connection has ended: {cause}"),
        StateEvent::Breaker { to, .. } => alloc::format!("its circuit breaker is {to}"),
        StateEvent::Ejected { cause, .. } => alloc::format!("it is ejected: {cause}"),
        StateEvent::Returned { .. } => "it is back from its ejection".into(),
        StateEvent::Health { to, .. } => alloc::format!("a health check says that it is {to}"),
        StateEvent::Drained { .. } => "it is drained".into(),
        StateEvent::Panic { priority, spread } => alloc::format!("priority {priority} panics: {spread:?}"),
        StateEvent::Failover { shares } => alloc::format!("the priorities take {shares:?} ‰"),
        StateEvent::Missed(missed) => alloc::format!("{missed} changes that nobody took"),
    }
}

/// Since the start of the log, as the lines of a story begin.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let us = line.at.since(self.from).as_micros();
            writeln!(f, "{:>8}.{:06} s  {}", us / 1_000_000, us % 1_000_000, line.what)?;
        }
        if self.more > 0 {
            writeln!(f, "… and {} lines more", self.more)?;
        }
        for status in &self.endpoints {
            let EndpointStatus { address, connections, in_flight, breaker, .. } = status;
            write!(f, "{address}: {connections} connections, {in_flight} requests, breaker {breaker}")?;
            write!(f, ", score {} ‰", status.score_per_mille)?;
            write!(f, "{}", if status.ejected { ", ejected" } else { "" })?;
            writeln!(f, "{}", if status.reachable { "" } else { ", the last dial failed" })?;
        }
        Ok(())
    }
}

/// Plays a log once more, and tells what was asked for.
///
/// # Errors
/// [`Unreplayable`]: as [`replay`](super::replay); and if it is the log of another machine than a client of a service.
pub fn explain(bytes: &[u8], query: Query) -> Result<Story, Unreplayable> {
    let log = Log::read(bytes)?;
    match (log.subject(), log.segments[0].head.has_ids) {
        (Subject::Client, true) => tell::<true>(&log, query),
        (Subject::Client, false) => tell::<false>(&log, query),
        _ => Err(Unreplayable::Unknown("decisions are those of a client of a service")),
    }
}

fn tell<const IDS: bool>(log: &Log<'_>, query: Query) -> Result<Story, Unreplayable> {
    let mut teller = Teller {
        query,
        story: Story::default(),
        picks: 0,
        recent: VecDeque::new(),
        after: None,
        life: None,
        under_way: BTreeMap::new(),
    };
    teller.story.from = log.segments[0].now;
    let replayed = start::<ClientPlayer<IDS>>(log, |player, step| teller.watch(player, step))?;
    teller.story.to = replayed.to;
    if matches!(query, Query::At(_)) && teller.after.is_none() {
        teller.tell_recent();
    }
    Ok(teller.story)
}

/// Where the request stands that is asked for.
struct Life {
    taken: Option<Instant>,
    at: Option<String>,
    attempt: u8,
}

struct Teller {
    query: Query,
    story: Story,
    picks: u64,
    recent: VecDeque<Line>,
    /// Once the time that was asked for has come: how many lines are still to come.
    after: Option<usize>,
    life: Option<Life>,
    /// When each request was taken that has not ended, for [`Query::Failures`].
    under_way: BTreeMap<RequestId, Instant>,
}

impl Teller {
    fn watch<const IDS: bool>(&mut self, player: &mut ClientPlayer<IDS>, step: &Step<'_>) {
        let before = player.code.take();
        player.client.set_explain(NonZeroU32::new(64));
        let decisions = player.client.take_explanations();
        match self.query {
            Query::Request(id) => self.follow(player, step, id, decisions, before),
            Query::Pick(n) => self.find_pick(player, step, n, decisions),
            Query::Changes => {
                for what in changes(player, step, decisions) {
                    self.say(step, what);
                }
            }
            Query::Failures => self.find_failure(step, before),
            Query::At(at) => self.look_at(player, step, at, decisions),
        }
    }

    fn find_failure(&mut self, step: &Step<'_>, code: Option<String>) {
        match step.came {
            Came::Taken(id) => drop(self.under_way.insert(id, step.now)),
            Came::Refused => self.say(step, refused(step)),
            Came::Ended { id, told } => {
                let taken = self.under_way.remove(&id);
                if told != Told::Answer {
                    let took = taken.map(|taken| crate::time::nanos(step.now.since(taken)));
                    self.say(step, Happening::Ended { id, how: how(told), code, took });
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, step: &Step<'_>, what: Happening) {
        if self.story.lines.len() < LINES {
            self.story.lines.push(Line { at: step.now, call: step.call, what });
        } else {
            self.story.more += 1;
        }
    }

    fn follow<const IDS: bool>(
        &mut self,
        player: &mut ClientPlayer<IDS>,
        step: &Step<'_>,
        id: RequestId,
        decisions: Vec<Explanation>,
        code: Option<String>,
    ) {
        if step.came == Came::Taken(id) {
            self.life = Some(Life { taken: Some(step.now), at: None, attempt: 0 });
            self.say(step, taken(player, step, id));
        }
        if let Came::Ended { id: ended, told } = step.came
            && ended == id
        {
            let took = self.life.take().and_then(|life| life.taken);
            let took = took.map(|taken| crate::time::nanos(step.now.since(taken)));
            self.say(step, Happening::Ended { id, how: how(told), code, took });
            return;
        }
        let Some((conn, attempt)) = player.client.whereabouts(id) else { return };
        let at = conn.and_then(|conn| player.client.target(conn)).map(String::from);
        let life = self.life.get_or_insert(Life { taken: None, at: None, attempt: 0 });
        if life.attempt == attempt && life.at == at {
            return;
        }
        (life.attempt, life.at) = (attempt, at.clone());
        self.say(step, Happening::Moved { id, to: at.clone(), attempt });
        // Of the decisions of this call, the one that speaks of it.
        let own = decisions.into_iter().find(|explanation| match &explanation.decision {
            Decision::Pick(pick) => at.as_ref() == Some(&pick.endpoint.address),
            Decision::Wait(_) => at.is_none(),
            _ => false,
        });
        if let Some(own) = own {
            self.say(step, Happening::Decision(own.decision));
        }
    }

    fn find_pick<const IDS: bool>(
        &mut self,
        player: &mut ClientPlayer<IDS>,
        step: &Step<'_>,
        n: u64,
        decisions: Vec<Explanation>,
    ) {
        for explanation in decisions {
            if let Decision::Pick(_) = explanation.decision {
                self.picks += 1;
                if self.picks == n {
                    self.say(step, Happening::Call(Words(step.record, step.name).to_string()));
                    if let Came::Taken(id) = step.came {
                        self.say(step, taken(player, step, id));
                    }
                    self.say(step, Happening::Decision(explanation.decision));
                    self.story.endpoints =
                        player.client.endpoint_status().map(EndpointStatus::into_owned).collect();
                }
            }
        }
    }

    fn look_at<const IDS: bool>(
        &mut self,
        player: &mut ClientPlayer<IDS>,
        step: &Step<'_>,
        at: Instant,
        decisions: Vec<Explanation>,
    ) {
        if step.now > at && self.after.is_none() {
            self.after = Some(AFTER);
            self.tell_recent();
            self.story.endpoints = player.client.endpoint_status().map(EndpointStatus::into_owned).collect();
        }
        if self.after == Some(0) {
            return;
        }
        let picks = decisions.iter().filter(|explanation| matches!(explanation.decision, Decision::Pick(_)));
        let picks: Vec<_> = picks.cloned().map(|pick| Happening::Decision(pick.decision)).collect();
        for what in changes(player, step, decisions).into_iter().chain(picks) {
            let line = Line { at: step.now, call: step.call, what };
            match &mut self.after {
                Some(0) => return,
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
    }

    fn tell_recent(&mut self) {
        self.story.lines.extend(self.recent.drain(..));
    }
}

fn taken<const IDS: bool>(player: &ClientPlayer<IDS>, step: &Step<'_>, id: RequestId) -> Happening {
    let status = player.client.status();
    let waits = player.client.whereabouts(id).is_some_and(|(conn, _)| conn.is_none());
    Happening::Taken {
        id,
        name: step.name.into(),
        len: step.record.fields[2],
        waiting: status.waiting - u32::from(waits && status.waiting > 0),
        in_flight: status.in_flight,
    }
}

fn refused(step: &Step<'_>) -> Happening {
    Happening::Refused { name: step.name.into(), why: codes::refusal(step.record.fields[8]) }
}

/// What is no everyday matter.
fn changes<const IDS: bool>(
    player: &ClientPlayer<IDS>,
    step: &Step<'_>,
    decisions: Vec<Explanation>,
) -> Vec<Happening> {
    let mut changes = Vec::new();
    for explanation in decisions {
        if !matches!(explanation.decision, Decision::Pick(_) | Decision::Wait(_)) {
            changes.push(Happening::Decision(explanation.decision));
        }
    }
    match step.came {
        Came::State(event) => {
            let address = event.endpoint().and_then(|id| {
                player.client.endpoints().find(|(other, _)| *other == id).map(|(_, address)| address.into())
            });
            changes.push(Happening::Changed(event, address));
        }
        Came::Refused => changes.push(refused(step)),
        _ => {}
    }
    if matches!(
        step.record.kind,
        Kind::AddEndpoint
            | Kind::RemoveEndpoint
            | Kind::DrainEndpoint
            | Kind::ResumeEndpoint
            | Kind::SetHealth
            | Kind::SetWeight
            | Kind::Scale
            | Kind::Shutdown
    ) {
        changes.push(Happening::Call(Words(step.record, step.name).to_string()));
    }
    changes
}

fn how(told: Told) -> &'static str {
    match told {
        Told::Answer => "it is answered",
        Told::Remote => "the service says that it has failed",
        Told::Timeout => "it has timed out",
        Told::Lost => "its connection was lost",
        Told::Protocol => "its peer broke the rules of the wire",
        Told::Cancelled => "its caller gave it up",
        Told::State | Told::Request | Told::Message => "",
    }
}
