//! One connection of a hub.

use core::time::Duration;

use super::api::{Cause, Config};
use super::pending::Calls;
use super::services::Registration;
use crate::ipc::port::Port;
use crate::machine::Peer;
use crate::policy::watermark::Band;
use crate::time::Instant;
use crate::wire::ipc::Format;

/// How long the last words to a connection may take to be sent.
const LINGER: Duration = Duration::from_secs(5);

/// What becomes of the bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// They are read as messages.
    Open,
    /// No more will come; whole messages among those that are there are still taken.
    Ended,
    /// They are not looked at, and the connection closes for this cause once its last words are sent.
    Stopped(Cause, Instant),
}
crate::saved!(enum Intake { 0 = Open, 1 = Ended, 2 = Stopped(first, second) });

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) intake: Intake,
    pub(super) port: Port,
    /// As the first message was written.
    pub(super) format: Option<Format>,
    pub(super) registration: Option<Registration>,
    /// Its end was told, or is about to be.
    pub(super) end_told: bool,
    /// Calls that were passed to it and wait for its answer.
    pub(super) called: Calls,
    /// Waits for the receive budget.
    pub(super) starved: bool,
    /// Nothing of it is left, but the runtime has not been told.
    pub(super) closed: bool,
    pub(super) peer: Peer,
    opened: Instant,
}
crate::saved!(struct Conn {
    intake, port, format, registration, end_told, called, starved, closed, peer, opened
});

impl Conn {
    pub(super) fn new(now: Instant, peer: Peer, unsent: Band) -> Self {
        Conn {
            intake: Intake::Open,
            port: Port::new(unsent),
            format: None,
            registration: None,
            end_told: false,
            called: Calls::default(),
            starved: false,
            closed: false,
            peer,
            opened: now,
        }
    }

    pub(super) fn reads(&self) -> bool {
        self.intake == Intake::Open && !self.starved
    }

    pub(super) fn format(&self) -> Format {
        self.format.unwrap_or_default()
    }

    /// Nothing more is taken.
    pub(super) fn stop(&mut self, now: Instant, cause: Cause) {
        if !matches!(self.intake, Intake::Stopped(..)) {
            self.intake = Intake::Stopped(cause, now + LINGER);
        }
        self.port.head = None;
        self.port.began = None;
    }

    /// Room was found for what it sends: its clock begins anew.
    pub(super) fn relieve(&mut self, now: Instant) {
        self.starved = false;
        self.port.began = self.port.began.map(|_| now);
    }

    /// When it is closed if nothing happens, and why; `heard` is when anything last came from its service.
    pub(super) fn due(&self, config: &Config, heard: Option<Instant>) -> Option<(Instant, Cause)> {
        use crate::error::ProtocolError::Stalled;
        if let Intake::Stopped(cause, until) = self.intake {
            return Some((until, cause));
        }
        let began = self.port.began.filter(|_| self.intake == Intake::Open);
        let stalled = began.map(|began| (began + config.frame_timeout, Cause::Protocol(Stalled)));
        let silent = match heard {
            Some(heard) => (heard + config.heartbeat_interval.saturating_mul(3), Cause::Silent),
            None => (self.opened + config.register_timeout, Cause::Unregistered),
        };
        stalled.into_iter().chain([silent]).min_by_key(|&(at, _)| at)
    }

    /// Why it is to be closed now: nothing more will be taken, and everything is sent.
    pub(super) fn finished(&self) -> Option<Cause> {
        match self.intake {
            Intake::Ended if self.port.head.is_none() && self.port.send.is_empty() => Some(Cause::Peer),
            Intake::Stopped(cause, _) if self.port.send.is_empty() => Some(cause),
            _ => None,
        }
    }
}
