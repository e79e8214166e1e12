//! What a request pays for policy: leave from a breaker and its settlement, and a choice between endpoints.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::policy::balance::{Balancer, Candidates, Strategy};
use plimsoll_core::policy::breaker::{Breaker, Config, Outcome};
use plimsoll_core::rng::Pcg;
use plimsoll_core::time::Instant;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const ROUNDS: u64 = 1_000;
const STRATEGIES: [Strategy; 4] =
    [Strategy::RoundRobin, Strategy::LeastConnections, Strategy::Random, Strategy::P2cEwma];

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

struct Loads(Vec<u32>);

impl Candidates for Loads {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn in_flight(&self, at: usize) -> u32 {
        self.0[at]
    }
    fn cost(&self, at: usize) -> u64 {
        u64::from(self.0[at])
    }
}

/// 1,000 choices between 16 endpoints.
#[divan::bench(args = STRATEGIES)]
fn pick_of_16(bencher: Bencher<'_, '_>, strategy: Strategy) {
    let mut rng = Pcg::new(1, 1);
    let mut balancer = Balancer::new(strategy, &mut rng);
    let loads = Loads((0..16).map(|_| rng.below(64)).collect());
    bencher.counter(ItemsCount::new(ROUNDS)).bench_local(|| {
        for _ in 0..ROUNDS {
            black_box(balancer.pick(&mut rng, black_box(&loads)));
        }
    });
}
