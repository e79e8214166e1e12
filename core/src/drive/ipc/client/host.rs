//! The driver's side of a client's handle.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::Ordering;
use core::task::Waker;
use core::time::Duration;

use super::call::{Handle, Parcel, Shared};
use super::ctx::Ctx;
use super::error::{Cause, NotRegistered};
use super::events::ClientEvent;
use super::serving::{CONVERTED, Serving};
use super::{ClientStatus, Dropped};
use crate::drive::hub::Wakes;
use crate::drive::in_flight::InFlight;
use crate::drive::methods::Pool;
use crate::drive::{Host, Inbox, Key};
use crate::id::RequestId;
use crate::ipc::Context;
use crate::ipc::client::{Client, Event, MethodError, Metrics, Options, Outcome, StateEvent};
use crate::machine::Machine;
use crate::time::Instant;
use crate::wire::ipc::{ConvertError, Format, Value, convert};

pub(super) enum Command {
    Call {
        key: Key,
        parcel: Parcel,
        timeout: Option<Duration>,
        within: Option<Arc<Context>>,
        /// Whether parameters and result are in the client's own format, and not in JSON.
        raw: bool,
    },
    /// Somebody no longer waits for one of the others.
    GivenUp(Key),
    Connect(Key),
    Disconnect(Key),
    Register {
        key: Key,
        name: Arc<str>,
        pool: Box<dyn Pool<Ctx>>,
    },
    Unregister {
        key: Key,
        name: String,
    },
    Status(Key),
    Metrics(Key),
    Shutdown {
        key: Key,
        within: Duration,
    },
}

pub(super) enum Answer {
    /// The cause in a box: a failure may cost an allocation, and every answer is moved a few times.
    Call(Result<Vec<u8>, Box<Cause>>),
    Connected(Result<(), NotRegistered>),
    Disconnected,
    Registered(Result<(), MethodError>),
    Unregistered(bool),
    Status(Box<ClientStatus>),
    Metrics(Box<Metrics>),
    Shutdown(Dropped),
}

struct Call {
    id: RequestId,
    parcel: Parcel,
    raw: bool,
}

pub(super) struct ClientHost {
    inbox: Inbox<Command, Answer>,
    shared: Arc<Shared>,
    commands: Vec<Command>,
    answers: Vec<(Key, Answer)>,
    calls: InFlight<Call>,
    serving: Serving,
    wakes: Wakes,
    connecting: Vec<Key>,
    disconnecting: Vec<Key>,
    shutdowns: Vec<Key>,
    /// Why the last connection has ended.
    failure: Option<NotRegistered>,
    /// What the hub has complained of since the last connection.
    complaint: Option<NotRegistered>,
    draining: bool,
    dropped: Dropped,
}

impl ClientHost {
    pub(super) fn new(
        inbox: Inbox<Command, Answer>,
        handle: Handle,
        handlers: Vec<(Arc<str>, Box<dyn Pool<Ctx>>)>,
    ) -> Self {
        let mut host = ClientHost {
            inbox,
            shared: handle.shared.clone(),
            commands: Vec::new(),
            answers: Vec::new(),
            calls: InFlight::default(),
            serving: Serving::new(handle),
            wakes: Wakes::default(),
            connecting: Vec::new(),
            disconnecting: Vec::new(),
            shutdowns: Vec::new(),
            failure: None,
            complaint: None,
            draining: false,
            dropped: Dropped::default(),
        };
        handlers.into_iter().for_each(|(name, pool)| host.serving.handlers.add(name, pool));
        host
    }

    fn command(&mut self, now: Instant, machine: &mut Client, command: Command) {
        match command {
            Command::Call { key, parcel, timeout, within, raw } => {
                let options = Options { timeout, tag: key.to_tag() };
                self.call(now, machine, (key, raw), parcel, within.as_deref(), options);
            }
            Command::GivenUp(key) => {
                if let Some(call) = self.calls.take(key) {
                    machine.cancel(now, call.id);
                }
                self.connecting.retain(|&waiting| waiting != key);
                self.disconnecting.retain(|&waiting| waiting != key);
            }
            Command::Connect(key) => {
                machine.connect(now);
                self.connecting.push(key);
            }
            Command::Disconnect(key) => {
                machine.disconnect(now);
                self.disconnecting.push(key);
            }
            Command::Register { key, name, pool } => {
                let added = machine.register_method(now, &name);
                if added.is_ok() {
                    self.serving.handlers.add(name, pool);
                }
                self.answers.push((key, Answer::Registered(added.map(|_| ()))));
            }
            Command::Unregister { key, name } => {
                self.serving.handlers.remove(&name);
                self.answers.push((key, Answer::Unregistered(machine.unregister_method(now, &name))));
            }
            Command::Status(key) => {
                self.answers.push((key, Answer::Status(Box::new(ClientStatus::of(machine)))));
            }
            Command::Metrics(key) => {
                self.answers.push((key, Answer::Metrics(Box::new(machine.metrics().clone()))));
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
        machine: &mut Client,
        (key, raw): (Key, bool),
        parcel: Parcel,
        within: Option<&Context>,
        options: Options,
    ) {
        // Both were checked by who has made the call.
        let params = match (raw, self.shared.format) {
            (true, _) if parcel.params().is_empty() => None,
            (true, Format::MessagePack) => Some(Value::checked_message_pack(parcel.params())),
            _ => core::str::from_utf8(parcel.params()).ok().map(Value::checked_json),
        };
        match machine.call(now, parcel.service(), parcel.method(), params, within, options) {
            Ok(id) => {
                self.calls.insert(key, Call { id, parcel, raw });
            }
            Err(error) => self.answers.push((key, Answer::Call(Err(Box::new(error.into()))))),
        }
    }

    fn ended(&mut self, tag: u64, outcome: Outcome<'_>) {
        if self.draining && matches!(outcome, Outcome::Lost { .. } | Outcome::Disconnected) {
            self.dropped.calls += 1;
        }
        let key = Key::from_tag(tag);
        let Some(Call { mut parcel, raw, .. }) = self.calls.take(key) else { return };
        self.shared.feeds.passing(&mut self.wakes, || ClientEvent::ResponseReceived {
            service: parcel.service().into(),
            method: parcel.method().into(),
            code: outcome.code().map(|code| code.to_string()),
        });
        let result = match outcome {
            Outcome::Success(result) => {
                parcel.bytes.clear();
                match write_result(result, raw, &mut parcel.bytes) {
                    Ok(()) => Ok(parcel.bytes),
                    Err(error) => Err(Box::new(Cause::Unreadable(error.to_string()))),
                }
            }
            failure => Err(Box::new(Cause::of(failure))),
        };
        self.answers.push((key, Answer::Call(result)));
    }

    fn state(&mut self, event: StateEvent) {
        let told = match event {
            StateEvent::Connected { index } => {
                self.complaint = None;
                ClientEvent::Connected { index }
            }
            StateEvent::Registered { index } => ClientEvent::Registered { index },
            StateEvent::Disconnected { index, cause } => {
                self.failure = Some(self.complaint.take().unwrap_or(NotRegistered::Ended(cause)));
                ClientEvent::Disconnected { index, cause }
            }
            StateEvent::Missed(count) => ClientEvent::Missed(count),
        };
        self.shared.feeds.change(&mut self.wakes, || told.clone());
    }

    /// Answers those who wait for a connection, or for its end.
    fn settle(&mut self, machine: &Client) {
        let registered = machine.is_connected();
        self.shared.registered.store(registered, Ordering::Release);
        if !self.connecting.is_empty() && (registered || !machine.is_connecting()) {
            let failure = || self.failure.clone().unwrap_or(NotRegistered::Closed);
            let result = if registered { Ok(()) } else { Err(failure()) };
            let answers = self.connecting.drain(..).map(|key| (key, Answer::Connected(result.clone())));
            self.answers.extend(answers);
        }
        if machine.is_idle() {
            self.answers.extend(self.disconnecting.drain(..).map(|key| (key, Answer::Disconnected)));
        }
    }
}

/// The result of a call, as JSON unless it is to be raw; nothing is `null`, or no bytes at all.
fn write_result(result: Option<Value<'_>>, raw: bool, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    match result {
        Some(result) if raw => out.extend_from_slice(result.bytes()),
        Some(result) => convert(result, Format::Json, out, CONVERTED)?,
        None if raw => {}
        None => out.extend_from_slice(b"null"),
    }
    Ok(())
}

impl Host<Client> for ClientHost {
    fn commands(&mut self, now: Instant, machine: &mut Client) {
        let mut commands = mem::take(&mut self.commands);
        let wanted = self.inbox.take(now, &mut commands);
        for command in commands.drain(..) {
            self.command(now, machine, command);
        }
        self.commands = commands;
        if !wanted && !self.draining {
            self.draining = true;
            machine.shutdown(now, now);
        }
        self.serving.poll(now, machine, &mut self.wakes);
    }

    fn event(&mut self, _: Instant, event: Event<'_>) {
        match event {
            Event::Outcome { tag, outcome, .. } => self.ended(tag, outcome),
            Event::Call(call) => self.serving.serve(call, &mut self.wakes),
            Event::Abandoned(token) => self.serving.abandoned(token, &mut self.wakes),
            Event::State(event) => self.state(event),
            Event::Refused { call, refused } => {
                self.shared.feeds.passing(&mut self.wakes, || ClientEvent::CallRefused {
                    method: call.method().ok().map(|method| method.to_string()),
                    caller: call.from().ok().map(|caller| caller.to_string()),
                    refused,
                });
            }
            Event::GatewayError { code, message } => {
                let text = |text: Option<crate::wire::ipc::Text<'_>>| text.map(|text| text.to_string());
                let (code, message) = (text(code).unwrap_or_default(), text(message).unwrap_or_default());
                self.shared.feeds.change(&mut self.wakes, || ClientEvent::GatewayError {
                    code: code.clone(),
                    message: message.clone(),
                });
                self.complaint = Some(NotRegistered::Refused { code, message });
            }
            Event::Invalid(error) => {
                self.shared.feeds.change(&mut self.wakes, || ClientEvent::Invalid(error));
            }
            Event::Acknowledged | Event::Ignored(_) => {}
        }
    }

    fn publish(&mut self, now: Instant, machine: &mut Client) {
        self.settle(machine);
        if machine.is_finished() {
            let dropped = self.dropped;
            self.answers.extend(self.shutdowns.drain(..).map(|key| (key, Answer::Shutdown(dropped))));
        }
        mem::take(&mut self.wakes).wake();
        self.inbox.fill(now, &mut self.answers);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.serving.handlers.arm(driver) || self.inbox.arm(driver)
    }
}

/// Whoever listens, or asks, learns that nothing will come, also if the runtime has dropped the driver.
impl Drop for ClientHost {
    fn drop(&mut self) {
        self.shared.registered.store(false, Ordering::Release);
        self.shared.feeds.close();
    }
}
