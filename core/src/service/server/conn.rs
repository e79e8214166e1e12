//! One connection: what it wants next, and until when.

use super::api::Config;
use super::metrics::Cause;
use crate::buf::SendQueue;
use crate::error::ProtocolError;
use crate::id::RequestId;
use crate::policy::watermark::{Band, Watermark};
use crate::sched::Signals;
use crate::time::Instant;
use crate::wire::uw::RequestHead;

/// A read is never cut below this many bytes: a call to the system costs more than they do.
const MIN_READ: usize = 4 * 1024;

/// What becomes of the bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// They are read as requests.
    Open,
    /// No more will come; whole requests among those that are there are still taken.
    Ended,
    /// They are thrown away, and the connection closes for this cause once everything is answered.
    Stopped(Cause),
}
crate::saved!(enum Intake { 0 = Open, 1 = Ended, 2 = Stopped(value) });

/// What a connection wants next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) deadline: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) intake: Intake,
    /// The next request, whole in the receive buffer and not yet lent.
    pub(super) head: Option<RequestHead>,
    pub(super) send: SendQueue,
    /// Deferred requests, and bytes of answers that wait.
    pub(super) load: Watermark,
    /// Where the list of its deferred requests starts.
    pub(super) first: Option<RequestId>,
    /// Waits for the receive budget.
    pub(super) starved: bool,
    pub(super) signals: Signals,
    /// Nothing of it is left, but the runtime has not been told.
    pub(super) closed: bool,
    /// When the first byte of the frame was seen that is not yet whole.
    frame_began: Option<Instant>,
    /// Since when it is not read because of what it or the whole server has in hand.
    paused: Option<Instant>,
    last_traffic: Instant,
}
crate::saved!(struct Conn {
    intake, head, send, load, first, starved, signals, closed, frame_began, paused, last_traffic
});

impl Conn {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Conn {
            intake: Intake::Open,
            head: None,
            send: SendQueue::default(),
            load: Watermark::new(half_open(config.in_flight.get()), config.unsent),
            first: None,
            starved: false,
            signals: Signals::new(),
            closed: false,
            frame_began: None,
            paused: None,
            last_traffic: now,
        }
    }

    pub(super) fn interest(&self, config: &Config) -> Interest {
        Interest {
            read: self.intake == Intake::Open && self.paused.is_none() && !self.starved,
            write: !self.send.is_empty(),
            deadline: self.due(config).map(|(at, _)| at),
        }
    }

    /// Whether its next request may be lent. While places are scarce, only to a connection that has none: however many
    /// are greedy, and whatever their requests wait for, a newcomer finds a place.
    pub(super) fn lends(&self, config: &Config, scarce: bool) -> bool {
        let items = self.load.items();
        self.head.is_some()
            && items < u64::from(config.in_flight.get())
            && (items == 0 || !scarce)
            && self.takes_bytes(config)
    }

    /// Whether more of its bytes may be decoded: what a ping is answered with waits to be sent, too.
    pub(super) fn takes_bytes(&self, config: &Config) -> bool {
        self.load.bytes() < config.unsent.high()
    }

    /// How much may be read at once. What a peer makes us keep counts together, requests and answers: one that never
    /// reads would otherwise get room for as many bytes of requests again.
    pub(super) fn room(&self, config: &Config) -> usize {
        let left = config.unsent.high().saturating_sub(self.load.bytes());
        usize::try_from(left).unwrap_or(usize::MAX).max(MIN_READ)
    }

    /// When it is closed if nothing happens, and why.
    pub(super) fn due(&self, config: &Config) -> Option<(Instant, Cause)> {
        let quiet = self.load.items() == 0 && self.head.is_none();
        let idle = quiet.then(|| (self.last_traffic + config.idle_timeout, Cause::Idle));
        let began = self.frame_began.filter(|_| self.paused.is_none() && self.intake == Intake::Open);
        let stalled = Cause::Protocol(ProtocolError::Stalled);
        let frame = began.map(|began| (began + config.frame_timeout, stalled));
        idle.into_iter().chain(frame).min_by_key(|&(at, _)| at)
    }

    /// Why it is to be closed now, if everything is answered and sent and nothing more will be taken.
    pub(super) fn finished(&self) -> Option<Cause> {
        let settled = self.head.is_none() && self.load.items() == 0 && self.send.is_empty();
        match self.intake {
            Intake::Ended if settled => Some(Cause::Peer),
            Intake::Stopped(cause) if settled => Some(cause),
            _ => None,
        }
    }

    /// Nothing more is taken.
    pub(super) fn stop(&mut self, cause: Cause) {
        if !matches!(self.intake, Intake::Stopped(_)) {
            self.intake = Intake::Stopped(cause);
        }
        self.head = None;
        self.frame_began = None;
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last_traffic = now;
    }

    /// The first part of a frame is there, or none is.
    pub(super) fn set_partial(&mut self, now: Instant, partial: bool) {
        self.frame_began = if partial { self.frame_began.or(Some(now)) } else { None };
    }

    /// The clock of a frame stands still while the fault is ours.
    pub(super) fn set_pressure(&mut self, now: Instant, total: bool) {
        let pressure = total || self.load.is_above();
        match self.paused {
            None if pressure => self.paused = Some(now),
            Some(since) if !pressure => {
                self.paused = None;
                let late = |began: Instant| began + now.since(since.max(began));
                self.frame_began = self.frame_began.map(late);
            }
            _ => {}
        }
    }
}

/// On at `high` items, off at half of that.
pub(super) const fn half_open(high: u32) -> Band {
    Band::new(high as u64 / 2, high as u64).expect("a half is less than a whole that is not zero")
}

/// On when a quarter of the places is left, off when three eighths are.
pub(super) const fn three_quarters(places: u32) -> Band {
    let high = places as u64 - places as u64 / 4;
    let apart = if places >= 8 { places as u64 / 8 } else { 1 };
    Band::new(high - apart, high).expect("low is below high, which is not zero")
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_clock_of_a_frame_stands_still_under_pressure() {
        let config = Config::default();
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        let mut conn = Conn::new(second(0), &config);
        conn.set_partial(second(1), true);
        assert_eq!(conn.due(&config).unwrap().0, second(11));
        conn.set_pressure(second(4), true);
        assert_eq!(conn.due(&config).unwrap().0, second(600), "only the idle limit is left");
        conn.set_pressure(second(104), false);
        assert_eq!(conn.due(&config).unwrap().0, second(111));
    }
}
