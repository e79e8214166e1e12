//! What all at a hub have seen: every call by its number, and the first law that was broken.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::ipc::Context;
use plimsoll_core::ipc::client::CallError;
use plimsoll_core::time::Instant;

use super::Method;
use crate::swarm::journal::{self, Journal};
use crate::swarm::law::Law;

/// The time in which a call that goes nowhere must be answered.
const PROMPT: Duration = Duration::from_secs(2);

/// What mallory writes where the number of a call stands.
pub(super) const FORGED: u64 = 999_999_999_999;

/// The book, to all who write into it.
pub(super) type Shared = journal::Shared<Book>;

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) journal: Journal,
    calls: Vec<Entry>,
    /// Calls that the hub has passed on, for who would answer them in the place of others: id, caller, callee.
    pub(super) passed: Vec<(String, String, String)>,
    /// The call that each root was drawn for.
    roots: BTreeMap<String, u64>,
    /// When things were last not as they should be; `None` while they are not.
    pub(super) calm_since: Option<Instant>,
    /// Calls that the hub waits for, and bytes that it has not sent.
    pub(super) pending: u32,
    pub(super) unsent: u64,
    /// Who is to be woken when the hub is to close.
    pub(super) hub_waker: Option<Waker>,
}

/// What is known of a call when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) caller: u32,
    /// Beyond the services there are: nobody.
    pub(super) callee: u32,
    pub(super) method: Method,
    pub(super) depth: u32,
    /// The call within which it is made.
    pub(super) within: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    made: Made,
    asked: Instant,
    state: State,
    seen: u32,
    answered: bool,
    /// The chain that its callee must find, and the root once somebody has found it.
    chain: Vec<String>,
    root: Option<String>,
    deadline: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Refused(CallError),
    Taken,
    Ended { unsent: bool },
    Orphaned,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Well: the number in the answer, and whether it is by who was asked.
    Answered(Option<u64>, bool),
    Failed,
    /// Its time was over; whether no byte of it had left.
    Late {
        unsent: bool,
    },
    Lost {
        unsent: bool,
    },
    /// Given up, or its client has disconnected.
    GivenUp,
}

impl Book {
    pub(super) fn next_number(&self) -> u64 {
        self.calls.len() as u64
    }

    pub(super) fn made(&self, number: u64) -> Option<Made> {
        self.calls.get(number as usize).map(|entry| entry.made)
    }

    /// A call was made, and taken or not.
    pub(super) fn asked(&mut self, now: Instant, made: Made, to: &str, refused: Option<CallError>) {
        let number = self.next_number();
        let parent = made.within.and_then(|within| self.calls.get(within as usize));
        let mut chain =
            parent.map_or_else(|| vec![format!("s{}", made.caller)], |parent| parent.chain.clone());
        chain.push(to.into());
        let root = parent.and_then(|parent| parent.root.clone());
        let state = refused.map_or(State::Taken, State::Refused);
        self.journal.stats.requests += u64::from(refused.is_none());
        self.journal.note(now, 1, number);
        let entry = Entry { made, asked: now, state, seen: 0, answered: false, chain, root, deadline: None };
        self.calls.push(entry);
    }

    /// A call has come to who was asked, in a context.
    pub(super) fn seen(&mut self, now: Instant, place: u32, number: u64, context: &Context) {
        self.journal.note(now, 4, number);
        let who = || format!("s{place}");
        let of_parent = self.calls.get(number as usize).and_then(|entry| entry.made.within);
        let until = of_parent.and_then(|parent| self.calls[parent as usize].deadline);
        let Some(entry) = self.calls.get_mut(number as usize) else {
            let what = format!("it is called with {number}, which nobody has made");
            return self.journal.broken(Law::Delivery, now, who(), what);
        };
        entry.seen += 1;
        let Made { caller, callee, .. } = entry.made;
        if callee != place {
            let what = format!("it is called with {number}, which is for s{callee}");
            return self.journal.broken(Law::Delivery, now, who(), what);
        }
        if matches!(entry.state, State::Refused(_) | State::Ended { unsent: true }) {
            let what = format!("it is called with {number} by s{caller}, who was told that it was not sent");
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        if entry.seen > 1 {
            let what = format!("it is called with {number} by s{caller} for the {}. time", entry.seen);
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        let depth = entry.chain.len() as u32;
        if context.chain != entry.chain || context.depth != depth {
            let what =
                format!("call {number} comes in the context {context}, and was made in {:?}", entry.chain);
            return self.journal.broken(Law::Context, now, who(), what);
        }
        if entry.root.as_ref().is_some_and(|root| *root != context.root) {
            let what =
                format!("call {number} comes in the context {context}, and was made in {:?}", entry.root);
            return self.journal.broken(Law::Context, now, who(), what);
        }
        if until.is_some_and(|until| context.deadline > until) {
            let what = format!("call {number} has more time than the one that it was made within");
            return self.journal.broken(Law::Context, now, who(), what);
        }
        entry.deadline = Some(context.deadline);
        if entry.root.is_none() {
            entry.root = Some(context.root.clone());
            if let Some(other) = self.roots.insert(context.root.clone(), number) {
                let what = format!("calls {other} and {number} have the same root {}", context.root);
                self.journal.broken(Law::Context, now, who(), what);
            }
        }
    }

    /// A call has ended.
    pub(super) fn ended(&mut self, now: Instant, place: u32, number: u64, end: End) {
        self.journal.note(now, 3, number);
        let who = || format!("s{place}");
        let Some(entry) = self.calls.get_mut(number as usize).filter(|entry| entry.made.caller == place)
        else {
            let what = format!("call {number} ends, which is not its own");
            return self.journal.broken(Law::Delivery, now, who(), what);
        };
        let unsent = matches!(end, End::Late { unsent: true } | End::Lost { unsent: true });
        let (before, seen) = (entry.state, entry.seen);
        entry.state = State::Ended { unsent };
        if before != State::Taken {
            let what = format!("call {number} ends, but was {before:?} before");
            return self.journal.broken(Law::EndsOnce, now, who(), what);
        }
        if unsent && seen > 0 {
            let what = format!("call {number} was not sent, it says, but was seen");
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        match end {
            End::Answered(content, is_by_callee) => {
                entry.answered = true;
                self.journal.stats.answered += 1;
                if content != Some(number) || !is_by_callee || seen == 0 {
                    let what = format!("call {number} is told what is not for it, or by another: {end:?}");
                    self.journal.broken(Law::Delivery, now, who(), what);
                }
            }
            End::Late { .. } => {
                let cannot_be = entry.made.method == Method::Unknown
                    || entry.chain.last().is_some_and(|to| to == "nobody");
                let had_time = now - entry.asked >= PROMPT;
                let was_calm = had_time && self.calm_since.is_some_and(|since| since < entry.asked);
                if cannot_be && was_calm {
                    let what = format!("call {number} goes nowhere, and nobody said so");
                    self.journal.broken(Law::Promptness, now, who(), what);
                }
            }
            End::Failed | End::Lost { .. } | End::GivenUp => {}
        }
    }

    /// A service is no more: nobody will hear how its calls end.
    pub(super) fn orphan(&mut self, place: u32) {
        for entry in
            self.calls.iter_mut().filter(|entry| entry.made.caller == place && entry.state == State::Taken)
        {
            entry.state = State::Orphaned;
        }
    }

    /// Nothing is called any more, and there was time for everything to end.
    pub(super) fn judge_rest(&mut self, now: Instant) {
        if let Some(number) = self.calls.iter().position(|entry| entry.state == State::Taken) {
            let who = format!("s{}", self.calls[number].made.caller);
            self.journal.broken(Law::EndsOnce, now, who, format!("call {number} never ends"));
        }
        if self.pending > 0 || self.unsent > 0 {
            let what =
                format!("it waits for {} calls and to send {} bytes, at rest", self.pending, self.unsent);
            self.journal.broken(Law::Rest, now, "the hub".into(), what);
        }
    }
}

impl journal::Book for Book {
    fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Also if the hub waits for a call, or has something to send.
    fn is_busy(&self) -> bool {
        self.pending > 0 || self.unsent > 0 || self.calls.iter().any(|entry| entry.state == State::Taken)
    }

    /// Of the calls that they have made of their own accord.
    fn last_answered(&self, services: u32, count: usize) -> Result<(), (String, String)> {
        for place in 0..services {
            let own = self.calls.iter().enumerate().rev().filter(|(_, entry)| entry.made.caller == place);
            let mut last = own.filter(|(_, entry)| entry.made.within.is_none()).take(count);
            if let Some((number, entry)) = last.find(|(_, entry)| !entry.answered) {
                return Err((format!("s{place}"), format!("call {number}: {:?}", entry.state)));
            }
        }
        Ok(())
    }
}
