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
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Ctx, HandlerError};
use crate::wire::uw::code;

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

pub(super) struct Typed<P, F, Fut> {
    handler: Arc<F>,
    types: PhantomData<fn(P) -> Fut>,
}

impl<P, F, Fut> Typed<P, F, Fut> {
    pub(super) fn new(handler: F) -> Self {
        Typed { handler: Arc::new(handler), types: PhantomData }
    }
}

struct Calls<P, F, Fut> {
    handler: Arc<F>,
    places: Vec<Pin<Box<Option<Fut>>>>,
    free: Vec<usize>,
    types: PhantomData<fn(P)>,
}

impl<P, T, F, Fut> Method for Typed<P, F, Fut>
where
    P: DeserializeOwned + 'static,
    T: Serialize + 'static,
    F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
{
    fn pool(&self) -> Box<dyn Pool> {
        Box::new(Calls {
            handler: self.handler.clone(),
            places: Vec::new(),
            free: Vec::new(),
            types: PhantomData,
        })
    }
}

impl<P, T, F, Fut> Pool for Calls<P, F, Fut>
where
    P: DeserializeOwned + 'static,
    T: Serialize + 'static,
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
        let params = match serde_json::from_slice(content) {
            Ok(params) => params,
            Err(error) => return Ok(Err(bad_request(&ctx.method, &error))),
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
        let place = &mut self.places[at];
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = place.as_mut().as_pin_mut().expect("a call waits here");
            let Poll::Ready(result) = future.poll(cx) else { return Poll::Pending };
            place.as_mut().set(None);
            out.clear();
            Poll::Ready(result.and_then(|value| Ok(serde_json::to_writer(out, &value)?)))
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
