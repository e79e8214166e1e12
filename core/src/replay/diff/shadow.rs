//! A second client, which is told what the first one was.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use super::{CHANGES, Change, Count, Diff, Fate, FirstChoice, Share, Tally};
use crate::cluster::EndpointOptions;
use crate::cluster::explain::{Decision, Explanation};
use crate::error::Fault;
use crate::id::{ConnId, Id, RequestId};
use crate::machine::{Action, Input, Machine};
use crate::policy::breaker;
use crate::record::Told;
use crate::record::codes;
use crate::record::format::Record;
use crate::record::kinds::Kind;
use crate::replay::client::ClientPlayer;
use crate::replay::player::{Came, Step};
use crate::service::Surrogate;
use crate::service::client::{Client, Config, Event, Outcome};
use crate::time::Instant;

/// Decisions of one call that are looked at.
const DECISIONS: NonZeroU32 = NonZeroU32::new(64).expect("more than none");
/// The length of an answer without content; any would do.
const ANSWER: usize = 23;
/// Where something is counted: as the log has it, and under the other policy.
const THEN: usize = 0;
const OTHER: usize = 1;

/// The client under the other policy, and what it knows of the first one.
pub(super) struct Shadow {
    client: Client<Surrogate<true>>,
    timeout: Duration,
    /// By the id of the request in the log.
    requests: BTreeMap<RequestId, Twin>,
    /// When the time of each is over under the other policy.
    due: BTreeSet<(Instant, RequestId)>,
    /// Requests of the log that wait for a place.
    waiting: BTreeSet<RequestId>,
    /// Addresses whose last dial has failed.
    down: Vec<String>,
    /// By connection of the log, its address, and whether it stands.
    conns: BTreeMap<ConnId, (String, bool)>,
    own: Vec<(ConnId, String)>,
    /// What the last failure in the log was: its service was to blame, or overloaded.
    blame: (bool, bool),
    shares: Tally<String>,
    counts: Tally<String>,
    diff: Diff,
}

/// A request of the log, and the same under the other policy.
struct Twin {
    own: RequestId,
    due: Instant,
    /// Where it stands in the log, once it has a place.
    then: Option<String>,
}

impl Shadow {
    pub(super) fn new(config: Config, of: &Client<Surrogate<true>>, now: Instant) -> Self {
        let mut client = Client::<Surrogate<true>>::shadow(config);
        client.set_explain(Some(DECISIONS));
        for status in of.endpoint_status() {
            let options = EndpointOptions { weight: status.weight, priority: status.priority };
            let _ = client.add_endpoint_with(now, &status.address, options);
        }
        let mut shadow = Shadow {
            client,
            timeout: config.timeout,
            requests: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            down: Vec::new(),
            conns: BTreeMap::new(),
            own: Vec::new(),
            blame: (false, false),
            shares: BTreeMap::new(),
            counts: BTreeMap::new(),
            diff: Diff { from: now, ..Diff::default() },
        };
        shadow.settle(now);
        shadow
    }

    pub(super) fn into_diff(self) -> Diff {
        let shares = self.shares.into_iter();
        let shares = shares.map(|(address, [then, other])| Share { address, then, other });
        let counts = self.counts.into_iter().map(|(what, [then, other])| Count { what, then, other });
        Diff { shares: shares.collect(), counts: counts.collect(), ..self.diff }
    }

    pub(super) fn watch(&mut self, player: &mut ClientPlayer<true>, step: &Step<'_>) {
        player.client.set_explain(Some(DECISIONS));
        let then = player.client.take_explanations();
        self.blame = player.blame;
        self.count(&then, THEN);
        self.follow(player, step);
        let now = step.now;
        self.pass(now);
        match step.came {
            Came::Taken(id) => self.request(player, step, Some(id), then),
            Came::Refused => self.request(player, step, None, then),
            Came::Ended { id, told } => self.ended(now, id, told),
            Came::Action(Action::Connect(conn)) => {
                let address = player.client.target(conn).unwrap_or_default().to_string();
                self.conns.insert(conn, (address, false));
            }
            Came::Action(Action::Close(conn)) => drop(self.conns.remove(&conn)),
            _ => self.tell(now, step.record),
        }
        self.settle(now);
        let other = self.client.take_explanations();
        self.count(&other, OTHER);
    }

    fn add(&mut self, what: &str, side: usize) {
        match self.counts.get_mut(what) {
            Some(count) => count[side] += 1,
            None => self.counts.entry(what.into()).or_default()[side] += 1,
        }
    }

    fn count(&mut self, decisions: &[Explanation], side: usize) {
        for Explanation { at, decision } in decisions {
            let is_change = match decision {
                Decision::Pick(pick) => {
                    self.shares.entry(pick.endpoint.address.clone()).or_default()[side] += 1;
                    false
                }
                Decision::Ejection { .. } => {
                    self.add("ejections", side);
                    true
                }
                Decision::Trip { to: breaker::State::Open, .. } => {
                    self.add("breakers that open", side);
                    true
                }
                _ => false,
            };
            if is_change && self.diff.changes.len() < CHANGES {
                let change = Change { at: *at, other: side == OTHER, decision: decision.clone() };
                self.diff.changes.push(change);
            }
        }
    }

    /// Keeps up with where the requests of the log stand.
    fn follow(&mut self, player: &ClientPlayer<true>, step: &Step<'_>) {
        let client = &player.client;
        let moved = matches!(step.record.kind, Kind::Closed | Kind::ReadClosed)
            || matches!(step.came, Came::Action(Action::Close(_)));
        let looked_at: Vec<_> = match moved {
            // Those whose connection has ended are tried again elsewhere.
            true => self.requests.keys().copied().collect(),
            false if (client.status().waiting as usize) < self.waiting.len() => {
                self.waiting.iter().copied().collect()
            }
            false => return,
        };
        for id in looked_at {
            if let Some(address) = place(client, id) {
                self.waiting.remove(&id);
                if let Some(twin) = self.requests.get_mut(&id) {
                    twin.then = Some(address);
                }
            }
        }
    }

    /// Lets the time pass for which nothing was told. Where nobody knows whether an answer would have come in time, none is
    /// held against an endpoint.
    fn pass(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            if let Some(twin) = self.requests.get(&id)
                && let Some(is) = place(&self.client, twin.own)
                && twin.then.as_ref() != Some(&is)
            {
                let own = twin.own;
                self.client.cancel(due, own);
                self.settle(due);
            }
        }
        while let Some(deadline) = self.client.deadline().filter(|&deadline| deadline <= now) {
            self.client.handle(deadline, Input::Tick);
            self.settle(deadline);
            if self.client.deadline() == Some(deadline) {
                break;
            }
        }
    }

    /// A request was made. `id`: it was taken.
    fn request(
        &mut self,
        player: &ClientPlayer<true>,
        step: &Step<'_>,
        id: Option<RequestId>,
        decisions: Vec<Explanation>,
    ) {
        let (request, options) = player.masked(step.record, step.name);
        let answer = self.client.request(step.now, &request, options);
        let chosen = self.client.take_explanations();
        self.count(&chosen, OTHER);
        let then = match id {
            Some(id) => fate(&player.client, id, decisions),
            None => Fate::Refused(codes::refusal(step.record.fields[8])),
        };
        let other = match answer {
            Ok(own) => fate(&self.client, own, chosen),
            Err(refusal) => Fate::Refused(codes::refusal(refusal.code())),
        };
        match (id, answer) {
            (Some(id), Ok(own)) => {
                let due = step.now + options.timeout.unwrap_or(self.timeout);
                self.due.insert((due, id));
                self.requests.insert(id, Twin { own, due, then: then.address().map(String::from) });
                if then == Fate::Waits {
                    self.waiting.insert(id);
                }
            }
            // What would have come of it, nobody knows.
            (None, Ok(own)) => {
                self.diff.let_in += 1;
                self.client.cancel(step.now, own);
            }
            (_, Err(_)) => {}
        }
        for (fate, side) in [(&then, THEN), (&other, OTHER)] {
            match fate {
                Fate::Waits => self.add("requests that wait", side),
                Fate::Refused(why) => self.add(&alloc::format!("refused: {why}"), side),
                Fate::Picked(_) | Fate::Follows(_) => {}
            }
        }
        self.compare(step, id, then, other);
    }

    fn compare(&mut self, step: &Step<'_>, id: Option<RequestId>, then: Fate, other: Fate) {
        let same = match (then.address(), other.address()) {
            (Some(was), Some(is)) => {
                self.diff.compared += 1;
                self.diff.same += u64::from(was == is);
                was == is
            }
            _ => {
                self.diff.apart += 1;
                then == other
            }
        };
        if !same && self.diff.first.is_none() {
            let (at, call, name) = (step.now, step.call, step.name.into());
            self.diff.first = Some(FirstChoice { at, call, id, name, then, other });
        }
    }

    /// What was answered then is answered now, if it was asked of the same endpoint.
    fn ended(&mut self, now: Instant, id: RequestId, told: Told) {
        self.waiting.remove(&id);
        if told == Told::Timeout {
            self.add("timeouts", THEN);
        }
        let Some(Twin { own, due, then }) = self.requests.remove(&id) else { return };
        self.due.remove(&(due, id));
        let at = self.client.whereabouts(own).and_then(|(conn, _)| conn);
        let is = at.and_then(|conn| self.client.target(conn));
        let known = is.is_some() && is == then.as_deref();
        if told != Told::Cancelled {
            self.diff.answers += 1;
            self.diff.evidence += u64::from(known);
        }
        match (told, at) {
            (Told::Answer | Told::Remote, Some(conn)) if known => {
                let failed = (told == Told::Remote).then_some(self.blame);
                if self.client.answer_masked(own, ANSWER, failed) {
                    let _ = self.client.recv_buf(conn);
                    self.client.handle(now, Input::Received(conn, ANSWER));
                }
            }
            // It waits longer, or has asked somebody else: what would have come of it, nobody knows.
            _ => drop(self.client.cancel(now, own)),
        }
    }

    /// Everything but requests and their ends.
    fn tell(&mut self, now: Instant, record: &Record<'_>) {
        let [a, b, c, ..] = record.fields;
        let conn = ConnId::new(a as u32, b as u32);
        match record.kind {
            Kind::Connected => {
                if let Some((address, stands)) = self.conns.get_mut(&conn) {
                    *stands = true;
                    self.down.retain(|down| down != address);
                }
            }
            Kind::Closed => self.closed(now, conn, codes::to_fault(c)),
            Kind::ReadClosed => self.closed(now, conn, Fault::Closed),
            Kind::Tick => self.client.handle(now, Input::Tick),
            Kind::Wall => self.client.handle(now, Input::Wall(a)),
            Kind::Scale => self.client.scale(now, a as u32),
            Kind::AddEndpoint => {
                let options = EndpointOptions { weight: a as u32, priority: b as u8 };
                let address = core::str::from_utf8(record.bytes).unwrap_or("");
                let _ = self.client.add_endpoint_with(now, address, options);
            }
            // Endpoints are added in the same order, and so have the same ids, unless some were removed before the log.
            Kind::RemoveEndpoint => drop(self.client.remove_endpoint(now, Id::new(a as u32, b as u32))),
            Kind::DrainEndpoint => drop(self.client.drain_endpoint(now, Id::new(a as u32, b as u32))),
            Kind::ResumeEndpoint => drop(self.client.resume_endpoint(now, Id::new(a as u32, b as u32))),
            Kind::SetWeight => drop(self.client.set_weight(now, Id::new(a as u32, b as u32), c as u32)),
            Kind::SetHealth => {
                let _ = self.client.set_health(now, Id::new(a as u32, b as u32), codes::to_health(c));
            }
            _ => {}
        }
    }

    /// A connection of the log has ended, or was never made.
    fn closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        let Some((address, stood)) = self.conns.remove(&conn) else { return };
        match self.own.iter().position(|(_, own)| stood && *own == address) {
            Some(at) => {
                let (own, _) = self.own.remove(at);
                self.client.handle(now, Input::Closed(own, fault));
            }
            None => self.down.push(address),
        }
    }

    /// Does what the client wants: dials succeed at once where they did then, and everything is sent at once.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut timeouts = 0;
            while let Some(event) = self.client.event() {
                timeouts +=
                    u64::from(matches!(event, Event::Outcome { outcome: Outcome::Timeout { .. }, .. }));
            }
            (0..timeouts).for_each(|_| self.add("timeouts", OTHER));
            let Some(action) = self.client.poll() else { return };
            match action {
                Action::Connect(conn) => {
                    let address = self.client.target(conn).unwrap_or_default().to_string();
                    if self.down.contains(&address) {
                        self.client.handle(now, Input::Closed(conn, Fault::Refused));
                    } else {
                        self.own.push((conn, address));
                        self.client.handle(now, Input::Connected(conn));
                    }
                }
                Action::Close(conn) => self.own.retain(|(own, _)| *own != conn),
                Action::Read(..) => {}
                Action::Flush(conn) => {
                    let mut bufs = [&[][..]; 64];
                    let filled = self.client.send_bufs(conn, &mut bufs);
                    let n = bufs[..filled].iter().map(|buf| buf.len()).sum();
                    self.client.handle(now, Input::Sent(conn, n));
                }
            }
        }
    }
}

/// The address that a request has gone to.
fn place(client: &Client<Surrogate<true>>, id: RequestId) -> Option<String> {
    let (conn, _) = client.whereabouts(id)?;
    client.target(conn?).map(String::from)
}

/// What is done with a request that was taken just now.
fn fate(client: &Client<Surrogate<true>>, id: RequestId, decisions: Vec<Explanation>) -> Fate {
    let Some(address) = place(client, id) else { return Fate::Waits };
    let pick = decisions.into_iter().find_map(|explanation| match explanation.decision {
        Decision::Pick(pick) if pick.endpoint.address == address => Some(Box::new(pick)),
        _ => None,
    });
    // Within a burst, nobody chooses.
    pick.map_or(Fate::Follows(address), Fate::Picked)
}
