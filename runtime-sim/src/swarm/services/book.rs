//! What all who live in a world have seen: every request by its number, and the first law that was broken.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use plimsoll_core::id::ConnId;
use plimsoll_core::service::client::{Config, RequestError};
use plimsoll_core::time::Instant;

use super::Manner;
use super::turns::Turns;
use super::wire::Mark;
use crate::swarm::journal::{self, Journal};
use crate::swarm::law::Law;

/// The book, to all who write into it.
pub(super) type Shared = journal::Shared<Book>;

#[derive(Debug)]
pub(super) struct Book {
    pub(super) journal: Journal,
    requests: Vec<Entry>,
    /// Where only the order says whose an answer is.
    pub(super) turns: Turns,
    /// How many requests of each client hold a place, by its place.
    pub(super) placed: BTreeMap<u32, u32>,
    /// How servers answer, by place, and whom to wake when that changes.
    pub(super) servers: Vec<Server>,
    /// Since when a client (first) sends no more to a server (second).
    pub(super) dismissed: BTreeMap<(u32, u32), Instant>,
    /// How often a request may be tried.
    pub(super) attempts: u32,
    /// Clients that have sent a request again, so that their numbers are in no order any more.
    pub(super) repeating: BTreeSet<u32>,
    /// Hosts that were paused, by place: what was due meanwhile happened all at once.
    pub(super) paused: BTreeSet<u32>,
    /// While one server fails fast in a world that is calm otherwise.
    pub(super) grey: Option<Grey>,
    /// Whether nothing has gone wrong yet.
    pub(super) is_calm: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) manner: Manner,
    pub(super) waker: Option<Waker>,
    /// Requests that it has put off.
    pub(super) in_flight: u32,
    /// The highest number that came over each connection, from clients that repeat nothing.
    newest: BTreeMap<ConnId, u64>,
}

/// How many requests of each client (first) each server (second) answered, of those that could have gone to any. Those that
/// were given up are left out: where nobody waits for the answers, nobody can find out.
#[derive(Debug)]
pub(super) struct Grey {
    pub(super) server: u32,
    pub(super) answered: BTreeMap<u32, BTreeMap<u32, u32>>,
}

#[derive(Debug)]
struct Entry {
    client: u32,
    idempotent: bool,
    asked: Instant,
    state: State,
    /// How often a server saw it, and which was the last.
    seen: u32,
    server: u32,
    /// It could have gone to any endpoint.
    is_free: bool,
    answered: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Well, with the answer of that mark, if it has one.
    Answered(Option<Mark>),
    /// With an error of that mark, if it has one.
    Failed(Option<Mark>),
    /// No byte of it has left.
    Unsent,
    /// Nobody can tell.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Refused(RequestError),
    Taken,
    /// It has ended; whether any byte of it had left, if that is known.
    Ended {
        unsent: bool,
    },
    /// Its client is no more.
    Orphaned,
}

impl Book {
    /// Of so many servers, by clients that are configured so.
    pub(super) fn new(servers: u32, config: &Config) -> Self {
        let server = |_| Server { manner: Manner::Well, waker: None, in_flight: 0, newest: BTreeMap::new() };
        Book {
            journal: Journal::default(),
            requests: Vec::new(),
            turns: Turns::new(config.cluster.in_flight.get()),
            placed: BTreeMap::new(),
            servers: (0..servers).map(server).collect(),
            dismissed: BTreeMap::new(),
            attempts: config.attempts.get().into(),
            repeating: BTreeSet::new(),
            paused: BTreeSet::new(),
            grey: None,
            is_calm: true,
        }
    }

    /// The number of the next request, which is about to be made.
    pub(super) fn next_number(&self) -> u64 {
        self.requests.len() as u64
    }

    /// A request was made, and taken or not.
    pub(super) fn asked(
        &mut self,
        now: Instant,
        client: u32,
        idempotent: bool,
        is_free: bool,
        refused: Option<RequestError>,
    ) {
        let number = self.next_number();
        let (state, taken) = (refused.map_or(State::Taken, State::Refused), refused.is_none());
        self.requests.push(Entry {
            client,
            idempotent,
            asked: now,
            state,
            seen: 0,
            server: 0,
            is_free,
            answered: false,
        });
        self.journal.stats.requests += u64::from(taken);
        self.journal.note(now, 1 + u64::from(taken), number);
    }

    /// A request has ended.
    pub(super) fn ended(&mut self, now: Instant, client: u32, number: u64, end: End) {
        self.journal.note(now, 3, number);
        let who = || format!("c{client}");
        let Some(entry) = self.requests.get_mut(number as usize).filter(|entry| entry.client == client)
        else {
            let what = format!("request {number} ends, which is not its own");
            return self.journal.broken(Law::Delivery, now, who(), what);
        };
        let Entry { state: before, seen, server, is_free, .. } = *entry;
        let unsent = end == End::Unsent;
        entry.state = State::Ended { unsent };
        if before != State::Taken {
            let what = format!("request {number} ends, but was {before:?} before");
            return self.journal.broken(Law::EndsOnce, now, who(), what);
        }
        if unsent && seen > 0 {
            let what = format!("request {number} was not sent, it says, but a server has seen it");
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        let (answered, right) = match end {
            End::Answered(mark) => (true, mark.is_some_and(|mark| self.is_for(mark, number))),
            End::Failed(mark) => (false, mark.is_none_or(|mark| self.is_for(mark, number))),
            End::Unsent | End::Unknown => (false, true),
        };
        self.requests[number as usize].answered = answered;
        let is_told = matches!(end, End::Answered(_) | End::Failed(_));
        if let Some(grey) = self.grey.as_mut().filter(|_| is_told && is_free && seen == 1) {
            *grey.answered.entry(client).or_default().entry(server).or_default() += 1;
        }
        self.journal.stats.answered += u64::from(answered);
        if !right {
            let what = format!("request {number} is told what is not for it: {end:?}");
            self.journal.broken(Law::Delivery, now, who(), what);
        }
    }

    /// Whether what bears that mark is for the request of that number.
    fn is_for(&mut self, mark: Mark, number: u64) -> bool {
        match mark {
            Mark::Request(other) => other == number && self.requests[number as usize].seen > 0,
            Mark::Turn(mark) => self.turns.is_told(mark, number),
        }
    }

    /// A server sees a request, as the next on its connection.
    pub(super) fn seen(&mut self, now: Instant, server: u32, conn: ConnId, number: u64) {
        self.journal.note(now, 4, number);
        let who = || format!("s{server}");
        let Some(entry) = self.requests.get_mut(number as usize) else {
            return self.journal.broken(
                Law::Delivery,
                now,
                who(),
                format!("it sees request {number}, which nobody made"),
            );
        };
        entry.seen += 1;
        entry.server = server;
        let Entry { client, idempotent, asked, state, seen, .. } = *entry;
        if matches!(state, State::Refused(_) | State::Ended { unsent: true }) {
            let what = format!("it sees request {number} of c{client}, who was told that it was not sent");
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        if seen > 1 && !idempotent {
            let what = format!(
                "it sees request {number} of c{client} for the {seen}. time, which must not be repeated"
            );
            return self.journal.broken(Law::SentOnce, now, who(), what);
        }
        if seen > self.attempts {
            let what = format!(
                "request {number} of c{client} is sent for the {seen}. time, of {} allowed",
                self.attempts
            );
            return self.journal.broken(Law::RetryBudget, now, who(), what);
        }
        if self.dismissed.get(&(client, server)).is_some_and(|&since| asked > since) {
            let what = format!("it gets request {number} of c{client}, for whom it serves no more");
            return self.journal.broken(Law::Removed, now, who(), what);
        }
        let newest = self.servers[server as usize].newest.entry(conn).or_insert(number);
        if number < *newest && !self.repeating.contains(&client) {
            let what = format!("request {number} of c{client} comes after {newest} over the same connection");
            return self.journal.broken(Law::Order, now, who(), what);
        }
        *newest = number.max(*newest);
    }

    /// A client is no more: nobody will hear how its requests end.
    pub(super) fn orphan(&mut self, client: u32) {
        for entry in
            self.requests.iter_mut().filter(|entry| entry.client == client && entry.state == State::Taken)
        {
            entry.state = State::Orphaned;
        }
        self.placed.remove(&client);
    }

    /// A server begins anew.
    pub(super) fn forget(&mut self, server: u32) {
        self.servers[server as usize].newest.clear();
        self.servers[server as usize].in_flight = 0;
    }

    /// Something is not as it should be.
    pub(super) fn disturb(&mut self) {
        self.is_calm = false;
        self.grey = None;
    }

    /// Nothing is asked any more, and there was time for everything to end.
    pub(super) fn judge_rest(&mut self, now: Instant) {
        let open = self.requests.iter().position(|entry| entry.state == State::Taken);
        if let Some(number) = open {
            let who = format!("c{}", self.requests[number].client);
            self.journal.broken(Law::EndsOnce, now, who, format!("request {number} never ends"));
        }
        for (place, server) in self.servers.iter().enumerate().filter(|(_, server)| server.in_flight > 0) {
            let what = format!("{} requests are in flight, at rest", server.in_flight);
            self.journal.broken(Law::Rest, now, format!("s{place}"), what);
        }
    }

    /// The manner of a server has ended that fails fast: whether it had less than its share of what could go anywhere.
    pub(super) fn judge_grey(&mut self, now: Instant) {
        let servers = self.servers.len() as u32;
        let Some(grey) = self.grey.take() else { return };
        for (client, answered) in grey.answered {
            let (bad, all) =
                (answered.get(&grey.server).copied().unwrap_or(0), answered.values().sum::<u32>());
            if servers >= 3 && all >= 40 && bad * servers > all {
                let what = format!(
                    "it fails fast, and got {bad} of {all} requests of c{client}, of {servers} servers"
                );
                self.journal.broken(Law::FailFast, now, format!("s{}", grey.server), what);
            }
        }
    }
}

impl journal::Book for Book {
    fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Also if a server has a request in hand, or the answer to one that was given up is on its way.
    fn is_busy(&self) -> bool {
        self.requests.iter().any(|entry| entry.state == State::Taken)
            || self.servers.iter().any(|server| server.in_flight > 0)
            || self.placed.values().any(|placed| *placed > 0)
    }

    fn last_answered(&self, clients: u32, count: usize) -> Result<(), (String, String)> {
        for client in 0..clients {
            let own = self.requests.iter().enumerate().rev().filter(|(_, entry)| entry.client == client);
            if let Some((number, entry)) = own.take(count).find(|(_, entry)| !entry.answered) {
                return Err((format!("c{client}"), format!("request {number}: {:?}", entry.state)));
            }
        }
        Ok(())
    }
}
