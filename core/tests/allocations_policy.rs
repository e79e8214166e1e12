//! Law 9 for the leaves that own tables: once warm, keys and members that come and go allocate nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::id::EndpointId;
use plimsoll_core::map::Seed;
use plimsoll_core::policy::{Cache, Coalesce, Limiter, Outliers, Phi, coalesce, dedup, gcra, outlier, phi};
use plimsoll_core::rng::Pcg;
use plimsoll_core::time::Instant;

struct Leaves {
    limiter: Limiter<u64>,
    cache: Cache<u64, u64>,
    flights: Coalesce<u64, u64>,
    outliers: Outliers,
    phi: Phi,
    now: Instant,
    round: u64,
}

impl Leaves {
    fn new() -> Self {
        let seed = Seed::new(&mut Pcg::new(1, 1));
        let quota = gcra::Quota::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(1));
        let now = Instant::ZERO;
        let mut outliers = Outliers::new(outlier::Config::default(), now);
        (0..50).for_each(|slot| outliers.add(EndpointId::new(slot, 0)));
        Leaves {
            limiter: Limiter::new(quota, 64, seed),
            cache: Cache::new(dedup::Config::default(), seed),
            flights: Coalesce::new(coalesce::Config::default(), seed),
            outliers,
            phi: Phi::new(phi::Config::default(), Duration::from_millis(5), now),
            now,
            round: 0,
        }
    }

    /// A request with a key that was never seen before: limited, looked up, coalesced with another, answered.
    fn request(&mut self) {
        self.round += 1;
        self.now = self.now + Duration::from_millis(5);
        let (key, now) = (self.round, self.now);
        let _ = self.limiter.admit(now, &key);
        assert_eq!(self.cache.get(now, &key), None);
        let (leader, _) = self.flights.join(key, 1).unwrap();
        let (follower, _) = self.flights.join(key, 2).unwrap();
        self.flights.leave(leader);
        assert_eq!(self.flights.finish(follower, drop), 1);
        self.cache.insert(now, key, key, 100).unwrap();
        let endpoint = EndpointId::new((key % 50) as u32, 0);
        if key % 50 < 8 {
            // More than may be ejected, so that a sweep always has candidates.
            self.outliers.failed(now, endpoint, 0);
        } else {
            self.outliers.succeeded(endpoint);
        }
        self.outliers.tick(now, |_| false, drop);
        self.phi.heartbeat(now);
    }
}

#[test]
fn warm_leaves_take_100_000_requests_without_an_allocation() {
    let mut leaves = Leaves::new();
    (0..10_000).for_each(|_| leaves.request());
    let allocated = allocation_counter::measure(|| (0..100_000).for_each(|_| leaves.request()));
    assert_eq!(allocated.count_total, 0);
    assert_eq!((leaves.limiter.keys(), leaves.cache.stats().entries), (64, 100));
    assert!(leaves.outliers.ejected() > 0);
}
