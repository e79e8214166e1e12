//! Plimsoll without handles: the application is a struct that the driver calls, and all else is as it is by default, with
//! a deadline for every request, a wait queue, breaker, health, a retry budget, metrics.

use std::process::exit;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::cluster::StateEvent;
use plimsoll_core::drive::{Driver, Host, ListenOptions, Runtime};
use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Request, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_mio::{Loop, Mio};
use plimsoll_smol::Smol;
use plimsoll_tokio::Tokio;

use super::callers::runtime;
use super::report::{answered, done, ready};
use super::{Load, METHOD, NOT_WHAT_WAS_SENT};
use crate::Result;

/// A runtime.
#[derive(Clone, Copy)]
pub(super) enum On {
    Mio,
    Tokio,
    Smol,
}

pub(super) fn server(on: On, listen: &str) -> Result<()> {
    match on {
        On::Mio => on_mio(|mio| serve(mio, listen.to_owned())),
        On::Tokio => runtime()?.block_on(serve(Tokio::default(), listen.to_owned())),
        On::Smol => smol::block_on(serve(Smol::default(), listen.to_owned())),
    }
}

pub(super) fn client(on: On, address: &str, load: &Load) -> Result<()> {
    match on {
        On::Mio => on_mio(|mio| ask(mio, address.to_owned(), load.clone())),
        On::Tokio => runtime()?.block_on(ask(Tokio::default(), address.to_owned(), load.clone())),
        On::Smol => smol::block_on(ask(Smol::default(), address.to_owned(), load.clone())),
    }
}

/// On a loop of its own, which this thread turns.
fn on_mio<F>(task: impl FnOnce(Mio) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut event_loop = Loop::new()?;
    let mio = event_loop.handle();
    let task = task(mio.clone());
    mio.spawn(async {
        if let Err(error) = task.await {
            fail(error);
        }
    });
    drop(mio);
    Ok(event_loop.run()?)
}

async fn serve(runtime: impl Runtime, listen: String) -> Result<()> {
    let (mut transports, address) = runtime.listen(&listen, &ListenOptions::default(), 1).await?;
    let transport = transports.pop().ok_or("a listener that is not there")?;
    ready(address);
    Driver::new(Server::new(server::Config::default()), Answering, transport).await;
    Ok(())
}

/// Answers a request with its content.
struct Answering;

impl Host<Server> for Answering {
    fn commands(&mut self, _: Instant, _: &mut Server) {}

    fn event(&mut self, _: Instant, request: Request<'_>) {
        let Request { method, content, responder } = request;
        if method != METHOD {
            fail("the method is unknown");
        }
        // It is as long as what came.
        let _ = responder.reply(content);
    }

    fn publish(&mut self, _: Instant, _: &mut Server) {}

    fn arm(&mut self, _: &Waker) -> bool {
        false
    }
}

async fn ask(runtime: impl Runtime, address: String, load: Load) -> Result<()> {
    let mut config = Config::default();
    config.cluster.max_connections = load.connections.try_into()?;
    config.cluster.min_connections = load.connections;
    config.cluster.in_flight = load.in_flight.try_into()?;
    config.cluster.dial_stagger = Duration::ZERO;
    let mut machine = Client::new(Uw::default(), config, 7);
    machine.add_endpoint(Instant::ZERO, &address)?;
    Driver::new(machine, Asking::new(&load), runtime.connector()).await;
    done(load.requests());
    Ok(())
}

/// Keeps so many requests in flight, once all connections stand.
struct Asking {
    content: Vec<u8>,
    /// Dials that have not ended.
    dials: u32,
    /// Requests that may be made at once.
    free: u32,
    /// Requests that are to be made.
    left: u64,
    /// Requests that are to be answered.
    unanswered: u64,
}

impl Asking {
    fn new(load: &Load) -> Self {
        Asking {
            content: load.content(),
            dials: load.connections,
            free: load.connections * load.in_flight,
            left: load.requests(),
            unanswered: load.requests(),
        }
    }
}

impl Host<Client<Uw>> for Asking {
    fn commands(&mut self, now: Instant, machine: &mut Client<Uw>) {
        if self.dials > 0 {
            return;
        }
        let request = UwRequest { method: METHOD, content: &self.content };
        while self.free > 0 && self.left > 0 {
            if let Err(error) = machine.request(now, &request, Options::default()) {
                fail(error);
            }
            self.free -= 1;
            self.left -= 1;
        }
        if self.unanswered == 0 {
            machine.shutdown(now, now);
        }
    }

    fn event(&mut self, _: Instant, event: Event<'_>) {
        match event {
            Event::Outcome { outcome: Outcome::Answer(content), .. } => {
                if content.len() != self.content.len() {
                    fail(NOT_WHAT_WAS_SENT);
                }
                self.free += 1;
                self.unanswered -= 1;
                answered(1);
            }
            Event::Outcome { outcome, .. } => fail(format!("{outcome:?}")),
            Event::State(StateEvent::Connected { .. }) if self.dials > 0 => {
                self.dials -= 1;
                if self.dials == 0 {
                    ready("");
                }
            }
            Event::State(StateEvent::Closed { cause, .. }) if cause.is_error() => fail(cause),
            Event::State(_) => {}
        }
    }

    fn publish(&mut self, _: Instant, _: &mut Client<Uw>) {}

    fn arm(&mut self, _: &Waker) -> bool {
        self.dials == 0 && (self.free > 0 && self.left > 0 || self.unanswered == 0)
    }
}

/// There is nothing to measure any more.
fn fail(why: impl std::fmt::Display) -> ! {
    eprintln!("embedded: {why}");
    exit(1);
}
