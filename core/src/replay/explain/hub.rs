//! What a hub tells.

mod happening;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::told::{Asked, accepted, peer, waits};
use super::{Happening, Matter, Notes};
use crate::id::ConnId;
use crate::ipc::hub::{Dropped, Hub, Refused};
use crate::record::kinds::Kind;
use crate::replay::hub::{Heard, HubPlayer, Letter};
use crate::replay::player::Step;
use crate::time::Instant;

pub use happening::HubHappening;

/// A call that waits for its answer.
struct Pending {
    number: u64,
    to: String,
    method: String,
    callee: ConnId,
    taken: Instant,
    due: Option<Instant>,
    by_deadline: bool,
    asked: bool,
}

/// By whom a call was made, and its id on the wire.
type Key = (String, String);

pub(super) struct Teller {
    asked: Asked,
    peers: BTreeMap<ConnId, Option<String>>,
    /// Under which name calls go to a connection.
    registered: BTreeMap<ConnId, String>,
    calls: BTreeMap<Key, Pending>,
    /// Calls that were answered by the hub instead of who was called, whose own answer may still come.
    given_up: BTreeMap<Key, (u64, bool)>,
    counted: Counted,
    /// Ends of connections that were known before the call, and are not told by it.
    known_ends: usize,
}

/// What the hub has counted so far.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted {
    strangers: u64,
    /// Calls that have ended without an answer.
    ended: u64,
}

impl Counted {
    fn of(hub: &Hub) -> Self {
        let metrics = hub.metrics();
        let ended = metrics.timed_out + metrics.lost + metrics.abandoned;
        Counted { strangers: metrics.strangers, ended }
    }
}

impl super::Teller<HubPlayer> for Teller {
    fn new(player: &mut HubPlayer, _: Instant, asked: Option<&str>) -> Self {
        player.tells = true;
        let mut teller = Teller {
            asked: Asked::new(asked),
            peers: BTreeMap::new(),
            registered: BTreeMap::new(),
            calls: BTreeMap::new(),
            given_up: BTreeMap::new(),
            counted: Counted::of(&player.hub),
            known_ends: 0,
        };
        for service in player.hub.services() {
            let members = player.hub.members(service.name, "");
            teller.registered.extend(members.map(|member| (member.conn, service.name.into())));
        }
        let calls: Vec<_> = player
            .hub
            .calls()
            .map(|(from, id, callee, to, taken)| ((from.into(), id.into(), to.into()), callee, taken))
            .collect();
        for ((from, id, to), callee, taken) in calls {
            let letter = Letter { from, id, to, ..Letter::default() };
            teller.pend(&mut player.hub, &letter, callee, taken);
        }
        teller
    }

    fn expect(&mut self, player: &mut HubPlayer) {
        self.known_ends = player.hub.untold_ends();
    }

    fn watch(&mut self, player: &mut HubPlayer, step: &Step<'_>, notes: &mut Notes) {
        let hub = &mut player.hub;
        match step.record.kind {
            Kind::Accept => self.accepted(hub, step, notes),
            Kind::Shutdown => {
                let left = Instant::from_nanos(step.record.fields[0]).since(step.now);
                notes.add(Matter::Change, false, HubHappening::Draining { left });
            }
            _ => {}
        }
        match player.heard.take() {
            Some(Heard::Registered { service, methods, member, peer: who }) => {
                let Some(connection) = hub.conn_at(step.record.fields[1] as u32) else { return };
                let peer = peer(who);
                self.registered.insert(connection, service.clone());
                let registered = HubHappening::Registered { service, connection, peer, methods, member };
                notes.add(Matter::Change, false, registered);
            }
            Some(Heard::Routed(letter, to)) => self.routed(hub, letter, to, notes),
            Some(Heard::Query(Letter { from, method, .. })) => {
                notes.add(Matter::Everyday, false, HubHappening::Queried { from, method });
            }
            Some(Heard::Refused(letter, refused)) => self.refused(letter, refused, notes),
            Some(Heard::Response(letter, came)) => self.response(letter, came, notes),
            Some(Heard::Invalid(refused)) => self.invalid(hub, step, refused, notes),
            Some(Heard::End) => self.known_ends = self.known_ends.saturating_sub(1),
            Some(Heard::Other) | None => {}
        }
        let counted = Counted::of(hub);
        self.find_closed(hub, notes);
        if counted.ended != self.counted.ended {
            self.find_ended(hub, notes);
        }
        self.counted = counted;
    }

    fn standing(&self, player: &mut HubPlayer, now: Instant) -> Vec<Happening> {
        let hub = &player.hub;
        let status = hub.status();
        let mut told = Vec::new();
        told.push(HubHappening::Stands {
            connections: status.connections,
            services: status.services,
            pending: status.pending,
            unsent: status.unsent,
            draining: status.draining,
        });
        told.extend(hub.services().map(|service| HubHappening::Service {
            service: service.name.into(),
            connections: service.connections,
            slow: hub.members(service.name, "").filter(|member| !member.reads).count() as u32,
            called: service.called,
            calling: service.calling,
        }));
        let waits = waits(self.calls.iter().map(|((from, _), call)| ((from, &call.to), call.taken)));
        told.extend(waits.into_iter().map(|((service, on), (calls, since))| HubHappening::Waits {
            service: service.clone(),
            on: on.clone(),
            calls,
            longest: now.since(since),
        }));
        told.into_iter().map(Happening::from).collect()
    }
}

impl Teller {
    fn peer(&self, conn: ConnId) -> Option<String> {
        self.peers.get(&conn).cloned().flatten()
    }

    fn accepted(&mut self, hub: &Hub, step: &Step<'_>, notes: &mut Notes) {
        let (connection, peer) = accepted(step.record);
        let status = hub.status();
        let Some(connection) = connection else {
            let why = match () {
                () if hub.metrics().strangers != self.counted.strangers => {
                    "it is of another user than is let in"
                }
                () if status.draining => "the hub shuts down",
                () => "as many connections stand as may",
            };
            return notes.add(Matter::Refusal, false, HubHappening::TurnedAway { peer, why });
        };
        self.peers.insert(connection, peer.clone());
        let accepted = HubHappening::Accepted { connection, peer, connections: status.connections };
        notes.add(Matter::Change, false, accepted);
    }

    /// Notes that a call waits.
    fn pend(&mut self, hub: &mut Hub, letter: &Letter, callee: ConnId, taken: Instant) -> (u64, bool) {
        let (number, asked) = self.asked.next(&letter.id);
        let waiting = hub.waiting(&letter.from, &letter.id);
        let call = Pending {
            number,
            to: letter.to.clone(),
            method: letter.method.clone(),
            callee,
            taken,
            due: waiting.and_then(|waiting| waiting.due),
            by_deadline: waiting.is_some_and(|waiting| waiting.by_deadline),
            asked,
        };
        self.calls.insert((letter.from.clone(), letter.id.clone()), call);
        (number, asked)
    }

    fn routed(&mut self, hub: &mut Hub, letter: Letter, connection: ConnId, notes: &mut Notes) {
        let (call, asked) = self.pend(hub, &letter, connection, notes.at);
        let why = why_there(hub, &letter, connection);
        let Letter { from, id, to, method, .. } = letter;
        let (peer, pending) = (self.peer(connection), hub.status().pending);
        let routed = HubHappening::Routed { call, id, from, to, method, connection, peer, why, pending };
        notes.add(Matter::Choice, asked, routed);
    }

    fn refused(&mut self, letter: Letter, refused: Refused, notes: &mut Notes) {
        let (call, asked) = self.asked.next(&letter.id);
        let Letter { from, id, to, method, .. } = letter;
        let (why, code) = (refused.to_string(), refused.code());
        notes.add(Matter::Refusal, asked, HubHappening::Refused { call, id, from, to, method, why, code });
    }

    /// An answer: `from` and `to` are the other way round.
    fn response(&mut self, letter: Letter, came: Result<(), Dropped>, notes: &mut Notes) {
        let Letter { from, id, to, code, .. } = letter;
        let key = (to, id);
        let answers = matches!(came, Ok(()) | Err(Dropped::Unconvertible));
        let pending = if answers { self.calls.remove(&key) } else { None };
        let known =
            pending.as_ref().map(|call| (call.number, call.asked)).or_else(|| self.given_up.remove(&key));
        let (call, asked) = known.map_or((None, false), |(number, asked)| (Some(number), asked));
        let (to, id) = key;
        match (came, pending) {
            (Ok(()), Some(call)) => {
                let took = notes.at.since(call.taken);
                let matter = if code.is_some() { Matter::Failure } else { Matter::Everyday };
                // Told as the call is: by whom, to whom.
                let answered = HubHappening::Answered {
                    call: call.number,
                    from: to,
                    to: call.to,
                    method: call.method,
                    code,
                    took,
                };
                notes.add(matter, asked, answered);
            }
            (Err(why), _) => {
                let why = why.to_string();
                notes.add(Matter::Failure, asked, HubHappening::Dropped { call, id, from, to, why });
            }
            (Ok(()), None) => {}
        }
    }

    fn invalid(&self, hub: &Hub, step: &Step<'_>, refused: Refused, notes: &mut Notes) {
        let connection = hub.conn_at(step.record.fields[1] as u32);
        let invalid = HubHappening::Invalid {
            connection,
            peer: connection.and_then(|conn| self.peer(conn)),
            service: connection.and_then(|conn| hub.service_of(conn)).map(String::from),
            why: refused.to_string(),
            code: refused.code(),
        };
        notes.add(Matter::Refusal, false, invalid);
    }

    /// Calls have ended without an answer of who was called.
    fn find_ended(&mut self, hub: &mut Hub, notes: &mut Notes) {
        let keys: Vec<_> = self.calls.keys().cloned().collect();
        for key in keys {
            let Some(call) = self.calls.get(&key).filter(|_| hub.waiting(&key.0, &key.1).is_none()) else {
                continue;
            };
            let (number, asked, took) = (call.number, call.asked, notes.at.since(call.taken));
            let (from, to, method, connection) =
                (key.0.clone(), call.to.clone(), call.method.clone(), call.callee);
            let what = if call.due.is_some_and(|due| due <= notes.at) {
                let why = match call.by_deadline {
                    true => "the deadline of its context has passed",
                    false => "the time that the hub allows is over",
                };
                HubHappening::TimedOut { call: number, from, to, method, connection, why, took }
            } else if !hub.serves(connection) {
                let why = hub.ending(connection);
                HubHappening::Lost { call: number, from, to, method, connection, why, took }
            } else {
                HubHappening::Abandoned { call: number, from, to, method, took }
            };
            notes.add(Matter::Failure, asked, what);
            self.calls.remove(&key);
            self.given_up.insert(key, (number, asked));
        }
    }

    /// Connections have ended, or take their last words.
    fn find_closed(&mut self, hub: &Hub, notes: &mut Notes) {
        for (connection, service, why) in hub.ends(self.known_ends) {
            let peer = self.peers.remove(&connection).flatten();
            let service = service.map(String::from);
            notes.add(Matter::Change, false, HubHappening::Disconnected { connection, peer, service, why });
            self.leave(hub, connection, notes);
        }
    }

    fn leave(&mut self, hub: &Hub, connection: ConnId, notes: &mut Notes) {
        let Some(service) = self.registered.remove(&connection) else { return };
        let left = hub.service(&service).map_or(0, |service| service.connections);
        notes.add(Matter::Change, false, HubHappening::Left { connection, service, left });
    }
}

/// Why a call goes to this connection of its service.
fn why_there(hub: &Hub, letter: &Letter, to: ConnId) -> String {
    let members: Vec<_> = hub.members(&letter.to, &letter.method).collect();
    let Some(chosen) = members.iter().find(|member| member.conn == to) else {
        return "which has ended since".into();
    };
    // This call is among them.
    let before = chosen.called.saturating_sub(1);
    let able = members.iter().filter(|member| member.has_method && (member.reads || member.conn == to));
    let (able, as_free) = able.fold((0, 0), |(able, as_free), member| {
        (able + 1, as_free + u32::from(member.conn != to && member.called == before))
    });
    let without = members.iter().filter(|member| !member.has_method).count();
    let slow = members.len() - without - able;
    let mut why = match (members.len(), able) {
        (1, _) => "the only connection of that service".into(),
        (_, 1) => "the only one of its service that can take it".into(),
        _ if as_free > 0 => {
            alloc::format!(
                "of {able} connections the next in turn with the fewest calls to answer ({before})"
            )
        }
        _ => alloc::format!("of {able} connections the one with the fewest calls to answer ({before})"),
    };
    for (n, what) in [(without, "do not have the method"), (slow, "do not read what they are sent")] {
        if n > 0 {
            why.push_str(&alloc::format!(" ({n} {what})"));
        }
    }
    why
}
