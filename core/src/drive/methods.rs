//! Handlers: polled in place first, kept only if they wait.
//!
//! Each driver has a pool per method, of boxes that are used again: once warm, a request allocates nothing here, and a
//! handler's future is never moved.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// More capacity than this is not kept for reuse.
const SPARE_BYTES: usize = 64 * 1024;

/// Why a handler has no result. Any error turns into one by `?`, as `EXECUTION_FAILED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    /// A word for machines.
    pub code: String,
    /// A sentence for people; the caller sees it.
    pub message: String,
}

impl HandlerError {
    /// An error with a code of the application's own, or one of those that the wire names.
    pub fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        HandlerError { code: code.into(), message: format!("{message}") }
    }
}

impl<E: core::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        HandlerError::new("EXECUTION_FAILED", error)
    }
}

/// What a handler came to; its result has been written as JSON.
pub(super) type Ended = Result<(), HandlerError>;

/// What handlers are told besides their parameters.
pub(super) trait About: Send + 'static {
    /// The word of the wire for parameters that cannot be read.
    const UNREADABLE: &'static str;

    /// The method that is called.
    fn method(&self) -> &str;
}

/// A handler that was registered, of whatever types.
pub(super) trait Method<C>: Send + Sync {
    /// For one driver.
    fn pool(&self) -> Box<dyn Pool<C>>;
}

/// The calls of one method that one driver has running.
pub(super) trait Pool<C>: Send {
    /// Whether it takes content and gives its results as they are on the wire, and not as JSON.
    fn is_raw(&self) -> bool;

    /// Starts a call, and polls it once. `Err`: it waits, at this place.
    fn start(
        &mut self,
        content: &[u8],
        ctx: C,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Ended, usize>;

    /// Polls a call that waits. Its place is free once it has ended.
    fn poll(&mut self, at: usize, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Ended>;

    /// Drops a call that waits.
    fn give_up(&mut self, at: usize);
}

/// How content becomes the parameters of a handler, and its result content. `spare` is memory to use again.
pub(super) trait Format<P, T> {
    /// See [`Pool::is_raw`].
    const RAW: bool;

    fn read(content: &[u8], spare: &mut Vec<u8>) -> serde_json::Result<P>;

    /// Replaces what is in `out`.
    fn write(result: T, out: &mut Vec<u8>, spare: &mut Vec<u8>) -> Ended;
}

pub(super) enum Json {}

impl<P: DeserializeOwned, T: Serialize> Format<P, T> for Json {
    const RAW: bool = false;

    fn read(content: &[u8], _: &mut Vec<u8>) -> serde_json::Result<P> {
        serde_json::from_slice(content)
    }

    fn write(result: T, out: &mut Vec<u8>, _: &mut Vec<u8>) -> Ended {
        out.clear();
        Ok(serde_json::to_writer(out, &result)?)
    }
}

/// Content as it is.
pub(super) enum Raw {}

impl Format<Vec<u8>, Vec<u8>> for Raw {
    const RAW: bool = true;

    fn read(content: &[u8], spare: &mut Vec<u8>) -> serde_json::Result<Vec<u8>> {
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

pub(super) struct Typed<X, C, P, F, Fut> {
    handler: Arc<F>,
    types: PhantomData<fn(X, C, P) -> Fut>,
}

impl<X, C, P, F, Fut> Typed<X, C, P, F, Fut> {
    pub(super) fn new(handler: F) -> Self {
        Typed { handler: Arc::new(handler), types: PhantomData }
    }
}

struct Calls<X, C, P, F, Fut> {
    handler: Arc<F>,
    places: Vec<Pin<Box<Option<Fut>>>>,
    free: Vec<usize>,
    spare: Vec<u8>,
    types: PhantomData<fn(X, C, P)>,
}

impl<X, C, P, T, F, Fut> Method<C> for Typed<X, C, P, F, Fut>
where
    X: Format<P, T> + 'static,
    C: About,
    P: 'static,
    T: 'static,
    F: Fn(P, C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    fn pool(&self) -> Box<dyn Pool<C>> {
        Box::new(Calls::<X, C, P, F, Fut> {
            handler: self.handler.clone(),
            places: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            types: PhantomData,
        })
    }
}

impl<X, C, P, T, F, Fut> Pool<C> for Calls<X, C, P, F, Fut>
where
    X: Format<P, T> + 'static,
    C: About,
    P: 'static,
    T: 'static,
    F: Fn(P, C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    fn is_raw(&self) -> bool {
        X::RAW
    }

    fn start(
        &mut self,
        content: &[u8],
        ctx: C,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Ended, usize> {
        let params = match X::read(content, &mut self.spare) {
            Ok(params) => params,
            Err(error) => return Ok(Err(unreadable(&ctx, &error))),
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
                clear(place);
                Err(panicked())
            }
        };
        self.free.push(at);
        Poll::Ready(ended)
    }

    fn give_up(&mut self, at: usize) {
        clear(&mut self.places[at]);
        self.free.push(at);
    }
}

/// Drops what is left of a call, which may panic at that; then its box is given up with it.
fn clear<Fut>(place: &mut Pin<Box<Option<Fut>>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| place.as_mut().set(None)));
}

fn unreadable<C: About>(ctx: &C, error: &serde_json::Error) -> HandlerError {
    HandlerError::new(C::UNREADABLE, format!("the parameters of {} cannot be read: {error}", ctx.method()))
}

/// The word is the same on every wire.
fn panicked() -> HandlerError {
    HandlerError::new("INTERNAL_ERROR", "the handler has panicked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::ready;
    use core::task::Waker;

    struct Echo;

    impl About for Echo {
        const UNREADABLE: &str = "BAD_REQUEST";

        fn method(&self) -> &str {
            "echo"
        }
    }

    fn start(method: &impl Method<Echo>, content: &[u8]) -> Result<Vec<u8>, HandlerError> {
        let mut out = b"of the call before".to_vec();
        let cx = &mut Context::from_waker(Waker::noop());
        let ended = method.pool().start(content, Echo, cx, &mut out);
        ended.expect("it does not wait").map(|()| out)
    }

    #[test]
    fn a_raw_handler_gets_and_gives_the_bytes_as_they_are() {
        let raw = Typed::<Raw, _, _, _, _>::new(|content: Vec<u8>, _| ready(Ok(content)));
        for content in [&b" {\"b\": 1, \"a\":\t1.0} "[..], b"not JSON \xff", b""] {
            assert_eq!(start(&raw, content).as_deref(), Ok(content));
        }
    }

    #[test]
    fn parameters_that_are_not_json_are_a_bad_request() {
        let json = Typed::<Json, _, _, _, _>::new(|n: u32, _| ready(Ok(n + 1)));
        assert_eq!(start(&json, b"1").as_deref(), Ok(&b"2"[..]));
        let error = start(&json, b"x").unwrap_err();
        assert_eq!(error.code, "BAD_REQUEST");
        assert!(error.message.contains("echo"), "{}", error.message);
    }
}
