//! A runtime whose sockets do what a script says, one call after the other, in virtual time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use plimsoll_core::drive::{Driver, Host, PollIo, Transport};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine;
use plimsoll_core::time::Instant;

use super::echo::Echo;

/// What one call on a socket does. A call without a script moves all there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Moves so many bytes at most.
    Short(usize),
    /// Would block, although there is something; the waker is woken later.
    Block,
    /// Would block, and the waker is woken at once, for nothing.
    Spurious,
    Interrupted,
    Fail(ErrorKind),
}

#[derive(Default)]
pub struct Socket {
    pub incoming: VecDeque<u8>,
    pub end: bool,
    pub written: Vec<u8>,
    pub script: VecDeque<Step>,
    pub reads: usize,
    pub calls: usize,
    /// Fails from this call on.
    pub fail_at: Option<(usize, ErrorKind)>,
    waker: Option<Waker>,
    pub dropped: bool,
}

/// The test's end of a socket.
#[derive(Clone, Default)]
pub struct Peer(pub Rc<RefCell<Socket>>);

pub struct Io(Peer);

impl Drop for Io {
    fn drop(&mut self) {
        self.0.0.borrow_mut().dropped = true;
    }
}

impl Peer {
    pub fn sends(&self, bytes: &[u8]) {
        self.0.borrow_mut().incoming.extend(bytes);
        self.wake();
    }

    pub fn ends(&self) {
        self.0.borrow_mut().end = true;
        self.wake();
    }

    pub fn wake(&self) -> bool {
        let waker = self.0.borrow_mut().waker.take();
        waker.map(Waker::wake).is_some()
    }

    pub fn written(&self) -> Vec<u8> {
        self.0.borrow().written.clone()
    }
}

impl Socket {
    /// `Err`: the call ends here. `Ok`: it moves so many bytes at most.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<usize, Poll<io::Error>> {
        self.calls += 1;
        if let Some((_, kind)) = self.fail_at.filter(|(at, _)| self.calls >= *at) {
            return Err(Poll::Ready(kind.into()));
        }
        match self.script.pop_front() {
            None => Ok(usize::MAX),
            Some(Step::Short(n)) => Ok(n.max(1)),
            Some(Step::Interrupted) => Err(Poll::Ready(ErrorKind::Interrupted.into())),
            Some(Step::Fail(kind)) => Err(Poll::Ready(kind.into())),
            Some(Step::Block) => {
                self.waker = Some(cx.waker().clone());
                Err(Poll::Pending)
            }
            Some(Step::Spurious) => {
                self.waker = Some(cx.waker().clone());
                cx.waker().wake_by_ref();
                Err(Poll::Pending)
            }
        }
    }
}

impl PollIo for Io {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut socket = self.0.0.borrow_mut();
        assert!(!buf.is_empty());
        socket.reads += 1;
        let most = match socket.step(cx) {
            Ok(most) => most,
            Err(end) => return end.map(Err),
        };
        if socket.incoming.is_empty() && !socket.end {
            socket.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = most.min(buf.len()).min(socket.incoming.len());
        buf.iter_mut().zip(socket.incoming.drain(..n)).for_each(|(to, byte)| *to = byte);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut socket = self.0.0.borrow_mut();
        let most = match socket.step(cx) {
            Ok(most) => most,
            Err(end) => return end.map(Err),
        };
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
        assert!(!bytes.is_empty());
        socket.written.extend_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.0.borrow_mut();
        if let Err(end) = socket.step(cx) {
            return end.map(Err);
        }
        if socket.incoming.is_empty() && !socket.end {
            socket.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
pub struct World {
    pub now: Instant,
    pub wall_offset_ms: u64,
    pub timer: Option<Instant>,
    pub timers_set: usize,
    timer_waker: Option<Waker>,
    pub dials: Vec<(ConnId, String)>,
    pub cancelled: Vec<ConnId>,
    dialed: VecDeque<(ConnId, io::Result<Io>)>,
    dial_waker: Option<Waker>,
    backlog: VecDeque<io::Result<Io>>,
    pub accepts: usize,
    pub stopped: usize,
    accept_waker: Option<Waker>,
}

#[derive(Clone, Default)]
pub struct Runtime(pub Rc<RefCell<World>>);

impl Transport for Runtime {
    type Io = Io;

    fn now(&mut self) -> Instant {
        self.0.borrow().now
    }
    fn unix_ms(&mut self) -> u64 {
        let world = self.0.borrow();
        world.now.as_nanos() / 1_000_000 + world.wall_offset_ms
    }
    fn dial(&mut self, conn: ConnId, target: &str) {
        self.0.borrow_mut().dials.push((conn, target.into()));
    }
    fn cancel_dial(&mut self, conn: ConnId) {
        self.0.borrow_mut().cancelled.push(conn);
    }
    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Io>)> {
        let mut world = self.0.borrow_mut();
        match world.dialed.pop_front() {
            Some(dialed) => Poll::Ready(dialed),
            None => {
                world.dial_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Io, machine::Peer)>> {
        let mut world = self.0.borrow_mut();
        world.accepts += 1;
        match world.backlog.pop_front() {
            Some(accepted) => Poll::Ready(accepted.map(|io| (io, machine::Peer::UNKNOWN))),
            None => {
                world.accept_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
    fn stop_listening(&mut self) {
        let mut world = self.0.borrow_mut();
        world.stopped += 1;
        world.backlog.clear();
    }
    fn set_timer(&mut self, after: Duration) {
        let mut world = self.0.borrow_mut();
        world.timer = Some(world.now + after);
        world.timers_set += 1;
    }
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut world = self.0.borrow_mut();
        if world.timer.expect("polled only when set") <= world.now {
            world.timer = None;
            return Poll::Ready(());
        }
        world.timer_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// From whom, and what.
type Heard = (ConnId, Vec<u8>);
type Command = Box<dyn FnOnce(Instant, &mut Echo)>;

/// Runs closures on the machine, and keeps what it receives.
#[derive(Clone, Default)]
pub struct Script {
    pub commands: Rc<RefCell<Vec<Command>>>,
    pub events: Rc<RefCell<Vec<Heard>>>,
    pub closed: Rc<RefCell<bool>>,
    /// Whether each event is followed by a command to say the same once more.
    pub repeats: Rc<RefCell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Host<Echo> for Script {
    fn commands(&mut self, now: Instant, machine: &mut Echo) {
        for command in self.commands.take() {
            command(now, machine);
        }
    }
    fn event(&mut self, _: Instant, (conn, bytes): (ConnId, &[u8])) {
        self.events.borrow_mut().push((conn, bytes.into()));
        if *self.repeats.borrow() {
            let bytes = bytes.to_vec();
            self.commands.borrow_mut().push(Box::new(move |_, machine| machine.say(conn, &bytes)));
        }
    }
    fn publish(&mut self, _: Instant, _: &mut Echo) {}
    fn arm(&mut self, driver: &Waker) -> bool {
        *self.waker.borrow_mut() = Some(driver.clone());
        !self.commands.borrow().is_empty()
    }
    fn is_listening(&self) -> bool {
        !*self.closed.borrow()
    }
}

#[derive(Default)]
struct Task {
    woken: AtomicBool,
    wakes: AtomicUsize,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// A driver of an [`Echo`], and everything around it.
pub struct Bench<T: Transport = Runtime> {
    pub runtime: Runtime,
    pub script: Script,
    pub inputs: Rc<RefCell<Vec<plimsoll_core::machine::Input>>>,
    driver: Driver<Echo, Script, T>,
    task: Arc<Task>,
    pub finished: bool,
    pub turns: usize,
}

impl Bench {
    pub fn new(machine: Echo) -> Self {
        Bench::with(machine, |runtime| runtime)
    }
}

impl<T: Transport> Bench<T> {
    /// With something around the transport.
    pub fn with(machine: Echo, wrap: impl FnOnce(Runtime) -> T) -> Self {
        let (runtime, script, inputs) = (Runtime::default(), Script::default(), machine.inputs.clone());
        let driver = Driver::new(machine, script.clone(), wrap(runtime.clone()));
        let task = Arc::new(Task::default());
        task.woken.store(true, Ordering::SeqCst);
        let mut bench = Bench { runtime, script, inputs, driver, task, finished: false, turns: 0 };
        bench.run();
        bench
    }

    /// Polls the driver as long as it is woken.
    pub fn run(&mut self) {
        let waker = Waker::from(self.task.clone());
        let mut turns = 0;
        while !self.finished && self.task.woken.swap(false, Ordering::SeqCst) {
            turns += 1;
            assert!(turns < 10_000, "the driver spins");
            self.finished = Pin::new(&mut self.driver).poll(&mut Context::from_waker(&waker)).is_ready();
        }
        self.turns += turns;
    }

    pub fn command(&mut self, command: impl FnOnce(Instant, &mut Echo) + 'static) {
        self.script.commands.borrow_mut().push(Box::new(command));
        if let Some(waker) = self.script.waker.borrow_mut().take() {
            waker.wake();
        }
        self.run();
    }

    pub fn advance(&mut self, millis: u64) {
        let mut world = self.runtime.0.borrow_mut();
        world.now = world.now + Duration::from_millis(millis);
        let due = world.timer.is_some_and(|at| at <= world.now);
        let waker = if due { world.timer_waker.take() } else { None };
        drop(world);
        waker.into_iter().for_each(Waker::wake);
        self.run();
    }

    /// Somebody connects.
    pub fn accept(&mut self) -> Peer {
        let peer = Peer::default();
        self.accept_result(Ok(Io(peer.clone())));
        peer
    }

    pub fn accept_result(&mut self, result: io::Result<Io>) {
        let waker = {
            let mut world = self.runtime.0.borrow_mut();
            world.backlog.push_back(result);
            world.accept_waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        self.run();
    }

    /// A dial succeeds.
    pub fn dialed(&mut self, conn: ConnId) -> Peer {
        let peer = Peer::default();
        self.dial_result(conn, Ok(Io(peer.clone())));
        peer
    }

    pub fn dial_result(&mut self, conn: ConnId, result: io::Result<Io>) {
        let waker = {
            let mut world = self.runtime.0.borrow_mut();
            world.dialed.push_back((conn, result));
            world.dial_waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        self.run();
    }

    pub fn last_dial(&self) -> ConnId {
        self.runtime.0.borrow().dials.last().expect("a dial").0
    }

    /// Wakes whatever waits, again and again, so that each script has long run out.
    pub fn settle(&mut self, peers: &[&Peer]) {
        for _ in 0..200 {
            for peer in peers {
                peer.wake();
            }
            self.run();
        }
    }
}
