//! What scenarios have in common: where they take place, and waiting without a runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Client, Service, ServiceConfig};
use plimsoll_core::drive::server::{Builder, Ctx, HandlerError, Server};
use serde_json::Value;

pub(crate) use crate::ground::{ground, side_by_side, until, within};
pub(crate) use crate::plain::{Listener, Peer, id, is_refused};
use crate::unix::free_path;

/// Longer than anything here takes: whatever waits for it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a scenario takes place: a runtime, and sockets of one family.
#[derive(Debug)]
pub struct World<R> {
    pub(crate) runtime: R,
    family: Family,
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Tcp,
    Unix,
}

impl<R> World<R> {
    /// Over TCP, on loopback.
    pub fn tcp(runtime: R) -> Self {
        World { runtime, family: Family::Tcp }
    }

    /// Over Unix sockets.
    pub fn unix(runtime: R) -> Self {
        World { runtime, family: Family::Unix }
    }

    /// For somebody to bind, who is told then which it is.
    pub(crate) fn any_address(&self) -> String {
        match self.family {
            Family::Tcp => "127.0.0.1:0".into(),
            Family::Unix => free_path(),
        }
    }

    /// Where nobody listens yet.
    pub(crate) fn free_address(&self) -> String {
        self.listener().address.clone()
    }

    pub(crate) fn listener(&self) -> Listener {
        Listener::bind(&self.any_address()).expect("a free address")
    }
}

/// All of them at the same time; their outputs in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Polls once, with a waker that wakes nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls once: the call is on its way then.
pub(crate) fn begin<F: Future + Unpin>(future: &mut F) {
    assert!(poll_once(future).is_pending(), "nobody answers that fast");
}

/// A flag that is up once this is dropped, be it because a scenario fails.
pub(crate) struct Raised<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keeps handlers waiting until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<(bool, Vec<Waker>)>>,
}

impl Gate {
    pub(crate) fn open(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    pub(crate) async fn passed(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Where so many callers wait for each other, again and again.
pub(crate) struct Meeting {
    of: usize,
    state: Mutex<Attendance>,
}

#[derive(Default)]
struct Attendance {
    present: usize,
    /// How often all were there.
    meetings: usize,
    wakers: Vec<Waker>,
}

impl Meeting {
    pub(crate) fn of(callers: usize) -> Self {
        Meeting { of: callers, state: Mutex::default() }
    }

    pub(crate) fn wait(&self) {
        let before = {
            let mut state = self.state.lock().unwrap();
            state.present += 1;
            if state.present == self.of {
                state.present = 0;
                state.meetings += 1;
                return state.wakers.drain(..).for_each(Waker::wake);
            }
            state.meetings
        };
        let others = poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.meetings > before {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        });
        within("the others", others);
    }
}

/// A server to be, with the methods `echo`, `size` (of so many bytes), `fail` and, behind the gate, `wait`.
pub(crate) fn methods<R: Runtime>(world: &World<R>, gate: &Gate) -> Builder<R> {
    let gate = gate.clone();
    Server::on(world.runtime.clone())
        .method("echo", |params: Value, _: Ctx| async move { Ok(params) })
        .method("size", |bytes: usize, _: Ctx| async move { Ok("x".repeat(bytes)) })
        .method("fail", |code: String, _: Ctx| async move {
            Err::<(), _>(HandlerError::new(code, "as it was told"))
        })
        .method("wait", move |params: Value, _: Ctx| {
            let gate = gate.clone();
            async move {
                gate.passed().await;
                Ok(params)
            }
        })
}

pub(crate) fn serve<R: Runtime>(world: &World<R>) -> Server<R> {
    serve_behind(world, &Gate::default())
}

pub(crate) fn serve_behind<R: Runtime>(world: &World<R>, gate: &Gate) -> Server<R> {
    within("an address", methods(world, gate).bind(&world.any_address())).expect("a free address")
}

pub(crate) fn connect<R: Runtime>(world: &World<R>, config: ServiceConfig) -> (Client<R>, Service) {
    let client = Client::on(world.runtime.clone()).seed(7).build();
    let service = client.configure_service("test", config).expect("a good configuration");
    (client, service)
}

pub(crate) fn echo(service: &Service, n: u32) {
    assert_eq!(within("an answer", service.request::<u32>("echo", &n)), Ok(n));
}

/// Both ends of every connection are in this process.
pub(crate) fn raise_descriptor_limit(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
            .unwrap_or_else(|_| panic!("raise the hard limit of open files to {needed} (ulimit -Hn)"));
    }
}
