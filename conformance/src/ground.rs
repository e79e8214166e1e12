//! The ground that scenarios stand on: how they wait, and what peers that are not ours are made of.
//!
//! Mostly that is the operating system: threads that park, and its own sockets. Where time is not real, waiting is what makes
//! it pass, and peers have sockets of that world: such a runtime supplies a [`Ground`] of its own, and takes
//! [its scenarios](crate::suite) on it.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use plimsoll_core::machine::Credentials;

use crate::os::System;
use crate::support::PATIENCE;

/// See the module.
pub trait Ground {
    /// Lets everything go on until `future` is ready, or so long at most. `false`: it is not ready.
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>, at_most: Duration) -> bool;

    /// Connects to `host:port`, or to the path of a Unix socket.
    ///
    /// # Errors
    /// If nobody listens there.
    fn connect(&self, address: &str) -> io::Result<Box<dyn Wire>>;

    /// Listens there; port 0 is any. Also at which address it is.
    ///
    /// # Errors
    /// If somebody listens there already.
    fn listen(&self, address: &str) -> io::Result<(Box<dyn Door>, String)>;

    /// This ground, for the thread of a caller: asked for here, and called there before anything else. It is dropped when the
    /// caller is done.
    fn for_caller(&self) -> Box<dyn FnOnce() -> Rc<dyn Ground> + Send>;

    /// Lets others go on for a moment, as one who does something else does.
    fn moment(&self);

    /// Who this is, to the other end of a Unix socket.
    fn process(&self) -> Credentials;
}

/// One end of a connection. Reads and writes block, and fail when they have for too long; dropped with something unread, it
/// is reset.
pub trait Wire: Read + Write {
    /// How long a read or a write may block from now on; a minute at first.
    fn set_patience(&mut self, patience: Duration);

    /// Blocks until there is something to read, and leaves it there.
    ///
    /// # Errors
    /// If there is nothing in time.
    fn wait_for_bytes(&mut self) -> io::Result<()>;

    /// Writes no more, and reads on.
    ///
    /// # Errors
    /// If there is no connection any more.
    fn finish(&mut self) -> io::Result<()>;
}

/// Listens until it is dropped.
pub trait Door {
    /// Who has connected and waits, if anybody does.
    fn accept(&self) -> Option<Box<dyn Wire>>;
}

thread_local! {
    static GROUND: RefCell<Rc<dyn Ground>> = RefCell::new(Rc::new(System));
}

/// Lets a scenario take place on other ground than the operating system's.
pub fn on<T>(ground: Rc<dyn Ground>, scenario: impl FnOnce() -> T) -> T {
    let _before = Before(Some(GROUND.replace(ground)));
    scenario()
}

/// The ground that there was, which is there again at the end, be it because a scenario fails.
struct Before(Option<Rc<dyn Ground>>);

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(ground) = self.0.take() {
            drop(GROUND.replace(ground));
        }
    }
}

pub(crate) fn ground() -> Rc<dyn Ground> {
    GROUND.with_borrow(Rc::clone)
}

/// Waits for it; fails instead of hanging.
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let mut output = None;
    let is_ready = {
        let future = pin!(async { output = Some(future.await) });
        ground().wait(future, PATIENCE)
    };
    assert!(is_ready, "still waiting after {PATIENCE:?}: {what}");
    output.expect("it is ready")
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks again and again until the answer is yes.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if condition() {
            return;
        }
        ground().wait(pin!(pending()), PAUSE);
    }
    panic!("still waiting after {PATIENCE:?}: {what}");
}

/// Callers, each on a thread of its own, beside the scenario.
pub(crate) struct Callers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    running: Arc<AtomicUsize>,
}

/// Lets callers do something beside `scenario`, and waits for them at its end.
pub(crate) fn side_by_side<'env, T>(scenario: impl for<'scope> FnOnce(&Callers<'scope, 'env>) -> T) -> T {
    thread::scope(|scope| scenario(&Callers { scope, running: Arc::default() }))
}

impl<'scope> Callers<'scope, '_> {
    pub(crate) fn spawn(&self, caller: impl FnOnce() + Send + 'scope) {
        let there = ground().for_caller();
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.running.clone());
        self.scope.spawn(move || {
            on(there(), || {
                let _running = running;
                caller();
            });
        });
    }
}

impl Drop for Callers<'_, '_> {
    /// Joining threads lets no time pass that is not real. They hang no longer than they have patience.
    fn drop(&mut self) {
        while self.running.load(Ordering::SeqCst) > 0 {
            ground().wait(pin!(pending()), PAUSE);
        }
    }
}

/// One who runs.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
