//! What a request pays for policy: leave from a breaker and its settlement, and a choice between endpoints.

use std::cell::Cell;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::policy::balance::{Balancer, Candidates, Prequal, Strategy, prequal};
use plimsoll_core::policy::breaker::{Breaker, Config, Outcome};
use plimsoll_core::rng::Pcg;
use plimsoll_core::time::Instant;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const ROUNDS: u64 = 1_000;
fn main() {
    divan::main();
}

/// 1,000 calls that succeed, a microsecond apart.
#[divan::bench]
fn breaker_admit_and_settle(bencher: Bencher<'_, '_>) {
    let mut breaker = Breaker::new(Config::default(), Pcg::new(1, 1));
    let mut micros = 0;
    bencher.counter(ItemsCount::new(ROUNDS)).bench_local(|| {
        for _ in 0..ROUNDS {
            micros += 1;
            let now = Instant::from_nanos(micros * 1_000);
            let permit = breaker.admit(now).expect("a breaker without failures stays closed");
            black_box(breaker.settle(now, permit, Outcome::Success));
        }
    });
}

/// Endpoints of four weights that do not change between the picks.
struct Loads {
    in_flight: Vec<u32>,
    calls: u64,
    key: Cell<u64>,
}

impl Candidates for Loads {
    fn len(&self) -> usize {
        self.in_flight.len()
    }
    fn in_flight(&self, at: usize) -> u32 {
        self.in_flight[at]
    }
    fn cost(&self, at: usize) -> u64 {
        u64::from(self.in_flight[at])
    }
    fn weight(&self, at: usize) -> u32 {
        at as u32 % 4 + 1
    }
    fn score(&self, at: usize) -> u32 {
        self.in_flight[at]
    }
    fn key(&self) -> Option<u64> {
        self.key.set(self.key.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        Some(self.key.get())
    }
    fn calls(&self) -> u64 {
        self.calls
    }
    fn version(&self) -> Option<u64> {
        Some(1)
    }
}

fn loads(rng: &mut Pcg, len: usize) -> Loads {
    let in_flight: Vec<u32> = (0..len).map(|_| rng.below(64)).collect();
    Loads { calls: in_flight.iter().map(|&n| u64::from(n)).sum(), in_flight, key: Cell::new(0) }
}

/// 1,000 choices between 10, 16, 1,000 and 10,000 endpoints.
#[divan::bench(args = Strategy::ALL, consts = [10, 16, 1_000, 10_000])]
fn pick<const LEN: usize>(bencher: Bencher<'_, '_>, strategy: Strategy) {
    let mut rng = Pcg::new(1, 1);
    let mut balancer = Balancer::new(strategy, &mut rng);
    let loads = loads(&mut rng, LEN);
    balancer.pick(&mut rng, &loads);
    bencher.counter(ItemsCount::new(ROUNDS)).bench_local(|| {
        for _ in 0..ROUNDS {
            black_box(balancer.pick(&mut rng, black_box(&loads)));
        }
    });
}

/// A pick with its probes: three answers come in, one call goes out.
#[divan::bench(args = [16, 10_000])]
fn prequal_probes_and_pick(bencher: Bencher<'_, '_>, len: usize) {
    let mut rng = Pcg::new(1, 1);
    let mut prequal = Prequal::new(prequal::Config::default());
    let mut micros = 0;
    bencher.counter(ItemsCount::new(ROUNDS)).bench_local(|| {
        for _ in 0..ROUNDS {
            micros += 1;
            let now = Instant::from_nanos(micros * 1_000);
            for at in prequal.targets(&mut rng, len) {
                let load = rng.next_u32();
                prequal.answered(now, at as u32, load % 64, Duration::from_micros(u64::from(load >> 16)));
            }
            black_box(prequal.pick(now, &mut rng, len, |slot| Some(slot as usize)));
        }
    });
}

/// What a change of the candidates costs the next pick.
#[divan::bench(
    args = [Strategy::WeightedRoundRobin, Strategy::WeightedRandom, Strategy::ConsistentHash, Strategy::Prequal],
    consts = [10, 10_000]
)]
fn first_pick<const LEN: usize>(bencher: Bencher<'_, '_>, strategy: Strategy) {
    let mut rng = Pcg::new(1, 1);
    let loads = loads(&mut rng, LEN);
    bencher.bench_local(|| {
        let mut balancer = Balancer::new(strategy, &mut rng);
        black_box(balancer.pick(&mut rng, &loads));
    });
}
