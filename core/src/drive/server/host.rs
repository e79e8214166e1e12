//! The driver's side of a server: requests to handlers, and their answers back.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use super::methods::{Ended, Pool};
use super::{Ctx, Dropped, Snapshot};
use crate::drive::{Host, Inbox, Key, ReadyList};
use crate::machine::Machine;
use crate::service::server::{Request, Server, Token};
use crate::time::Instant;
use crate::wire::uw::code;

/// Handlers polled again in one turn, at most.
const POLLS: usize = 256;

pub(super) enum Command {
    /// Somebody no longer waits for one of the others.
    GivenUp,
    Snapshot(Key),
    Shutdown {
        key: Key,
        within: Duration,
    },
}

pub(super) enum Answer {
    Snapshot(Box<Snapshot>),
    Shutdown(Dropped),
}

/// A handler that waits.
struct Parked {
    token: Token,
    /// In `pools`, and the place there.
    method: usize,
    at: usize,
}

pub(super) struct ServerHost {
    inbox: Inbox<Command, Answer>,
    commands: Vec<Command>,
    answers: Vec<(Key, Answer)>,
    methods: BTreeMap<Arc<str>, usize>,
    pools: Vec<Box<dyn Pool>>,
    /// Bounded by the server, which reads no further when too many requests are deferred.
    parked: Vec<Option<Parked>>,
    wakers: Vec<Waker>,
    free: Vec<usize>,
    ready: ReadyList,
    /// Parked handlers that were woken; from `next` on they are still to be polled.
    woken: Vec<u32>,
    next: usize,
    /// What the last handler has written.
    out: Vec<u8>,
    shutdowns: Vec<Key>,
    draining: bool,
    /// What had been dropped before the shutdown.
    before: Dropped,
}

impl ServerHost {
    pub(super) fn new(inbox: Inbox<Command, Answer>, methods: Vec<(Arc<str>, Box<dyn Pool>)>) -> Self {
        let names = methods.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        ServerHost {
            inbox,
            commands: Vec::new(),
            answers: Vec::new(),
            methods: names,
            pools: methods.into_iter().map(|(_, pool)| pool).collect(),
            parked: Vec::new(),
            wakers: Vec::new(),
            free: Vec::new(),
            ready: ReadyList::new(),
            woken: Vec::new(),
            next: 0,
            out: Vec::new(),
            shutdowns: Vec::new(),
            draining: false,
            before: Dropped::default(),
        }
    }

    fn command(&mut self, now: Instant, machine: &mut Server, command: Command) {
        match command {
            Command::GivenUp => {}
            Command::Snapshot(key) => {
                let metrics = machine.metrics().clone();
                let requests_per_second = metrics.rate.per_second(now);
                let snapshot = Snapshot { metrics, status: machine.status(), requests_per_second };
                self.answers.push((key, Answer::Snapshot(Box::new(snapshot))));
            }
            Command::Shutdown { key, within } => {
                if !self.draining {
                    self.draining = true;
                    self.before = dropped(machine);
                }
                self.shutdowns.push(key);
                machine.shutdown(now, now + within);
            }
        }
    }

    fn poll_woken(&mut self, now: Instant, machine: &mut Server) {
        if self.next == self.woken.len() {
            self.ready.take(&mut self.woken);
            self.next = 0;
        }
        let end = self.woken.len().min(self.next + POLLS);
        for at in self.next..end {
            self.poll(now, machine, self.woken[at] as usize);
        }
        self.next = end;
    }

    fn poll(&mut self, now: Instant, machine: &mut Server, slot: usize) {
        let Some(Some(parked)) = self.parked.get(slot) else { return };
        let cx = &mut Context::from_waker(&self.wakers[slot]);
        let Poll::Ready(ended) = self.pools[parked.method].poll(parked.at, cx, &mut self.out) else { return };
        let token = parked.token;
        self.parked[slot] = None;
        self.free.push(slot);
        // Either may find nobody who waits any more, or answer that the result is too large.
        let _ = match ended {
            Ok(()) => machine.reply(now, token, &self.out),
            Err(error) => machine.fail(now, token, &error.code, &error.message),
        };
    }

    /// The place where the next handler is parked, if it waits: its waker is needed before that is known.
    fn next_slot(&mut self) -> usize {
        if let Some(&slot) = self.free.last() {
            return slot;
        }
        let slot = self.parked.len();
        self.parked.push(None);
        self.wakers.push(self.ready.waker(slot as u32));
        self.free.push(slot);
        slot
    }

    fn start(&mut self, method: usize, content: &[u8], ctx: Ctx) -> Result<Ended, (usize, usize)> {
        let slot = self.next_slot();
        let cx = &mut Context::from_waker(&self.wakers[slot]);
        self.pools[method].start(content, ctx, cx, &mut self.out).map_err(|at| (slot, at))
    }
}

fn dropped(machine: &Server) -> Dropped {
    Dropped { requests: machine.metrics().abandoned, bytes: machine.metrics().unsent_bytes }
}

impl Host<Server> for ServerHost {
    fn commands(&mut self, now: Instant, machine: &mut Server) {
        let mut commands = core::mem::take(&mut self.commands);
        let wanted = self.inbox.take(now, &mut commands);
        for command in commands.drain(..) {
            self.command(now, machine, command);
        }
        self.commands = commands;
        if !wanted && !self.draining {
            self.draining = true;
            machine.shutdown(now, now);
        }
        self.poll_woken(now, machine);
    }

    fn event(&mut self, _: Instant, request: Request<'_>) {
        let Request { method, content, responder } = request;
        let Some((name, &at)) = self.methods.get_key_value(method) else {
            let _ = responder.fail(code::METHOD_NOT_FOUND, &format!("there is no method {method:?} here"));
            return;
        };
        let ctx = Ctx { conn: responder.conn(), method: name.clone() };
        // An answer above the limit is answered with an error by the server itself.
        let _ = match self.start(at, content, ctx) {
            Ok(Ok(())) => responder.reply(&self.out),
            Ok(Err(error)) => responder.fail(&error.code, &error.message),
            Err((slot, place)) => {
                self.free.pop();
                self.parked[slot] = Some(Parked { token: responder.defer(), method: at, at: place });
                Ok(())
            }
        };
    }

    fn publish(&mut self, now: Instant, machine: &mut Server) {
        if machine.is_finished() {
            let all = dropped(machine);
            let dropped = Dropped {
                requests: all.requests.saturating_sub(self.before.requests),
                bytes: all.bytes.saturating_sub(self.before.bytes),
            };
            self.answers.extend(self.shutdowns.drain(..).map(|key| (key, Answer::Shutdown(dropped))));
        }
        self.inbox.fill(now, &mut self.answers);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.next < self.woken.len() || self.ready.arm(driver) || self.inbox.arm(driver)
    }

    fn is_listening(&self) -> bool {
        !self.draining
    }
}
