//! What a client notes while it is recorded.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::ending::How;
use super::{Client, Options, Outcome, RequestError, StateEvent};
use crate::cluster::EndpointOptions;
use crate::cluster::explain::Explanation;
use crate::error::{Misuse, ProtocolError};
use crate::id::{ConnId, EndpointId, RequestId};
use crate::machine::Input;
use crate::record::kinds::Kind;
use crate::record::{self, Record, Recorder, Subject, Surrogate, Told, pair};
use crate::save::{Damaged, Snapshot};
use crate::service::{Decoded, Protocol, Verdict};
use crate::time::Instant;
use crate::wire::Load;

/// So many bytes of what was no frame are kept.
const BROKEN: usize = 256;

impl<P: Protocol> Record for Client<P> {
    const SUBJECT: Subject = Subject::Client;
    const HAS_IDS: bool = P::HAS_IDS;

    fn log(&mut self) -> &mut Option<Box<Recorder>> {
        &mut self.log
    }

    fn told_time(&self) -> Instant {
        self.now
    }

    fn masked_snapshot(&mut self) -> Vec<u8> {
        match P::HAS_IDS {
            true => Client::<Surrogate<true>>::masked(self).snapshot(),
            false => Client::<Surrogate<false>>::masked(self).snapshot(),
        }
    }
}

impl<P: Protocol> Client<P> {
    #[inline]
    pub(super) fn note<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.log {
            log.put(kind, Some(self.now), fields);
        }
    }

    pub(super) fn note_input(&mut self, input: Input) {
        let Some(log) = &mut self.log else { return };
        if let Input::Sent(conn, _) = input
            && self.cluster.has_conn(conn)
        {
            log.sent_from(&self.links[conn.index()].send);
        }
        log.input(self.now, input);
        if log.is_full() {
            self.begin_segment();
        }
    }

    pub(super) fn note_decoded(&mut self, slot: u32, decoded: &Result<Decoded, ProtocolError>) {
        let Some(log) = &mut self.log else { return };
        match decoded {
            Ok(Decoded::Response { id, content, len }) => {
                let shape = [content.len() as u64, content.start as u64, (len - content.end) as u64];
                let [content, before, behind] = shape;
                match id {
                    Some(id) if self.requests.is_ours(*id) => {
                        let (slot, generation) = (id.slot().into(), id.generation().into());
                        log.find(Kind::Ours, [slot, generation, content, before, behind]);
                    }
                    Some(id) => log.find_bytes(Kind::Answer, shape, &id.0),
                    None => log.find_bytes(Kind::Answer, shape, &[]),
                }
            }
            Ok(Decoded::Need(total)) => log.find(Kind::Need, [*total as u64]),
            Ok(Decoded::Control(n)) => log.find(Kind::Control, [*n as u64]),
            Ok(Decoded::Skip(n)) => {
                let bytes = self.receiver.bytes(slot);
                log.find_bytes(Kind::Skip, [*n as u64], &bytes[..bytes.len().min(*n)]);
            }
            Err(error) => {
                let bytes = self.receiver.bytes(slot);
                let error = record::of_protocol_error(*error);
                log.find_bytes(Kind::Broken, error, &bytes[..bytes.len().min(BROKEN)]);
            }
        }
    }

    /// The connection that a request goes over, if it was taken and does not wait.
    pub(super) fn went_to(&self, taken: &Result<RequestId, RequestError>) -> Option<ConnId> {
        let id = taken.as_ref().ok()?;
        match self.requests.get(id.slot()).state {
            super::requests::State::Placed(place) => Some(place.conn),
            _ => None,
        }
    }

    pub(super) fn note_request(
        &mut self,
        request: &P::Request<'_>,
        options: Options,
        taken: &Result<RequestId, RequestError>,
        conn: Option<ConnId>,
        frame: Result<usize, Misuse>,
    ) {
        let described = self.protocol.describe(request);
        let Some(log) = &mut self.log else { return };
        log.frame = Ok(0);
        let flags = u64::from(options.idempotent)
            + 2 * u64::from(options.timeout.is_some())
            + 4 * u64::from(options.key.is_some());
        let timeout = options.timeout.map_or(0, crate::time::nanos);
        let known = described.len + described.name.len();
        // A frame that is shorter than what it says has no name and no content here.
        let (more, refused) = match frame {
            Ok(frame) => {
                (frame.saturating_sub(known) as u64, record::of_refusal(taken.as_ref().err().copied()))
            }
            Err(misuse) => (0, record::of_misuse(misuse)),
        };
        match taken {
            Ok(id) => log.mix(u64::from(id.slot()) << 32 | u64::from(id.generation())),
            Err(_) => log.mix(refused),
        }
        log.mix(conn.map_or(u64::MAX, |conn| u64::from(conn.slot()) << 32 | u64::from(conn.generation())));
        let name = log.name(described.name.as_bytes());
        let [low, high] = [options.tag & 0xffff_ffff, options.tag >> 32];
        let (len, key) = (described.len as u64, options.key.unwrap_or(0));
        let content = if log.keeps_content() { described.content } else { &[] };
        let fields = [flags, name, len, more, low, high, timeout, key, refused];
        log.put_bytes(Kind::Request, Some(self.now), fields, content);
    }

    pub(super) fn note_endpoint(
        &mut self,
        address: &str,
        options: EndpointOptions,
        added: Result<EndpointId, Misuse>,
    ) {
        let Some(log) = &mut self.log else { return };
        let (weight, priority) = (options.weight.into(), options.priority.into());
        let taken = added.map_or_else(record::of_misuse, |_| 0);
        let slot = added.map_or(0, |id| id.slot().into());
        log.put_bytes(Kind::AddEndpoint, Some(self.now), [weight, priority, taken, slot], address.as_bytes());
    }

    pub(super) fn note_change(&mut self, kind: Kind, endpoint: EndpointId, to: u64, known: bool) -> bool {
        let [slot, generation] = pair(endpoint);
        match kind {
            Kind::SetWeight | Kind::SetHealth => self.note(kind, [slot, generation, to, known.into()]),
            _ => self.note(kind, [slot, generation, known.into()]),
        }
        known
    }
}

impl Recorder {
    /// What a wire has read in a content.
    #[inline]
    pub(super) fn verdict(&mut self, verdict: &Verdict<'_>) {
        self.verdicts += 1;
        if let Verdict::Failure { code, unhealthy, overloaded, .. } = verdict {
            let flags = u64::from(*unhealthy) + 2 * u64::from(*overloaded);
            let behind = core::mem::take(&mut self.verdicts);
            self.find_bytes(Kind::Failure, [behind, flags], code.as_bytes());
        }
    }

    pub(super) fn load(&mut self, load: Option<Load>) {
        let told = load.unwrap_or_default();
        let nanos = crate::time::nanos(told.latency);
        self.find(Kind::Load, [load.is_some().into(), told.in_flight.into(), nanos]);
    }

    /// How a request has ended.
    #[inline]
    pub(super) fn outcome(&mut self, id: RequestId, outcome: Outcome<'_>) {
        let (told, len) = match outcome {
            Outcome::Answer(content) => (Told::Answer, content.len()),
            Outcome::Remote { .. } => (Told::Remote, 0),
            Outcome::Timeout { sent } => (Told::Timeout, sent.into()),
            Outcome::Lost { sent } => (Told::Lost, sent.into()),
            Outcome::Protocol(error) => (Told::Protocol, record::of_protocol_error(error)[0] as usize),
            Outcome::Cancelled => (Told::Cancelled, 0),
        };
        self.mix(u64::from(id.generation()));
        self.event(told, id.slot(), len);
    }

    /// What has changed in the cluster, if anything.
    #[inline]
    pub(super) fn state(&mut self, event: Option<StateEvent>) {
        match event {
            None => self.put(Kind::NoEvent, None, []),
            Some(event) => self.changed(event),
        }
    }

    #[cold]
    fn changed(&mut self, event: StateEvent) {
        self.mix_debug(&event);
        self.event(Told::State, event.endpoint().map_or(0, |endpoint| endpoint.slot()), 0);
    }
}

impl<const IDS: bool> Client<Surrogate<IDS>> {
    /// A client in the same state, on the wire of a replay, and without the bytes of bodies.
    fn masked<P: Protocol>(client: &Client<P>) -> Self {
        let mut masked = Client {
            protocol: Surrogate::default(),
            config: client.config,
            admission: client.admission.clone(),
            cluster: client.cluster.clone(),
            requests: client.requests.clone(),
            links: client.links.clone(),
            receiver: client.receiver.masked(|_| 0),
            progress: client.progress.iter().map(|_| ()).collect(),
            send_pool: client.send_pool.clone(),
            frames: super::spare_frames(),
            budget: client.budget.clone(),
            hedging: client.hedging.clone(),
            ready: client.ready.clone(),
            next: client.next.clone(),
            doomed: client.doomed,
            outcomes: client.outcomes.clone(),
            lent: Vec::new(),
            again: Vec::new(),
            actions: client.actions.clone(),
            metrics: client.metrics.clone(),
            now: client.now,
            wall: client.wall,
            draining: client.draining,
            log: None,
        };
        masked.cluster.set_explain(None);
        masked.links.iter_mut().for_each(|link| link.send.mask());
        masked.requests.mask();
        for ended in &mut masked.outcomes {
            if let How::Answered(content) = &mut ended.how {
                content.fill(0);
            }
        }
        masked
    }

    /// The client at the head of a segment.
    pub(crate) fn restore_masked(snapshot: &[u8]) -> Result<Self, Damaged> {
        let mut client = Self::restore(snapshot)?;
        client.protocol = Surrogate::new(client.requests.ids());
        Ok(client)
    }

    /// A client under another policy, beside one that plays a log.
    pub(crate) fn shadow(config: super::Config) -> Self {
        let mut client = Self::new(Surrogate::default(), config, 1);
        client.protocol = Surrogate::new(client.requests.ids());
        client
    }

    /// The bytes that come next are an answer to this request, which has failed by whose fault and overload it was;
    /// `false` if it can get none now.
    pub(crate) fn answer_masked(&self, id: RequestId, len: usize, failed: Option<(bool, bool)>) -> bool {
        let answerable = self.requests.find(id).is_some();
        if answerable {
            self.protocol.answer(self.requests.wire_id(id.slot()), len, failed);
        }
        answerable
    }

    /// Where a request stands that has not ended: its connection, if it does not wait, and the number of its attempts.
    pub(crate) fn whereabouts(&self, id: RequestId) -> Option<(Option<ConnId>, u8)> {
        let slot = self.requests.find(id)?;
        let request = self.requests.get(slot);
        let conn = match request.state {
            super::requests::State::Placed(place) => Some(place.conn),
            _ => None,
        };
        Some((conn, request.attempts))
    }

    /// What a request that has not ended is called on the wire.
    pub(crate) fn wire_id(&self, id: RequestId) -> Option<crate::wire::WireId> {
        self.requests.find(id).map(|_| self.requests.wire_id(id.slot()))
    }

    pub(crate) fn config(&self) -> super::Config {
        self.config
    }

    /// The decisions since they were last taken.
    pub(crate) fn take_explanations(&mut self) -> Vec<Explanation> {
        self.cluster.take_explanations()
    }

    /// The wire, which takes findings.
    pub(crate) fn surrogate(&self) -> &Surrogate<IDS> {
        &self.protocol
    }
}
