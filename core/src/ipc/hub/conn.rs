//! One connection of a hub.

use alloc::boxed::Box;
use core::time::Duration;

use super::api::{Cause, Config};
use super::pending::Calls;
use super::services::Registration;
use crate::buf::SendQueue;
use crate::policy::watermark::{Band, Watermark};
use crate::sched::Signals;
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

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) intake: Intake,
    /// The length of the next message, which is whole in the receive buffer and not yet taken.
    pub(super) head: Option<usize>,
    /// As the first message was written.
    pub(super) format: Option<Format>,
    pub(super) registration: Option<Registration>,
    /// The name it was registered under; kept for the news of its end.
    pub(super) name: Option<Box<str>>,
    /// Calls that were passed to it and wait for its answer.
    pub(super) called: Calls,
    pub(super) send: SendQueue,
    /// Bytes that wait to be sent.
    pub(super) load: Watermark,
    pub(super) signals: Signals,
    /// Waits for the receive budget.
    pub(super) starved: bool,
    /// Nothing of it is left, but the runtime has not been told.
    pub(super) closed: bool,
    opened: Instant,
    /// When the first byte of the message was seen that is not yet whole.
    began: Option<Instant>,
}

impl Conn {
    pub(super) fn new(now: Instant, unsent: Band) -> Self {
        let any = const { Band::new(0, u64::MAX).expect("low is below high") };
        Conn {
            intake: Intake::Open,
            head: None,
            format: None,
            registration: None,
            name: None,
            called: Calls::default(),
            send: SendQueue::default(),
            load: Watermark::new(any, unsent),
            signals: Signals::new(),
            starved: false,
            closed: false,
            opened: now,
            began: None,
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
        self.head = None;
        self.began = None;
    }

    /// The first part of a message is there, or none is.
    pub(super) fn set_partial(&mut self, now: Instant, partial: bool) {
        self.began = if partial { self.began.or(Some(now)) } else { None };
    }

    /// Room was found for what it sends: its clock begins anew.
    pub(super) fn relieve(&mut self, now: Instant) {
        self.starved = false;
        self.began = self.began.map(|_| now);
    }

    /// When it is closed if nothing happens, and why; `heard` is when anything last came from its service.
    pub(super) fn due(&self, config: &Config, heard: Option<Instant>) -> Option<(Instant, Cause)> {
        use crate::error::ProtocolError::Stalled;
        if let Intake::Stopped(cause, until) = self.intake {
            return Some((until, cause));
        }
        let began = self.began.filter(|_| self.intake == Intake::Open);
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
            Intake::Ended if self.head.is_none() && self.send.is_empty() => Some(Cause::Peer),
            Intake::Stopped(cause, _) if self.send.is_empty() => Some(cause),
            _ => None,
        }
    }
}
