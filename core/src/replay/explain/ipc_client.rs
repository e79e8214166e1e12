//! What a client of a hub tells.

mod happening;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::told::{Asked, answer, is_late, waits};
use super::{Happening, Matter, Notes};
use crate::id::RequestId;
use crate::ipc::client::{Standing, StateEvent};
use crate::machine::Action;
use crate::record::codes;
use crate::record::kinds::Kind;
use crate::replay::ipc_client::{Heard, IpcClientPlayer};
use crate::replay::player::{Came, Step};
use crate::replay::words::Words;
use crate::time::Instant;

pub use happening::IpcClientHappening;

/// A call that this client has made.
struct Made {
    to: String,
    method: String,
    taken: Instant,
    asked: bool,
}

/// A call of another service.
struct Incoming {
    number: u64,
    from: String,
    method: String,
    since: Instant,
    asked: bool,
}

pub(super) struct Teller {
    asked: Asked,
    made: BTreeMap<RequestId, Made>,
    lent: Option<Incoming>,
    in_hand: BTreeMap<RequestId, Incoming>,
    /// Calls that the application has in hand, and that nobody waits for: the number, and whether it is asked for.
    gone: BTreeMap<RequestId, (u64, bool)>,
    /// When an event was taken, and during which call. What it was comes with the next.
    taken: (Instant, u64),
}

impl super::Teller<IpcClientPlayer> for Teller {
    fn new(player: &mut IpcClientPlayer, from: Instant, asked: Option<&str>) -> Self {
        player.tells = true;
        Teller {
            asked: Asked::new(asked),
            made: BTreeMap::new(),
            lent: None,
            in_hand: BTreeMap::new(),
            gone: BTreeMap::new(),
            taken: (from, 0),
        }
    }

    fn watch(&mut self, player: &mut IpcClientPlayer, step: &Step<'_>, notes: &mut Notes) {
        if let Some(heard) = player.heard.take() {
            let now = (notes.at, notes.call);
            (notes.at, notes.call) = self.taken;
            self.hear(player, heard, notes);
            (notes.at, notes.call) = now;
        }
        let [a, b, ..] = step.record.fields;
        let token = RequestId::new(a as u32, b as u32);
        match (step.record.kind, step.came) {
            (Kind::Event, _) => self.taken = (step.now, step.call),
            (Kind::Call, came) => self.call(player, step, came, notes),
            (Kind::Reply | Kind::Fail | Kind::Unanswered, _) => {
                if let Some(lent) = self.lent.take() {
                    answered(lent, step, b != 0, notes);
                }
            }
            (Kind::Defer, _) => {
                if let Some(lent) = self.lent.take() {
                    self.in_hand.insert(token, lent);
                }
            }
            (Kind::LateReply | Kind::LateFail, _) => self.answered_later(token, step, notes),
            (_, Came::Action(Action::Connect(conn))) => {
                let connection = player.client.index_of(conn);
                notes.add(Matter::Change, false, IpcClientHappening::Dialed { connection });
            }
            (kind, _) if is_command(kind) => {
                let words = Words(step.record, step.name).to_string();
                notes.add(Matter::Change, false, Happening::Input(words));
            }
            _ => {}
        }
    }

    fn standing(&self, player: &mut IpcClientPlayer, now: Instant) -> Vec<Happening> {
        let status = player.client.status();
        let mut told = Vec::new();
        told.push(IpcClientHappening::Stands {
            service: status.service_name.into(),
            registered: status.registered,
            pending: status.pending,
            serving: status.serving,
            methods: status.methods,
        });
        told.extend(player.client.pool().zip(0..).map(|(standing, connection)| {
            let (state, unsent, again) = match standing {
                Standing::Down(again) => ("there is none", 0, again.map(|again| again.since(now))),
                Standing::Dialing => ("the hub is dialled", 0, None),
                Standing::Registering => ("the hub has not acknowledged its registration", 0, None),
                Standing::Serving { unsent } => ("registered", unsent, None),
                Standing::Closing => ("it is about to be closed", 0, None),
            };
            IpcClientHappening::Connection { connection, state, unsent, again }
        }));
        let waits = waits(self.made.values().map(|call| (&call.to, call.taken)));
        told.extend(waits.into_iter().map(|(on, (calls, since))| IpcClientHappening::Waits {
            on: on.clone(),
            calls,
            longest: now.since(since),
        }));
        told.into_iter().map(Happening::from).collect()
    }
}

impl Teller {
    fn call(&mut self, player: &IpcClientPlayer, step: &Step<'_>, came: Came, notes: &mut Notes) {
        let (to, method) = step.name.split_once('\0').unwrap_or(("", step.name));
        let (to, method) = (String::from(to), String::from(method));
        let Came::Taken(call) = came else {
            let why = codes::call_refusal(step.record.fields[5]);
            return notes.add(Matter::Refusal, false, IpcClientHappening::Refused { to, method, why });
        };
        let client = &player.client;
        let id = client.wire_name(call);
        let asked = self.asked.is(call, &id);
        let made = Made { to: to.clone(), method: method.clone(), taken: step.now, asked };
        self.made.insert(call, made);
        let called = IpcClientHappening::Called {
            call,
            id,
            to,
            method,
            connection: client.went_over(call),
            of: client.pool().filter(|standing| matches!(standing, Standing::Serving { .. })).count() as u32,
            pending: client.status().pending,
        };
        notes.add(Matter::Choice, asked, called);
    }

    fn hear(&mut self, player: &IpcClientPlayer, heard: Heard, notes: &mut Notes) {
        match heard {
            Heard::Outcome { id, how, code, sent } => self.ended(id, (how, code, sent), notes),
            Heard::Call { id, from, method } => {
                let in_hand = u32::try_from(self.in_hand.len()).unwrap_or(u32::MAX);
                let call = self.incoming(&id, from, method, notes.at);
                let served = IpcClientHappening::Served {
                    incoming: call.number,
                    id,
                    from: call.from.clone(),
                    method: call.method.clone(),
                    in_hand,
                };
                notes.add(Matter::Everyday, call.asked, served);
                self.lent = Some(call);
            }
            Heard::Refused { id, from, method, refused } => {
                let Incoming { number, from, method, asked, .. } = self.incoming(&id, from, method, notes.at);
                let (why, code) = (refused.to_string(), refused.code());
                let turned_down =
                    IpcClientHappening::TurnedDown { incoming: number, id, from, method, why, code };
                notes.add(Matter::Refusal, asked, turned_down);
            }
            Heard::Abandoned(token) => {
                let Some(call) = self.in_hand.remove(&token) else { return };
                self.gone.insert(token, (call.number, call.asked));
                let Incoming { number, from, method, since, asked } = call;
                let worked = notes.at.since(since);
                let abandoned = IpcClientHappening::Abandoned { incoming: number, from, method, worked };
                notes.add(Matter::Failure, asked, abandoned);
            }
            Heard::State(event) => notes.add(Matter::Change, false, changed(player, event, notes.at)),
            Heard::Complaint(code) => {
                notes.add(Matter::Refusal, false, IpcClientHappening::Complaint { code });
            }
            Heard::Invalid(error) => {
                let why = error.to_string();
                notes.add(Matter::Refusal, false, IpcClientHappening::Invalid { why });
            }
            Heard::Other => {}
        }
    }

    fn ended(
        &mut self,
        call: RequestId,
        how: (&'static str, Option<String>, Option<bool>),
        notes: &mut Notes,
    ) {
        let made = self.made.remove(&call);
        let asked = match &made {
            Some(made) => made.asked,
            // It was made before the log begins.
            None => self.asked.is(call, &call.to_string()),
        };
        let took = made.as_ref().map(|made| notes.at.since(made.taken));
        let (to, method) = made.map(|made| (made.to, made.method)).unwrap_or_default();
        let (how, code, sent) = how;
        let matter = if code.is_some() { Matter::Failure } else { Matter::Everyday };
        notes.add(matter, asked, IpcClientHappening::Ended { call, to, method, how, code, sent, took });
    }

    fn incoming(&mut self, id: &str, from: String, method: String, since: Instant) -> Incoming {
        let (number, asked) = self.asked.next(id);
        Incoming { number, from, method, since, asked }
    }

    fn answered_later(&mut self, token: RequestId, step: &Step<'_>, notes: &mut Notes) {
        if let Some(call) = self.in_hand.remove(&token) {
            answered(call, step, step.record.fields[3] != 0, notes);
        } else if let Some((incoming, asked)) = self.gone.remove(&token) {
            notes.add(Matter::Everyday, asked, IpcClientHappening::Late { incoming });
        }
    }
}

fn answered(call: Incoming, step: &Step<'_>, sent: bool, notes: &mut Notes) {
    let (how, code) = answer(step.record, sent, "SERIALIZATION_FAILED");
    let worked = is_late(step.record.kind).then(|| step.now.since(call.since));
    let matter = if code.is_some() { Matter::Failure } else { Matter::Everyday };
    let Incoming { number, from, method, asked, .. } = call;
    notes.add(
        matter,
        asked,
        IpcClientHappening::Answered { incoming: number, from, method, how, code, worked },
    );
}

fn changed(player: &IpcClientPlayer, event: StateEvent, at: Instant) -> IpcClientHappening {
    match event {
        StateEvent::Connected { index } => IpcClientHappening::Connected { connection: index },
        StateEvent::Registered { index } => IpcClientHappening::Registered { connection: index },
        StateEvent::Disconnected { index, cause } => {
            let again = match player.client.pool().nth(index as usize) {
                Some(Standing::Down(again)) => again.map(|again| again.since(at)),
                _ => None,
            };
            IpcClientHappening::Disconnected { connection: index, why: cause.to_string(), again }
        }
        StateEvent::Missed(changes) => IpcClientHappening::Missed { changes },
    }
}

fn is_command(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Connect | Kind::Disconnect | Kind::Shutdown | Kind::RegisterMethod | Kind::UnregisterMethod
    )
}
