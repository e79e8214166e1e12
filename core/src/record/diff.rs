//! Yesterday's requests under another policy.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use super::format::{Log, Record};
use super::kinds::Kind;
use super::replay::{Came, ClientPlayer, Player, Step, Unreplayable, start};
use super::{Subject, Surrogate, Told};
use crate::cluster::EndpointOptions;
use crate::cluster::explain::{Decision, Explanation, Pick};
use crate::error::Fault;
use crate::id::{ConnId, Id, RequestId};
use crate::machine::{Action, Input, Machine};
use crate::service::client::{Client, Config};
use crate::time::Instant;

/// What a replay under another policy cannot know.
pub const CAVEAT: &str = "an open-loop replay: every answer came when it came then, from the endpoint that was asked then; \
    under the other policy other endpoints would have had the load, and other latencies, failures and retries. \
    Only a closed loop can tell those: simulate it (plimsoll sim).";

/// How another policy would have chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// When the log begins.
    pub from: Instant,
    /// Requests that both clients sent somewhere at once, so that the choices can be compared.
    pub compared: u64,
    /// Of these, those that went to the same endpoint.
    pub same: u64,
    /// Requests that one of the two let wait or refused.
    pub apart: u64,
    /// The first choice that differs.
    pub first: Option<FirstChoice>,
    /// How often each endpoint was chosen, then and under the other policy; by address.
    pub shares: Vec<Share>,
}

/// How often an endpoint was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its address.
    pub address: String,
    /// As the log has it.
    pub then: u64,
    /// Under the other policy.
    pub other: u64,
}

/// The first choice that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstChoice {
    /// When.
    pub at: Instant,
    /// The call of the machine during which it was, from 1.
    pub call: u64,
    /// The request.
    pub id: RequestId,
    /// What it asks for.
    pub name: String,
    /// As the log has it.
    pub then: Pick,
    /// Under the other policy.
    pub other: Pick,
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diff { compared, same, apart, .. } = self;
        writeln!(f, "{same} of {compared} requests go to the same endpoint; {apart} cannot be compared")?;
        if let Some(first) = &self.first {
            let at = first.at.since(self.from);
            writeln!(
                f,
                "the first other choice: request {} {:?} at {at:?}, call {}",
                first.id, first.name, first.call
            )?;
            writeln!(f, "  then:  {}", first.then)?;
            writeln!(f, "  other: {}", first.other)?;
        }
        let all = |count: fn(&Share) -> u64| self.shares.iter().map(count).sum::<u64>().max(1);
        let (then, other) = (all(|share| share.then), all(|share| share.other));
        for share in &self.shares {
            let per_mille = |n: u64, of: u64| n.saturating_mul(1_000) / of;
            let (a, b) = (per_mille(share.then, then), per_mille(share.other, other));
            let Share { address, then, other } = share;
            writeln!(
                f,
                "  {address}: {then} ({}.{} %) then, {other} ({}.{} %) otherwise",
                a / 10,
                a % 10,
                b / 10,
                b % 10
            )?;
        }
        f.write_str(CAVEAT)
    }
}

/// Plays the requests of a log to a second client whose configuration `other` has changed. It begins cold, with the same
/// endpoints; its dials succeed where they did then, at once, and its answers come when they came then.
///
/// # Errors
/// [`Unreplayable`]: as [`replay`](super::replay); and if it is not the log of a client of a service on a wire with ids.
pub fn diff(bytes: &[u8], other: impl FnOnce(&mut Config)) -> Result<Diff, Unreplayable> {
    let log = Log::read(bytes)?;
    if log.subject() != Subject::Client || !log.segments[0].head.has_ids {
        return Err(Unreplayable::Unknown("policies are those of a client of a service, on a wire with ids"));
    }
    let mut shadow: Option<Shadow> = None;
    let mut other = Some(other);
    let first = &log.segments[0];
    let mut config = ClientPlayer::<true>::load(first).ok().map(|player| (player.client.config(), player));
    if let Some((config, player)) = &mut config
        && let Some(other) = other.take()
    {
        other(config);
        shadow = Some(Shadow::new(*config, &player.client, first.now));
    }
    let mut diff = Diff { from: first.now, ..Diff::default() };
    start::<ClientPlayer<true>>(&log, |player, step| {
        if let Some(shadow) = &mut shadow {
            shadow.watch(player, step, &mut diff);
        }
    })?;
    if let Some(shadow) = shadow {
        diff.shares = shadow
            .shares
            .into_iter()
            .map(|(address, (then, other))| Share { address, then, other })
            .collect();
    }
    Ok(diff)
}

/// The client under the other policy, and what it knows of the first one.
struct Shadow {
    client: Client<Surrogate<true>>,
    /// By the id of the request in the log.
    requests: BTreeMap<RequestId, RequestId>,
    /// Addresses whose last dial has failed.
    down: Vec<String>,
    shares: BTreeMap<String, (u64, u64)>,
    /// By connection of the log, its address, as long as it stands.
    conns: BTreeMap<ConnId, String>,
    own: Vec<(ConnId, String)>,
    /// What the last failure in the log was: its service was to blame, or overloaded.
    blame: (bool, bool),
}

/// The length of an answer without content; any would do.
const ANSWER: usize = 23;

impl Shadow {
    fn new(config: Config, of: &Client<Surrogate<true>>, now: Instant) -> Self {
        let mut client = Client::<Surrogate<true>>::shadow(config);
        client.set_explain(NonZeroU32::new(64));
        for status in of.endpoint_status() {
            let options = EndpointOptions { weight: status.weight, priority: status.priority };
            let _ = client.add_endpoint_with(now, &status.address, options);
        }
        let mut shadow = Shadow {
            client,
            requests: BTreeMap::new(),
            down: Vec::new(),
            shares: BTreeMap::new(),
            conns: BTreeMap::new(),
            own: Vec::new(),
            blame: (false, false),
        };
        shadow.settle(now);
        shadow
    }

    fn watch(&mut self, player: &mut ClientPlayer<true>, step: &Step<'_>, diff: &mut Diff) {
        player.client.set_explain(NonZeroU32::new(64));
        let then = player.client.take_explanations();
        self.blame = player.blame;
        self.count(&then, |share| &mut share.0);
        let now = step.now;
        match step.came {
            Came::Taken(id) => self.request(player, step, id, then, diff),
            Came::Refused => diff.apart += 1,
            Came::Ended { id, told } => self.ended(now, id, told),
            Came::Action(Action::Connect(conn)) => {
                let address = player.client.target(conn).unwrap_or_default().to_string();
                self.conns.insert(conn, address);
            }
            Came::Action(Action::Close(conn)) => drop(self.conns.remove(&conn)),
            _ => self.tell(now, step.record),
        }
        self.settle(now);
        let other = self.client.take_explanations();
        self.count(&other, |share| &mut share.1);
    }

    fn count(&mut self, decisions: &[Explanation], side: fn(&mut (u64, u64)) -> &mut u64) {
        for explanation in decisions {
            if let Decision::Pick(pick) = &explanation.decision {
                *side(self.shares.entry(pick.endpoint.address.clone()).or_default()) += 1;
            }
        }
    }

    fn request(
        &mut self,
        player: &mut ClientPlayer<true>,
        step: &Step<'_>,
        id: RequestId,
        then: Vec<Explanation>,
        diff: &mut Diff,
    ) {
        let (request, options) = player.masked(step.record, step.name);
        let other = self.client.request(step.now, &request, options);
        let chosen = self.client.take_explanations();
        self.count(&chosen, |share| &mut share.1);
        if let Ok(other) = other {
            self.requests.insert(id, other);
        }
        let first = |all: Vec<Explanation>| {
            all.into_iter().find_map(|explanation| match explanation.decision {
                Decision::Pick(pick) => Some(pick),
                _ => None,
            })
        };
        // Within a burst, nobody chooses.
        let address = |conn: Option<ConnId>, client: &Client<Surrogate<true>>| {
            conn.and_then(|conn| client.target(conn)).map(String::from)
        };
        let was = player.client.whereabouts(id).and_then(|(conn, _)| address(conn, &player.client));
        let is = other
            .ok()
            .and_then(|other| self.client.whereabouts(other))
            .and_then(|(conn, _)| address(conn, &self.client));
        let (Some(was), Some(is)) = (was, is) else {
            diff.apart += 1;
            return;
        };
        diff.compared += 1;
        diff.same += u64::from(was == is);
        if was != is
            && diff.first.is_none()
            && let (Some(then), Some(other)) = (first(then), first(chosen))
        {
            let (at, call, name) = (step.now, step.call, step.name.into());
            diff.first = Some(FirstChoice { at, call, id, name, then, other });
        }
    }

    /// What was answered then is answered now, wherever it is.
    fn ended(&mut self, now: Instant, id: RequestId, told: Told) {
        let Some(own) = self.requests.remove(&id) else { return };
        let at = self.client.whereabouts(own).and_then(|(conn, _)| conn);
        match (told, at) {
            (Told::Answer | Told::Remote, Some(conn)) => {
                let failed = (told == Told::Remote).then_some(self.blame);
                if self.client.answer_masked(own, ANSWER, failed) {
                    let _ = self.client.recv_buf(conn);
                    self.client.handle(now, Input::Received(conn, ANSWER));
                }
            }
            // It would have waited for others that take no longer here: what becomes of it, nobody can tell.
            (Told::Answer | Told::Remote | Told::Cancelled, _) => drop(self.client.cancel(now, own)),
            // Its own timers and losses end it.
            _ => {}
        }
    }

    /// Everything but requests and their ends.
    fn tell(&mut self, now: Instant, record: &Record<'_>) {
        let [a, b, c, ..] = record.fields;
        let conn = ConnId::new(a as u32, b as u32);
        let address = self.conns.get(&conn).cloned();
        match (record.kind, address) {
            (Kind::Connected, Some(address)) => self.down.retain(|down| *down != address),
            (Kind::Closed | Kind::ReadClosed, Some(address)) => {
                let fault =
                    if record.kind == Kind::Closed { super::codes::to_fault(c) } else { Fault::Closed };
                self.conns.remove(&conn);
                match self.own.iter().position(|(_, own)| *own == address) {
                    Some(at) => {
                        let (own, _) = self.own.remove(at);
                        self.client.handle(now, Input::Closed(own, fault));
                    }
                    None => self.down.push(address),
                }
            }
            (Kind::Tick, _) => self.client.handle(now, Input::Tick),
            (Kind::Wall, _) => self.client.handle(now, Input::Wall(a)),
            (Kind::Scale, _) => self.client.scale(now, a as u32),
            (Kind::AddEndpoint, _) => {
                let options = EndpointOptions { weight: a as u32, priority: b as u8 };
                let address = core::str::from_utf8(record.bytes).unwrap_or("");
                let _ = self.client.add_endpoint_with(now, address, options);
            }
            // Endpoints are added in the same order, and so have the same ids, unless some were removed before the log.
            (Kind::RemoveEndpoint, _) => drop(self.client.remove_endpoint(now, Id::new(a as u32, b as u32))),
            (Kind::DrainEndpoint, _) => drop(self.client.drain_endpoint(now, Id::new(a as u32, b as u32))),
            (Kind::ResumeEndpoint, _) => drop(self.client.resume_endpoint(now, Id::new(a as u32, b as u32))),
            (Kind::SetWeight, _) => drop(self.client.set_weight(now, Id::new(a as u32, b as u32), c as u32)),
            _ => {}
        }
    }

    /// Does what the client wants: dials succeed at once where they did then, and everything is sent at once.
    fn settle(&mut self, now: Instant) {
        loop {
            while self.client.event().is_some() {}
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
