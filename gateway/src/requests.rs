//! The requests of one connection, run by the connection's own task.
//!
//! Were each a task, a scheduler that runs first what was woken last would let the connection write every answer by
//! itself: a TLS record and a system call for each. Here the connection reads what has come, all its requests go on,
//! and the answers that they have by then go out together. So do their calls to services.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use plimsoll_core::drive::ReadyList;

use crate::activity::Activity;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connection's place on the list of what can go on; requests have those behind it.
const CONNECTION: u32 = 0;

/// How often in one turn it is looked at what can go on meanwhile: others are to have their turn too.
const ROUNDS: usize = 8;

/// Where a connection puts the requests that it begins.
#[derive(Clone, Default)]
pub(crate) struct Begun(Arc<Mutex<Vec<Request>>>);

impl Begun {
    fn take(&self, requests: &mut Vec<Request>) {
        mem::swap(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), requests);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, request: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(request));
    }
}

/// A connection and its requests. Ready when the connection has ended; requests that it left behind end with this.
pub(crate) struct Requests<'a, C> {
    activity: &'a Activity,
    connection: Pin<Box<C>>,
    connection_is_due: bool,
    waker: Waker,
    begun: Begun,
    beginning: Vec<Request>,
    running: Vec<Running>,
    free: Vec<u32>,
    list: ReadyList,
    ready: Vec<u32>,
}

/// A place for requests, one after another.
struct Running {
    request: Option<Request>,
    waker: Waker,
}

impl<'a, C> Requests<'a, C> {
    /// Of a connection that puts them into `begun`.
    pub(crate) fn new(connection: C, begun: Begun, activity: &'a Activity) -> Requests<'a, C> {
        let mut list = ReadyList::new();
        Requests {
            activity,
            connection: Box::pin(connection),
            connection_is_due: true,
            waker: list.waker(CONNECTION),
            begun,
            beginning: Vec::new(),
            running: Vec::new(),
            free: Vec::new(),
            list,
            ready: Vec::new(),
        }
    }

    /// To tell it something, which it will be polled for.
    pub(crate) fn connection(&mut self) -> Pin<&mut C> {
        self.connection_is_due = true;
        self.connection.as_mut()
    }

    /// Lets all requests that were woken go on.
    fn resume(&mut self) {
        let mut ready = mem::take(&mut self.ready);
        self.list.take(&mut ready);
        for &index in &ready {
            if index == CONNECTION {
                self.connection_is_due = true;
            } else {
                self.poll(index);
            }
        }
        self.ready = ready;
    }

    /// Lets the requests that the connection has begun run until they wait.
    fn begin(&mut self) {
        let mut beginning = mem::take(&mut self.beginning);
        self.begun.take(&mut beginning);
        for request in beginning.drain(..) {
            let index = self.place();
            self.running[index as usize - 1].request = Some(request);
            self.poll(index);
        }
        self.beginning = beginning;
    }

    /// The index of a free place.
    fn place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let index = self.running.len() as u32 + 1;
            self.running.push(Running { request: None, waker: self.list.waker(index) });
            index
        })
    }

    fn poll(&mut self, index: u32) {
        // Woken for a request that has ended, it may be empty, or that of another.
        let Running { request: place, waker } = &mut self.running[index as usize - 1];
        let Some(request) = place else { return };
        if request.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            *place = None;
            self.free.push(index);
        }
    }
}

impl<C: Future> Future for Requests<'_, C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        this.activity.turn();
        for _ in 0..ROUNDS {
            this.resume();
            if mem::take(&mut this.connection_is_due) {
                let cx = &mut Context::from_waker(&this.waker);
                if let Poll::Ready(output) = this.connection.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                this.begin();
            }
            if !this.list.arm(cx.waker()) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
