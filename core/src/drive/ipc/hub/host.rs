//! The driver's side of a hub's handle. The hub routes by itself; here is told what it does.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::task::Waker;
use core::time::Duration;

use super::Dropped;
use super::events::{HubEvent, Passing, Registration};
use super::view::{HubStatus, ServiceInfo};
use crate::drive::hub::Wakes;
use crate::drive::ipc::feeds::Feeds;
use crate::drive::{Host, Inbox, Key};
use crate::id::ConnId;
use crate::ipc::hub::{Event, Hub, Metrics};
use crate::machine::{Input, Machine};
use crate::time::Instant;

#[derive(Debug)]
pub(super) enum Command {
    /// Somebody no longer waits for one of the others.
    GivenUp,
    Status(Key),
    Metrics(Key),
    Services(Key),
    Service(Key, String),
    IsConnected(Key, String),
    Shutdown {
        key: Key,
        within: Duration,
    },
}

#[derive(Debug)]
pub(super) enum Answer {
    Status(HubStatus),
    Metrics(Box<Metrics>),
    Services(Vec<ServiceInfo>),
    Service(Option<Box<ServiceInfo>>),
    IsConnected(bool),
    Shutdown(Dropped),
}

pub(super) struct HubHost {
    inbox: Inbox<Command, Answer>,
    commands: Vec<Command>,
    answers: Vec<(Key, Answer)>,
    feeds: Arc<Feeds<HubEvent>>,
    /// Listeners that were told something in this turn.
    wakes: Wakes,
    names: Names,
    address: String,
    shutdowns: Vec<Key>,
    draining: bool,
    dropped: Dropped,
}

impl HubHost {
    pub(super) fn new(inbox: Inbox<Command, Answer>, feeds: Arc<Feeds<HubEvent>>, address: String) -> Self {
        HubHost {
            inbox,
            commands: Vec::new(),
            answers: Vec::new(),
            feeds,
            wakes: Wakes::default(),
            names: Names::default(),
            address,
            shutdowns: Vec::new(),
            draining: false,
            dropped: Dropped::default(),
        }
    }

    fn command(&mut self, now: Instant, machine: &mut Hub, command: Command) {
        // So that it knows the time for which it is asked.
        machine.handle(now, Input::Tick);
        let answer = match command {
            Command::GivenUp => return,
            Command::Status(key) => (key, Answer::Status(HubStatus::of(machine, now, &self.address))),
            Command::Metrics(key) => (key, Answer::Metrics(Box::new(machine.metrics().clone()))),
            Command::Services(key) => {
                (key, Answer::Services(machine.services().map(ServiceInfo::from).collect()))
            }
            Command::Service(key, name) => {
                let service = machine.service(&name).map(|service| Box::new(service.into()));
                (key, Answer::Service(service))
            }
            Command::IsConnected(key, name) => (key, Answer::IsConnected(machine.is_connected(&name))),
            Command::Shutdown { key, within } => {
                self.shutdowns.push(key);
                return self.shutdown(now, machine, within);
            }
        };
        self.answers.push(answer);
    }

    fn shutdown(&mut self, now: Instant, machine: &mut Hub, within: Duration) {
        if !mem::replace(&mut self.draining, true) {
            self.dropped.calls = machine.status().pending;
        }
        machine.shutdown(now, now + within);
    }
}

/// Who is registered over which connection, by slot.
#[derive(Default)]
struct Names(Vec<Option<(ConnId, Arc<str>)>>);

impl Names {
    fn set(&mut self, conn: ConnId, name: &str) {
        if self.0.len() <= conn.index() {
            self.0.resize(conn.index() + 1, None);
        }
        self.0[conn.index()] = Some((conn, name.into()));
    }

    fn get(&self, conn: ConnId) -> Option<String> {
        let (of, name) = self.0.get(conn.index())?.as_ref()?;
        (*of == conn).then(|| String::from(&**name))
    }

    fn forget(&mut self, conn: ConnId) {
        if let Some(place) = self.0.get_mut(conn.index()) {
            place.take_if(|(of, _)| *of == conn);
        }
    }
}

impl Host<Hub> for HubHost {
    fn commands(&mut self, now: Instant, machine: &mut Hub) {
        let mut commands = mem::take(&mut self.commands);
        let wanted = self.inbox.take(now, &mut commands);
        for command in commands.drain(..) {
            self.command(now, machine, command);
        }
        self.commands = commands;
        if !wanted && !self.draining {
            self.shutdown(now, machine, Duration::ZERO);
        }
    }

    fn event(&mut self, _: Instant, event: Event<'_>) {
        let HubHost { feeds, wakes, names, .. } = self;
        match event {
            Event::CallRouted { call, .. } => {
                feeds.passing(wakes, || HubEvent::CallRouted(Passing::read(&call)));
            }
            Event::ResponseRouted { response, .. } => {
                feeds.passing(wakes, || HubEvent::response_routed(&response));
            }
            Event::CallAnswered { call, refused } => {
                feeds.passing(wakes, || HubEvent::CallAnswered { call: Passing::read(&call), refused });
            }
            Event::ResponseDropped { response, why } => {
                feeds.passing(wakes, || HubEvent::response_dropped(&response, why));
            }
            Event::Heartbeat { conn } => {
                feeds.passing(wakes, || HubEvent::Heartbeat { service: names.get(conn) });
            }
            Event::Registered { conn, register, peer } => {
                if let Ok(name) = register.service_name() {
                    names.set(conn, &name.get());
                }
                feeds.change(wakes, || HubEvent::Registered(Registration::read(&register, peer)));
            }
            Event::Disconnected { conn, service, cause } => {
                names.forget(conn);
                feeds.change(wakes, || HubEvent::Disconnected { service: service.map(String::from), cause });
            }
            Event::Invalid { conn, refused } => {
                feeds.passing(wakes, || HubEvent::Invalid { service: names.get(conn), refused });
            }
            Event::Missed(count) => feeds.change(wakes, || HubEvent::Missed(count)),
        }
    }

    fn publish(&mut self, now: Instant, machine: &mut Hub) {
        if machine.is_finished() {
            let dropped = self.dropped;
            self.answers.extend(self.shutdowns.drain(..).map(|key| (key, Answer::Shutdown(dropped))));
            self.feeds.change(&mut self.wakes, || HubEvent::Stopped);
        }
        mem::take(&mut self.wakes).wake();
        self.inbox.fill(now, &mut self.answers);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inbox.deadline()
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.inbox.arm(driver)
    }

    fn is_listening(&self) -> bool {
        !self.draining
    }
}

/// Whoever listens learns that nothing will come, also if the runtime has dropped the driver.
impl Drop for HubHost {
    fn drop(&mut self) {
        self.feeds.close();
    }
}
