//! The same as [`pick`](super::pick) from crates that are widely used: tower's `p2c` balancer over one service per
//! endpoint, whose breaker is recloser's and whose connections are deadpool's, with governor's limiter before it.
//!
//! Each has what makes it fastest: a clock for governor that is only read, a generator for tower in place of its
//! hash, futures that are ready at once, a waker that does nothing.

use core::convert::Infallible;
use core::future::{Future, Ready, ready};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use deadpool::managed::{Manager, Metrics, Pool, RecycleResult};
use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use plimsoll_core::rng::Pcg;
use recloser::Recloser;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};
use tower::util::rng::Rng;

use super::pick::RATE;

/// Connections that do nothing.
struct Connections;

impl Manager for Connections {
    type Type = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn recycle(&self, _: &mut (), _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

/// One endpoint: its breaker, and its connections.
pub struct Endpoint {
    breaker: Recloser,
    pool: Pool<Connections>,
}

impl Endpoint {
    fn new() -> Self {
        let pool = Pool::builder(Connections).max_size(10).build().expect("no timeouts need a runtime");
        Endpoint { breaker: Recloser::custom().build(), pool }
    }
}

impl Service<()> for Endpoint {
    type Response = ();
    type Error = &'static str;
    type Future = Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let answered = self.breaker.call(|| at_once(self.pool.get()).map(drop));
        ready(answered.map_err(|_| "refused"))
    }
}

/// tower takes its random numbers from a hash unless it is given better ones.
struct Chance(Pcg);

impl Rng for Chance {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware>;

/// The four together, with the load metric `S`.
pub struct Four<S: Service<()>> {
    limiter: Limiter,
    clock: FakeRelativeClock,
    balance: Balance<ServiceList<Vec<S>>, ()>,
}

/// tower's counterpart of `p2c_ewma`.
pub fn by_peak_ewma(endpoints: usize) -> Four<PeakEwma<Endpoint>> {
    let (rtt, decay) = (Duration::from_millis(30), Duration::from_secs(10).as_nanos() as f64);
    Four::new(endpoints, || PeakEwma::new(Endpoint::new(), rtt, decay, CompleteOnResponse::default()))
}

/// tower's cheapest metric, which knows nothing of time.
pub fn by_pending_requests(endpoints: usize) -> Four<PendingRequests<Endpoint>> {
    Four::new(endpoints, || PendingRequests::new(Endpoint::new(), CompleteOnResponse::default()))
}

impl<S> Four<S>
where
    S: Service<(), Response = ()> + Load,
    S::Error: Into<tower::BoxError>,
    S::Metric: core::fmt::Debug,
{
    fn new(endpoints: usize, service: impl Fn() -> S) -> Self {
        let clock = FakeRelativeClock::default();
        let services: Vec<S> = (0..endpoints).map(|_| service()).collect();
        Four {
            limiter: RateLimiter::direct_with_clock(Quota::per_second(RATE), clock.clone()),
            clock,
            balance: Balance::from_rng(ServiceList::new::<()>(services), Chance(Pcg::new(1, 1))),
        }
    }

    /// One request from its admission to its outcome.
    ///
    /// # Panics
    /// If it is refused: nothing here gives a reason.
    #[inline]
    pub fn request(&mut self) {
        self.clock.advance(Duration::from_micros(1));
        assert!(self.limiter.check().is_ok(), "below the rate");
        let ready = self.balance.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))), "an endpoint is always ready");
        assert!(at_once(self.balance.call(())).is_ok(), "no endpoint fails");
    }
}

/// What a future that is ready gives.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here has to wait"),
    }
}
