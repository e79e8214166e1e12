//! A runtime in memory: drivers that talk to each other over pairs of sockets, in virtual time, on one thread. Each call
//! on a socket has a number, and the one that is asked for fails.
#![allow(unreachable_pub, reason = "test code has no outside")]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_core::drive::{Address, ListenOptions, PollIo, Runtime, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::Peer;
use plimsoll_core::time::Instant;

/// Bytes on their way in one direction, at most: so few that all writes are cut, and all block.
const CAPACITY: usize = 128;

/// How much virtual time passes before something hangs, and how often a task is polled at one time before it spins.
const PATIENCE: Duration = Duration::from_secs(60);
const POLLS: usize = 1_000;

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    Error(ErrorKind),
    /// An error for which the standard library has no kind.
    Os(i32),
    /// Nothing is moved: the end of the stream to who reads, and a broken transport to who writes.
    Zero,
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Failure::Error(kind) => kind.into(),
            Failure::Os(code) => io::Error::from_raw_os_error(code),
            Failure::Zero => ErrorKind::Other.into(),
        }
    }
}

#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    now: Instant,
    calls: u32,
    fails: Option<(u32, Failure)>,
    listeners: BTreeMap<SocketAddr, Listener>,
    tasks: Vec<Task>,
    timers: Vec<(Instant, Waker)>,
    sockets: usize,
}

#[derive(Default)]
struct Listener {
    backlog: VecDeque<Io>,
    waker: Option<Waker>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Memory {
    /// The call of this number fails, counted from 0.
    pub fn failing(call: u32, failure: Failure) -> Self {
        let memory = Memory::default();
        memory.world().fails = Some((call, failure));
        memory
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Calls on sockets so far.
    pub fn calls(&self) -> u32 {
        self.world().calls
    }

    /// Whether the call that was to fail has failed.
    pub fn has_failed(&self) -> bool {
        let world = self.world();
        world.fails.is_some_and(|(call, _)| call < world.calls)
    }

    /// Sockets that have not been dropped.
    pub fn sockets(&self) -> usize {
        self.world().sockets
    }

    /// Drivers that have not ended.
    pub fn tasks(&self) -> usize {
        self.world().tasks.len()
    }

    /// Lets everybody run until `future` is ready. When all sleep, time passes.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let give_up = self.world().now + PATIENCE;
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
            if !self.run() {
                let mut world = self.world();
                let next = world.timers.iter().map(|(at, _)| *at).min().expect("all wait for nothing");
                assert!(next < give_up, "hangs");
                world.now = world.now.max(next);
                let (due, later) = world.timers.drain(..).partition(|(at, _)| *at <= next);
                world.timers = later;
                drop(world);
                let due: Vec<(Instant, Waker)> = due;
                due.into_iter().for_each(|(_, waker)| waker.wake());
            }
        }
    }

    /// Lets everybody run until all sleep.
    pub fn settle(&self) {
        self.run();
    }

    /// Polls those that were woken, until nobody is. Whether there was any.
    fn run(&self) -> bool {
        for polls in 0..POLLS {
            let mut tasks = std::mem::take(&mut self.world().tasks);
            let mut any = false;
            tasks.retain_mut(|task| {
                if !task.woken.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                any = true;
                let waker = Waker::from(task.woken.clone());
                task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            let mut world = self.world();
            // Those that were spawned in the meantime come last.
            let spawned = std::mem::replace(&mut world.tasks, tasks);
            world.tasks.extend(spawned);
            if !any {
                return polls > 0;
            }
        }
        panic!("somebody is woken again and again, and does nothing");
    }

    /// One more call on a socket.
    fn call(&self) -> Result<(), Failure> {
        let mut world = self.world();
        let number = world.calls;
        world.calls += 1;
        match world.fails {
            Some((fails, failure)) if fails == number => Err(failure),
            _ => Ok(()),
        }
    }

    fn net(&self, address: Option<SocketAddr>) -> Net {
        Net { memory: self.clone(), address, dialed: VecDeque::new(), dials: None, timer: None }
    }

    fn pair(&self) -> (Io, Io) {
        self.world().sockets += 2;
        let (there, back) = (Arc::new(Mutex::new(Pipe::default())), Arc::new(Mutex::new(Pipe::default())));
        let io = |incoming: &Arc<_>, outgoing: &Arc<_>| Io {
            memory: self.clone(),
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
        };
        (io(&back, &there), io(&there, &back))
    }

    /// Connects, and sets the socket up.
    fn connect(&self, target: &str) -> io::Result<Io> {
        self.call().map_err(Failure::error)?;
        let address: SocketAddr = target.parse().expect("an address");
        let (here, there) = self.pair();
        let mut world = self.world();
        let Some(listener) = world.listeners.get_mut(&address) else {
            drop(world);
            return Err(ErrorKind::ConnectionRefused.into());
        };
        listener.backlog.push_back(there);
        let waker = listener.waker.take();
        drop(world);
        waker.into_iter().for_each(Waker::wake);
        self.call().map_err(Failure::error)?;
        Ok(here)
    }
}

impl Runtime for Memory {
    type Transport = Net;

    fn connector(&self) -> Net {
        self.net(None)
    }

    async fn listen(&self, addr: &str, _: &ListenOptions, shards: usize) -> io::Result<(Vec<Net>, Address)> {
        assert_eq!(shards, 1);
        self.call().map_err(Failure::error)?;
        let address: SocketAddr = addr.parse().expect("an address");
        self.world().listeners.insert(address, Listener::default());
        Ok((vec![self.net(Some(address))], address.into()))
    }

    fn spawn(&self, driver: impl Future<Output = ()> + Send + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.world().tasks.push(Task { future: Box::pin(driver), woken });
    }
}

pub struct Net {
    memory: Memory,
    address: Option<SocketAddr>,
    dialed: VecDeque<(ConnId, io::Result<Io>)>,
    dials: Option<Waker>,
    timer: Option<Instant>,
}

impl Transport for Net {
    type Io = Io;

    fn now(&mut self) -> Instant {
        self.memory.world().now
    }

    fn unix_ms(&mut self) -> u64 {
        self.memory.world().now.as_nanos() / 1_000_000
    }

    fn dial(&mut self, conn: ConnId, target: &str) {
        self.dialed.push_back((conn, self.memory.connect(target)));
        self.dials.take().into_iter().for_each(Waker::wake);
    }

    fn cancel_dial(&mut self, conn: ConnId) {
        self.dialed.retain(|(dialed, _)| *dialed != conn);
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Io>)> {
        match self.dialed.pop_front() {
            Some(dialed) => Poll::Ready(dialed),
            None => {
                self.dials = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Accepts, and sets the socket up. What fails before, has taken nobody out of the queue.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Io, Peer)>> {
        let Some(address) = self.address else { return Poll::Pending };
        self.memory.call().map_err(Failure::error)?;
        let accepted = {
            let mut world = self.memory.world();
            let listener = world.listeners.get_mut(&address).expect("it listens");
            let Some(io) = listener.backlog.pop_front() else {
                listener.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            io
        };
        self.memory.call().map_err(Failure::error)?;
        Poll::Ready(Ok((accepted, Peer::UNKNOWN)))
    }

    fn stop_listening(&mut self) {
        let Some(address) = self.address.take() else { return };
        let listener = self.memory.world().listeners.remove(&address);
        drop(listener);
    }

    fn set_timer(&mut self, after: Duration) {
        self.timer = Some(self.memory.world().now + after);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.timer else { return Poll::Pending };
        let mut world = self.memory.world();
        if at <= world.now {
            return Poll::Ready(());
        }
        world.timers.push((at, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Who wrote is gone.
    ended: bool,
    /// Who read is gone.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
pub struct Io {
    memory: Memory,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

impl PollIo for Io {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.memory.call() {
            Err(Failure::Zero) => return Poll::Ready(Ok(0)),
            Err(failure) => return Poll::Ready(Err(failure.error())),
            Ok(()) => {}
        }
        let mut pipe = self.incoming.lock().unwrap();
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = buf.len().min(pipe.bytes.len());
        buf.iter_mut().zip(pipe.bytes.drain(..n)).for_each(|(to, byte)| *to = byte);
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.memory.call() {
            Err(Failure::Zero) => return Poll::Ready(Ok(0)),
            Err(failure) => return Poll::Ready(Err(failure.error())),
            Ok(()) => {}
        }
        let mut pipe = self.outgoing.lock().unwrap();
        if pipe.broken {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY - pipe.bytes.len();
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = pipe.bytes.len();
        pipe.bytes.extend(bufs.iter().flat_map(|buf| buf.iter()).take(room));
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(pipe.bytes.len() - before))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.memory.call() {
            Err(Failure::Zero) | Ok(()) => {}
            Err(failure) => return Poll::Ready(Err(failure.error())),
        }
        let mut pipe = self.incoming.lock().unwrap();
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.memory.world().sockets -= 1;
        let reader = {
            let mut pipe = self.outgoing.lock().unwrap();
            pipe.ended = true;
            pipe.reader.take()
        };
        let writer = {
            let mut pipe = self.incoming.lock().unwrap();
            pipe.broken = true;
            pipe.writer.take()
        };
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }
}
