//! What a server tells.

mod happening;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::told::{Asked, accepted, answer, is_late};
use super::{Happening, Matter, Notes};
use crate::id::{ConnId, RequestId};
use crate::machine::Action;
use crate::record::codes;
use crate::record::kinds::Kind;
use crate::replay::player::{Came, Step};
use crate::replay::server::ServerPlayer;
use crate::service::server::{Ending, Hold};
use crate::time::Instant;

/// Connections, and requests in hand, that are told of how a server stands.
const STANDING: usize = 32;

pub use happening::ServerHappening;

/// A request, from its last byte to its answer.
struct Request {
    number: u64,
    name: String,
    conn: ConnId,
    arrived: Option<Instant>,
    lent: Option<Instant>,
    /// What it waits for.
    held: Option<Hold>,
    asked: bool,
}

/// A connection that stands.
#[derive(Default)]
struct Connection {
    peer: Option<String>,
    /// Bytes that were there when the log begins, and all that have come.
    before: u64,
    received: u64,
    /// How many had come, and when, as far as they are not decoded.
    reads: VecDeque<(u64, Instant)>,
    /// Its next request.
    next: Option<Request>,
    paused: Option<Instant>,
}

pub(super) struct Teller {
    asked: Asked,
    conns: BTreeMap<ConnId, Connection>,
    /// Those that have a next request.
    waiting: BTreeSet<ConnId>,
    /// The connection whose request is handed out next.
    upcoming: Option<ConnId>,
    in_hand: BTreeMap<RequestId, Request>,
    /// Requests that the application has in hand, and that nobody waits for: the number, since when, whether it is asked for.
    gone: BTreeMap<RequestId, (u64, Instant, bool)>,
    /// Connections that have ended, and bytes that were dropped with them, as the machine has counted them.
    counted: (u64, u64),
}

impl super::Teller<ServerPlayer> for Teller {
    fn new(player: &mut ServerPlayer, from: Instant, asked: Option<&str>) -> Self {
        let mut teller = Teller {
            asked: Asked::new(asked),
            conns: BTreeMap::new(),
            waiting: BTreeSet::new(),
            upcoming: None,
            in_hand: BTreeMap::new(),
            gone: BTreeMap::new(),
            counted: counted(player),
        };
        for standing in player.server.connections() {
            let before = player.server.unread(standing.conn) as u64;
            teller
                .conns
                .insert(standing.conn, Connection { before, received: before, ..Connection::default() });
        }
        let put_off: Vec<_> = player.server.put_off().collect();
        for (token, conn, wire, since) in put_off {
            let request = teller.request(conn, "", &wire.to_string());
            teller.in_hand.insert(token, Request { lent: Some(since), ..request });
        }
        let mut notes = Notes { at: from, call: 0, list: Vec::new() };
        let conns: Vec<_> = teller.conns.keys().copied().collect();
        conns.into_iter().for_each(|conn| teller.look(player, conn, &mut notes));
        teller
    }

    fn expect(&mut self, player: &mut ServerPlayer) {
        self.upcoming = player.server.upcoming();
    }

    fn watch(&mut self, player: &mut ServerPlayer, step: &Step<'_>, notes: &mut Notes) {
        let [a, b, c, ..] = step.record.fields;
        let conn = ConnId::new(a as u32, b as u32);
        match step.record.kind {
            Kind::Accept => self.accepted(player, step, notes),
            Kind::Received | Kind::Filled => self.received(conn, c, step.now),
            Kind::NoEvent => self.wait(player),
            Kind::Reply | Kind::Fail | Kind::Unanswered => {
                if let Some(lent) = self.lend(player, notes) {
                    self.answered(lent, step, b != 0, notes);
                }
            }
            Kind::Defer => {
                if let Some(lent) = self.lend(player, notes) {
                    self.in_hand.insert(RequestId::new(a as u32, b as u32), lent);
                }
            }
            // Nobody will ever answer it.
            Kind::Lent => drop(self.lend(player, notes)),
            Kind::LateReply | Kind::LateFail => self.answered_later(step, notes),
            Kind::Closed => self.closed(player, conn, codes::to_fault(c).into(), notes),
            Kind::ReadClosed => self.half_closed(conn, notes),
            Kind::Shutdown => {
                let left = Instant::from_nanos(a).since(step.now);
                let draining = ServerHappening::Draining { left, in_flight: self.in_hand() };
                notes.add(Matter::Change, false, draining);
            }
            _ => {}
        }
        if let Came::Action(Action::Read(conn, on)) = step.came {
            self.turned(player, conn, on, notes);
        }
        if self.counted != counted(player) {
            let ended: Vec<_> = player.server.ended().collect();
            ended.into_iter().for_each(|(conn, ending)| self.closed(player, conn, ending, notes));
            self.counted = counted(player);
        }
        match step.record.kind {
            Kind::Received | Kind::Filled | Kind::Sent => self.look(player, conn, notes),
            Kind::Shutdown => {
                let waiting: Vec<_> = self.waiting.iter().copied().collect();
                waiting.into_iter().for_each(|conn| self.look(player, conn, notes));
            }
            _ => {}
        }
    }

    fn standing(&self, player: &mut ServerPlayer, now: Instant) -> Vec<Happening> {
        let status = player.server.status();
        let mut told = Vec::new();
        let stands = ServerHappening::Stands {
            connections: status.connections,
            paused: status.paused,
            in_flight: status.in_flight,
            waiting: self.waiting.len() as u32,
            unsent: status.unsent,
            draining: status.draining,
        };
        told.push(stands);
        let mut busy: Vec<_> = player.server.connections().collect();
        busy.retain(|conn| conn.in_flight > 0 || conn.unsent > 0 || conn.hold.is_some());
        busy.sort_by_key(|conn| (conn.hold.is_none(), core::cmp::Reverse(conn.in_flight), conn.conn));
        told.extend(busy.iter().take(STANDING).map(|standing| ServerHappening::Connection {
            connection: standing.conn,
            peer: self.peer(standing.conn),
            in_flight: standing.in_flight,
            unsent: standing.unsent,
            held: standing.hold.map(|hold| hold.to_string()),
            paused: self.conns.get(&standing.conn).and_then(|conn| conn.paused).map(|since| now.since(since)),
        }));
        let mut in_hand: Vec<_> = self.in_hand.values().collect();
        in_hand.sort_by_key(|request| (request.lent, request.number));
        told.extend(in_hand.iter().take(STANDING).map(|request| ServerHappening::InHand {
            request: request.number,
            name: request.name.clone(),
            connection: request.conn,
            peer: self.peer(request.conn),
            worked: request.lent.map_or(Duration::ZERO, |lent| now.since(lent)),
        }));
        let beyond = |len: usize| len.saturating_sub(STANDING) as u64;
        let (connections, requests) = (beyond(busy.len()), beyond(in_hand.len()));
        if connections + requests > 0 {
            told.push(ServerHappening::More { connections, requests });
        }
        told.into_iter().map(Happening::from).collect()
    }
}

fn counted(player: &ServerPlayer) -> (u64, u64) {
    let metrics = player.server.metrics();
    let closed = metrics.closed;
    (closed.peer + closed.fault + closed.protocol + closed.idle + closed.shutdown, metrics.unsent_bytes)
}

impl Teller {
    fn in_hand(&self) -> u32 {
        u32::try_from(self.in_hand.len()).unwrap_or(u32::MAX)
    }

    fn peer(&self, conn: ConnId) -> Option<String> {
        self.conns.get(&conn).and_then(|conn| conn.peer.clone())
    }

    /// The next in number.
    fn request(&mut self, conn: ConnId, name: &str, wire: &str) -> Request {
        let (number, asked) = self.asked.next(wire);
        Request { number, name: name.into(), conn, arrived: None, lent: None, held: None, asked }
    }

    fn accepted(&mut self, player: &ServerPlayer, step: &Step<'_>, notes: &mut Notes) {
        let (connection, peer) = accepted(step.record);
        let Some(connection) = connection else {
            let stand = self.conns.len();
            let why = match player.server.status().draining {
                true => "the server shuts down".into(),
                false => alloc::format!("{stand} connections stand, as many as may"),
            };
            return notes.add(Matter::Refusal, false, ServerHappening::TurnedAway { peer, why });
        };
        self.conns.insert(connection, Connection { peer: peer.clone(), ..Connection::default() });
        let connections = self.conns.len() as u32;
        notes.add(Matter::Change, false, ServerHappening::Accepted { connection, peer, connections });
    }

    fn received(&mut self, conn: ConnId, n: u64, now: Instant) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.received = conn.received.saturating_add(n);
            conn.reads.push_back((conn.received, now));
        }
    }

    /// Sees whether a connection has a next request, and whether it is still there.
    fn look(&mut self, player: &ServerPlayer, id: ConnId, notes: &mut Notes) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let peer = conn.peer.clone();
        match (conn.next.is_some(), player.server.ahead(id)) {
            (false, Some(ahead)) => {
                let end = conn.received.saturating_sub(ahead.behind as u64);
                while conn.reads.front().is_some_and(|&(until, _)| until < end) {
                    conn.reads.pop_front();
                }
                let arrived = conn.reads.front().filter(|_| end > conn.before).map(|&(_, at)| at);
                let wire = ahead.wire.to_string();
                let request = self.request(id, ahead.method, &wire);
                let held = player.server.standing(id).and_then(|standing| standing.hold);
                let told = ServerHappening::Arrived {
                    request: request.number,
                    wire,
                    name: request.name.clone(),
                    bytes: ahead.content as u64,
                    connection: id,
                    peer,
                };
                let now = notes.at;
                notes.at = arrived.unwrap_or(now);
                notes.add(Matter::Everyday, request.asked, told);
                notes.at = now;
                self.waiting.insert(id);
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.next = Some(Request { arrived, held, ..request });
                }
            }
            (true, None) => {
                let ending = Ending { by: "the server", why: "the server shuts down".into() };
                if let Some(request) = conn.next.take() {
                    self.waiting.remove(&id);
                    abandoned(&request, peer, &ending, notes);
                }
            }
            _ => {}
        }
    }

    /// The application was handed the next request, which has shown the one behind it.
    fn lend(&mut self, player: &ServerPlayer, notes: &mut Notes) -> Option<Request> {
        let id = self.upcoming?;
        let request = self.conns.get_mut(&id)?.next.take()?;
        self.waiting.remove(&id);
        let lent = ServerHappening::Lent {
            request: request.number,
            waited: request.arrived.map(|arrived| notes.at.since(arrived)),
            held: request.held.map(|held| held.to_string()),
            in_hand: self.in_hand(),
        };
        notes.add(Matter::Everyday, request.asked, lent);
        self.look(player, id, notes);
        Some(Request { lent: Some(notes.at), ..request })
    }

    /// The application has asked for requests, and those that are there have to wait.
    fn wait(&mut self, player: &ServerPlayer) {
        for id in &self.waiting {
            if let Some(request) = self.conns.get_mut(id).and_then(|conn| conn.next.as_mut())
                && request.held.is_none()
            {
                request.held = player.server.standing(*id).and_then(|standing| standing.hold);
            }
        }
    }

    fn answered_later(&mut self, step: &Step<'_>, notes: &mut Notes) {
        let [slot, generation, _, sent, ..] = step.record.fields;
        let token = RequestId::new(slot as u32, generation as u32);
        if let Some(request) = self.in_hand.remove(&token) {
            self.answered(request, step, sent != 0, notes);
        } else if let Some((request, since, asked)) = self.gone.remove(&token) {
            let after = step.now.since(since);
            notes.add(Matter::Everyday, asked, ServerHappening::Late { request, after });
        }
    }

    fn answered(&mut self, request: Request, step: &Step<'_>, sent: bool, notes: &mut Notes) {
        let (how, code) = answer(step.record, sent, "INTERNAL_ERROR");
        let matter = if code.is_some() { Matter::Failure } else { Matter::Everyday };
        let answered = ServerHappening::Answered {
            request: request.number,
            name: request.name,
            connection: request.conn,
            peer: self.peer(request.conn),
            how,
            waited: request.arrived.zip(request.lent).map(|(arrived, lent)| lent.since(arrived)),
            worked: request.lent.filter(|_| is_late(step.record.kind)).map(|lent| step.now.since(lent)),
            code,
        };
        notes.add(matter, request.asked, answered);
    }

    fn half_closed(&self, connection: ConnId, notes: &mut Notes) {
        if self.conns.contains_key(&connection) {
            let peer = self.peer(connection);
            notes.add(Matter::Change, false, ServerHappening::HalfClosed { connection, peer });
        }
    }

    /// A connection is read no more, or again.
    fn turned(&mut self, player: &ServerPlayer, connection: ConnId, on: bool, notes: &mut Notes) {
        let hold = player.server.standing(connection).and_then(|standing| standing.hold);
        let Some(conn) = self.conns.get_mut(&connection) else { return };
        let peer = conn.peer.clone();
        match (on, hold) {
            (true, _) => {
                let after = conn.paused.take().map(|since| notes.at.since(since));
                notes.add(Matter::Change, false, ServerHappening::Resumed { connection, peer, after });
            }
            (false, Some(hold)) => {
                conn.paused = Some(notes.at);
                let why = hold.to_string();
                notes.add(Matter::Change, false, ServerHappening::Paused { connection, peer, why });
            }
            // Its peer sends no more, or it is about to be closed, which is told by itself.
            (false, None) => {}
        }
    }

    fn closed(&mut self, player: &ServerPlayer, connection: ConnId, ending: Ending, notes: &mut Notes) {
        let Some(conn) = self.conns.remove(&connection) else { return };
        self.waiting.remove(&connection);
        let own = self.in_hand.iter().filter(|(_, request)| request.conn == connection);
        let mut tokens: Vec<_> = own.map(|(&token, request)| (request.number, token)).collect();
        tokens.sort_unstable();
        let closed = ServerHappening::Closed {
            connection,
            peer: conn.peer.clone(),
            by: ending.by,
            why: ending.why.clone(),
            abandoned: tokens.len() as u64 + u64::from(conn.next.is_some()),
            unsent: counted(player).1.saturating_sub(self.counted.1),
        };
        notes.add(Matter::Change, false, closed);
        for (_, token) in tokens {
            if let Some(request) = self.in_hand.remove(&token) {
                abandoned(&request, conn.peer.clone(), &ending, notes);
                self.gone.insert(token, (request.number, notes.at, request.asked));
            }
        }
        if let Some(request) = conn.next {
            abandoned(&request, conn.peer, &ending, notes);
        }
    }
}

fn abandoned(request: &Request, peer: Option<String>, ending: &Ending, notes: &mut Notes) {
    let abandoned = ServerHappening::Abandoned {
        request: request.number,
        name: request.name.clone(),
        connection: request.conn,
        peer,
        by: ending.by,
        why: ending.why.clone(),
        worked: request.lent.map(|lent| notes.at.since(lent)),
    };
    notes.add(Matter::Failure, request.asked, abandoned);
}
