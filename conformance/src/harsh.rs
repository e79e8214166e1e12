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
//! threads and kernel do in the meantime no seed can repeat, so try one several times.

use std::env;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_core::drive::{Address, Clock, Dialer, Listening, PollIo, Sockets, Time, Timer};
use plimsoll_core::machine::Peer;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::rng::Pcg;
use plimsoll_core::time;

/// By how much a wake-up is late.
const LATE: Duration = Duration::from_millis(1);

/// The sockets of a runtime, as little help as they may be.
#[derive(Clone, Debug)]
pub struct Harsh<S> {
    sockets: S,
    fate: Fate,
}

impl<S> Harsh<S> {
    /// Its seed is that of `PLIMSOLL_SEED`, or another one each time.
    ///
    /// # Panics
    /// If `PLIMSOLL_SEED` is set to what is no number.
    pub fn new(sockets: S) -> Self {
        let seed = match env::var("PLIMSOLL_SEED") {
            Ok(seed) => seed.parse().expect("PLIMSOLL_SEED: a number from 0 to 2^64 - 1"),
            Err(_) => RandomState::new().hash_one(0),
        };
        println!("harsh sockets: PLIMSOLL_SEED={seed}");
        Harsh { sockets, fate: Fate::new(seed) }
    }
}

/// Decides what befalls whom.
#[derive(Clone, Debug)]
struct Fate {
    dice: Arc<Mutex<Pcg>>,
    /// To the thread that wakes late.
    late: Sender<(Instant, Waker)>,
}

impl Fate {
    fn new(seed: u64) -> Self {
        let (late, wakers) = mpsc::channel();
        // Ends when the last of those is dropped who could wake late.
        thread::spawn(move || wake_late(&wakers));
        Fate { dice: Arc::new(Mutex::new(Pcg::new(seed, 0))), late }
    }

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
        // The thread is there as long as `self` is.
        let _ = self.late.send((Instant::now() + LATE, waker));
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

/// All wait for the same time, so the first to come is the first to go.
fn wake_late(wakers: &Receiver<(Instant, Waker)>) {
    for (at, waker) in wakers {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        waker.wake();
    }
}

/// Wakes in its own good time.
struct Tardy {
    waker: Waker,
    fate: Fate,
}

impl Wake for Tardy {
    fn wake(self: Arc<Self>) {
        match self.fate.below(16) {
            0 => self.fate.wake_late(self.waker.clone()),
            1 => {
                self.fate.wake_late(self.waker.clone());
                self.waker.wake_by_ref();
            }
            _ => self.waker.wake_by_ref(),
        }
    }
}

/// The one waker that something is polled with, and the one that it gets instead.
#[derive(Debug, Default)]
pub struct Tarnished(Option<(Waker, Waker)>);

impl Tarnished {
    fn waker(&mut self, cx: &Context<'_>, fate: &Fate) -> Waker {
        match &self.0 {
            Some((old, tardy)) if old.will_wake(cx.waker()) => tardy.clone(),
            _ => {
                let waker = cx.waker().clone();
                let tardy = Waker::from(Arc::new(Tardy { waker: waker.clone(), fate: fate.clone() }));
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

impl<S: Time> Time for Harsh<S> {
    fn now(&self) -> time::Instant {
        self.sockets.now()
    }
}

impl<S: Timer + Sync> Timer for Harsh<S> {
    async fn sleep(&self, length: Duration) {
        hesitate(&self.fate).await;
        self.sockets.sleep(length).await;
    }
}

impl<S: Dialer> Dialer for Harsh<S> {
    type Io = HarshIo<S::Io>;

    async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        hesitate(&self.fate).await;
        self.sockets.resolve(name).await
    }

    async fn connect(&self, address: Address) -> io::Result<Self::Io> {
        hesitate(&self.fate).await;
        Ok(HarshIo::new(self.sockets.connect(address).await?, &self.fate))
    }
}

impl<S: Sockets> Sockets for Harsh<S> {
    type Listener = (S::Listener, Tarnished);
    type Alarm = (S::Alarm, Tarnished);

    fn clock(&self) -> &Clock {
        self.sockets.clock()
    }

    fn dialling(&self) -> MemoryConfig {
        self.sockets.dialling()
    }

    fn watch(&self, socket: Listening) -> io::Result<Self::Listener> {
        Ok((self.sockets.watch(socket)?, Tarnished::default()))
    }

    fn poll_accept(
        &self,
        (listener, waker): &mut Self::Listener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Io, Peer)>> {
        if let Some(end) = self.fate.befalls(cx) {
            return end;
        }
        if self.fate.one_in(16) {
            return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
        }
        let waker = waker.waker(cx, &self.fate);
        let accepted = self.sockets.poll_accept(listener, &mut Context::from_waker(&waker));
        accepted.map_ok(|(io, peer)| (HarshIo::new(io, &self.fate), peer))
    }

    fn alarm(&self) -> Self::Alarm {
        (self.sockets.alarm(), Tarnished::default())
    }

    fn set_alarm(&self, (alarm, _): &mut Self::Alarm, after: Duration) {
        self.sockets.set_alarm(alarm, after);
    }

    fn poll_alarm(&self, (alarm, waker): &mut Self::Alarm, cx: &mut Context<'_>) -> Poll<()> {
        if self.fate.blocks(cx) {
            return Poll::Pending;
        }
        let waker = waker.waker(cx, &self.fate);
        self.sockets.poll_alarm(alarm, &mut Context::from_waker(&waker))
    }

    fn start(&self, driver: impl Future<Output = ()> + Send + 'static) {
        self.sockets.start(driver);
    }
}

/// Is ready after it was polled a few times more than is needed.
fn hesitate(fate: &Fate) -> impl Future<Output = ()> + Send {
    poll_fn(|cx| if fate.blocks(cx) { Poll::Pending } else { Poll::Ready(()) })
}
