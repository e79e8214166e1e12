//! The driver's side of a server: requests to handlers, and their answers back.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;

use super::{Ctx, Dropped, Snapshot};
use crate::drive::handlers::Handlers;
use crate::drive::{Host, Inbox, Key};
use crate::machine::Machine;
use crate::service::server::{Request, Server, Token};
use crate::time::Instant;
use crate::wire::uw::code;

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

pub(super) struct ServerHost {
    inbox: Inbox<Command, Answer>,
    commands: Vec<Command>,
    answers: Vec<(Key, Answer)>,
    /// Those that wait are bounded by the server, which reads no further when too many requests are deferred.
    handlers: Handlers<Ctx, Token>,
    shutdowns: Vec<Key>,
    draining: bool,
    /// What had been dropped before the shutdown.
    before: Dropped,
}

impl ServerHost {
    pub(super) fn new(inbox: Inbox<Command, Answer>, handlers: Handlers<Ctx, Token>) -> Self {
        ServerHost {
            inbox,
            commands: Vec::new(),
            answers: Vec::new(),
            handlers,
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
        // Each may find nobody who waits any more, or answer that the result is too large.
        self.handlers.poll_woken(|token, _, ended, out| {
            let _ = match ended {
                Ok(()) => machine.reply(now, token, out),
                Err(error) => machine.fail(now, token, &error.code, &error.message),
            };
        });
    }

    fn event(&mut self, _: Instant, request: Request<'_>) {
        let Request { method, content, responder } = request;
        let Some((name, at)) = self.handlers.find(method) else {
            let _ = responder.fail(code::METHOD_NOT_FOUND, &format!("there is no method {method:?} here"));
            return;
        };
        let ctx = Ctx { conn: responder.conn(), method: name.clone() };
        // An answer above the limit is answered with an error by the server itself.
        let _ = match self.handlers.start(at, content, ctx) {
            Ok(Ok(())) => responder.reply(self.handlers.out()),
            Ok(Err(error)) => responder.fail(&error.code, &error.message),
            Err(waiting) => {
                self.handlers.park(waiting, responder.defer());
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
        self.handlers.arm(driver) || self.inbox.arm(driver)
    }

    fn is_listening(&self) -> bool {
        !self.draining
    }
}
