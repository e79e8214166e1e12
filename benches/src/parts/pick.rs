//! Everything that is decided before a request may go, and what is learnt when it has ended: whether the rate allows
//! it, which endpoint it goes to, whether that one's breaker lets it, which connection has room.

use core::num::NonZeroU32;
use core::time::Duration;

use plimsoll_core::cluster::{Action, Cluster, Config, Want};
use plimsoll_core::policy::breaker::Outcome;
use plimsoll_core::policy::gcra::{Gcra, Quota};
use plimsoll_core::time::Instant;

/// What the limiter of every contestant allows a second: more than any of them asks for.
pub const RATE: NonZeroU32 = NonZeroU32::new(1_000_000_000).unwrap();

/// Requests between two looks at the timers, as a driver looks once a turn.
const TURN: u32 = 64;

/// A cluster with one connection to each endpoint, chosen by `p2c_ewma`, and a rate limit before it.
pub struct Ours {
    quota: Quota,
    rate: Gcra,
    cluster: Cluster,
    now: Instant,
    until_tick: u32,
}

impl Ours {
    /// All connections stand.
    pub fn new(endpoints: usize) -> Self {
        let mut cluster = Cluster::new(Config::default(), 1);
        let now = Instant::from_millis(1_000);
        for at in 0..endpoints {
            cluster.add_endpoint(now, &format!("users.internal:{}", 3_000 + at)).expect("a good address");
        }
        while let Some(action) = cluster.poll() {
            let Action::Dial(conn) = action else { unreachable!("nothing but dials is asked for at first") };
            cluster.connected(now, conn);
        }
        let quota = Quota::new(RATE, Duration::from_secs(1));
        Ours { quota, rate: Gcra::default(), cluster, now, until_tick: TURN }
    }

    /// One request from its admission to its outcome, a microsecond long.
    ///
    /// # Panics
    /// If it is refused: nothing here gives a reason.
    #[inline]
    pub fn request(&mut self) {
        self.rate.admit(self.now, self.quota).expect("below the rate");
        let place = self.cluster.checkout(self.now, Want::default()).expect("room on every connection");
        self.now = self.now + Duration::from_micros(1);
        self.cluster.settle(self.now, place, Outcome::Success);
        self.cluster.release(self.now, place.conn);
        self.until_tick -= 1;
        if self.until_tick == 0 {
            self.turn();
        }
    }

    #[inline(never)]
    fn turn(&mut self) {
        self.until_tick = TURN;
        if self.cluster.deadline().is_some_and(|(at, _)| at <= self.now) {
            self.cluster.tick(self.now);
        }
        while let Some(action) = self.cluster.poll() {
            let Action::Ping(conn) = action else { unreachable!("connections stay, and nothing waits") };
            self.cluster.received(self.now, conn);
        }
        while self.cluster.state_event().is_some() {}
    }
}
