//! What a hub tells.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::super::kinds::Kind;
use super::super::replay::{HubHeard as Heard, HubPlayer, Letter, Step};
use super::told::{At, Count, Stand, happenings, peer};
use super::{Happening, Matter, Notes};
use crate::id::ConnId;
use crate::ipc::hub::{Dropped, Hub, Refused};
use crate::machine::Peer;
use crate::save::{Reader, Save};
use crate::time::Instant;

happenings! {
    /// What can happen to a hub. Calls are numbered in the order in which the log has them.
    HubHappening {
        /// Somebody has connected.
        Accepted = "accepted" {
            /// Which connection it is.
            connection: ConnId,
            /// Who.
            peer: Option<String>,
            /// How many stand with it.
            connections: u32,
        },
        /// A connection was turned away.
        TurnedAway = "turned_away" {
            /// Whose.
            peer: Option<String>,
            /// Why.
            why: &'static str,
        },
        /// A service has registered, or has changed its methods.
        Registered = "registered" {
            /// Under which name.
            service: String,
            /// Over which connection.
            connection: ConnId,
            /// Who.
            peer: Option<String>,
            /// With how many methods.
            methods: u64,
            /// Which one of a pool it is.
            member: Option<String>,
        },
        /// A call was passed on.
        Routed = "routed" {
            /// Its number.
            call: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Whose that is.
            peer: Option<String>,
            /// Why it was passed to this one.
            why: String,
            /// Calls that wait for their answer, this one included.
            pending: u32,
        },
        /// A question to the hub itself was answered.
        Queried = "queried" {
            /// Who has asked.
            from: String,
            /// What for.
            method: String,
        },
        /// A call was not passed on.
        Refused = "refused" {
            /// Its number.
            call: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// Why it was refused.
            why: String,
            /// What the caller is told.
            code: &'static str,
        },
        /// A call was answered by who was called.
        Answered = "answered" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The code of the failure, if it has failed.
            code: Option<String>,
            /// How long it took.
            took: Duration,
        },
        /// A call was answered by the hub, since its time was over.
        TimedOut = "timed_out" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Which time it was that was over.
            why: &'static str,
            /// How long it waited.
            took: Duration,
        },
        /// A call was answered by the hub, since who was called has gone.
        Lost = "lost" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// The connection that it was passed to.
            connection: ConnId,
            /// Why that has ended.
            why: Option<String>,
            /// How long it waited.
            took: Duration,
        },
        /// A call has nobody any more who waits for its answer.
        Abandoned = "abandoned" {
            /// Its number.
            call: u64,
            /// Who has called.
            from: String,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// How long the caller has waited.
            took: Duration,
        },
        /// An answer was dropped.
        Dropped = "dropped" {
            /// The number of the call, if it is known which one it answers.
            call: Option<u64>,
            /// Its id on the wire.
            id: String,
            /// Who has answered.
            from: String,
            /// Whom.
            to: String,
            /// Why.
            why: String,
        },
        /// A message could not be taken.
        Invalid = "invalid" {
            /// From which connection.
            connection: Option<ConnId>,
            /// Whose.
            peer: Option<String>,
            /// Of which service, if it has registered.
            service: Option<String>,
            /// Why.
            why: String,
            /// What it is told.
            code: &'static str,
        },
        /// A connection has ended.
        Disconnected = "disconnected" {
            /// Which.
            connection: ConnId,
            /// Whose.
            peer: Option<String>,
            /// Of which service, if it has registered.
            service: Option<String>,
            /// Why.
            why: String,
        },
        /// No more calls go to a connection.
        Left = "left" {
            /// Which.
            connection: ConnId,
            /// Of which service.
            service: String,
            /// Connections that this has left.
            left: u32,
        },
        /// The hub shuts down.
        Draining = "draining" {
            /// How long it has for that.
            left: Duration,
        },
        /// How the hub stands.
        Stands = "hub" {
            /// Connections.
            connections: u32,
            /// Services that are registered.
            services: u32,
            /// Calls that wait for their answer.
            pending: u32,
            /// Bytes that wait to be sent.
            unsent: u64,
            /// Whether it shuts down.
            draining: bool,
        },
        /// How a service stands.
        Service = "service" {
            /// Its name.
            service: String,
            /// Its connections.
            connections: u32,
            /// Those of them that do not read what they are sent.
            slow: u32,
            /// Calls that it was passed and has not answered.
            called: u32,
            /// Calls that it waits for.
            calling: u32,
        },
        /// Who waits for whom.
        Waits = "waits" {
            /// Who.
            service: String,
            /// For whom.
            on: String,
            /// For how many answers.
            calls: u64,
            /// For the first of them since when.
            longest: Duration,
        },
    }
}

impl From<HubHappening> for Happening {
    fn from(what: HubHappening) -> Self {
        Happening::Hub(what)
    }
}

impl fmt::Display for HubHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use HubHappening as It;
        match self {
            It::Accepted { connection, peer, connections } => {
                write!(f, "{} is accepted; {} now", At(connection, peer), Stand(*connections))
            }
            It::TurnedAway { peer, why } => {
                write!(f, "{} is turned away: {why}", peer.as_deref().unwrap_or("a connection"))
            }
            It::Registered { service, connection, peer, methods, member } => {
                write!(f, "{service:?} is registered over {}", At(connection, peer))?;
                member.as_ref().map_or(Ok(()), |member| write!(f, ", {member} in its pool"))?;
                write!(f, ", with {}", Count(*methods, "method"))
            }
            It::Routed { call, id, from, to, method, connection, peer, why, pending } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(f, " is passed to {}, {why}; ", At(connection, peer))?;
                write!(f, "{} without an answer now", Count((*pending).into(), "call"))?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Queried { from, method } => write!(f, "{from:?} has asked the hub itself for {method:?}"),
            It::Refused { call, id, from, to, method, why, code } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(f, " is refused ({code}): {why}; on the wire it is {id:?}")
            }
            It::Answered { call, from, to, method, code: None, took } => {
                write!(f, "{} is answered after {took:?}", Call(*call, from, to, method))
            }
            It::Answered { call, from, to, method, code: Some(code), took } => {
                write!(f, "{} has failed there ({code}), after {took:?}", Call(*call, from, to, method))
            }
            It::TimedOut { call, from, to, method, connection, why, took } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(
                    f,
                    " is answered by the hub: {why}, and connection {connection} has not answered in {took:?}"
                )
            }
            It::Lost { call, from, to, method, connection, why, took } => {
                Call(*call, from, to, method).fmt(f)?;
                write!(
                    f,
                    " is lost after {took:?}: connection {connection}, which it was passed to, has ended"
                )?;
                why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            It::Abandoned { call, from, to, method, took } => {
                write!(f, "{} is given up after {took:?}: its caller has gone", Call(*call, from, to, method))
            }
            It::Dropped { call, id, from, to, why } => {
                write!(f, "an answer of {from:?} to ")?;
                match call {
                    Some(call) => write!(f, "call {call} of {to:?}")?,
                    None => write!(f, "a call {id:?} of {to:?}")?,
                }
                write!(f, " is dropped: {why}")
            }
            It::Invalid { connection, peer, service, why, code } => {
                f.write_str("a message")?;
                service.as_ref().map_or(Ok(()), |service| write!(f, " of {service:?}"))?;
                connection
                    .as_ref()
                    .map_or(Ok(()), |connection| write!(f, " over {}", At(connection, peer)))?;
                write!(f, " is not taken ({code}): {why}")
            }
            It::Disconnected { connection, peer, service, why } => {
                write!(f, "{}", At(connection, peer))?;
                service.as_ref().map_or(Ok(()), |service| write!(f, " of {service:?}"))?;
                write!(f, " has ended: {why}")
            }
            It::Left { connection, service, left: 0 } => {
                write!(f, "{service:?} is gone with connection {connection}, its last one: the name is free")
            }
            It::Left { connection, service, left } => {
                write!(f, "{service:?} has {} left besides {connection}", Count((*left).into(), "connection"))
            }
            It::Draining { left } => write!(f, "the hub shuts down, and has {left:?} for its last words"),
            It::Stands { connections, services, pending, unsent, draining } => {
                write!(f, "the hub: {} of ", Count((*connections).into(), "connection"))?;
                write!(f, "{}; ", Count((*services).into(), "service"))?;
                write!(
                    f,
                    "{} without an answer; {unsent} bytes to be sent",
                    Count((*pending).into(), "call")
                )?;
                f.write_str(if *draining { "; it shuts down" } else { "" })
            }
            It::Service { service, connections, slow, called, calling } => {
                write!(f, "{service:?}: {}", Count((*connections).into(), "connection"))?;
                if *slow > 0 {
                    write!(f, ", {slow} of which do not read what they are sent")?;
                }
                write!(f, "; it has {} to answer", Count((*called).into(), "call"))?;
                write!(f, ", and waits for {}", Count((*calling).into(), "answer"))
            }
            It::Waits { service, on, calls, longest } => {
                write!(
                    f,
                    "{service:?} waits for {} of {on:?}, the first for {longest:?}",
                    Count(*calls, "answer")
                )
            }
        }
    }
}

/// A call, in a few words.
struct Call<'a>(u64, &'a str, &'a str, &'a str);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call(number, from, to, method) = self;
        write!(f, "call {number} of {from:?} to {to:?} for {method:?}")
    }
}

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
    asked: Option<String>,
    numbers: u64,
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
            asked: asked.map(String::from),
            numbers: 0,
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
        let mut waits: BTreeMap<(&str, &str), (u64, Instant)> = BTreeMap::new();
        for ((from, _), call) in &self.calls {
            let wait = waits.entry((from, &call.to)).or_insert((0, call.taken));
            *wait = (wait.0 + 1, wait.1.min(call.taken));
        }
        told.extend(waits.into_iter().map(|((service, on), (calls, since))| HubHappening::Waits {
            service: service.into(),
            on: on.into(),
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

    /// The next number of a call, and whether it is asked for.
    fn number(&mut self, id: &str) -> (u64, bool) {
        self.numbers += 1;
        let number = self.numbers;
        (number, self.asked.as_ref().is_some_and(|asked| *asked == id || *asked == number.to_string()))
    }

    fn accepted(&mut self, hub: &Hub, step: &Step<'_>, notes: &mut Notes) {
        let [taken, slot, generation, ..] = step.record.fields;
        let peer = peer(Peer::load(&mut Reader::new(step.record.bytes)).unwrap_or(Peer::UNKNOWN));
        let status = hub.status();
        if taken == 0 {
            let why = match () {
                () if hub.metrics().strangers != self.counted.strangers => {
                    "it is of another user than is let in"
                }
                () if status.draining => "the hub shuts down",
                () => "as many connections stand as may",
            };
            return notes.add(Matter::Refusal, false, HubHappening::TurnedAway { peer, why });
        }
        let connection = ConnId::new(slot as u32, generation as u32);
        self.peers.insert(connection, peer.clone());
        let accepted = HubHappening::Accepted { connection, peer, connections: status.connections };
        notes.add(Matter::Change, false, accepted);
    }

    /// Notes that a call waits.
    fn pend(&mut self, hub: &mut Hub, letter: &Letter, callee: ConnId, taken: Instant) -> (u64, bool) {
        let (number, asked) = self.number(&letter.id);
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
        let (call, asked) = self.number(&letter.id);
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
