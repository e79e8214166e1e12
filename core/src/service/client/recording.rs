//! What a client notes while it is recorded.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::ending::How;
use super::{Client, Options, Outcome, RequestError, StateEvent};
use crate::cluster::EndpointOptions;
use crate::cluster::explain::Explanation;
use crate::error::{Misuse, ProtocolError};
use crate::id::{ConnId, EndpointId, Id, RequestId};
use crate::machine::Input;
use crate::record::alike::Request as Like;
use crate::record::kinds::Kind;
use crate::record::{self, Record, Recorder, Subject, Told, pair};
use crate::save::{Damaged, Snapshot};
use crate::service::surrogate::{NEXT_IN_LINE, Surrogate};
use crate::service::{Decoded, Described, Protocol, Uw, Verdict};
use crate::time::Instant;
use crate::wire::{Load, WireId};

/// So many bytes of what was no frame are kept.
const BROKEN: usize = 256;

impl RequestError {
    /// Its number in a log.
    pub(crate) fn code(self) -> u64 {
        match self {
            RequestError::Rejected(rejected) => record::of_rejected(rejected),
            RequestError::Misuse(misuse) => record::of_misuse(misuse),
        }
    }
}

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

    fn whole_snapshot(&self) -> Option<Vec<u8>> {
        P::save_client(self)
    }
}

impl<P: Protocol> Client<P> {
    #[inline]
    pub(super) fn note<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.log {
            log.put(kind, Some(self.now), fields);
        }
    }

    /// Bytes are about to be noted as sent.
    pub(super) fn note_sent(&mut self, conn: ConnId, n: usize) {
        if let Some(log) = &mut self.log
            && self.cluster.has_conn(conn)
        {
            log.mix_sent(&self.links[conn.index()].send, n);
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

    /// Anything but answers is noted where it is found, those where it is known whose they are.
    #[inline]
    pub(super) fn note_decoded(&mut self, slot: u32, decoded: &Result<Decoded, ProtocolError>) {
        if !matches!(decoded, Ok(Decoded::Response { .. })) {
            self.note_other(slot, decoded);
        }
    }

    #[cold]
    fn note_other(&mut self, slot: u32, decoded: &Result<Decoded, ProtocolError>) {
        let Some(log) = &mut self.log else { return };
        match decoded {
            Ok(Decoded::Response { .. }) => {}
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

    /// An answer was found that is not that to the `next` in line, as it seems; a replay may know only that it is. The request
    /// that it is for.
    #[cold]
    pub(super) fn note_answer(
        &mut self,
        id: Option<WireId>,
        request: Option<u32>,
        next: Option<u32>,
        lengths: [u64; 3],
    ) -> Option<u32> {
        let (Some(log), Some(id)) = (&mut self.log, id) else { return request };
        if id == NEXT_IN_LINE && log.is_comparing() {
            log.found_next(lengths);
            return next;
        }
        if self.requests.is_ours(id) {
            let [content, before, behind] = lengths;
            let (slot, generation) = (id.slot().into(), id.generation().into());
            log.find(Kind::Ours, [slot, generation, content, before, behind]);
        } else {
            log.find_bytes(Kind::Answer, lengths, &id.0);
        }
        request
    }

    /// Does what comes of a request, and notes it behind that.
    pub(super) fn catch_up_and_note(
        &mut self,
        request: &P::Request<'_>,
        options: Options,
        taken: &Result<RequestId, RequestError>,
    ) {
        // It may go elsewhere at once.
        let first = taken.as_ref().ok().map(|id| self.requests.frame_of(id.slot()));
        if self.cluster.has_actions() {
            self.catch_up();
        }
        let described = self.protocol.describe(request);
        let Some(log) = &mut self.log else { return };
        let waited = core::mem::take(&mut log.frame);
        let like = match (taken, first) {
            (Ok(id), Some((conn, frame))) => {
                log.mix(word(*id));
                log.mix(conn.map_or(u64::MAX, word));
                let Options { timeout, idempotent, key, .. } = options;
                Some(Like { len: described.len, frame, timeout, key, idempotent })
            }
            _ => None,
        };
        if let Some(like) = &like
            && log.is_like_last(self.now, like, described.name.as_bytes())
        {
            return log.one_more_request();
        }
        let refusal = taken.as_ref().err().copied();
        self.note_request(options, described, waited, refusal, like);
    }

    fn note_request(
        &mut self,
        options: Options,
        described: Described<'_>,
        waited: usize,
        refusal: Option<RequestError>,
        like: Option<Like>,
    ) {
        let Some(log) = &mut self.log else { return };
        let frame = like.as_ref().map_or(waited, |like| like.frame);
        let flags = u64::from(options.idempotent)
            + 2 * u64::from(options.timeout.is_some())
            + 4 * u64::from(options.key.is_some());
        let timeout = options.timeout.map_or(0, crate::time::nanos);
        // A frame that is shorter than what it says has no name and no content here.
        let more = frame.saturating_sub(described.len + described.name.len()) as u64;
        let refused = refusal.map_or(0, RequestError::code);
        if refusal.is_some() {
            log.mix(refused);
        }
        let name = log.name(described.name.as_bytes());
        let (len, key) = (described.len as u64, options.key.unwrap_or(0));
        let (content, tag) =
            if log.keeps_content() { (described.content, options.tag) } else { (&[][..], 0) };
        let [low, high] = [tag & 0xffff_ffff, tag >> 32];
        log.request(self.now, [flags, name, len, more, low, high, timeout, key, refused], content, like);
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
    pub(super) fn outcome(&mut self, id: RequestId, outcome: Outcome<'_>) {
        if let Outcome::Answer(content) = outcome {
            return self.answer(id, content);
        }
        self.mix(word(id));
        if let Outcome::Remote { code, message } = outcome {
            self.mix_content(code.as_bytes());
            self.mix_content(message.as_bytes());
        }
        let (told, more) = match outcome {
            Outcome::Answer(_) => (Told::Answer, 0),
            Outcome::Remote { .. } => (Told::Remote, 0),
            Outcome::Timeout { sent } => (Told::Timeout, sent.into()),
            Outcome::Lost { sent } => (Told::Lost, sent.into()),
            Outcome::Protocol(error) => (Told::Protocol, record::of_protocol_error(error)[0] as usize),
            Outcome::Cancelled => (Told::Cancelled, 0),
        };
        self.event(told, id.slot(), more);
    }

    /// A request was answered.
    #[inline]
    pub(super) fn answer(&mut self, id: RequestId, content: &[u8]) {
        self.mix(word(id) ^ (content.len() as u64).rotate_left(40));
        self.mix_content(content);
        self.answered();
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

/// An id as one number.
fn word<T>(id: Id<T>) -> u64 {
    u64::from(id.slot()) << 32 | u64::from(id.generation())
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
        // Tags are the application's own, and not in a log without content.
        masked.next.iter_mut().for_each(|next| next.tag = 0);
        for ended in &mut masked.outcomes {
            ended.tag = 0;
            if let How::Answered(content) = &mut ended.how {
                content.fill(0);
            }
        }
        masked
    }

    /// The client at the head of a segment. `whole`: it was saved with its own wire, and its bytes.
    pub(crate) fn restore_masked(snapshot: &[u8], whole: bool) -> Result<Self, Damaged> {
        let mut client = match whole {
            true => Self::masked(&Client::<Uw>::restore(snapshot)?),
            false => Self::restore(snapshot)?,
        };
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
