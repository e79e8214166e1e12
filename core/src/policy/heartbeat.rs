//! Whether the peer of a silent connection is still there.
//!
//! A connection on which bytes arrive is alive, whatever they are: only one that has been silent for more than
//! half the interval is pinged, and any byte answers. A ping that stays unanswered for the timeout is the end
//! (without pings, a black hole lasts until TCP gives up, a quarter of an hour: grpc/grpc-go#3206).
//!
//! The check after a byte lies at most one interval after it, so that a peer is found dead at the latest
//! `interval + timeout` after its last byte. Each connection draws its own period, so that those which opened
//! together are not pinged together.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::heartbeat::{Beat, Config, Heartbeat};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let mut heart = Heartbeat::new(Config::default(), Instant::ZERO, &mut Pcg::new(1, 1));
//! let check = heart.deadline().unwrap();
//! assert_eq!(heart.tick(check), Some(Beat::Ping));
//! heart.received(check + Duration::from_millis(3)); // the pong, or anything else
//!
//! let check = heart.deadline().unwrap();
//! assert_eq!(heart.tick(check), Some(Beat::Ping));
//! assert_eq!(heart.deadline(), Some(check + Duration::from_millis(2_000)));
//! assert_eq!(heart.tick(check + Duration::from_millis(2_000)), Some(Beat::Dead));
//! ```
//!
//! Silence counts only while somebody listens. Feed what has arrived before a tick; a caller that has paused
//! reading does not tick, and says [`received`](Heartbeat::received) when it reads again, or a busy peer is
//! declared dead for our own backpressure (moleculerjs/moleculer#891).

use core::time::Duration;

use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// How often to look, and how long to wait for an answer. Below 1 ms each counts as 1 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest time between two checks; a connection that was silent for more than half of it is pinged.
    /// Each connection's own period is up to a tenth shorter. Default 30 s.
    pub interval: Duration,
    /// How long a ping may stay unanswered. Default 2 s.
    pub timeout: Duration,
}
crate::saved!(struct Config { interval, timeout });

impl Default for Config {
    fn default() -> Self {
        Config { interval: Duration::from_secs(30), timeout: Duration::from_millis(2_000) }
    }
}

/// What to do about a silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send something that the peer must answer.
    Ping,
    /// Close the connection. Said once.
    Dead,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Watching,
    Awaiting { until: Instant },
    Dead,
}
crate::saved!(enum State { 0 = Watching, 1 = Awaiting { until }, 2 = Dead });

/// Watches one connection.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    state: State,
    received: Instant,
    check: Instant,
    period: Duration,
    idle: Duration,
    timeout: Duration,
}
crate::saved!(struct Heartbeat { state, received, check, period, idle, timeout });

impl Heartbeat {
    /// A connection that has opened now.
    pub fn new(config: Config, now: Instant, rng: &mut Pcg) -> Self {
        const LEAST: Duration = Duration::from_millis(1);
        let interval = nanos(config.interval.max(LEAST));
        let period = interval - rng.up_to(interval / 10);
        let idle = interval / 2;
        let first = period - rng.up_to(period - idle - 1);
        Heartbeat {
            state: State::Watching,
            received: now,
            check: now + Duration::from_nanos(first),
            period: Duration::from_nanos(period),
            idle: Duration::from_nanos(idle),
            timeout: config.timeout.max(LEAST),
        }
    }

    /// Bytes have arrived, whichever. Too late once the peer was declared dead.
    pub fn received(&mut self, now: Instant) {
        self.received = self.received.max(now);
        if let State::Awaiting { .. } = self.state {
            self.state = State::Watching;
        }
    }

    /// Time has passed; early and repeated ticks change nothing.
    pub fn tick(&mut self, now: Instant) -> Option<Beat> {
        match self.state {
            State::Watching if now >= self.check => self.look(now),
            State::Awaiting { until } if now >= until => {
                self.state = State::Dead;
                Some(Beat::Dead)
            }
            _ => None,
        }
    }

    /// When to tick next; `None` once the peer is dead.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Watching => Some(self.check),
            State::Awaiting { until } => Some(until),
            State::Dead => None,
        }
    }

    /// Whether a ping is unanswered.
    pub fn is_awaiting(&self) -> bool {
        matches!(self.state, State::Awaiting { .. })
    }

    fn look(&mut self, now: Instant) -> Option<Beat> {
        if now.since(self.received) <= self.idle {
            // Counted from the byte, not from now, or a peer that dies next is found half an interval late.
            self.check = self.received + self.period;
            return None;
        }
        self.check = now + self.period;
        self.state = State::Awaiting { until: now + self.timeout };
        Some(Beat::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const START: Instant = Instant::from_millis(1_000_000);

    fn heart(seed: u64) -> Heartbeat {
        Heartbeat::new(Config::default(), START, &mut Pcg::new(seed, 1))
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_busy_connection_is_never_pinged() {
        let mut heart = heart(1);
        for second in 0..600 {
            let now = START + Duration::from_secs(second);
            heart.received(now);
            assert_eq!(heart.tick(now), None);
        }
    }

    #[test]
    fn any_byte_answers_a_ping() {
        let mut heart = heart(1);
        let check = heart.deadline().unwrap();
        assert_eq!(heart.tick(check), Some(Beat::Ping));
        assert!(heart.is_awaiting());
        heart.received(check + ms(1_999));
        assert!(!heart.is_awaiting());
        assert_eq!(heart.tick(check + ms(2_000)), None);
    }

    #[test]
    fn an_unanswered_ping_is_death_and_it_is_said_once() {
        let mut heart = heart(1);
        let check = heart.deadline().unwrap();
        assert_eq!(heart.tick(check), Some(Beat::Ping));
        assert_eq!(heart.tick(check), None, "a repeated tick changes nothing");
        assert_eq!(heart.tick(check + ms(1_999)), None);
        assert_eq!(heart.tick(check + ms(2_000)), Some(Beat::Dead));
        heart.received(check + ms(2_001));
        assert_eq!(heart.tick(Instant::MAX), None);
        assert_eq!(heart.deadline(), None);
    }

    #[test]
    fn a_connection_idle_for_just_half_the_interval_is_not_pinged() {
        let mut heart = heart(1);
        let check = heart.deadline().unwrap();
        heart.received(Instant::from_nanos(check.as_nanos() - 15_000_000_000));
        assert_eq!(heart.tick(check), None);
        assert!(heart.deadline().unwrap() > check);
    }

    #[test]
    fn connections_that_open_together_are_pinged_apart() {
        let mut rng = Pcg::new(5, 1);
        let mut slots = [0; 15];
        for _ in 0..1_500 {
            let heart = Heartbeat::new(Config::default(), START, &mut rng);
            let first = heart.deadline().unwrap().since(START);
            assert!(first > ms(15_000) && first <= ms(30_000));
            slots[first.as_secs() as usize - 15] += 1;
        }
        assert!(slots.iter().all(|&n| n < 200), "{slots:?}");
    }

    quickcheck! {
        fn silence_is_found_within_interval_and_timeout(
            seed: u64, interval: u32, timeout: u16, gaps: Vec<u16>
        ) -> bool {
            let config = Config { interval: ms(u64::from(interval)), timeout: ms(u64::from(timeout)) };
            let bound = config.interval.max(ms(1)) + config.timeout.max(ms(1));
            let mut heart = Heartbeat::new(config, START, &mut Pcg::new(seed, 1));
            let mut last = START;
            for gap in gaps {
                let byte = last + ms(u64::from(gap));
                while let Some(at) = heart.deadline().filter(|&at| at < byte) {
                    if heart.tick(at) == Some(Beat::Dead) {
                        return at <= last + bound;
                    }
                }
                heart.received(byte);
                last = byte;
            }
            loop {
                let Some(at) = heart.deadline() else { return false };
                if heart.tick(at) == Some(Beat::Dead) {
                    return at <= last + bound;
                }
            }
        }

        fn a_tick_at_the_deadline_moves_it(seed: u64, interval: u16, timeout: u16, answers: Vec<bool>) -> bool {
            let config = Config { interval: ms(u64::from(interval)), timeout: ms(u64::from(timeout)) };
            let mut heart = Heartbeat::new(config, START, &mut Pcg::new(seed, 1));
            answers.into_iter().all(|answer| {
                let Some(at) = heart.deadline() else { return true };
                heart.tick(at);
                let moved = heart.deadline().is_none_or(|next| next > at);
                if answer {
                    heart.received(at);
                }
                moved
            })
        }
    }
}
