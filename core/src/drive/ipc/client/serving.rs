//! Calls by other services, in the hands of the handlers.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::call::Handle;
use super::ctx::Ctx;
use super::events::ClientEvent;
use crate::drive::handlers::Handlers;
use crate::drive::hub::Wakes;
use crate::drive::methods::HandlerError;
use crate::ipc::client::{Client, Incoming, Token};
use crate::ipc::{Context, ContextError};
use crate::time::Instant;
use crate::wire::ipc::{ConvertError, Format, Value, code, convert};

/// The largest JSON that content in MessagePack is turned into.
pub(super) const CONVERTED: usize = 64 << 20;
/// More capacity than this is not kept for reuse.
const SPARE_BYTES: usize = 64 * 1024;

/// A call whose handler waits.
pub(super) struct Served {
    token: Token,
    method: Arc<str>,
    caller: Arc<str>,
}

pub(super) struct Serving {
    pub(super) handlers: Handlers<Ctx, Served>,
    /// For handlers that call on.
    handle: Handle,
    /// Where each call waits that was put off, by the index of its token.
    parked: Vec<Option<usize>>,
    kept: Kept,
    /// Parameters that were turned into JSON.
    converted: Vec<u8>,
}

impl Serving {
    pub(super) fn new(handle: Handle) -> Self {
        let nobody = Context::create("", "", 0, Duration::ZERO);
        Serving {
            handlers: Handlers::new(),
            handle,
            parked: Vec::new(),
            kept: Kept { context: Arc::new(nobody), caller: "".into() },
            converted: Vec::new(),
        }
    }

    /// Another service calls.
    pub(super) fn serve(&mut self, call: Incoming<'_>, wakes: &mut Wakes) {
        let Incoming { method, params, from, context, responder } = call;
        let Some((name, at)) = self.handlers.find(&method.get()) else {
            let _ = responder.fail(code::METHOD_NOT_FOUND, "there is no such method here");
            return;
        };
        let name = name.clone();
        let (context, caller) = match self.kept.read(context.whole, &from.get()) {
            Ok(both) => both,
            Err(error) => {
                let _ = responder.fail(error.code(), &error.to_string());
                return;
            }
        };
        let raw = self.handlers.is_raw(at);
        let content = match content(params, raw, &mut self.converted) {
            Ok(content) => content,
            Err(error) => {
                let _ = responder.fail(code::DESERIALIZATION_FAILED, &error.to_string());
                return;
            }
        };
        let ctx = Ctx { method: name.clone(), caller: caller.clone(), context, handle: self.handle.clone() };
        match self.handlers.start(at, content, ctx) {
            // An answer above the limit is answered with an error by the machine itself.
            Ok(ended) => {
                let result = result_of(ended, raw, self.handle.shared.format, self.handlers.out());
                let _ = match &result {
                    Ok(result) => responder.reply(*result),
                    Err(error) => responder.fail(&error.code, &error.message),
                };
                executed(&self.handle, wakes, &name, &caller, &result);
            }
            Err(waiting) => {
                let token = responder.defer();
                let slot = self.handlers.park(waiting, Served { token, method: name, caller });
                if self.parked.len() <= token.index() {
                    self.parked.resize(token.index() + 1, None);
                }
                self.parked[token.index()] = Some(slot);
            }
        }
        self.converted.shrink_to(SPARE_BYTES);
    }

    /// Answers calls whose handlers have ended.
    pub(super) fn poll(&mut self, now: Instant, machine: &mut Client, wakes: &mut Wakes) {
        let Serving { handlers, handle, parked, .. } = self;
        handlers.poll_woken(|served, raw, ended, out| {
            parked[served.token.index()] = None;
            let result = result_of(ended, raw, handle.shared.format, out);
            // Each may find nobody who waits any more, or answer that the result is too large.
            let _ = match &result {
                Ok(result) => machine.reply(now, served.token, *result),
                Err(error) => machine.fail(now, served.token, &error.code, &error.message),
            };
            executed(handle, wakes, &served.method, &served.caller, &result);
        });
    }

    /// Drops the handler of a call that nobody waits for any more.
    pub(super) fn abandoned(&mut self, token: Token, wakes: &mut Wakes) {
        let slot = self.parked.get_mut(token.index()).and_then(Option::take);
        if let Some(Served { method, caller, .. }) = slot.and_then(|slot| self.handlers.give_up(slot)) {
            self.handle.shared.feeds.passing(wakes, || ClientEvent::CallAbandoned {
                method: method.clone(),
                caller: caller.clone(),
            });
        }
    }
}

/// The context and the caller of the last call, whose memory is used again: once nobody else holds the one, and if the
/// other calls once more.
struct Kept {
    context: Arc<Context>,
    caller: Arc<str>,
}

impl Kept {
    fn read(&mut self, context: Value<'_>, caller: &str) -> Result<(Arc<Context>, Arc<str>), ContextError> {
        match Arc::get_mut(&mut self.context) {
            Some(unshared) => unshared.read_again(context)?,
            None => self.context = Arc::new(Context::read(context)?),
        }
        if *self.caller != *caller {
            self.caller = caller.into();
        }
        Ok((self.context.clone(), self.caller.clone()))
    }
}

/// Parameters as JSON, unless they are to be raw; nothing is `null`, or no bytes at all.
fn content<'a>(
    params: Option<Value<'a>>,
    raw: bool,
    converted: &'a mut Vec<u8>,
) -> Result<&'a [u8], ConvertError> {
    match params {
        None if raw => Ok(&[]),
        None => Ok(b"null"),
        Some(params) if raw || params.format() == Format::Json => Ok(params.bytes()),
        Some(params) => {
            converted.clear();
            convert(params, Format::Json, converted, CONVERTED)?;
            Ok(converted)
        }
    }
}

/// What a handler has written, checked: the hub closes the connection of who sends something else.
fn result_of(
    ended: Result<(), HandlerError>,
    raw: bool,
    own: Format,
    out: &[u8],
) -> Result<Option<Value<'_>>, HandlerError> {
    ended?;
    if raw && out.is_empty() {
        return Ok(None);
    }
    let format = if raw { own } else { Format::Json };
    let unfit = |error| HandlerError::new(code::SERIALIZATION_FAILED, format_args!("the result: {error}"));
    Value::parse(format, out).map(Some).map_err(unfit)
}

fn executed(
    handle: &Handle,
    wakes: &mut Wakes,
    method: &Arc<str>,
    caller: &Arc<str>,
    result: &Result<Option<Value<'_>>, HandlerError>,
) {
    handle.shared.feeds.passing(wakes, || ClientEvent::MethodExecuted {
        method: method.clone(),
        caller: caller.clone(),
        error: result.as_ref().err().cloned(),
    });
}
