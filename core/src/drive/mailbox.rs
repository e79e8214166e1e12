//! Between the application's tasks and the driver's: commands one way, answers the other.
//!
//! One lock holds the commands, a slot for the answer of each, and the driver's waker. The driver takes all
//! commands at once, and fills all slots of a turn at once; wakers are called outside the lock. Everything is bounded
//! by the number of slots.
//!
//! Waking a task of another thread costs several times what waking one's own does. So of those who wait on other threads
//! the driver wakes one, and that one wakes the others, as soon as it looks at its answer or gives it up. One that does
//! neither (it lost a `select!`, and is still held) would leave the others asleep: the driver wakes them itself after
//! [`PATIENCE`].

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::mem;
use core::num::NonZeroU32;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread_local;

use thiserror::Error;

use super::wake::register;
use crate::time::Instant;

/// Places beyond the limit that are kept for control.
const CONTROL: u32 = 64;

/// How long those whose answers came wait for one of them to wake the others.
pub const PATIENCE: Duration = Duration::from_millis(1);

/// Names one command that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The place in a table; below the limit of the mailbox.
    pub const fn index(self) -> usize {
        self.slot as usize
    }

    /// As one number, for machines that carry a tag.
    pub const fn to_tag(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The key that [`to_tag`](Self::to_tag) was asked for.
    pub const fn from_tag(tag: u64) -> Self {
        Key { slot: tag as u32, generation: (tag >> 32) as u32 }
    }
}

/// Why a command did not go into the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotSent {
    /// As many commands wait for answers as the limit allows.
    #[error("too many calls wait for their answers")]
    Full,
    /// The driver has ended.
    #[error("the driver has ended")]
    Closed,
}

/// The application's end. Clones share it; when the last is dropped, the driver learns of it.
#[derive(Debug)]
pub struct Mailbox<C, R> {
    shared: Arc<Shared<C, R>>,
    /// Whether the driver is to go on as long as this is there.
    counts: bool,
}

/// The driver's end. Dropping it ends all that wait.
#[derive(Debug)]
pub struct Inbox<C, R> {
    shared: Arc<Shared<C, R>>,
    wakers: Vec<Waker>,
    /// When to wake those who are left to one of them.
    overdue: Option<Instant>,
    /// Whether `take` has said that all handles are gone.
    told: bool,
}

#[derive(Debug)]
struct Shared<C, R> {
    limit: u32,
    state: Mutex<State<C, R>>,
}

#[derive(Debug)]
struct State<C, R> {
    commands: Vec<C>,
    slots: Vec<Slot<R>>,
    free: Vec<u32>,
    /// Whose answers are there, and who are woken by the first who looks at its own.
    answered: Vec<Waker>,
    driver: Option<Waker>,
    /// Whether the driver is to be woken: awake, it looks at the commands before it sleeps.
    asleep: bool,
    handles: usize,
    closed: bool,
}

#[derive(Debug)]
struct Slot<R> {
    generation: u32,
    content: Content<R>,
}

#[derive(Debug)]
enum Content<R> {
    Free,
    Waiting(Option<Waiter>),
    Filled(R),
}

/// Whom to wake.
#[derive(Debug)]
struct Waiter {
    waker: Waker,
    /// Where it waits.
    thread: Mark,
}

impl Waiter {
    fn new(waker: &Waker) -> Waiter {
        Waiter { waker: waker.clone(), thread: Mark::of_this_thread() }
    }
}

/// Tells threads apart that live at the same time: cheaper than their names. One that is mistaken for an earlier one
/// costs time, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(usize);

impl Mark {
    fn of_this_thread() -> Mark {
        thread_local! { static PLACE: u8 = const { 0 } }
        PLACE.with(|place| Mark(core::ptr::from_ref(place).addr()))
    }
}

/// A mailbox for at most `limit` commands that wait for answers.
pub fn mailbox<C, R>(limit: NonZeroU32) -> (Mailbox<C, R>, Inbox<C, R>) {
    let state = State {
        commands: Vec::new(),
        slots: Vec::new(),
        free: Vec::new(),
        answered: Vec::new(),
        driver: None,
        asleep: false,
        handles: 1,
        closed: false,
    };
    let shared = Arc::new(Shared { limit: limit.get(), state: Mutex::new(state) });
    (
        Mailbox { shared: shared.clone(), counts: true },
        Inbox { shared, wakers: Vec::new(), overdue: None, told: false },
    )
}

impl<C, R> Shared<C, R> {
    fn lock(&self) -> MutexGuard<'_, State<C, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(
        &self,
        limit: u32,
        command: impl FnOnce(Key) -> C,
        waiter: Option<Waiter>,
    ) -> Result<Key, NotSent> {
        let (key, driver) = {
            let mut state = self.lock();
            let key = state.open(limit, waiter)?;
            state.commands.push(command(key));
            (key, state.sleeper())
        };
        wake(driver);
        Ok(key)
    }

    /// Wakes all, and gives the list's memory back.
    fn wake_all(&self, mut wakers: Vec<Waker>) {
        if wakers.is_empty() {
            return;
        }
        wakers.drain(..).for_each(Waker::wake);
        let mut state = self.lock();
        if state.answered.capacity() == 0 {
            state.answered = wakers;
        }
    }
}

impl<C, R> State<C, R> {
    /// A slot that waits, and whom to wake when it does no more.
    fn open(&mut self, limit: u32, waiter: Option<Waiter>) -> Result<Key, NotSent> {
        if self.closed {
            return Err(NotSent::Closed);
        }
        if self.slots.len() - self.free.len() >= limit as usize {
            return Err(NotSent::Full);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, content: Content::Free });
                self.slots.len() as u32 - 1
            }
        };
        let place = &mut self.slots[slot as usize];
        place.content = Content::Waiting(waiter);
        Ok(Key { slot, generation: place.generation })
    }

    fn slot(&mut self, key: Key) -> Option<&mut Content<R>> {
        let slot = self.slots.get_mut(key.index()).filter(|slot| slot.generation == key.generation)?;
        Some(&mut slot.content)
    }

    /// Frees the slot, and gives back what it held.
    fn free(&mut self, key: Key) -> Option<Content<R>> {
        let content = mem::replace(self.slot(key)?, Content::Free);
        let slot = &mut self.slots[key.index()];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(content)
    }

    /// Whom to wake because a command came.
    fn sleeper(&mut self) -> Option<Waker> {
        if mem::take(&mut self.asleep) { self.driver.clone() } else { None }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<C, R> Mailbox<C, R> {
    /// Puts a command in, which is told the key of its answer.
    ///
    /// # Errors
    /// [`NotSent`]; the command was not built then.
    pub fn send(&self, command: impl FnOnce(Key) -> C) -> Result<Key, NotSent> {
        self.shared.send(self.shared.limit, command, None)
    }

    /// As [`send`](Self::send), but with a few places kept free for it: what controls the driver must get through when
    /// it is full.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send_control(&self, command: impl FnOnce(Key) -> C) -> Result<Key, NotSent> {
        self.shared.send(self.shared.limit.saturating_add(CONTROL), command, None)
    }

    /// As [`send`](Self::send), and as the first [`poll`](Self::poll) of the answer, which has not come yet.
    ///
    /// # Errors
    /// [`NotSent`]; the command was not built then.
    pub fn send_and_wait(
        &self,
        cx: &mut Context<'_>,
        command: impl FnOnce(Key) -> C,
    ) -> Result<Key, NotSent> {
        self.shared.send(self.shared.limit, command, Some(Waiter::new(cx.waker())))
    }

    /// Puts many commands in at once, so that the driver takes them all in one turn, or none of them.
    ///
    /// # Errors
    /// [`NotSent`]; no command was built then.
    pub fn send_all<F: FnOnce(Key) -> C>(
        &self,
        commands: impl ExactSizeIterator<Item = F>,
    ) -> Result<Vec<Key>, NotSent> {
        let (keys, driver) = {
            let mut state = self.shared.lock();
            let waiting = state.slots.len() - state.free.len();
            if !state.closed && waiting + commands.len() > self.shared.limit as usize {
                return Err(NotSent::Full);
            }
            let mut keys = Vec::with_capacity(commands.len());
            for command in commands {
                let key = state.open(self.shared.limit, None)?;
                state.commands.push(command(key));
                keys.push(key);
            }
            (keys, state.sleeper())
        };
        wake(driver);
        Ok(keys)
    }

    /// A handle for which alone the driver does not go on: what it holds itself must not keep it.
    pub fn uncounted(&self) -> Self {
        Mailbox { shared: self.shared.clone(), counts: false }
    }

    /// The answer, once; its slot is free then. `None`: the driver has ended and there will be no answer.
    pub fn poll(&self, key: Key, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let (answer, others) = {
            // Dropped after the lock, as by `register`.
            let _replaced;
            let mut state = self.shared.lock();
            let closed = state.closed;
            match state.slot(key) {
                Some(Content::Waiting(waiter)) if !closed => {
                    if !waiter.as_ref().is_some_and(|old| old.waker.will_wake(cx.waker())) {
                        _replaced = waiter.replace(Waiter::new(cx.waker()));
                    }
                    return Poll::Pending;
                }
                _ => (state.free(key), mem::take(&mut state.answered)),
            }
        };
        self.shared.wake_all(others);
        match answer {
            Some(Content::Filled(answer)) => Poll::Ready(Some(answer)),
            _ => Poll::Ready(None),
        }
    }

    /// Waits for the answer. If the future is dropped before, `cancel` tells the driver.
    pub fn answer(&self, key: Key, cancel: fn(Key) -> C) -> Answer<'_, C, R> {
        Answer { mailbox: self, key: Some(key), cancel }
    }

    /// Nobody waits for the answer any more: frees its slot at once. If there was none yet, `cancel` tells the driver.
    pub fn abandon(&self, key: Key, cancel: impl FnOnce() -> C) {
        let (content, driver, others) = {
            let mut state = self.shared.lock();
            let content = state.free(key);
            let mut driver = None;
            if matches!(content, Some(Content::Waiting(_))) && !state.closed {
                // Bounded: one for each command that was taken, at most.
                state.commands.push(cancel());
                driver = state.sleeper();
            }
            (content, driver, mem::take(&mut state.answered))
        };
        drop(content);
        wake(driver);
        self.shared.wake_all(others);
    }
}

/// Waits for an answer; see [`Mailbox::answer`]. `None`: the driver has ended.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Answer<'a, C, R> {
    mailbox: &'a Mailbox<C, R>,
    key: Option<Key>,
    cancel: fn(Key) -> C,
}

impl<C, R> Future for Answer<'_, C, R> {
    type Output = Option<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let Some(key) = self.key else { return Poll::Ready(None) };
        let answer = self.mailbox.poll(key, cx);
        if answer.is_ready() {
            self.key = None;
        }
        answer
    }
}

impl<C, R> Drop for Answer<'_, C, R> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.mailbox.abandon(key, || (self.cancel)(key));
        }
    }
}

impl<C, R> Clone for Mailbox<C, R> {
    fn clone(&self) -> Self {
        if self.counts {
            self.shared.lock().handles += 1;
        }
        Mailbox { shared: self.shared.clone(), counts: self.counts }
    }
}

impl<C, R> Drop for Mailbox<C, R> {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let driver = {
            let mut state = self.shared.lock();
            state.handles -= 1;
            if state.handles == 0 { state.sleeper() } else { None }
        };
        wake(driver);
    }
}

impl<C, R> Inbox<C, R> {
    /// Exchanges what waits for `commands`, which is cleared first. `false`: all handles are gone, and nothing will
    /// come any more.
    pub fn take(&mut self, now: Instant, commands: &mut Vec<C>) -> bool {
        commands.clear();
        {
            let mut state = self.shared.lock();
            state.asleep = false;
            mem::swap(&mut state.commands, commands);
            self.told = state.handles == 0;
            if self.overdue.is_some_and(|at| at <= now) {
                mem::swap(&mut state.answered, &mut self.wakers);
            }
            if state.answered.is_empty() {
                self.overdue = None;
            }
        }
        self.wakers.drain(..).for_each(Waker::wake);
        !self.told
    }

    /// Fills the slots of those that still wait; the rest is dropped.
    pub fn fill(&mut self, now: Instant, answers: &mut Vec<(Key, R)>) {
        if answers.is_empty() {
            return;
        }
        let here = Mark::of_this_thread();
        {
            let mut state = self.shared.lock();
            // Otherwise one of them is about to look.
            let mut wakes_one = state.answered.is_empty();
            if wakes_one {
                self.overdue = None;
            }
            for (key, answer) in answers.drain(..) {
                let Some(content @ Content::Waiting(_)) = state.slot(key) else { continue };
                let Content::Waiting(Some(waiter)) = mem::replace(content, Content::Filled(answer)) else {
                    continue;
                };
                if waiter.thread == here || mem::take(&mut wakes_one) {
                    self.wakers.push(waiter.waker);
                } else {
                    state.answered.push(waiter.waker);
                }
            }
            if !state.answered.is_empty() {
                self.overdue = self.overdue.or(Some(now + PATIENCE));
            }
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// When to [`take`](Self::take) at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.overdue
    }

    /// Before the driver sleeps: whom to wake. `true`: there is something to [`take`](Self::take).
    pub fn arm(&mut self, driver: &Waker) -> bool {
        let _replaced;
        let mut state = self.shared.lock();
        if !state.commands.is_empty() || (state.handles == 0 && !self.told) {
            return true;
        }
        _replaced = register(&mut state.driver, driver);
        state.asleep = true;
        false
    }
}

impl<C, R> Drop for Inbox<C, R> {
    fn drop(&mut self) {
        let _driver;
        let commands = {
            let mut state = self.shared.lock();
            state.closed = true;
            _driver = state.driver.take();
            self.wakers.append(&mut state.answered);
            for slot in &mut state.slots {
                if let Content::Waiting(waiter) = &mut slot.content {
                    self.wakers.extend(waiter.take().map(|waiter| waiter.waker));
                }
            }
            mem::take(&mut state.commands)
        };
        drop(commands);
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}
