//! Yesterday's requests under another policy.
//!
//! The requests of a log are given to a second client, with another configuration: a shadow. It sees the same dials succeed
//! and fail, and the same answers at the same times; but an answer speaks only for the endpoint that has given it. Where the
//! shadow has asked another one, its request ends when the first one did, and nothing is learnt from it (as in the replay
//! method of Li, Chu, Langford and Wang, "Unbiased offline evaluation of contextual-bandit-based news article recommendation
//! algorithms", 2011). [`Diff::answers`] and [`Diff::evidence`] say how much was left of the log.

mod shadow;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::client::ClientPlayer;
use super::comparing::start;
use super::outcome::Unreplayable;
use super::player::{Step, load};
use crate::cluster::explain::{Decision, Pick};
use crate::id::RequestId;
use crate::record::Subject;
use crate::record::format::Log;
use crate::service::client::Config;
use crate::time::Instant;
use shadow::Shadow;

/// What a replay under another policy cannot know.
pub const CAVEAT: &str = "an open-loop replay: every answer came when it came then, from the endpoint that was asked then; \
    under the other policy other endpoints would have had the load, and other latencies, failures and retries. \
    Only a closed loop can tell those: simulate it (plimsoll sim).";

/// Ejections and opened breakers that are told one by one.
pub(crate) const CHANGES: usize = 64;

/// How another policy would have decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// When the log begins.
    pub from: Instant,
    /// Requests that both clients sent somewhere at once, so that the choices can be compared.
    pub compared: u64,
    /// Of these, those that went to the same endpoint.
    pub same: u64,
    /// Requests that one of the two let wait or refused, or both.
    pub apart: u64,
    /// The first request that fares otherwise.
    pub first: Option<FirstChoice>,
    /// How often each endpoint was chosen, then and under the other policy; by address.
    pub shares: Vec<Share>,
    /// What else was decided, and how often: refusals by why, waits, timeouts, ejections, opened breakers.
    pub counts: Vec<Count>,
    /// The first ejections and opened breakers of both, in order.
    pub changes: Vec<Change>,
    /// Answers and failures in the log.
    pub answers: u64,
    /// Of these, those that came from the endpoint that the other policy has asked too, and so tell something about it.
    pub evidence: u64,
    /// Requests that were refused then, and that the other policy lets in. What had come of them, no log can tell.
    pub let_in: u64,
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

/// How often something was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What.
    pub what: String,
    /// As the log has it.
    pub then: u64,
    /// Under the other policy.
    pub other: u64,
}

/// An ejection, or a breaker that has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Whether it is the other policy that has decided so.
    pub other: bool,
    /// What.
    pub decision: Decision,
}

/// The first request that fares otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstChoice {
    /// When.
    pub at: Instant,
    /// The call of the machine during which it was, from 1.
    pub call: u64,
    /// The request, if it was taken then.
    pub id: Option<RequestId>,
    /// What it asks for.
    pub name: String,
    /// As the log has it.
    pub then: Fate,
    /// Under the other policy.
    pub other: Fate,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to an endpoint that was chosen for it.
    Picked(Box<Pick>),
    /// It goes where the request before it went, to this address.
    Follows(String),
    /// It waits for a place.
    Waits,
    /// It is refused.
    Refused(&'static str),
}

impl Fate {
    /// The address that it goes to.
    pub fn address(&self) -> Option<&str> {
        match self {
            Fate::Picked(pick) => Some(&pick.endpoint.address),
            Fate::Follows(address) => Some(address),
            Fate::Waits | Fate::Refused(_) => None,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Picked(pick) => pick.fmt(f),
            Fate::Follows(address) => {
                write!(f, "a request goes to {address}, as those before it in its burst")
            }
            Fate::Waits => f.write_str("a request waits for a place"),
            Fate::Refused(why) => write!(f, "a request is refused: {why}"),
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diff { compared, same, apart, .. } = self;
        writeln!(f, "{same} of {compared} requests go to the same endpoint; {apart} cannot be compared")?;
        if let Some(first) = &self.first {
            let (at, call, name) = (first.at.since(self.from), first.call, &first.name);
            writeln!(f, "the first that fares otherwise: a request {name:?} at {at:?}, call {call}")?;
            writeln!(f, "  then:  {}", first.then)?;
            writeln!(f, "  other: {}", first.other)?;
        }
        let all = |count: fn(&Share) -> u64| self.shares.iter().map(count).sum::<u64>().max(1);
        let (then, other) = (all(|share| share.then), all(|share| share.other));
        for share in &self.shares {
            let per_mille = |n: u64, of: u64| n.saturating_mul(1_000) / of;
            let (a, b) = (per_mille(share.then, then), per_mille(share.other, other));
            let Share { address, then, other } = share;
            write!(f, "  {address}: {then} ({}.{} %) then, ", a / 10, a % 10)?;
            writeln!(f, "{other} ({}.{} %) otherwise", b / 10, b % 10)?;
        }
        for Count { what, then, other } in &self.counts {
            writeln!(f, "  {what}: {then} then, {other} otherwise")?;
        }
        let Diff { answers, evidence, .. } = self;
        writeln!(f, "{evidence} of {answers} answers came from the endpoint that it asks")?;
        f.write_str(CAVEAT)
    }
}

/// Plays the requests of a log to a second client whose configuration `other` has changed. It begins cold, with the same
/// endpoints; its dials succeed where they did then, at once.
///
/// # Errors
/// [`Unreplayable`]: as [`replay`](super::replay); and if it is not the log of a client of a service on a wire with ids.
pub fn diff(bytes: &[u8], other: impl FnOnce(&mut Config)) -> Result<Diff, Unreplayable> {
    let log = Log::read(bytes)?;
    if log.subject() != Subject::Client || !log.segments[0].head.has_ids {
        return Err(Unreplayable::Unknown("policies are those of a client of a service, on a wire with ids"));
    }
    let mut player = load::<ClientPlayer<true>>(&log)?;
    let mut config = player.client.config();
    other(&mut config);
    let mut shadow = Shadow::new(config, &player.client, log.segments[0].now);
    let mut watch = |player: &mut ClientPlayer<true>, step: &Step<'_>| shadow.watch(player, step);
    start(&mut player, &log, &mut watch)?;
    Ok(shadow.into_diff())
}

/// How often something was, then and under the other policy.
pub(crate) type Tally<K> = BTreeMap<K, [u64; 2]>;
