//! A runtime whose sockets are as hostile as their contract allows.
//!
//! Whatever a scenario finds out on loopback, it finds out on a kernel in a good mood: writes are taken whole, reads fill
//! their buffers, a socket that says it is readable is. [`Harsh`] wraps the sockets of any runtime, and takes those habits from it:
//!
//! - reads and writes move less than they could, often a single byte;
//! - calls would block although they need not, and the waker is called at once or a millisecond later;
//! - calls are interrupted, and connections in the queue of a listener are aborted;
//! - a socket with nothing to read says that it may be readable;
//! - wake-ups come late, come twice, or come for nothing.
//!
//! All of it happens by dice. Their seed is printed, so that a test that fails shows it; `PLIMSOLL_SEED` sets it. What
//! threads and kernel do in the meantime no seed can repeat, so try one several times; in virtual time, once.

use std::env;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_core::drive::{Address, Dialer, Dials, ListenOptions, PollIo, Runtime, Time, Timer, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::rng::Pcg;
use plimsoll_core::time;

/// By how much a wake-up is late, at least.
const LATE: Duration = Duration::from_millis(1);

/// The sockets of a runtime, as little help as they may be.
#[derive(Clone, Debug)]
pub struct Harsh<R> {
    runtime: R,
    fate: Fate,
}

impl<R: Runtime + Timer> Harsh<R> {
    /// Its seed is that of `PLIMSOLL_SEED`, or another one each time.
    ///
    /// # Panics
    /// If `PLIMSOLL_SEED` is set to what is no number.
    pub fn new(runtime: R) -> Self {
        let seed = match env::var("PLIMSOLL_SEED") {
            Ok(seed) => seed.parse().expect("PLIMSOLL_SEED: a number from 0 to 2^64 - 1"),
            Err(_) => RandomState::new().hash_one(0),
        };
        println!("harsh sockets: PLIMSOLL_SEED={seed}");
        let fate = Fate { dice: Arc::new(Mutex::new(Pcg::new(seed, 0))), late: Arc::default() };
        runtime.spawn(wake_late(runtime.clone(), Arc::downgrade(&fate.late)));
        Harsh { runtime, fate }
    }
}

/// Decides what befalls whom.
#[derive(Clone, Debug)]
struct Fate {
    dice: Arc<Mutex<Pcg>>,
    late: Arc<Mutex<Late>>,
}

/// Who is woken late, and who does it.
#[derive(Debug, Default)]
struct Late {
    wakers: Vec<Waker>,
    task: Option<Waker>,
}

impl Drop for Late {
    fn drop(&mut self) {
        // Nobody is left who could be late: the task ends.
        self.task.iter().for_each(Waker::wake_by_ref);
    }
}

/// Wakes whoever is to be woken late, as long as anybody could be.
async fn wake_late(timer: impl Timer, late: Weak<Mutex<Late>>) {
    let next = |cx: &mut Context<'_>| {
        let Some(late) = late.upgrade() else { return Poll::Ready(None) };
        let mut late = late.lock().unwrap();
        if late.wakers.is_empty() {
            late.task = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(mem::take(&mut late.wakers)))
    };
    while let Some(wakers) = poll_fn(next).await {
        timer.sleep(LATE).await;
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Fate {
    /// One time in so many.
    fn one_in(&self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn below(&self, n: u32) -> u32 {
        self.dice.lock().unwrap().below(n)
    }

    /// How many bytes of `most`, which is not 0.
    fn bytes(&self, most: usize) -> usize {
        match self.below(4) {
            0 => 1,
            1 => 1 + self.below(most.try_into().unwrap_or(u32::MAX)) as usize,
            _ => most,
        }
    }

    fn wake_late(&self, waker: Waker) {
        let task = {
            let mut late = self.late.lock().unwrap();
            late.wakers.push(waker);
            late.task.take()
        };
        task.iter().for_each(Waker::wake_by_ref);
    }

    /// The call ends with this.
    fn befalls<T>(&self, cx: &Context<'_>) -> Option<Poll<io::Result<T>>> {
        match self.below(16) {
            0 => Some(Poll::Ready(Err(ErrorKind::Interrupted.into()))),
            _ if self.blocks(cx) => Some(Poll::Pending),
            _ => None,
        }
    }

    /// Whether the call would block. The waker is woken then, as it must be.
    fn blocks(&self, cx: &Context<'_>) -> bool {
        match self.below(8) {
            0 => cx.waker().wake_by_ref(),
            1 if self.one_in(4) => self.wake_late(cx.waker().clone()),
            _ => return false,
        }
        true
    }
}

/// Wakes in its own good time.
///
/// It does not keep [`Late`], whose end wakes the task: a waker that is dropped must wake nobody, for whoever drops it may hold
/// locks, or be about to sleep. async-io 2.6 drops those of timers between its last look at who was woken and `epoll_wait`
/// (`Reactor::process_timer_ops`): all of smol's executor sleeps on then, until some socket or timer wakes it.
struct Tardy {
    waker: Waker,
    dice: Arc<Mutex<Pcg>>,
    late: Weak<Mutex<Late>>,
}

impl Wake for Tardy {
    fn wake(self: Arc<Self>) {
        let Some(late) = self.late.upgrade() else { return self.waker.wake_by_ref() };
        let fate = Fate { dice: self.dice.clone(), late };
        match fate.below(16) {
            0 => fate.wake_late(self.waker.clone()),
            1 => {
                fate.wake_late(self.waker.clone());
                self.waker.wake_by_ref();
            }
            _ => self.waker.wake_by_ref(),
        }
    }
}

/// The one waker that something is polled with, and the one that it gets instead.
#[derive(Debug, Default)]
struct Tarnished(Option<(Waker, Waker)>);

impl Tarnished {
    fn waker(&mut self, cx: &Context<'_>, fate: &Fate) -> Waker {
        match &self.0 {
            Some((old, tardy)) if old.will_wake(cx.waker()) => tardy.clone(),
            _ => {
                let waker = cx.waker().clone();
                let (dice, late) = (fate.dice.clone(), Arc::downgrade(&fate.late));
                let tardy = Waker::from(Arc::new(Tardy { waker: waker.clone(), dice, late }));
                self.0 = Some((waker, tardy.clone()));
                tardy
            }
        }
    }
}

/// A socket that does no more than it must.
#[derive(Debug)]
pub struct HarshIo<Io> {
    io: Io,
    fate: Fate,
    waker: Tarnished,
}

impl<Io> HarshIo<Io> {
    fn new(io: Io, fate: &Fate) -> Self {
        HarshIo { io, fate: fate.clone(), waker: Tarnished::default() }
    }
}

impl<Io: PollIo> PollIo for HarshIo<Io> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(end) = self.fate.befalls(cx) {
            return end;
        }
        let most = self.fate.bytes(buf.len());
        let waker = self.waker.waker(cx, &self.fate);
        self.io.poll_read(&mut Context::from_waker(&waker), &mut buf[..most])
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(end) = self.fate.befalls(cx) {
            return end;
        }
        let mut left = self.fate.bytes(bufs.iter().map(|buf| buf.len()).sum());
        let front: Vec<_> = bufs
            .iter()
            .map(|buf| {
                let part = &buf[..left.min(buf.len())];
                left -= part.len();
                IoSlice::new(part)
            })
            .filter(|part| !part.is_empty())
            .collect();
        let waker = self.waker.waker(cx, &self.fate);
        self.io.poll_write(&mut Context::from_waker(&waker), &front)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(end) = self.fate.befalls(cx) {
            return end;
        }
        // There may be something to read: that is no promise.
        if self.fate.one_in(8) {
            return Poll::Ready(Ok(()));
        }
        let waker = self.waker.waker(cx, &self.fate);
        self.io.poll_readable(&mut Context::from_waker(&waker))
    }
}

impl<R: Time> Time for Harsh<R> {
    fn now(&self) -> time::Instant {
        self.runtime.now()
    }
}

impl<R: Timer + Sync> Timer for Harsh<R> {
    async fn sleep(&self, length: Duration) {
        hesitate(&self.fate).await;
        self.runtime.sleep(length).await;
    }
}

impl<R: Dialer> Dialer for Harsh<R> {
    type Io = HarshIo<R::Io>;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        hesitate(&self.fate).await;
        self.runtime.resolve(name).await
    }

    async fn connect(&self, address: Address) -> io::Result<Self::Io> {
        hesitate(&self.fate).await;
        Ok(HarshIo::new(self.runtime.connect(address).await?, &self.fate))
    }
}

impl<R, Io> Runtime for Harsh<R>
where
    R: Runtime<Transport: Transport<Io = Io>> + Dialer<Io = Io>,
    Io: PollIo + Send + 'static,
{
    type Transport = HarshNet<R>;

    fn connector(&self) -> HarshNet<R> {
        HarshNet::new(self, self.runtime.connector(), false)
    }

    async fn listen(
        &self,
        addr: &str,
        options: &ListenOptions,
        shards: usize,
    ) -> io::Result<(Vec<HarshNet<R>>, Address)> {
        let (nets, address) = self.runtime.listen(addr, options, shards).await?;
        Ok((nets.into_iter().map(|net| HarshNet::new(self, net, true)).collect(), address))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(driver);
    }
}

/// What one driver has: sockets that do no more than they must, and a timer that is late.
#[derive(Debug)]
pub struct HarshNet<R: Runtime + Dialer> {
    net: R::Transport,
    dials: Dials<Harsh<R>>,
    fate: Fate,
    listens: bool,
    accepting: Tarnished,
    alarm: Tarnished,
}

impl<R: Runtime + Dialer> HarshNet<R> {
    fn new(harsh: &Harsh<R>, net: R::Transport, listens: bool) -> Self {
        let dials = Dials::new(harsh.clone(), MemoryConfig::default());
        let (accepting, alarm) = (Tarnished::default(), Tarnished::default());
        HarshNet { net, dials, fate: harsh.fate.clone(), listens, accepting, alarm }
    }
}

impl<R, Io> Transport for HarshNet<R>
where
    R: Runtime<Transport: Transport<Io = Io>> + Dialer<Io = Io>,
    Io: PollIo + Send + 'static,
{
    type Io = HarshIo<Io>;

    fn now(&mut self) -> time::Instant {
        self.net.now()
    }

    fn unix_ms(&mut self) -> u64 {
        self.net.unix_ms()
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        self.dials.start(conn, target);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        self.dials.cancel(conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Self::Io>)> {
        self.dials.poll_next(cx)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, Peer)>> {
        if !self.listens {
            return Poll::Pending;
        }
        if let Some(end) = self.fate.befalls(cx) {
            return end;
        }
        if self.fate.one_in(16) {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        let waker = self.accepting.waker(cx, &self.fate);
        let accepted = self.net.poll_accept(&mut Context::from_waker(&waker));
        accepted.map_ok(|(io, peer)| (HarshIo::new(io, &self.fate), peer))
    }

    fn stop_listening(&mut self) {
        self.listens = false;
        self.net.stop_listening();
    }

    fn set_timer(&mut self, after: Duration) {
        self.net.set_timer(after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.fate.blocks(cx) {
            return Poll::Pending;
        }
        let waker = self.alarm.waker(cx, &self.fate);
        self.net.poll_timer(&mut Context::from_waker(&waker))
    }
}

/// Is ready after it was polled a few times more than is needed.
fn hesitate(fate: &Fate) -> impl Future<Output = ()> + Send {
    poll_fn(|cx| if fate.blocks(cx) { Poll::Pending } else { Poll::Ready(()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waker_that_is_dropped_wakes_nobody() {
        let task = Arc::new(Counter::default());
        let fate = Fate { dice: Arc::new(Mutex::new(Pcg::new(7, 0))), late: Arc::default() };
        fate.late.lock().unwrap().task = Some(task.clone().into());
        let tardy = Tarnished::default().waker(&Context::from_waker(Waker::noop()), &fate);
        drop(fate);
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "the task learns that nobody is left");
        drop(tardy);
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
    }
}
