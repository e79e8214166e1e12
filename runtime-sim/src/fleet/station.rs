//! The application's side of a server: workers that take their time, fail, or are overrun.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Host as Application;
use plimsoll_core::policy::Ratio;
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::server::{Request, Server, Token};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::code;

use super::bell::Bell;
use super::distribution::Distribution;
use super::scenario::Cold;
use super::tally::Traffic;
use super::timeline::Ailment;

/// What all servers of a group have in common.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) time: Distribution,
    pub(super) workers: u32,
    pub(super) queue: u32,
    pub(super) cold: Option<Cold>,
    pub(super) answer: Arc<[u8]>,
    /// Connections that wait to be accepted.
    pub(super) backlog: i32,
}

/// What reaches a process from outside, other than requests; it outlives the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ailments: Vec<Ailment>,
    /// It is to stop, by then at the latest.
    stop_by: Option<Instant>,
    waker: Option<Waker>,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is wrong with it from now on, too.
    pub(super) fn ail(&self, ailment: Ailment) {
        self.lock().ailments.push(ailment);
    }

    /// This is not wrong with it any more.
    pub(super) fn cure(&self, ailment: Ailment) {
        let ailments = &mut self.lock().ailments;
        if let Some(at) = ailments.iter().position(|other| *other == ailment) {
            ailments.remove(at);
        }
    }

    /// Stops the process.
    pub(super) fn stop(&self, by: Instant) {
        let mut state = self.lock();
        state.stop_by = Some(by);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// By when it is to stop, if it is.
    pub(super) fn stop_by(&self) -> Option<Instant> {
        self.lock().stop_by
    }

    /// Whom to wake if it is told something.
    pub(super) fn wake(&self, driver: &Waker) {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|old| old.will_wake(driver)) {
            state.waker = Some(driver.clone());
        }
    }

    /// A new process has not been told to stop.
    pub(super) fn start(&self) {
        (self.lock().stop_by, self.lock().waker) = (None, None);
    }

    /// How many of a thousand health checks it answers that it is not well.
    pub(super) fn denies_health(&self) -> u32 {
        Condition::of(&self.lock().ailments).flap.as_per_mille()
    }
}

/// All ailments together.
#[derive(Clone, Copy, Debug)]
struct Condition {
    /// In thousandths.
    slow: u64,
    fails_fast: bool,
    fails: Ratio,
    /// In thousandths per thousand requests.
    leak: u64,
    flap: Ratio,
}

impl Condition {
    fn of(ailments: &[Ailment]) -> Condition {
        let none = Ratio::per_mille(0);
        let mut condition = Condition { slow: 1_000, fails_fast: false, fails: none, leak: 0, flap: none };
        for ailment in ailments {
            match *ailment {
                Ailment::Slow(factor) => condition.slow = factor.of(condition.slow),
                Ailment::FailFast => condition.fails_fast = true,
                Ailment::FailShare(share) => condition.fails = condition.fails.max(share),
                Ailment::Leak(growth) => condition.leak += u64::from(growth.as_per_mille()),
                Ailment::Flap(share) => condition.flap = condition.flap.max(share),
            }
        }
        condition
    }
}

/// How often a server looks at what it holds.
const LOOK: Duration = Duration::from_millis(100);

/// One process of a server.
pub(super) struct Station {
    work: Arc<Work>,
    orders: Orders,
    traffic: Arc<Traffic>,
    /// When it last looked at what it holds.
    looked: Instant,
    rng: Pcg,
    condition: Condition,
    stops: bool,
    /// Whether it began with nothing in its caches.
    is_cold: bool,
    /// Requests whose work was begun.
    begun: u64,
    queue: VecDeque<Token>,
    /// Work that is being done, by its end and its number.
    works: BinaryHeap<Reverse<(Instant, u64, Token)>>,
    bell: Bell,
}

/// What becomes of a request on its arrival.
enum Admission {
    Begin,
    Queue,
    Refuse(&'static str),
}

impl Station {
    pub(super) fn new(
        work: Arc<Work>,
        orders: Orders,
        traffic: Arc<Traffic>,
        is_cold: bool,
        bell: Bell,
        rng: Pcg,
    ) -> Self {
        Station {
            work,
            orders,
            traffic,
            looked: Instant::ZERO,
            rng,
            condition: Condition::of(&[]),
            stops: false,
            is_cold,
            begun: 0,
            queue: VecDeque::new(),
            works: BinaryHeap::new(),
            bell,
        }
    }

    fn admission(&self) -> Admission {
        if self.condition.fails_fast {
            Admission::Refuse(code::INTERNAL_ERROR)
        } else if self.works.len() < self.work.workers as usize {
            Admission::Begin
        } else if self.queue.len() < self.work.queue as usize {
            Admission::Queue
        } else {
            Admission::Refuse(code::OVERLOADED)
        }
    }

    fn begin(&mut self, now: Instant, token: Token) {
        let mut time = self.work.time.draw(&mut self.rng);
        let mut factor = self.condition.slow + self.condition.leak * self.begun / 1_000;
        if let Some(Cold { factor: cold, requests }) = self.work.cold.filter(|_| self.is_cold) {
            let missing = u64::from(requests).saturating_sub(self.begun);
            let more =
                u64::from(cold.0.as_per_mille()).saturating_sub(1_000) * missing / u64::from(requests).max(1);
            factor = factor * (1_000 + more) / 1_000;
        }
        if factor != 1_000 {
            time = Duration::from_nanos((time.as_nanos() * u128::from(factor) / 1_000) as u64);
        }
        self.works.push(Reverse((now + time, self.begun, token)));
        self.begun += 1;
    }

    /// Work is done: answers it, and begins what waits. Nobody may wait for the answer any more, which a worker cannot know:
    /// version 1 of the wire has no cancellation.
    fn finish(&mut self, now: Instant, machine: &mut Server, token: Token) {
        let fails = self.condition.fails.as_per_mille();
        let fails = fails > 0 && self.rng.below(1_000) < fails;
        _ = match fails {
            true => machine.fail(now, token, code::INTERNAL_ERROR, ""),
            false => machine.reply(now, token, &self.work.answer),
        };
        if let Some(next) = self.queue.pop_front() {
            self.begin(now, next);
        }
    }
}

impl Application<Server> for Station {
    fn commands(&mut self, now: Instant, machine: &mut Server) {
        let stop_by = {
            let state = self.orders.lock();
            self.condition = Condition::of(&state.ailments);
            state.stop_by
        };
        if let Some(by) = stop_by.filter(|_| !self.stops) {
            self.stops = true;
            machine.shutdown(now, by);
        }
        while let Some(&Reverse((at, _, token))) = self.works.peek()
            && at <= now
        {
            self.works.pop();
            self.finish(now, machine, token);
        }
    }

    fn event(&mut self, now: Instant, request: Request<'_>) {
        self.traffic.arrived(now);
        let responder = request.responder;
        match self.admission() {
            Admission::Refuse(code) => _ = responder.fail(code, ""),
            Admission::Queue => self.queue.push_back(responder.defer()),
            Admission::Begin => self.begin(now, responder.defer()),
        }
    }

    fn publish(&mut self, now: Instant, machine: &mut Server) {
        // Walking over all connections takes its time.
        if now.since(self.looked) >= LOOK {
            self.traffic.note_unsent(self.looked, now, machine.status().unsent);
            self.looked = now;
        }
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.orders.wake(driver);
        let next = self.works.peek().map(|Reverse((at, ..))| *at);
        self.bell.rings_at(next, driver)
    }

    fn is_listening(&self) -> bool {
        !self.stops
    }
}
