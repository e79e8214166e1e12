//! Everything of a client but its receive buffers, so that messages can be lent out of those while they are answered.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::api::{Cause, Config, MethodError, Metrics, StateEvent};
use super::calls::Calls;
use super::links::{Links, Stage};
use super::serve::Serving;
use crate::error::Misuse;
use crate::id::ConnId;
use crate::rng::Pcg;
use crate::sched::Turns;
use crate::time::{Instant, WallClock};
use crate::wire::ipc::{Register, write_heartbeat, write_register};

/// The longest name of a method, in bytes.
const NAME: usize = 255;
/// So many messages of one connection are taken before the next one has its turn.
const BURST: u32 = 64;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) links: Links,
    pub(super) calls: Calls,
    pub(super) serving: Serving,
    /// Sorted.
    pub(super) methods: Vec<Box<str>>,
    pub(super) metrics: Metrics,
    /// The latest time that was seen.
    pub(super) now: Instant,
    /// Set while shutting down: until when.
    pub(super) draining: Option<Instant>,
    /// Connections that have a message.
    pub(super) ready: Turns,
    /// A connection whose hub broke the rules.
    pub(super) doomed: Option<(ConnId, Cause)>,
    pub(super) rng: Pcg,
    wall: WallClock,
}
crate::saved!(struct State {
    config, links, calls, serving, methods, metrics, now, draining, ready, doomed, rng, wall
});

impl State {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        let mut rng = Pcg::new(seed, 0);
        State {
            links: Links::new(&config, Pcg::new(seed, 1)),
            calls: Calls::new(rng.next_u64()),
            config,
            serving: Serving::new(),
            methods: Vec::new(),
            metrics: Metrics::default(),
            now: Instant::ZERO,
            draining: None,
            ready: Turns::new(BURST),
            doomed: None,
            rng,
            wall: WallClock::default(),
        }
    }

    /// Time never runs backwards.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn set_wall(&mut self, unix_ms: u64) {
        self.wall = WallClock::new(self.now, unix_ms);
    }

    /// The wall clock, in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        self.wall.unix_ms(self.now)
    }

    pub(super) fn connect(&mut self) {
        if self.draining.is_some() {
            return;
        }
        self.links.wanted = true;
        for index in 0..self.links.pool.len() as u32 {
            if let Stage::Idle(_) = self.links.pool[index as usize].stage {
                self.links.dial(self.now, index, &self.config, &mut self.metrics);
            }
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.links.wanted = false;
        self.lose_calls(None);
        for index in 0..self.links.pool.len() as u32 {
            match self.links.pool[index as usize].stage.conn() {
                Some(conn) => self.break_off(conn, Cause::Disconnect),
                None => self.links.pool[index as usize].stage = Stage::Idle(None),
            }
        }
    }

    /// A dial has succeeded.
    pub(super) fn connected(&mut self, conn: ConnId) {
        let Some(index) = self.links.find(conn) else { return };
        let until = self.now + self.config.register_timeout;
        let stage = &mut self.links.pool[index as usize].stage;
        if let Stage::Dialing(..) = stage {
            *stage = Stage::Registering(conn, until);
            self.links.tell(StateEvent::Connected { index });
            self.register(conn, index);
        }
    }

    /// The hub has acknowledged the registration.
    pub(super) fn registered(&mut self, conn: ConnId) {
        self.metrics.registered += 1;
        if let Some(Stage::Registering(..)) = self.links.view(conn).map(|link| link.stage) {
            self.links.registered(conn, self.now + self.config.heartbeat_interval);
        }
    }

    /// Tells the hub the name and the methods.
    fn register(&mut self, conn: ConnId, index: u32) {
        let size = self.links.pool.len() as u32;
        let methods = core::mem::take(&mut self.methods);
        let name = self.config.service_name.clone();
        let version = self.config.version.clone();
        let register = Register {
            service_name: &name,
            methods: methods.iter().map(|method| &**method),
            version: &version,
            pool: (size > 1).then_some((index, size)),
        };
        let _ = self.send(conn, |config, out| write_register(out, config.format, &config.limits, &register));
        self.methods = methods;
    }

    pub(super) fn add_method(&mut self, method: &str) -> Result<bool, MethodError> {
        if method.is_empty() || method.len() > NAME {
            return Err(MethodError::BadName);
        }
        let Err(at) = self.methods.binary_search_by(|known| (**known).cmp(method)) else { return Ok(false) };
        let limit = self.config.methods.get();
        if self.methods.len() >= limit as usize {
            return Err(MethodError::TooMany { limit });
        }
        self.methods.insert(at, method.into());
        self.register_again();
        Ok(true)
    }

    pub(super) fn remove_method(&mut self, method: &str) -> bool {
        let Ok(at) = self.methods.binary_search_by(|known| (**known).cmp(method)) else { return false };
        self.methods.remove(at);
        self.register_again();
        true
    }

    /// Tells the hub the methods anew, on every connection on which it was told some.
    fn register_again(&mut self) {
        for index in 0..self.links.pool.len() as u32 {
            if let Stage::Registering(conn, _) | Stage::Registered(conn, _) =
                self.links.pool[index as usize].stage
            {
                self.register(conn, index);
            }
        }
    }

    /// Lets `write` append what is to be sent; a hub that reads nothing of it loses the connection.
    pub(super) fn send(
        &mut self,
        conn: ConnId,
        write: impl FnOnce(&Config, &mut Vec<u8>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        let config = &self.config;
        let slow = self.links.push(conn, config, |out| write(config, out))?;
        if slow {
            self.slow(conn);
        }
        Ok(())
    }

    pub(super) fn slow(&mut self, conn: ConnId) {
        self.end(conn, Cause::SlowReader, false);
    }

    pub(super) fn end(&mut self, conn: ConnId, cause: Cause, told: bool) {
        if self.links.find(conn).is_some() {
            self.ready.set(conn.slot(), false);
        }
        self.links.end(self.now, conn, cause, told, &self.config);
    }

    /// Takes nothing more from a connection whose hub broke the rules, and ends it once what waits is sent.
    pub(super) fn break_off(&mut self, conn: ConnId, cause: Cause) {
        if self.links.find(conn).is_some() {
            self.ready.set(conn.slot(), false);
        }
        self.links.close_gently(self.now, conn, cause, &self.config);
    }

    pub(super) fn tick(&mut self) {
        self.time_out_calls();
        self.time_out_serving();
        for index in 0..self.links.pool.len() as u32 {
            self.tick_link(index);
        }
        if self.draining.is_some_and(|until| until <= self.now) {
            self.disconnect();
        }
    }

    fn tick_link(&mut self, index: u32) {
        let now = self.now;
        match self.links.pool[index as usize].stage {
            Stage::Idle(Some(at)) if at <= now => {
                self.links.dial(now, index, &self.config, &mut self.metrics);
            }
            Stage::Dialing(conn, at) if at <= now => self.end(conn, Cause::ConnectTimeout, false),
            Stage::Registering(conn, at) if at <= now => self.end(conn, Cause::RegisterTimeout, false),
            Stage::Closing(conn, at, cause) if at <= now => self.end(conn, cause, false),
            Stage::Registered(conn, at) if at <= now => {
                let link = &mut self.links.pool[index as usize];
                let sent = Some(link.port.send.sent());
                if core::mem::replace(&mut link.sent_before, sent) == sent {
                    // Not even the last heartbeat has left. Calls that end unsent leave nothing behind that would add up.
                    self.slow(conn);
                    return;
                }
                link.stage = Stage::Registered(conn, now + self.config.heartbeat_interval);
                self.metrics.heartbeats += 1;
                let unix_ms = self.unix_ms();
                let _ = self.send(conn, |config, out| {
                    write_heartbeat(out, config.format, &config.service_name, unix_ms);
                    Ok(())
                });
            }
            _ => {}
        }
    }

    /// The transport took so many bytes.
    pub(super) fn sent(&mut self, conn: ConnId, n: usize) {
        self.metrics.bytes_out += self.links.sent(conn, n);
        if let Some(link) = self.links.view(conn)
            && let Stage::Closing(_, _, cause) = link.stage
            && link.port.send.is_empty()
        {
            self.end(conn, cause, false);
        }
    }

    /// Ends the calls of connections that have ended; once everything is answered, a client that shuts down disconnects.
    pub(super) fn catch_up(&mut self) {
        if let Some((conn, cause)) = self.doomed.take() {
            self.break_off(conn, cause);
        }
        while let Some((conn, sent)) = self.links.ended.pop_front() {
            self.lose_calls(Some((conn, sent)));
            self.serving.forget_conn(conn);
        }
        if self.is_drained() {
            self.disconnect();
        }
    }

    /// Whether it is to disconnect: it shuts down, and nobody waits for anything any more.
    pub(super) fn is_drained(&self) -> bool {
        self.draining.is_some() && self.links.wanted && self.calls.len() == 0 && self.serving.len() == 0
    }
}
