//! Handlers: polled in place first, kept only if they wait.
//!
//! Each driver has a pool per method, of boxes that are used again: once warm, a request allocates nothing here, and a
//! handler's future is never moved.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::marker::PhantomData;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Ctx, HandlerError};
use crate::wire::uw::code;

/// More capacity than this is not kept for reuse.
const SPARE_BYTES: usize = 64 * 1024;

/// What a handler came to; its result has been written as JSON.
pub(super) type Ended = Result<(), HandlerError>;

/// A handler that was registered, of whatever types.
pub(super) trait Method: Send + Sync {
    /// For one driver.
    fn pool(&self) -> Box<dyn Pool>;
}

/// The calls of one method that one driver has running.
pub(super) trait Pool: Send {
    /// Starts a call, and polls it once. `Err`: it waits, at this place.
    fn start(
        &mut self,
        content: &[u8],
        ctx: Ctx,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Ended, usize>;

    /// Polls a call that waits. Its place is free once it has ended.
    fn poll(&mut self, at: usize, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Ended>;
}

/// How content becomes the parameters of a handler, and its result content. `spare` is memory to use again.
pub(super) trait Format<P, T> {
    fn read(method: &str, content: &[u8], spare: &mut Vec<u8>) -> Result<P, HandlerError>;

    /// Replaces what is in `out`.
    fn write(result: T, out: &mut Vec<u8>, spare: &mut Vec<u8>) -> Ended;
}

pub(super) enum Json {}

impl<P: DeserializeOwned, T: Serialize> Format<P, T> for Json {
    fn read(method: &str, content: &[u8], _: &mut Vec<u8>) -> Result<P, HandlerError> {
        serde_json::from_slice(content).map_err(|error| bad_request(method, &error))
    }

    fn write(result: T, out: &mut Vec<u8>, _: &mut Vec<u8>) -> Ended {
        out.clear();
        Ok(serde_json::to_writer(out, &result)?)
    }
}

/// Content as it is.
pub(super) enum Raw {}

impl Format<Vec<u8>, Vec<u8>> for Raw {
    fn read(_: &str, content: &[u8], spare: &mut Vec<u8>) -> Result<Vec<u8>, HandlerError> {
        let mut params = mem::take(spare);
        params.clear();
        params.extend_from_slice(content);
        Ok(params)
    }

    /// The vector itself, without a copy: a handler that answers in that of its parameters allocates nothing.
    fn write(result: Vec<u8>, out: &mut Vec<u8>, spare: &mut Vec<u8>) -> Ended {
        *spare = mem::replace(out, result);
        spare.clear();
        spare.shrink_to(SPARE_BYTES);
        Ok(())
    }
}

pub(super) struct Typed<X, P, F, Fut> {
    handler: Arc<F>,
    types: PhantomData<fn(X, P) -> Fut>,
}

impl<X, P, F, Fut> Typed<X, P, F, Fut> {
    pub(super) fn new(handler: F) -> Self {
        Typed { handler: Arc::new(handler), types: PhantomData }
    }
}

struct Calls<X, P, F, Fut> {
    handler: Arc<F>,
    places: Vec<Pin<Box<Option<Fut>>>>,
    free: Vec<usize>,
    spare: Vec<u8>,
    types: PhantomData<fn(X, P)>,
}

impl<X, P, T, F, Fut> Method for Typed<X, P, F, Fut>
where
    X: Format<P, T> + 'static,
    P: 'static,
    T: 'static,
    F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    fn pool(&self) -> Box<dyn Pool> {
        Box::new(Calls::<X, P, F, Fut> {
            handler: self.handler.clone(),
            places: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            types: PhantomData,
        })
    }
}

impl<X, P, T, F, Fut> Pool for Calls<X, P, F, Fut>
where
    X: Format<P, T> + 'static,
    P: 'static,
    T: 'static,
    F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    fn start(
        &mut self,
        content: &[u8],
        ctx: Ctx,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Ended, usize> {
        let params = match X::read(&ctx.method, content, &mut self.spare) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        let Ok(future) = catch_unwind(AssertUnwindSafe(|| (self.handler)(params, ctx))) else {
            return Ok(Err(panicked()));
        };
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Box::pin(None));
            self.places.len() - 1
        });
        self.places[at].as_mut().set(Some(future));
        match self.poll(at, cx, out) {
            Poll::Ready(ended) => Ok(ended),
            Poll::Pending => Err(at),
        }
    }

    fn poll(&mut self, at: usize, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Ended> {
        let Calls { places, spare, .. } = self;
        let place = &mut places[at];
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = place.as_mut().as_pin_mut().expect("a call waits here");
            let Poll::Ready(result) = future.poll(cx) else { return Poll::Pending };
            place.as_mut().set(None);
            Poll::Ready(result.and_then(|result| X::write(result, out, spare)))
        }));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(ended)) => ended,
            Err(_) => {
                // What is left of it may panic once more when it is dropped; then its box is given up with it.
                let _ = catch_unwind(AssertUnwindSafe(|| place.as_mut().set(None)));
                Err(panicked())
            }
        };
        self.free.push(at);
        Poll::Ready(ended)
    }
}

fn bad_request(method: &str, error: &serde_json::Error) -> HandlerError {
    HandlerError::new(code::BAD_REQUEST, format!("the parameters of {method} cannot be read: {error}"))
}

fn panicked() -> HandlerError {
    HandlerError::new(code::INTERNAL_ERROR, "the handler has panicked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use core::future::ready;
    use core::task::Waker;

    fn ctx() -> Ctx {
        Ctx { conn: Id::new(0, 0), method: "echo".into() }
    }

    fn start(method: &impl Method, content: &[u8]) -> Result<Vec<u8>, HandlerError> {
        let mut out = b"of the call before".to_vec();
        let cx = &mut Context::from_waker(Waker::noop());
        let ended = method.pool().start(content, ctx(), cx, &mut out);
        ended.expect("it does not wait").map(|()| out)
    }

    #[test]
    fn a_raw_handler_gets_and_gives_the_bytes_as_they_are() {
        let raw = Typed::<Raw, _, _, _>::new(|content: Vec<u8>, _| ready(Ok(content)));
        for content in [&b" {\"b\": 1, \"a\":\t1.0} "[..], b"not JSON \xff", b""] {
            assert_eq!(start(&raw, content).as_deref(), Ok(content));
        }
    }

    #[test]
    fn parameters_that_are_not_json_are_a_bad_request() {
        let json = Typed::<Json, _, _, _>::new(|n: u32, _| ready(Ok(n + 1)));
        assert_eq!(start(&json, b"1").as_deref(), Ok(&b"2"[..]));
        let error = start(&json, b"x").unwrap_err();
        assert_eq!(error.code, code::BAD_REQUEST);
        assert!(error.message.contains("echo"), "{}", error.message);
    }
}
