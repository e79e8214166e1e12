//! Calls that were made and wait for their answer.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;

use super::api::{CallError, Metrics, Options, Outcome};
use super::state::State;
use crate::id::{ConnId, RequestId, Table, kind};
use crate::ipc::{Context, ContextError, calculate_deadline, write_id};
use crate::sched::Deadlines;
use crate::time::Instant;
use crate::wire::WireId;
use crate::wire::ipc::{Call, Envelope, Kind, Status, Text, Value, code, write_call};
use uuid::Uuid;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    tag: u64,
    conn: ConnId,
    taken: Instant,
    /// Where it stands among all bytes that the connection was ever given, and how many of them are its own.
    start: u64,
    len: u64,
    /// Whether the deadline of its context comes before the timeout.
    by_deadline: bool,
}
crate::saved!(struct Pending { tag, conn, taken, start, len, by_deadline });

/// How a call ended without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Timeout { sent: bool },
    DeadlineExceeded { sent: bool },
    Lost { sent: bool },
    Disconnected,
    Cancelled,
}
crate::saved!(enum How {
    0 = Timeout { sent }, 1 = DeadlineExceeded { sent }, 2 = Lost { sent }, 3 = Disconnected, 4 = Cancelled
});

impl From<How> for Outcome<'_> {
    fn from(how: How) -> Self {
        match how {
            How::Timeout { sent } => Outcome::Timeout { sent },
            How::DeadlineExceeded { sent } => Outcome::DeadlineExceeded { sent },
            How::Lost { sent } => Outcome::Lost { sent },
            How::Disconnected => Outcome::Disconnected,
            How::Cancelled => Outcome::Cancelled,
        }
    }
}

/// A call that has ended without an answer, which nobody was told yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) id: RequestId,
    pub(super) tag: u64,
    pub(super) how: How,
}
crate::saved!(struct Ended { id, tag, how });

#[derive(Clone, Debug)]
pub(super) struct Calls {
    table: Table<kind::Request, Pending>,
    pub(super) deadlines: Deadlines,
    /// As many as there were calls: each ends once, and its place is free only when that was told.
    pub(super) ended: VecDeque<Ended>,
    /// Tells the ids of this client from those of another of the same name.
    salt: u64,
    id: String,
    context: Context,
}
// The last two are written before they are read.
crate::saved!(struct Calls {
    table, deadlines, ended, salt;
    rebuilt id = String::new(), context = no_context()
});

fn no_context() -> Context {
    Context::create("", "", 0, Duration::ZERO)
}

impl Calls {
    pub(super) fn new(salt: u64) -> Self {
        Calls {
            table: Table::new(),
            deadlines: Deadlines::new(),
            ended: VecDeque::new(),
            salt,
            id: String::new(),
            context: no_context(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The call that this id names, if it waits.
    fn find(&self, id: Text<'_>) -> Option<RequestId> {
        let text = id.get();
        let wire = WireId::from(Uuid::try_parse(text.strip_prefix("req-")?).ok()?);
        let id = RequestId::new(wire.slot(), wire.generation());
        let own = wire == WireId::new(id.slot(), id.generation(), self.salt);
        (own && self.table.get(id).is_some()).then_some(id)
    }

    fn remove(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.table.remove(id)?;
        self.deadlines.remove(id.slot());
        Some(pending)
    }
}

impl State {
    /// Makes a call.
    pub(super) fn call(
        &mut self,
        to: &str,
        method: &str,
        params: Option<Value<'_>>,
        within: Option<&Context>,
        options: Options,
    ) -> Result<RequestId, CallError> {
        if self.draining.is_some() {
            return Err(CallError::ShuttingDown);
        }
        let conn = self.links.choose().ok_or(CallError::NotConnected)?;
        let port = &self.links.view(conn).ok_or(CallError::NotConnected)?.port;
        let waiting = self.calls.table.len() + self.calls.ended.len();
        if port.load.is_above() || waiting >= self.config.pending.get() as usize {
            return Err(CallError::Overloaded);
        }
        let start = port.send.end();
        let (unix_ms, timeout) = (self.unix_ms(), options.timeout.unwrap_or(self.config.timeout));
        self.set_context(to, within, unix_ms, timeout)?;
        let left = self.calls.context.remaining(unix_ms);
        let by_deadline = within.is_some_and(|within| within.deadline < calculate_deadline(unix_ms, timeout));
        let id = self.calls.table.next_id();
        let wire = WireId::new(id.slot(), id.generation(), self.calls.salt);
        self.calls.id.clear();
        let _ = write!(self.calls.id, "req-{wire}");
        let (calls, config) = (&self.calls, &self.config);
        let call =
            Call { id: &calls.id, from: &config.service_name, to, method, params, context: &calls.context };
        let slow =
            self.links.push(conn, config, |out| write_call(out, config.format, &config.limits, &call))?;
        self.metrics.calls += 1;
        let len = self.links.view(conn).map_or(0, |link| link.port.send.end() - start);
        let pending = Pending { tag: options.tag, conn, taken: self.now, start, len, by_deadline };
        self.calls.table.insert(pending);
        self.calls.deadlines.insert(id.slot(), self.now, left.min(timeout));
        if slow {
            self.slow(conn);
        }
        Ok(id)
    }

    /// Fills in the context of a call to `to`: that of the call which causes it, or a new one. The strings are used again.
    fn set_context(
        &mut self,
        to: &str,
        within: Option<&Context>,
        unix_ms: u64,
        timeout: Duration,
    ) -> Result<(), ContextError> {
        let limit = calculate_deadline(unix_ms, timeout);
        let context = &mut self.calls.context;
        let before = within.map_or(1, |within| within.chain.len());
        context.chain.resize_with(before + 1, String::new);
        context.chain.iter_mut().for_each(String::clear);
        context.root.clear();
        match within {
            Some(within) => {
                context.root.push_str(&within.root);
                for (own, service) in context.chain.iter_mut().zip(&within.chain) {
                    own.push_str(service);
                }
                context.depth = within.depth.saturating_add(1);
                context.deadline = within.deadline.min(limit);
            }
            None => {
                write_id(&mut context.root, "root", unix_ms, &mut self.rng);
                context.chain[0].push_str(&self.config.service_name);
                context.depth = 2;
                context.deadline = limit;
            }
        }
        context.chain[before].push_str(to);
        context.validate(unix_ms)
    }

    /// Takes an answer: which call it ends, and how; `None` if nobody waits for it.
    pub(super) fn take_response<'m>(
        &mut self,
        response: &Envelope<'m>,
    ) -> Option<(RequestId, u64, Outcome<'m>)> {
        let found = response.id().ok().and_then(|id| self.calls.find(id));
        let status = match response.kind() {
            Kind::Error => Ok(Status::Error),
            _ => response.status(),
        };
        let (Some(id), Ok(status)) = (found, status) else {
            self.metrics.late += u64::from(response.kind() == Kind::Response);
            return None;
        };
        let pending = self.calls.remove(id)?;
        self.metrics.latency.record(self.now.since(pending.taken));
        let outcome = match status {
            Status::Success => {
                self.metrics.succeeded += 1;
                Outcome::Success(response.data())
            }
            Status::Error => {
                self.metrics.failed += 1;
                self.metrics.remote += 1;
                let (code, message) = response.error();
                let code = code.unwrap_or(Text::from(code::EXECUTION_FAILED));
                Outcome::Failure { code, message: message.unwrap_or(Text::from("")) }
            }
        };
        Some((id, pending.tag, outcome))
    }

    /// What a call is called on the wire.
    pub(super) fn wire_name(&self, id: RequestId) -> String {
        alloc::format!("req-{}", WireId::new(id.slot(), id.generation(), self.calls.salt))
    }

    /// The connection that a call has gone over which waits for its answer.
    pub(super) fn went_over(&self, id: RequestId) -> Option<ConnId> {
        self.calls.table.get(id).map(|pending| pending.conn)
    }

    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        self.give_up(id, |_, _| How::Cancelled)
    }

    /// Ends a call whose connection stands; `how` is told whether any byte of it has left, and whether its deadline came
    /// before its timeout.
    fn give_up(&mut self, id: RequestId, how: impl FnOnce(bool, bool) -> How) -> bool {
        let Some(pending) = self.calls.remove(id) else { return false };
        let sent = !self.take_back(&pending);
        self.end_call(id, &pending, how(sent, pending.by_deadline));
        true
    }

    /// Takes a call out of what is to be sent, if no byte of it has left: otherwise it would still run, after its caller was
    /// told that it was not sent.
    fn take_back(&mut self, call: &Pending) -> bool {
        let &Pending { conn, start, len, .. } = call;
        if !self.links.cut(conn, start, len) {
            return false;
        }
        for slot in 0..self.calls.table.slots() as u32 {
            if let Some(other) = self.calls.table.id_at(slot).and_then(|id| self.calls.table.get_mut(id))
                && other.conn == conn
                && other.start > start
            {
                other.start -= len;
            }
        }
        true
    }

    fn end_call(&mut self, id: RequestId, pending: &Pending, how: How) {
        count(&mut self.metrics, how);
        self.calls.ended.push_back(Ended { id, tag: pending.tag, how });
    }

    pub(super) fn time_out_calls(&mut self) {
        while let Some(slot) = self.calls.deadlines.pop_due(self.now) {
            let Some(id) = self.calls.table.id_at(slot) else { continue };
            self.give_up(id, |sent, by_deadline| match by_deadline {
                true => How::DeadlineExceeded { sent },
                false => How::Timeout { sent },
            });
        }
    }

    /// Ends the calls over a connection that has gone, whose transport took `sent` bytes; all of them if there is none.
    pub(super) fn lose_calls(&mut self, conn: Option<(ConnId, u64)>) {
        for slot in 0..self.calls.table.slots() as u32 {
            let Some(id) = self.calls.table.id_at(slot) else { continue };
            let Some(pending) = self.calls.table.get(id).copied() else { continue };
            let how = match conn {
                None => How::Disconnected,
                Some((conn, bytes)) if pending.conn == conn => How::Lost { sent: bytes > pending.start },
                Some(_) => continue,
            };
            self.calls.remove(id);
            self.end_call(id, &pending, how);
        }
    }
}

fn count(metrics: &mut Metrics, how: How) {
    metrics.failed += 1;
    match how {
        How::Timeout { .. } | How::DeadlineExceeded { .. } => metrics.timed_out += 1,
        How::Lost { .. } => metrics.lost += 1,
        How::Disconnected | How::Cancelled => {}
    }
}
