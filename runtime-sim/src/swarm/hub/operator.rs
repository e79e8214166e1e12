//! The hub itself, watched.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::task::Waker;

use plimsoll_core::drive::Host;
use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::{Config, Event, Hub};
use plimsoll_core::time::Instant;

use super::book::Shared;
use crate::swarm::law::Law;

/// Calls that are kept for who would answer them in the place of others, at most.
const PASSED: usize = 64;

/// The application of the hub.
pub(super) struct Operator {
    config: Config,
    book: Shared,
    /// Who has registered under which name, by connection.
    names: BTreeMap<ConnId, (String, Option<IpAddr>)>,
    closing: Option<Instant>,
}

impl Operator {
    pub(super) fn new(config: Config, book: Shared) -> Self {
        Operator { config, book, names: BTreeMap::new(), closing: None }
    }
}

impl Host<Hub> for Operator {
    fn commands(&mut self, now: Instant, hub: &mut Hub) {
        let closing = self.book.open().journal.closing;
        if let Some(until) = closing
            && self.closing.is_none()
        {
            self.closing = closing;
            hub.shutdown(now, until);
        }
    }

    fn event(&mut self, now: Instant, event: Event<'_>) {
        let mut book = self.book.open();
        match event {
            Event::Registered { conn, register, peer } => {
                let name =
                    register.service_name().map_or_else(|_| String::new(), |name| name.get().into_owned());
                let ip = peer.address.map(|address| address.ip());
                let mut others =
                    self.names.iter().filter(|(other, (taken, _))| **other != conn && *taken == name);
                if others.any(|(_, (_, other))| *other != ip) {
                    let what = format!("the name {name} is given to two hosts");
                    book.journal.broken(Law::Delivery, now, "the hub".into(), what);
                }
                self.names.insert(conn, (name, ip));
            }
            Event::CallRouted { call, .. } => {
                if let (Ok(id), Ok(from), Ok(to)) = (call.id(), call.from(), call.to()) {
                    book.passed.push((id.get().into_owned(), from.get().into_owned(), to.get().into_owned()));
                    let len = book.passed.len();
                    book.passed.drain(..len.saturating_sub(PASSED));
                }
            }
            Event::Disconnected { conn, .. } => _ = self.names.remove(&conn),
            Event::Missed(_) => self.names.clear(),
            _ => {}
        }
    }

    fn publish(&mut self, now: Instant, hub: &mut Hub) {
        let mut book = self.book.open();
        let (status, metrics) = (hub.status(), hub.metrics());
        book.journal.turned(now, "the hub");
        (book.pending, book.unsent) = (status.pending, status.unsent);
        let mut broken = |law, what: String| book.journal.broken(law, now, "the hub".into(), what);
        let ended = metrics.answered + metrics.timed_out + metrics.lost + metrics.abandoned;
        if metrics.routed != ended + u64::from(status.pending) {
            broken(
                Law::Books,
                format!("{} were passed on, {ended} ended, {} wait", metrics.routed, status.pending),
            );
        }
        let Config { connections, pending_total, .. } = &self.config;
        if status.connections > connections.get() || status.pending > pending_total.get() {
            broken(Law::Limits, format!("{status:?}"));
        }
        for service in hub.services().filter(|service| service.calling > self.config.pending.get()) {
            broken(Law::Limits, format!("{} waits for {} calls", service.name, service.calling));
        }
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        let mut book = self.book.open();
        book.hub_waker = Some(driver.clone());
        book.journal.closing != self.closing
    }

    fn is_listening(&self) -> bool {
        self.closing.is_none()
    }
}
