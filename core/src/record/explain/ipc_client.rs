//! What a client of a hub tells.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::super::codes;
use super::super::kinds::Kind;
use super::super::replay::{Came, IpcClientHeard as Heard, IpcClientPlayer, Step};
use super::super::words::Words;
use super::told::{Count, answer, happenings, is_late};
use super::{Happening, Matter, Notes};
use crate::id::RequestId;
use crate::ipc::client::{Standing, StateEvent};
use crate::machine::Action;
use crate::time::Instant;

happenings! {
    /// What can happen to a client of a hub. Its own calls have an id such as `3.0`; those of others are numbered in the order
    /// in which the log has them. Connections are those of its pool, from 0.
    IpcClientHappening {
        /// A call was made.
        Called = "called" {
            /// Which one.
            call: RequestId,
            /// Its id on the wire.
            id: String,
            /// Which service is called.
            to: String,
            /// What for.
            method: String,
            /// Over which connection it goes.
            connection: Option<u32>,
            /// How many of the pool could have carried it.
            of: u32,
            /// Calls that wait for their answer, this one included.
            pending: u32,
        },
        /// A call was not made.
        Refused = "refused" {
            /// Which service was to be called.
            to: String,
            /// What for.
            method: String,
            /// Why.
            why: &'static str,
        },
        /// A call has ended.
        Ended = "ended" {
            /// Which one.
            call: RequestId,
            /// Which service was called.
            to: String,
            /// What for.
            method: String,
            /// How.
            how: &'static str,
            /// The code of the failure, if it is one.
            code: Option<String>,
            /// Whether any of it has left, if it was not answered.
            sent: Option<bool>,
            /// How long it took.
            took: Option<Duration>,
        },
        /// Another service calls.
        Served = "served" {
            /// The number of its call.
            incoming: u64,
            /// Its id on the wire.
            id: String,
            /// Who calls.
            from: String,
            /// What for.
            method: String,
            /// Other calls that the application has in hand.
            in_hand: u32,
        },
        /// Another service has called, and the application was not asked.
        TurnedDown = "turned_down" {
            /// The number of its call.
            incoming: u64,
            /// Its id on the wire.
            id: String,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// Why.
            why: String,
            /// What the caller is told.
            code: &'static str,
        },
        /// The application has answered another service.
        Answered = "answered" {
            /// The number of its call.
            incoming: u64,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// How.
            how: &'static str,
            /// The code of the error, if it is one.
            code: Option<String>,
            /// How long the application has worked on it; `None`: it has answered on the spot.
            worked: Option<Duration>,
        },
        /// Nobody waits any more for what the application works on.
        Abandoned = "abandoned" {
            /// The number of the call.
            incoming: u64,
            /// Who has called.
            from: String,
            /// What for.
            method: String,
            /// How long the application has worked on it.
            worked: Duration,
        },
        /// The application has answered a call that nobody waits for any more.
        Late = "late" {
            /// The number of the call.
            incoming: u64,
        },
        /// The hub is dialled.
        Dialed = "dialed" {
            /// For which connection.
            connection: Option<u32>,
        },
        /// A connection stands, and tells the hub who it is for.
        Connected = "connected" {
            /// Which.
            connection: u32,
        },
        /// The hub has taken the registration.
        Registered = "registered" {
            /// Of which connection.
            connection: u32,
        },
        /// A connection has ended, or could not be made.
        Disconnected = "disconnected" {
            /// Which.
            connection: u32,
            /// Why.
            why: String,
            /// When it is dialled again; `None`: not by itself.
            again: Option<Duration>,
        },
        /// So many changes were not told, because nobody took them.
        Missed = "missed" {
            /// How many.
            changes: u64,
        },
        /// The hub complains of something.
        Complaint = "complaint" {
            /// The code.
            code: Option<String>,
        },
        /// The hub has sent what is no message.
        Invalid = "invalid" {
            /// What is wrong with it.
            why: String,
        },
        /// How the client stands.
        Stands = "client" {
            /// The name of its service.
            service: String,
            /// Whether calls can be made.
            registered: bool,
            /// Calls that it waits for.
            pending: u32,
            /// Calls by others that the application has in hand.
            serving: u32,
            /// Methods that it can be called for.
            methods: u32,
        },
        /// How a connection stands.
        Connection = "connection" {
            /// Which.
            connection: u32,
            /// How.
            state: &'static str,
            /// Bytes that wait to be sent.
            unsent: u64,
            /// When it is dialled again.
            again: Option<Duration>,
        },
        /// Who is waited for.
        Waits = "waits" {
            /// Which service.
            on: String,
            /// For how many answers.
            calls: u64,
            /// For the first of them since when.
            longest: Duration,
        },
    }
}

impl From<IpcClientHappening> for Happening {
    fn from(what: IpcClientHappening) -> Self {
        Happening::IpcClient(what)
    }
}

impl fmt::Display for IpcClientHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use IpcClientHappening as It;
        match self {
            It::Called { call, id, to, method, connection, of, pending } => {
                write!(f, "call {call} to {to:?} for {method:?}")?;
                match (connection, of) {
                    (Some(connection), 2..) => {
                        write!(f, " goes over connection {connection}, which has the least to send of {of}")?;
                    }
                    (Some(connection), _) => write!(f, " goes over connection {connection}, the only one")?,
                    (None, _) => f.write_str(" goes over a connection that has ended with it")?,
                }
                write!(f, "; {} without an answer now", Count((*pending).into(), "call"))?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Refused { to, method, why } => write!(f, "a call to {to:?} for {method:?} is refused: {why}"),
            It::Ended { call, to, method, how, code, sent, took } => {
                write!(f, "call {call} to {to:?} for {method:?} ends: {how}")?;
                code.as_ref().map_or(Ok(()), |code| write!(f, " ({code})"))?;
                took.map_or(Ok(()), |took| write!(f, ", after {took:?}"))?;
                match sent {
                    Some(true) => f.write_str("; it was sent, at least in part, so that it may have run"),
                    Some(false) => f.write_str("; nothing of it was sent"),
                    None => Ok(()),
                }
            }
            It::Served { incoming, id, from, method, in_hand } => {
                write!(
                    f,
                    "incoming call {incoming} of {from:?} for {method:?} is handed to the application"
                )?;
                if *in_hand > 0 {
                    write!(f, ", which has {} in hand besides", Count((*in_hand).into(), "call"))?;
                }
                write!(f, "; on the wire it is {id:?}")
            }
            It::TurnedDown { incoming, id, from, method, why, code } => {
                write!(f, "incoming call {incoming} of {from:?} for {method:?} is refused ({code}): {why}")?;
                write!(f, "; on the wire it is {id:?}")
            }
            It::Answered { incoming, from, method, how, code, worked } => {
                write!(f, "incoming call {incoming} of {from:?} for {method:?} is answered: {how}")?;
                code.as_ref().map_or(Ok(()), |code| write!(f, " {code}"))?;
                match worked {
                    Some(worked) => write!(f, "; the application has worked on it for {worked:?}"),
                    None => f.write_str("; the application has done so on the spot"),
                }
            }
            It::Abandoned { incoming, from, method, worked } => {
                write!(
                    f,
                    "nobody waits any more for incoming call {incoming} of {from:?} for {method:?}: its time is "
                )?;
                write!(f, "over, or its connection has ended; the application has had it for {worked:?}")
            }
            It::Late { incoming } => {
                write!(f, "incoming call {incoming} is answered too late: nobody waits for it any more")
            }
            It::Dialed { connection: Some(connection) } => {
                write!(f, "connection {connection}: the hub is dialled")
            }
            It::Dialed { connection: None } => f.write_str("the hub is dialled"),
            It::Connected { connection } => {
                write!(f, "connection {connection} stands, and tells the hub who it is for")
            }
            It::Registered { connection } => {
                write!(f, "connection {connection} is registered: it carries calls from now on")
            }
            It::Disconnected { connection, why, again } => {
                write!(f, "connection {connection} has ended, or could not be made: {why}")?;
                match again {
                    Some(again) => write!(f, "; it is dialled again in {again:?}"),
                    None => f.write_str("; it is not dialled again by itself"),
                }
            }
            It::Missed { changes } => write!(f, "{changes} changes that nobody took"),
            It::Complaint { code } => {
                write!(f, "the hub complains: {}", code.as_deref().unwrap_or("without a code"))
            }
            It::Invalid { why } => write!(f, "the hub has sent what is no message: {why}"),
            It::Stands { service, registered, pending, serving, methods } => {
                let not = if *registered { "" } else { "not " };
                write!(f, "{service:?} is {not}registered, with {}; ", Count((*methods).into(), "method"))?;
                write!(f, "it waits for {}", Count((*pending).into(), "answer"))?;
                write!(f, ", and has {} in hand", Count((*serving).into(), "call"))
            }
            It::Connection { connection, state, unsent, again } => {
                write!(f, "connection {connection}: {state}")?;
                if *unsent > 0 {
                    write!(f, ", {} to be sent", Count(*unsent, "byte"))?;
                }
                again.map_or(Ok(()), |again| write!(f, ", dialled in {again:?}"))
            }
            It::Waits { on, calls, longest } => {
                write!(f, "it waits for {} of {on:?}, the first for {longest:?}", Count(*calls, "answer"))
            }
        }
    }
}

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
    asked: Option<String>,
    made: BTreeMap<RequestId, Made>,
    numbers: u64,
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
            asked: asked.map(String::from),
            made: BTreeMap::new(),
            numbers: 0,
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
        let mut waits: BTreeMap<&str, (u64, Instant)> = BTreeMap::new();
        for call in self.made.values() {
            let wait = waits.entry(&call.to).or_insert((0, call.taken));
            *wait = (wait.0 + 1, wait.1.min(call.taken));
        }
        told.extend(waits.into_iter().map(|(on, (calls, since))| IpcClientHappening::Waits {
            on: on.into(),
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
        let asked = self.asked.as_ref().is_some_and(|asked| *asked == id || *asked == call.to_string());
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
            None => self.asked.as_ref().is_some_and(|asked| *asked == call.to_string()),
        };
        let took = made.as_ref().map(|made| notes.at.since(made.taken));
        let (to, method) = made.map(|made| (made.to, made.method)).unwrap_or_default();
        let (how, code, sent) = how;
        let matter = if code.is_some() { Matter::Failure } else { Matter::Everyday };
        notes.add(matter, asked, IpcClientHappening::Ended { call, to, method, how, code, sent, took });
    }

    fn incoming(&mut self, id: &str, from: String, method: String, since: Instant) -> Incoming {
        self.numbers += 1;
        let number = self.numbers;
        let asked = self.asked.as_ref().is_some_and(|asked| asked == id || *asked == number.to_string());
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
