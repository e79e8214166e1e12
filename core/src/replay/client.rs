//! A client of a service plays a log.

use alloc::string::String;
use core::time::Duration;

use super::player::{Came, Player, tell};
use crate::cluster::EndpointOptions;
use crate::id::{Id, RequestId};
use crate::machine::Machine;
use crate::record::format::{Record, Segment};
use crate::record::kinds::Kind;
use crate::record::{Told, codes};
use crate::save::Damaged;
use crate::save::Snapshot as _;
use crate::service::client::{self, Client, Event, Outcome, RequestError};
use crate::service::surrogate::{Masked, Surrogate};
use crate::service::{Described, Protocol, Uw, UwRequest};
use crate::time::Instant;

pub(crate) struct ClientPlayer<const IDS: bool> {
    pub(crate) client: Client<Surrogate<IDS>>,
    /// The code of the last failure that the wire has read, and whether the service was to blame, and overloaded.
    pub(crate) code: Option<String>,
    pub(crate) blame: (bool, bool),
}

impl<const IDS: bool> Player for ClientPlayer<IDS> {
    type Machine = Client<Surrogate<IDS>>;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.client
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        let client = Client::restore_masked(segment.snapshot, segment.head.whole)?;
        Ok(ClientPlayer { client, code: None, blame: (false, false) })
    }

    fn expect(&mut self, finding: &Record<'_>, _: &str) {
        if finding.kind == Kind::Failure {
            self.code = Some(String::from_utf8_lossy(finding.bytes).into());
            self.blame = (finding.fields[1] & 1 != 0, finding.fields[1] & 2 != 0);
        }
        self.client.surrogate().expect(finding);
    }

    fn restart(&mut self) {
        self.client.surrogate().restart();
    }

    /// The bytes of frames are not those of its wire.
    fn compares(first: &Segment<'_>) -> bool {
        !first.head.whole
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came {
        if call.kind != Kind::Request {
            return command(&mut self.client, now, call);
        }
        let (request, options) = self.masked(call, name);
        taken(self.client.request(now, &request, options))
    }
}

/// A client that speaks UW again, from a log with content: it encodes and decodes every byte.
pub(crate) struct UwClientPlayer(Client<Uw>);

impl Player for UwClientPlayer {
    type Machine = Client<Uw>;

    fn machine(&mut self) -> &mut Client<Uw> {
        &mut self.0
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        Client::restore(segment.snapshot).map(UwClientPlayer)
    }

    fn expect(&mut self, _: &Record<'_>, _: &str) {}

    fn call(&mut self, now: Instant, call: &Record<'_>, name: &str) -> Came {
        if call.kind != Kind::Request {
            return command(&mut self.0, now, call);
        }
        let request = UwRequest { method: name, content: call.bytes };
        taken(self.0.request(now, &request, options(call)))
    }
}

fn taken(taken: Result<RequestId, RequestError>) -> Came {
    taken.map_or(Came::Refused, Came::Taken)
}

/// What is done with a client, but for requests.
fn command<P: Protocol>(client: &mut Client<P>, now: Instant, call: &Record<'_>) -> Came {
    let [a, b, c, ..] = call.fields;
    match call.kind {
        Kind::NoEvent | Kind::Event | Kind::Answered => return client.event().map_or(Came::Nothing, came),
        Kind::Cancel => drop(client.cancel(now, Id::new(a as u32, b as u32))),
        Kind::AddEndpoint => {
            let options = EndpointOptions { weight: a as u32, priority: b as u8 };
            let _ = client.add_endpoint_with(now, core::str::from_utf8(call.bytes).unwrap_or(""), options);
        }
        Kind::SetWeight => drop(client.set_weight(now, Id::new(a as u32, b as u32), c as u32)),
        Kind::RemoveEndpoint => drop(client.remove_endpoint(now, Id::new(a as u32, b as u32))),
        Kind::DrainEndpoint => drop(client.drain_endpoint(now, Id::new(a as u32, b as u32))),
        Kind::ResumeEndpoint => drop(client.resume_endpoint(now, Id::new(a as u32, b as u32))),
        Kind::SetHealth => drop(client.set_health(now, Id::new(a as u32, b as u32), codes::to_health(c))),
        Kind::Scale => client.scale(now, a as u32),
        Kind::Shutdown => client.shutdown(now, Instant::from_nanos(a)),
        Kind::ResetMetrics => client.reset_metrics(),
        _ => return tell(client, now, call),
    }
    Came::Nothing
}

impl<const IDS: bool> ClientPlayer<IDS> {
    /// A request as the log has it.
    pub(crate) fn masked<'a>(&self, call: &Record<'a>, name: &'a str) -> (Masked<'a>, client::Options) {
        let [_, _, len, more, .., refused] = call.fields;
        let frame = len.saturating_add(more).saturating_add(name.len() as u64);
        let frame = codes::to_misuse(refused).map_or(Ok(usize::try_from(frame).unwrap_or(0)), Err);
        let described = Described { name, len: len as usize, content: call.bytes };
        (Masked { described, frame }, options(call))
    }
}

fn options(call: &Record<'_>) -> client::Options {
    let [flags, _, _, _, low, high, timeout, key, _] = call.fields;
    client::Options {
        timeout: (flags & 2 != 0).then_some(Duration::from_nanos(timeout)),
        idempotent: flags & 1 != 0,
        key: (flags & 4 != 0).then_some(key),
        tag: high << 32 | low,
    }
}

fn came(event: Event<'_>) -> Came {
    match event {
        Event::State(event) => Came::State(event),
        Event::Outcome { id, outcome, .. } => {
            let told = match outcome {
                Outcome::Answer(_) => Told::Answer,
                Outcome::Remote { .. } => Told::Remote,
                Outcome::Timeout { .. } => Told::Timeout,
                Outcome::Lost { .. } => Told::Lost,
                Outcome::Protocol(_) => Told::Protocol,
                Outcome::Cancelled => Told::Cancelled,
            };
            Came::Ended { id, told }
        }
    }
}
