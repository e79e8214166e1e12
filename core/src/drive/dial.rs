//! From names to connections: the race of one dial, and many dials at the same time.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::hash::{BuildHasher, Hasher};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::hash::RandomState;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::sleep_for;
use super::{Address, ReadyList, Timer, fault_of};
use crate::id::ConnId;
use crate::machine::unix_path;
use crate::map::Seed;
use crate::policy::dial::{Dial, Memory, MemoryConfig, Outcome};
use crate::rng::Pcg;
use crate::time::Instant;

/// What a runtime supplies for dialling. The order, the head starts and the memory are in [`policy::dial`].
///
/// [`policy::dial`]: crate::policy::dial
pub trait Dialer: Timer + Clone + Send + Sync + 'static {
    /// A connection.
    type Io: Send + 'static;

    /// Asks for the addresses of `name` (`host:port`), which is no address itself.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Connects to one address. Dropping the future gives it up.
    fn connect(&self, address: Address) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// The dials of one driver: futures that are polled only when they were woken, by the id of their connection.
pub struct Dials<D: Dialer> {
    dialer: D,
    memory: Arc<Mutex<Memory>>,
    ready: ReadyList,
    /// Exchanged with the ready list.
    woken: Vec<u32>,
    /// By slot.
    dials: Vec<Place<D::Io>>,
}

struct Place<Io> {
    waker: Waker,
    dial: Option<(ConnId, Pending<Io>)>,
}

type Pending<Io> = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

impl<D: Dialer> Dials<D> {
    /// None.
    pub fn new(dialer: D, config: MemoryConfig) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        let memory = Memory::new(config, Seed::new(&mut Pcg::new(seed, 0)));
        Dials {
            dialer,
            memory: Arc::new(Mutex::new(memory)),
            ready: ReadyList::new(),
            woken: Vec::new(),
            dials: Vec::new(),
        }
    }

    /// Begins to dial `target`, `host:port`. It replaces whatever was dialled in the same slot.
    pub fn start(&mut self, conn: ConnId, target: &str) {
        for slot in self.dials.len() as u32..=conn.slot() {
            self.dials.push(Place { waker: self.ready.waker(slot), dial: None });
        }
        let place = &mut self.dials[conn.index()];
        place.dial = Some((conn, Box::pin(connect(self.dialer.clone(), self.memory.clone(), target.into()))));
        place.waker.wake_by_ref();
    }

    /// Drops a dial, if it has not ended.
    pub fn cancel(&mut self, conn: ConnId) {
        if let Some(place) = self.dials.get_mut(conn.index()) {
            place.dial.take_if(|(dialled, _)| *dialled == conn);
        }
    }

    /// The next one that has ended; `Pending` while there is none at all, too. A dial fails with the error of the last
    /// attempt to fail; with [`ErrorKind::NotFound`] if resolving failed, or found nothing.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<D::Io>)> {
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken);
        }
        while let Some(slot) = self.woken.pop() {
            let Place { waker, dial } = &mut self.dials[slot as usize];
            if let Some((conn, future)) = dial
                && let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(waker))
            {
                let conn = *conn;
                *dial = None;
                return Poll::Ready((conn, result));
            }
        }
        // Only once around: a future may wake itself when its runtime wants it to pause.
        if self.ready.arm(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<D: Dialer> fmt::Debug for Dials<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.dials.iter().filter_map(|place| place.dial.as_ref());
        f.debug_set().entries(under_way.map(|(conn, _)| conn)).finish()
    }
}

async fn connect<D: Dialer>(dialer: D, memory: Arc<Mutex<Memory>>, target: String) -> io::Result<D::Io> {
    if let Some(path) = unix_path(&target) {
        return dialer.connect(Address::Unix(path.into())).await;
    }
    if let Ok(address) = target.parse() {
        return dialer.connect(Address::Tcp(address)).await;
    }
    let (found, unresolved) = match dialer.resolve(&target).await {
        Ok(found) => (found, io::Error::new(ErrorKind::NotFound, "the name has no address")),
        Err(error) => (Vec::new(), io::Error::new(ErrorKind::NotFound, error)),
    };
    let dial = lock(&memory).begin(dialer.now(), &target, &found);
    Race { dialer, memory, target, dial }.run(unresolved).await
}

/// One dial under way. However it ends, the memory learns from it.
struct Race<D: Dialer> {
    dialer: D,
    memory: Arc<Mutex<Memory>>,
    target: String,
    dial: Dial,
}

impl<D: Dialer> Race<D> {
    /// Does what the machine says. `error` is what to say if there is nothing to try.
    async fn run(mut self, error: io::Error) -> io::Result<D::Io> {
        let Race { dialer, dial, .. } = &mut self;
        let mut runners = Runners { attempts: Vec::new(), error: Some(error) };
        let mut alarm: Option<(Instant, Pin<Box<_>>)> = None;
        poll_fn(|cx| {
            loop {
                let now = dialer.now();
                if let Some(io) = runners.poll(now, dial, cx) {
                    return Poll::Ready(Ok(io));
                }
                if let Outcome::Failed(_) = dial.outcome() {
                    return Poll::Ready(Err(runners.error.take().expect("polled no more once it is ready")));
                }
                if let Some(attempt) = dial.tick(now) {
                    runners.attempts.push((attempt.number, Box::pin(dialer.connect(attempt.address.into()))));
                    continue;
                }
                let Some(due) = dial.deadline() else { return Poll::Pending };
                let (_, sleep) = match &mut alarm {
                    Some(set) if set.0 == due => set,
                    _ => alarm.insert((due, Box::pin(dialer.sleep(sleep_for(now, due))))),
                };
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                alarm = None;
            }
        })
        .await
    }
}

/// The attempts under way, by their numbers, and the error of the last one that has failed.
struct Runners<A> {
    attempts: Vec<(u8, Pin<Box<A>>)>,
    error: Option<io::Error>,
}

impl<A> Runners<A> {
    /// Lets all go on, and tells the machine who has come to an end; the connection of the winner.
    fn poll<Io>(&mut self, now: Instant, dial: &mut Dial, cx: &mut Context<'_>) -> Option<Io>
    where
        A: Future<Output = io::Result<Io>>,
    {
        let mut winner = None;
        self.attempts.retain_mut(|(number, attempt)| match attempt.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(io)) => {
                if dial.connected(*number) {
                    winner = Some(io);
                }
                false
            }
            Poll::Ready(Err(error)) => {
                dial.failed(now, *number, fault_of(&error));
                self.error = Some(error);
                false
            }
        });
        winner
    }
}

impl<D: Dialer> Drop for Race<D> {
    fn drop(&mut self) {
        lock(&self.memory).settle(self.dialer.now(), &self.target, &self.dial);
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Time;
    use crate::policy::dial;
    use core::time::Duration;

    /// Names and addresses that exist only here. What an address does is said by its port.
    #[derive(Clone, Default)]
    struct World(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        now: Instant,
        /// What every name resolves to; nothing: the resolver fails.
        addresses: Vec<SocketAddr>,
        resolved: u32,
        tried: Vec<u16>,
        dropped: Vec<u16>,
        /// How often those that are silent were polled.
        polls: u32,
        sleepers: Vec<Waker>,
        /// Whether the next sleep ends at once.
        sleeps_badly: bool,
    }

    const CONNECTS: u16 = 1;
    const REFUSES: u16 = 2;
    const TIMES_OUT: u16 = 3;
    const IS_SILENT: u16 = 4;
    /// Of what has no port.
    const UNIX: u16 = 5;

    struct Trying(World, u16);

    impl Drop for Trying {
        fn drop(&mut self) {
            self.0.state().dropped.push(self.1);
        }
    }

    impl World {
        fn new(ports: &[u16]) -> Self {
            let world = World::default();
            world.resolves_to(ports);
            world
        }

        fn state(&self) -> MutexGuard<'_, State> {
            self.0.lock().unwrap()
        }

        fn resolves_to(&self, ports: &[u16]) {
            self.state().addresses = ports.iter().map(|&port| ([192, 0, 2, 1], port).into()).collect();
        }

        fn advance(&self, ms: u64) {
            let sleepers = {
                let mut state = self.state();
                state.now = state.now + Duration::from_millis(ms);
                core::mem::take(&mut state.sleepers)
            };
            sleepers.into_iter().for_each(Waker::wake);
        }

        /// Those that were tried since this was asked last.
        fn tried(&self) -> Vec<u16> {
            core::mem::take(&mut self.state().tried)
        }
    }

    impl Time for World {
        fn now(&self) -> Instant {
            self.state().now
        }
    }

    impl Timer for World {
        async fn sleep(&self, length: Duration) {
            let end = self.now() + length;
            let badly = core::mem::take(&mut self.state().sleeps_badly);
            poll_fn(|cx| {
                if badly || self.now() >= end {
                    return Poll::Ready(());
                }
                self.state().sleepers.push(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }

    impl Dialer for World {
        type Io = u16;

        async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
            let mut state = self.state();
            state.resolved += 1;
            if state.addresses.is_empty() {
                return Err(ErrorKind::ConnectionReset.into());
            }
            Ok(state.addresses.clone())
        }

        async fn connect(&self, address: Address) -> io::Result<u16> {
            let port = address.tcp().map_or(UNIX, |address| address.port());
            self.state().tried.push(port);
            let _trying = Trying(self.clone(), port);
            match port {
                CONNECTS | UNIX => Ok(port),
                REFUSES => Err(ErrorKind::ConnectionRefused.into()),
                TIMES_OUT => Err(ErrorKind::TimedOut.into()),
                _ => {
                    poll_fn(|_| {
                        self.state().polls += 1;
                        Poll::Pending
                    })
                    .await
                }
            }
        }
    }

    fn conn(slot: u32) -> ConnId {
        ConnId::new(slot, 0)
    }

    fn dials(world: &World) -> Dials<World> {
        Dials::new(world.clone(), MemoryConfig::default())
    }

    fn poll(dials: &mut Dials<World>) -> Option<(ConnId, Result<u16, ErrorKind>)> {
        match dials.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((conn, result)) => Some((conn, result.map_err(|error| error.kind()))),
            Poll::Pending => None,
        }
    }

    /// One dial that ends at once.
    fn dial(dials: &mut Dials<World>, target: &str) -> Result<u16, ErrorKind> {
        dials.start(conn(0), target);
        poll(dials).expect("it has ended").1
    }

    #[test]
    fn an_address_that_refuses_leads_to_the_next_at_once() {
        let world = World::new(&[REFUSES, TIMES_OUT, CONNECTS, IS_SILENT]);
        assert_eq!(dial(&mut dials(&world), "a:1"), Ok(CONNECTS));
        assert_eq!(world.tried(), [REFUSES, TIMES_OUT, CONNECTS]);
    }

    #[test]
    fn an_address_that_is_silent_is_joined_by_the_next_after_its_head_start_and_dropped_when_that_wins() {
        let world = World::new(&[IS_SILENT, CONNECTS]);
        let mut dials = dials(&world);
        dials.start(conn(0), "a:1");
        assert_eq!(poll(&mut dials), None);
        world.advance(249);
        assert_eq!(poll(&mut dials), None);
        assert_eq!(world.tried(), [IS_SILENT]);
        world.advance(1);
        assert_eq!(poll(&mut dials), Some((conn(0), Ok(CONNECTS))));
        assert!(world.state().dropped.contains(&IS_SILENT));
    }

    #[test]
    fn a_sleep_that_ends_early_is_begun_again() {
        let world = World::new(&[IS_SILENT, CONNECTS]);
        world.state().sleeps_badly = true;
        let mut dials = dials(&world);
        dials.start(conn(0), "a:1");
        assert_eq!(poll(&mut dials), None);
        world.advance(250);
        assert_eq!(poll(&mut dials), Some((conn(0), Ok(CONNECTS))));
    }

    #[test]
    fn a_head_start_may_be_another() {
        let world = World::new(&[IS_SILENT, CONNECTS]);
        let dial = dial::Config { head_start: Duration::from_millis(20) };
        let mut dials = Dials::new(world.clone(), MemoryConfig { dial, ..MemoryConfig::default() });
        dials.start(conn(0), "a:1");
        assert_eq!(poll(&mut dials), None);
        world.advance(20);
        assert_eq!(poll(&mut dials), Some((conn(0), Ok(CONNECTS))));
    }

    #[test]
    fn when_all_have_failed_the_last_error_is_told() {
        let world = World::new(&[TIMES_OUT, REFUSES]);
        assert_eq!(dial(&mut dials(&world), "a:1"), Err(ErrorKind::ConnectionRefused));
        assert_eq!(dial(&mut dials(&World::new(&[])), "a:1"), Err(ErrorKind::NotFound));
    }

    #[test]
    fn every_dial_resolves_anew_and_begins_with_what_worked_last_time() {
        let world = World::new(&[REFUSES, CONNECTS]);
        let mut dials = dials(&world);
        dial(&mut dials, "a:1").unwrap();
        dial(&mut dials, "a:1").unwrap();
        assert_eq!(world.tried(), [REFUSES, CONNECTS, CONNECTS]);
        dial(&mut dials, "b:1").unwrap();
        assert_eq!(world.tried(), [REFUSES, CONNECTS], "of another name nothing is known");
        assert_eq!(world.state().resolved, 3);
    }

    #[test]
    fn when_the_resolver_fails_the_last_known_addresses_are_dialled() {
        let world = World::new(&[CONNECTS]);
        let mut dials = dials(&world);
        dial(&mut dials, "a:1").unwrap();
        world.resolves_to(&[]);
        assert_eq!(dial(&mut dials, "a:1"), Ok(CONNECTS));
        assert_eq!(dial(&mut dials, "b:1"), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_dial_that_is_given_up_tells_the_next_one_who_was_silent() {
        let world = World::new(&[IS_SILENT, CONNECTS]);
        let mut dials = dials(&world);
        dials.start(conn(0), "a:1");
        assert_eq!(poll(&mut dials), None);
        world.advance(300);
        dials.cancel(conn(0));
        assert_eq!(world.tried(), [IS_SILENT], "it was not polled in between");
        assert_eq!(dial(&mut dials, "a:1"), Ok(CONNECTS));
        assert_eq!(world.tried(), [CONNECTS]);
    }

    #[test]
    fn an_address_needs_no_resolver() {
        let world = World::new(&[]);
        assert_eq!(dial(&mut dials(&world), "/run/a.sock"), Ok(UNIX));
        assert_eq!(dial(&mut dials(&world), "unix:a.sock"), Ok(UNIX));
        assert_eq!(dial(&mut dials(&world), "192.0.2.9:1"), Ok(CONNECTS));
        assert_eq!(dial(&mut dials(&world), "[2001:db8::1]:1"), Ok(CONNECTS));
        assert_eq!(world.state().resolved, 0);
    }

    #[test]
    fn only_the_dial_that_was_woken_is_polled_and_one_that_was_cancelled_never_ends() {
        let world = World::new(&[IS_SILENT, CONNECTS]);
        let mut dials = dials(&world);
        (0..3).for_each(|slot| dials.start(conn(slot), if slot == 1 { "a:1" } else { "192.0.2.9:4" }));
        assert_eq!(poll(&mut dials), None);
        dials.cancel(conn(2));
        dials.cancel(ConnId::new(0, 7));
        assert_eq!(alloc::format!("{dials:?}"), "{0.0, 1.0}", "two are left");
        assert_eq!(world.state().polls, 3);
        world.advance(250);
        assert_eq!(poll(&mut dials), Some((conn(1), Ok(CONNECTS))));
        assert_eq!(poll(&mut dials), None);
        let polls = world.state().polls;
        assert_eq!(
            polls, 5,
            "the one that lost the race, before and after the winner began; the other was left alone"
        );
    }
}
