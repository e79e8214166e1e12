//! Calls by other services, in the hands of the application.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use super::api::{Refused, ReplyError, Token};
use super::state::State;
use crate::buf::pool::ObjectPool;
use crate::error::Misuse;
use crate::id::{ConnId, RequestId, Table, kind};
use crate::ipc::ContextError;
use crate::ipc::context;
use crate::record::kinds::Kind;
use crate::record::pair;
use crate::sched::Deadlines;
use crate::wire::ipc::{
    Context, Envelope, Limits, MessageError, Reply, Text, Value, code, write_failure, write_success,
};

/// Buffers for calls that were put off: how many are kept for reuse, and how large each may be.
const SPARE: usize = 1_024;
const SPARE_BYTES: usize = 1_024;
/// The longest deadline that frees the place of a call that is never answered; later ones are as good as none.
const LONGEST: core::time::Duration = core::time::Duration::from_secs(3_600);
/// What the client words itself is short, and not subject to the limit on what others word.
const NO_LIMIT: Limits = Limits { body: u32::MAX };

/// A call by another service, lent out of the receive buffer.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// What is called.
    pub method: Text<'a>,
    /// What it is called with, if with anything.
    pub params: Option<Value<'a>>,
    /// Who calls.
    pub from: Text<'a>,
    /// On whose behalf; [`ipc::Context::read`](crate::ipc::Context::read) copies it, to make calls within it.
    pub context: Context<'a>,
    /// Takes the answer. Apart from the rest, so that an answer may borrow from the parameters.
    pub responder: Responder<'a>,
}

/// Takes the answer to one call, or puts it off. Dropped without either, it answers `EXECUTION_FAILED`.
#[must_use = "a call that is dropped is answered with EXECUTION_FAILED"]
pub struct Responder<'a> {
    state: &'a mut State,
    conn: ConnId,
    reply: Reply<'a>,
    deadline: u64,
    done: bool,
}

impl<'a> Responder<'a> {
    /// Answers with a result, in any format.
    ///
    /// # Errors
    /// A message above the limit; the caller is answered with `SERIALIZATION_FAILED` then.
    pub fn reply(mut self, data: Option<Value<'_>>) -> Result<(), Misuse> {
        self.done = true;
        let result = self.state.succeed(self.conn, &self.reply, data);
        self.state.note_reply(None, data, result.is_ok());
        result
    }

    /// Answers that the method failed: a word for machines (see [`code`]) and a sentence for people.
    ///
    /// # Errors
    /// A message above the limit; the caller is answered with `SERIALIZATION_FAILED` then.
    pub fn fail(mut self, code: &str, message: &str) -> Result<(), Misuse> {
        self.done = true;
        let result = self.state.fail(self.conn, &self.reply, code, message);
        self.state.note_failure(None, code, message, result.is_ok());
        result
    }

    /// Leaves the answer for later: [`Client::reply`](super::Client::reply) and [`Client::fail`](super::Client::fail) take
    /// it, until the deadline of the call. What it was called with must be copied to be kept.
    pub fn defer(mut self) -> Token {
        self.done = true;
        let token = self.state.defer(self.conn, &self.reply, self.deadline);
        self.state.note(Kind::Defer, pair(token.0));
        token
    }
}

impl<'a> Responder<'a> {
    /// What the call is called on the wire.
    pub(crate) fn id(&self) -> Text<'a> {
        self.reply.id
    }
}

impl Drop for Responder<'_> {
    fn drop(&mut self) {
        if !self.done {
            let message = "the call was dropped without an answer";
            let _ = self.state.fail(self.conn, &self.reply, code::EXECUTION_FAILED, message);
            self.state.note(Kind::Unanswered, []);
        }
    }
}

impl fmt::Debug for Responder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("conn", &self.conn).field("id", &self.reply.id).finish()
    }
}

/// A call that was put off: what its answer takes over from it, one behind the other.
#[derive(Clone, Debug)]
struct Deferred {
    conn: ConnId,
    kept: Vec<u8>,
    id_end: usize,
    from_end: usize,
}
crate::saved!(struct Deferred { conn, kept, id_end, from_end });

#[derive(Clone, Debug)]
pub(super) struct Serving {
    table: Table<kind::Request, Deferred>,
    pub(super) deadlines: Deadlines,
    /// Calls that nobody waits for any more. As many as were put off at most: each is told before another call is.
    pub(super) abandoned: VecDeque<Token>,
    spare: ObjectPool<Vec<u8>>,
}
// Spare memory is not saved.
crate::saved!(struct Serving { table, deadlines, abandoned; rebuilt spare = spare_buffers() });

fn spare_buffers() -> ObjectPool<Vec<u8>> {
    let reset = |buffer: &mut Vec<u8>| {
        buffer.clear();
        buffer.shrink_to(SPARE_BYTES);
    };
    ObjectPool::new(|| Vec::with_capacity(SPARE_BYTES / 2), reset, 0, SPARE)
}

impl Serving {
    pub(super) fn new() -> Self {
        Serving {
            table: Table::new(),
            deadlines: Deadlines::new(),
            abandoned: VecDeque::new(),
            spare: spare_buffers(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn remove(&mut self, id: RequestId) -> Option<Deferred> {
        let deferred = self.table.remove(id)?;
        // Only now: the slot of an old id may be another's.
        self.deadlines.remove(id.slot());
        Some(deferred)
    }

    fn forget(&mut self, id: RequestId) {
        if let Some(deferred) = self.remove(id) {
            self.spare.release(deferred.kept);
            self.abandoned.push_back(Token(id));
        }
    }

    /// Nobody waits for these answers any more.
    pub(super) fn forget_conn(&mut self, conn: ConnId) {
        for slot in 0..self.table.slots() as u32 {
            let Some(id) = self.table.id_at(slot) else { continue };
            if self.table.get(id).is_some_and(|deferred| deferred.conn == conn) {
                self.forget(id);
            }
        }
    }
}

impl State {
    /// Looks at a call by another service: what is asked of the application, or why it is not asked.
    pub(super) fn admit<'m>(
        &self,
        call: &Envelope<'m>,
    ) -> Result<(Reply<'m>, Context<'m>, Text<'m>), Refused> {
        let reply = reply_to(call)?;
        let method = call.method()?;
        let lent = call.context().map_err(ContextError::Invalid)?;
        context::check(lent.depth, lent.deadline, self.unix_ms())?;
        if self.methods.binary_search_by(|known| (**known).cmp(&method.get())).is_err() {
            return Err(Refused::MethodNotFound);
        }
        if self.serving.len() >= self.config.serving.get() as usize {
            return Err(Refused::Overloaded);
        }
        Ok((reply, lent, method))
    }

    /// Answers a call that the application is not asked about.
    pub(super) fn refuse(&mut self, conn: ConnId, call: &Envelope<'_>, refused: Refused) {
        self.metrics.refused += 1;
        let Ok(reply) = reply_to(call) else { return };
        let words = alloc::format!("{refused}");
        let _ = self.send(conn, |config, out| {
            write_failure(out, config.format, &NO_LIMIT, &reply, refused.code(), &words)
        });
    }

    pub(super) fn respond<'a>(
        &'a mut self,
        conn: ConnId,
        call: &Envelope<'a>,
        (reply, context, method): (Reply<'a>, Context<'a>, Text<'a>),
    ) -> Incoming<'a> {
        self.metrics.served += 1;
        let responder = Responder { state: self, conn, reply, deadline: context.deadline, done: false };
        Incoming { method, params: call.params(), from: reply.to, context, responder }
    }

    fn succeed(&mut self, conn: ConnId, reply: &Reply<'_>, data: Option<Value<'_>>) -> Result<(), Misuse> {
        let result =
            self.send(conn, |config, out| write_success(out, config.format, &config.limits, reply, data));
        match result {
            Ok(()) => self.metrics.executed += 1,
            Err(misuse) => self.fail_misuse(conn, reply, misuse),
        }
        result
    }

    fn fail(&mut self, conn: ConnId, reply: &Reply<'_>, code: &str, message: &str) -> Result<(), Misuse> {
        let result = self.send(conn, |config, out| {
            write_failure(out, config.format, &config.limits, reply, code, message)
        });
        match result {
            Ok(()) => self.metrics.execution_failed += 1,
            Err(misuse) => self.fail_misuse(conn, reply, misuse),
        }
        result
    }

    /// The answer instead of one that the wire cannot carry.
    #[cold]
    fn fail_misuse(&mut self, conn: ConnId, reply: &Reply<'_>, misuse: Misuse) {
        self.metrics.execution_failed += 1;
        let words = alloc::format!("{misuse}");
        let _ = self.send(conn, |config, out| {
            write_failure(out, config.format, &NO_LIMIT, reply, code::SERIALIZATION_FAILED, &words)
        });
    }

    fn defer(&mut self, conn: ConnId, reply: &Reply<'_>, deadline: u64) -> Token {
        let mut kept = self.serving.spare.get();
        reply.id.append_to(&mut kept);
        let id_end = kept.len();
        reply.to.append_to(&mut kept);
        let from_end = kept.len();
        kept.extend_from_slice(reply.context.map_or(&[][..], |context| context.bytes()));
        let left = core::time::Duration::from_millis(deadline.saturating_sub(self.unix_ms())).min(LONGEST);
        let id = self.serving.table.insert(Deferred { conn, kept, id_end, from_end });
        self.serving.deadlines.insert(id.slot(), self.now, left);
        Token(id)
    }

    /// Answers a call that was put off.
    pub(super) fn answer_later(
        &mut self,
        token: Token,
        answer: impl FnOnce(&mut Self, ConnId, &Reply<'_>) -> Result<(), Misuse>,
    ) -> Result<(), ReplyError> {
        let deferred = self.serving.remove(token.0).ok_or(ReplyError::Gone)?;
        let text =
            |range: core::ops::Range<usize>| core::str::from_utf8(&deferred.kept[range]).unwrap_or_default();
        let context = &deferred.kept[deferred.from_end..];
        // Taken, not copied: nothing here asks for it meanwhile.
        let name = core::mem::take(&mut self.config.service_name);
        let reply = Reply {
            id: Text::from(text(0..deferred.id_end)),
            from: Text::from(&*name),
            to: Text::from(text(deferred.id_end..deferred.from_end)),
            context: Value::parse(self.config.format, context).ok(),
        };
        let result = answer(self, deferred.conn, &reply);
        self.config.service_name = name;
        self.serving.spare.release(deferred.kept);
        Ok(result?)
    }

    pub(super) fn succeed_later(&mut self, token: Token, data: Option<Value<'_>>) -> Result<(), ReplyError> {
        self.answer_later(token, |state, conn, reply| state.succeed(conn, reply, data))
    }

    pub(super) fn fail_later(&mut self, token: Token, code: &str, message: &str) -> Result<(), ReplyError> {
        self.answer_later(token, |state, conn, reply| state.fail(conn, reply, code, message))
    }

    /// Frees the places of calls whose time is over: their callers were answered by the hub.
    pub(super) fn time_out_serving(&mut self) {
        while let Some(slot) = self.serving.deadlines.pop_due(self.now) {
            if let Some(id) = self.serving.table.id_at(slot) {
                self.serving.forget(id);
            }
        }
    }
}

fn reply_to<'m>(call: &Envelope<'m>) -> Result<Reply<'m>, MessageError> {
    Ok(Reply { id: call.id()?, from: call.to()?, to: call.from()?, context: call.raw_context() })
}
