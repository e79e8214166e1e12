//! The driver's side of a service handle.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use core::task::Waker;
use core::time::Duration;

use super::callable::Callable;
use super::endpoints::{Change, EndpointCause, Endpoints};
use super::error::Cause;
use super::events::ServiceEvent;
use crate::cluster::EndpointOptions;
use crate::cluster::EndpointStatus;
use crate::cluster::explain::Explanation;
use crate::drive::hub::Hub;
use crate::drive::in_flight::InFlight;
#[cfg(feature = "tls")]
use crate::drive::tls::LastFailure;
use crate::drive::{Host, Inbox, Key};
#[cfg(feature = "tls")]
use crate::error::Fault;
use crate::id::RequestId;
use crate::machine::Machine;
#[cfg(feature = "tls")]
use crate::service::client::CloseCause;
use crate::service::client::{Client, Event, Metrics, Options, Outcome, StateEvent, Status};
use crate::time::Instant;

pub(super) enum Command {
    Call {
        key: Key,
        /// The content and, behind it, the name: one vector travels out, and comes back with the answer.
        bytes: Vec<u8>,
        content_len: usize,
        timeout: Option<Duration>,
        idempotent: bool,
        /// The hash of what it is about.
        about: Option<u64>,
    },
    AddEndpoint {
        key: Key,
        address: Arc<str>,
        options: EndpointOptions,
    },
    ChangeEndpoint {
        key: Key,
        address: Arc<str>,
        change: Change,
    },
    Scale {
        key: Key,
        connections: u32,
    },
    Cancel(Key),
    Snapshot(Key),
    ResetMetrics,
    SetExplain(Option<NonZeroU32>),
    Explanations(Key),
    Endpoints(Key),
    Shutdown {
        key: Key,
        within: Duration,
    },
}

pub(super) enum Answer {
    /// The cause in a box: a failure may cost an allocation, and every answer is moved a few times.
    Call(Result<Vec<u8>, Box<Cause>>),
    Endpoint(Result<(), EndpointCause>),
    Snapshot(Box<Snapshot>),
    Explanations(Vec<Explanation>),
    Endpoints(Vec<EndpointStatus<'static>>),
    Shutdown(Dropped),
}

/// What a client has counted, and how it stands.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What was counted.
    pub metrics: Metrics,
    /// How it stands now.
    pub status: Status,
    /// Requests taken over the last second.
    pub requests_per_second: u64,
}

/// What a shutdown cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Requests that had not ended at the deadline.
    pub requests: u64,
}

struct Call {
    id: RequestId,
    buffer: Vec<u8>,
}

/// Of one shard of one service.
pub(super) struct ServiceHost<P> {
    pub(super) inbox: Inbox<Command, Answer>,
    pub(super) service: Arc<str>,
    pub(super) shard: usize,
    pub(super) endpoints: Endpoints,
    pub(super) hub: Arc<Hub<ServiceEvent>>,
    #[cfg(feature = "tls")]
    failures: LastFailure,
    commands: Vec<Command>,
    answers: Vec<(Key, Answer)>,
    calls: InFlight<Call>,
    shutdowns: Vec<Key>,
    draining: bool,
    dropped: Dropped,
    wire: PhantomData<P>,
}

impl<P: Callable> ServiceHost<P> {
    pub(super) fn new(
        inbox: Inbox<Command, Answer>,
        service: Arc<str>,
        shard: usize,
        endpoints: Endpoints,
        hub: Arc<Hub<ServiceEvent>>,
    ) -> Self {
        ServiceHost {
            inbox,
            service,
            shard,
            endpoints,
            hub,
            #[cfg(feature = "tls")]
            failures: LastFailure::default(),
            commands: Vec::new(),
            answers: Vec::new(),
            calls: InFlight::default(),
            shutdowns: Vec::new(),
            draining: false,
            dropped: Dropped::default(),
            wire: PhantomData,
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn with_failures(self, failures: LastFailure) -> Self {
        ServiceHost { failures, ..self }
    }

    fn command(&mut self, now: Instant, machine: &mut Client<P>, command: Command) {
        match command {
            Command::Call { key, bytes, content_len, timeout, idempotent, about } => {
                let options = Options { timeout, idempotent, key: about, tag: key.to_tag() };
                self.call(now, machine, key, bytes, content_len, options);
            }
            Command::Cancel(key) => {
                if let Some(call) = self.calls.take(key) {
                    machine.cancel(now, call.id);
                }
            }
            Command::AddEndpoint { key, address, options } => {
                let result = self.endpoints.add(now, machine, &address, options);
                self.answers.push((key, Answer::Endpoint(result)));
            }
            Command::ChangeEndpoint { key, address, change } => {
                let result = self.endpoints.change(now, machine, &address, change);
                self.answers.push((key, Answer::Endpoint(result)));
            }
            Command::Scale { key, connections } => {
                machine.scale(now, connections);
                self.answers.push((key, Answer::Endpoint(Ok(()))));
            }
            Command::Snapshot(key) => {
                let metrics = machine.metrics().clone();
                let requests_per_second = metrics.rate.per_second(now);
                let snapshot = Snapshot { metrics, status: machine.status(), requests_per_second };
                self.answers.push((key, Answer::Snapshot(Box::new(snapshot))));
            }
            Command::ResetMetrics => machine.reset_metrics(),
            Command::SetExplain(kept) => machine.set_explain(kept),
            Command::Endpoints(key) => {
                let endpoints = machine.endpoint_status().map(EndpointStatus::into_owned).collect();
                self.answers.push((key, Answer::Endpoints(endpoints)));
            }
            Command::Explanations(key) => {
                let explanations = machine.explanations().cloned().collect();
                self.answers.push((key, Answer::Explanations(explanations)));
            }
            Command::Shutdown { key, within } => {
                self.draining = true;
                self.shutdowns.push(key);
                machine.shutdown(now, now + within);
            }
        }
    }

    fn call(
        &mut self,
        now: Instant,
        machine: &mut Client<P>,
        key: Key,
        buffer: Vec<u8>,
        content_len: usize,
        options: Options,
    ) {
        let (content, name) = buffer.split_at(content_len);
        let name = core::str::from_utf8(name).expect("it was a string before");
        let taken = machine.request(now, &P::request(name, content), options);
        match taken {
            Ok(id) => {
                self.calls.insert(key, Call { id, buffer });
            }
            Err(error) => self.answers.push((key, Answer::Call(Err(Box::new(error.into()))))),
        }
    }

    fn ended(&mut self, tag: u64, outcome: Outcome<'_>) {
        if self.draining && matches!(outcome, Outcome::Lost { .. }) {
            self.dropped.requests += 1;
        }
        let key = Key::from_tag(tag);
        let Some(Call { mut buffer, .. }) = self.calls.take(key) else { return };
        let result = match outcome {
            Outcome::Answer(content) => {
                buffer.clear();
                buffer.extend_from_slice(content);
                Ok(buffer)
            }
            failure => Err(Box::new(Cause::of::<P>(failure))),
        };
        self.answers.push((key, Answer::Call(result)));
    }

    #[cfg(feature = "tls")]
    fn detail(&self, event: StateEvent) -> Option<Arc<str>> {
        let StateEvent::Closed { conn, cause: CloseCause::Dial(Fault::Tls(_)), .. } = event else {
            return None;
        };
        self.failures.of(conn)
    }

    #[cfg(not(feature = "tls"))]
    fn detail(&self, _: StateEvent) -> Option<Arc<str>> {
        None
    }

    fn state(&self, event: StateEvent) {
        let endpoint = event.endpoint().and_then(|id| self.endpoints.address(id));
        self.hub
            .publish(|| ServiceEvent {
                service: self.service.clone(),
                shard: self.shard,
                endpoint: endpoint.cloned(),
                event,
                detail: self.detail(event),
            })
            .wake();
    }
}

impl<P: Callable> Host<Client<P>> for ServiceHost<P> {
    fn commands(&mut self, now: Instant, machine: &mut Client<P>) {
        let mut commands = core::mem::take(&mut self.commands);
        let wanted = self.inbox.take(now, &mut commands);
        for command in commands.drain(..) {
            self.command(now, machine, command);
        }
        self.commands = commands;
        if !wanted && !self.draining {
            self.draining = true;
            machine.shutdown(now, now);
        }
    }

    fn event(&mut self, _: Instant, event: Event<'_>) {
        match event {
            Event::Outcome { tag, outcome, .. } => self.ended(tag, outcome),
            Event::State(event) => self.state(event),
        }
    }

    fn publish(&mut self, now: Instant, machine: &mut Client<P>) {
        if machine.is_finished() {
            let dropped = self.dropped;
            self.answers.extend(self.shutdowns.drain(..).map(|key| (key, Answer::Shutdown(dropped))));
        }
        self.inbox.fill(now, &mut self.answers);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.inbox.arm(driver)
    }
}
