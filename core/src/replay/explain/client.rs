//! What a client of a service tells.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use super::told::{Count, change, happenings};
use super::{Happening, Matter, Notes};
use crate::cluster::explain::{Decision, Explanation};
use crate::cluster::{EndpointStatus, StateEvent};
use crate::id::RequestId;
use crate::machine::Machine;
use crate::record::kinds::Kind;
use crate::record::{Told, codes};
use crate::replay::client::ClientPlayer;
use crate::replay::player::{Came, Step};
use crate::replay::words::Words;
use crate::time::Instant;

happenings! {
    /// What can happen to a client of a service.
    Happening::Client(ClientHappening) {
        /// A request was taken.
        Taken = "taken" {
            /// Which one.
            request: RequestId,
            /// Its id on the wire, if that has ids.
            wire: Option<String>,
            /// What it asks for.
            name: String,
            /// The length of its content.
            bytes: u64,
            /// How many waited for a place before it.
            waiting: u32,
            /// How many were under way.
            in_flight: u32,
        },
        /// A request was not taken.
        Refused = "refused" {
            /// What it asked for.
            name: String,
            /// Why.
            why: &'static str,
        },
        /// A request stands somewhere else than before.
        Moved = "moved" {
            /// Which one.
            request: RequestId,
            /// The address; `None`: it waits.
            to: Option<String>,
            /// Which attempt it is.
            attempt: u8,
        },
        /// A request has ended.
        Ended = "ended" {
            /// Which one.
            request: RequestId,
            /// How.
            how: &'static str,
            /// The code of the failure, if the service has told one.
            code: Option<String>,
            /// How long it took, if its beginning is in the log.
            took: Option<Duration>,
        },
        /// The cluster has changed.
        Changed = "changed" {
            /// What.
            event: StateEvent,
            /// The address that it is about.
            endpoint: Option<String>,
        },
        /// How an endpoint stands.
        Endpoint = "endpoint" {
            /// Where it is.
            address: String,
            /// Connections that stand.
            connections: u32,
            /// Requests on them.
            in_flight: u32,
            /// Its circuit breaker.
            breaker: String,
            /// Whether it is left out since it serves worse than the others.
            ejected: bool,
            /// Whether the last dial succeeded.
            reachable: bool,
            /// How healthy it is, in thousandths.
            score: u32,
        },
    }
}

impl fmt::Display for ClientHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientHappening::Taken { request, wire, name, bytes, waiting, in_flight } => {
                write!(
                    f,
                    "request {request} {name:?} with {bytes} bytes is taken; {in_flight} are under way"
                )?;
                if *waiting > 0 {
                    write!(f, ", {waiting} wait before it")?;
                }
                wire.as_ref().map_or(Ok(()), |wire| write!(f, "; on the wire it is {wire}"))
            }
            ClientHappening::Refused { name, why } => write!(f, "a request {name:?} is refused: {why}"),
            ClientHappening::Moved { request, to: None, .. } => {
                write!(f, "request {request} waits for a place")
            }
            ClientHappening::Moved { request, to: Some(to), attempt: 1 } => {
                write!(f, "request {request} goes to {to}")
            }
            ClientHappening::Moved { request, to: Some(to), attempt } => {
                write!(f, "request {request} goes to {to}, attempt {attempt}")
            }
            ClientHappening::Ended { request, how, code, took } => {
                write!(f, "request {request} ends: {how}")?;
                if let Some(code) = code {
                    write!(f, " ({code})")?;
                }
                took.map_or(Ok(()), |took| write!(f, ", after {took:?}"))
            }
            ClientHappening::Changed { event, endpoint } => match endpoint {
                Some(address) => write!(f, "{address}: {}", change(event)),
                None => f.write_str(&change(event)),
            },
            ClientHappening::Endpoint {
                address,
                connections,
                in_flight,
                breaker,
                ejected,
                reachable,
                score,
            } => {
                write!(
                    f,
                    "{address}: {}, {}, breaker {breaker}",
                    Count(u64::from(*connections), "connection"),
                    Count(u64::from(*in_flight), "request")
                )?;
                write!(f, ", score {score} ‰{}", if *ejected { ", ejected" } else { "" })?;
                f.write_str(if *reachable { "" } else { ", the last dial failed" })
            }
        }
    }
}

/// Where the request stands that is asked for.
#[derive(Default)]
struct Life {
    at: Option<String>,
    attempt: u8,
}

pub(super) struct Teller<const IDS: bool> {
    asked: Option<Asked>,
    life: Option<Life>,
    /// When each request was taken that has not ended.
    under_way: BTreeMap<RequestId, Instant>,
}

/// Which request is asked for: by its own id, or by its id on the wire until it is taken.
enum Asked {
    Own(RequestId),
    Wire(String),
}

impl Asked {
    fn read(id: &str) -> Self {
        let own = id.split_once('.').and_then(|(slot, generation)| {
            Some(RequestId::new(slot.parse().ok()?, generation.parse().ok()?))
        });
        own.map_or_else(|| Asked::Wire(id.into()), Asked::Own)
    }
}

impl<const IDS: bool> super::Teller<ClientPlayer<IDS>> for Teller<IDS> {
    fn new(player: &mut ClientPlayer<IDS>, _: Instant, asked: Option<&str>) -> Self {
        player.client.set_explain(NonZeroU32::new(64));
        Teller { asked: asked.map(Asked::read), life: None, under_way: BTreeMap::new() }
    }

    fn watch(&mut self, player: &mut ClientPlayer<IDS>, step: &Step<'_>, notes: &mut Notes) {
        let code = player.code.take();
        let decisions = player.client.take_explanations();
        match step.came {
            Came::Taken(id) => self.taken(player, step, id, notes),
            Came::Refused => {
                let (name, why) = (step.name.into(), codes::refusal(step.record.fields[8]));
                notes.add(Matter::Refusal, false, ClientHappening::Refused { name, why });
            }
            Came::Ended { id, told } => self.ended(step, id, told, code, notes),
            Came::State(event) => {
                let endpoint = event.endpoint().and_then(|id| address(player, id));
                notes.add(Matter::Change, false, ClientHappening::Changed { event, endpoint });
            }
            Came::Nothing | Came::Action(_) => {}
        }
        self.follow(player, &decisions, notes);
        for Explanation { decision, .. } in decisions {
            let matter = match decision {
                Decision::Pick(_) => Matter::Choice,
                Decision::Wait(_) => Matter::Everyday,
                _ => Matter::Change,
            };
            notes.add(matter, false, Happening::Decision(decision));
        }
        if is_command(step.record.kind) {
            let words = Words(step.record, step.name).to_string();
            notes.add(Matter::Change, false, Happening::Input(words));
        }
    }

    fn standing(&self, player: &mut ClientPlayer<IDS>, _: Instant) -> Vec<Happening> {
        let status = player.client.endpoint_status();
        status.map(|endpoint| ClientHappening::from(endpoint).into()).collect()
    }
}

impl<const IDS: bool> Teller<IDS> {
    fn is_asked(&self, id: RequestId) -> bool {
        matches!(self.asked, Some(Asked::Own(own)) if own == id)
    }

    fn taken(&mut self, player: &ClientPlayer<IDS>, step: &Step<'_>, id: RequestId, notes: &mut Notes) {
        self.under_way.insert(id, step.now);
        let wire = player.client.wire_id(id).filter(|_| IDS).map(|wire| wire.to_string());
        if matches!(&self.asked, Some(Asked::Wire(asked)) if Some(asked) == wire.as_ref()) {
            self.asked = Some(Asked::Own(id));
        }
        if self.is_asked(id) {
            self.life = Some(Life::default());
        }
        let status = player.client.status();
        let waits = player.client.whereabouts(id).is_some_and(|(conn, _)| conn.is_none());
        let taken = ClientHappening::Taken {
            request: id,
            wire,
            name: step.name.into(),
            bytes: step.record.fields[2],
            waiting: status.waiting - u32::from(waits && status.waiting > 0),
            in_flight: status.in_flight,
        };
        notes.add(Matter::Everyday, self.is_asked(id), taken);
    }

    fn ended(&mut self, step: &Step<'_>, id: RequestId, told: Told, code: Option<String>, notes: &mut Notes) {
        let took = self.under_way.remove(&id).map(|taken| step.now.since(taken));
        let matter = if told == Told::Answer { Matter::Everyday } else { Matter::Failure };
        let asked = self.is_asked(id);
        if asked {
            self.life = None;
        }
        let ended = ClientHappening::Ended { request: id, how: how(told), code, took };
        notes.add(matter, asked, ended);
    }

    /// Tells where the request has gone that is asked for, and why.
    fn follow(&mut self, player: &ClientPlayer<IDS>, decisions: &[Explanation], notes: &mut Notes) {
        let Some(Asked::Own(request)) = self.asked else { return };
        let Some((conn, attempt)) = player.client.whereabouts(request) else { return };
        let to = conn.and_then(|conn| player.client.target(conn)).map(String::from);
        let life = self.life.get_or_insert_default();
        if life.attempt == attempt && life.at == to {
            return;
        }
        (life.attempt, life.at) = (attempt, to.clone());
        // Of the decisions of this call, the one that speaks of it.
        let own = decisions.iter().find(|explanation| match &explanation.decision {
            Decision::Pick(pick) => to.as_ref() == Some(&pick.endpoint.address),
            Decision::Wait(_) => to.is_none(),
            _ => false,
        });
        notes.add(Matter::Everyday, true, ClientHappening::Moved { request, to, attempt });
        if let Some(own) = own {
            notes.add(Matter::Everyday, true, Happening::Decision(own.decision.clone()));
        }
    }
}

fn address<const IDS: bool>(player: &ClientPlayer<IDS>, id: crate::id::EndpointId) -> Option<String> {
    player.client.endpoints().find(|(other, _)| *other == id).map(|(_, address)| address.into())
}

/// What is no everyday matter.
fn is_command(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AddEndpoint
            | Kind::RemoveEndpoint
            | Kind::DrainEndpoint
            | Kind::ResumeEndpoint
            | Kind::SetHealth
            | Kind::SetWeight
            | Kind::Scale
            | Kind::Shutdown
    )
}

impl From<EndpointStatus<'_>> for ClientHappening {
    fn from(status: EndpointStatus<'_>) -> Self {
        ClientHappening::Endpoint {
            connections: status.connections,
            in_flight: status.in_flight,
            breaker: status.breaker.to_string(),
            ejected: status.ejected,
            reachable: status.reachable,
            score: status.score_per_mille,
            address: status.address.into_owned(),
        }
    }
}

fn how(told: Told) -> &'static str {
    match told {
        Told::Answer => "it is answered",
        Told::Remote => "the service says that it has failed",
        Told::Timeout => "it has timed out",
        Told::Lost => "its connection was lost",
        Told::Protocol => "its peer broke the rules of the wire",
        Told::Cancelled => "its caller gave it up",
        Told::State | Told::Request | Told::Message => "",
    }
}
