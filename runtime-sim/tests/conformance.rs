//! The suite of all adapters, in virtual time: whoever waits lets the world go on, and peers have sockets of that world.
//!
//! Callers have threads here too, and so has the world, but one runs at a time: they wait for each other in virtual time, and
//! each run is as the one before.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use plimsoll_conformance::{Door, Ground, Harsh, Wire, on};
use plimsoll_core::drive::{Address, Dialer, ListenOptions, PollIo, Runtime, Timer, Transport};
use plimsoll_core::machine::{Credentials, unix_path};
use plimsoll_sim::{Host, Net, Sim, Socket};

const PATIENCE: Duration = Duration::from_secs(60);

/// One host, on which everything runs, to one thread.
#[derive(Clone)]
struct World {
    host: Host,
    seat: Rc<Seat>,
}

/// Whose turn it is. Only that thread runs, until it waits for something.
#[derive(Default)]
struct Table {
    turns: Mutex<Turns>,
    passed: Condvar,
}

#[derive(Default)]
struct Turns {
    /// Whether whoever sits there can go on; nobody sits there any more, if there is none.
    seats: Vec<Option<bool>>,
    /// The world's, if it is nobody's.
    turn: Option<usize>,
    /// Who lets time pass until somebody can go on.
    watcher: Option<Waker>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_turn(&self, of: Option<usize>) -> MutexGuard<'_, Turns> {
        let turns = self.lock();
        let waiting = self.passed.wait_while(turns, |turns| turns.turn != of);
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to the next who can go on, or else to the world.
    fn pass(&self, mut turns: MutexGuard<'_, Turns>) {
        let after = turns.turn.map_or(0, |turn| turn + 1);
        let order = (after..turns.seats.len()).chain(0..after);
        turns.turn = order.into_iter().find(|&seat| turns.seats[seat] == Some(true));
        self.passed.notify_all();
    }

    /// Lets time pass while nobody can go on, until all have left.
    fn let_time_pass(&self, mut sim: Sim) {
        loop {
            let mut is_over = false;
            let anybody = poll_fn(|cx| {
                let mut turns = self.lock();
                is_over = turns.seats.iter().all(Option::is_none);
                if is_over || turns.seats.contains(&Some(true)) {
                    return Poll::Ready(());
                }
                turns.watcher = Some(cx.waker().clone());
                Poll::Pending
            });
            sim.block_on(anybody);
            if is_over {
                return;
            }
            self.pass(self.lock());
            drop(self.await_turn(None));
        }
    }
}

/// One thread's.
struct Seat {
    table: Arc<Table>,
    index: usize,
    /// What wakes whoever sits there.
    waker: Waker,
}

impl Seat {
    fn at(table: &Arc<Table>) -> Seat {
        let index = {
            let mut turns = table.lock();
            turns.seats.push(Some(true));
            turns.seats.len() - 1
        };
        let waker = Waker::from(Arc::new(Knock { table: table.clone(), index }));
        Seat { table: table.clone(), index, waker }
    }

    fn await_turn(&self) {
        self.table.await_turn(Some(self.index)).seats[self.index] = Some(false);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut turns = self.table.lock();
        turns.seats[self.index] = None;
        self.table.pass(turns);
    }
}

/// Whoever sits there can go on.
struct Knock {
    table: Arc<Table>,
    index: usize,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        let watcher = {
            let mut turns = self.table.lock();
            if let Some(can_go_on) = &mut turns.seats[self.index] {
                *can_go_on = true;
            }
            turns.watcher.take()
        };
        watcher.into_iter().for_each(Waker::wake);
    }
}

impl World {
    /// Made where its turns are awaited.
    fn new(host: Host, seat: Seat) -> World {
        seat.await_turn();
        World { host, seat: Rc::new(seat) }
    }

    /// `None`: it was not ready in time.
    fn block_on<T>(&self, future: impl Future<Output = T>, at_most: Duration) -> Option<T> {
        let (mut future, mut timer) = (pin!(future), pin!(self.host.sleep(at_most)));
        let mut cx = Context::from_waker(&self.seat.waker);
        loop {
            // Before the future is polled: what is ready and has woken nobody hangs as well.
            if timer.as_mut().poll(&mut cx).is_ready() {
                return None;
            }
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            self.seat.table.pass(self.seat.table.lock());
            self.seat.await_turn();
        }
    }

    fn wire(&self, socket: Socket) -> Box<dyn Wire> {
        Box::new(Blocking { world: self.clone(), socket, patience: PATIENCE })
    }
}

impl Ground for World {
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>, at_most: Duration) -> bool {
        self.block_on(future, at_most).is_some()
    }

    fn connect(&self, address: &str) -> io::Result<Box<dyn Wire>> {
        let address = match unix_path(address) {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(address.parse::<SocketAddr>().expect("an address")),
        };
        let socket = self.block_on(self.host.connect(address), PATIENCE).ok_or(ErrorKind::TimedOut)??;
        Ok(self.wire(socket))
    }

    fn listen(&self, address: &str) -> io::Result<(Box<dyn Door>, String)> {
        let options = ListenOptions { backlog: 16, ..ListenOptions::default() };
        let listening = self.block_on(self.host.listen(address, &options, 1), PATIENCE);
        let (mut shares, address) = listening.ok_or(ErrorKind::TimedOut)??;
        let net = RefCell::new(shares.pop().expect("one share"));
        Ok((Box::new(Waiting { world: self.clone(), net }), address.to_string()))
    }

    fn for_caller(&self) -> Box<dyn FnOnce() -> Rc<dyn Ground> + Send> {
        let (host, seat) = (self.host.clone(), Seat::at(&self.seat.table));
        Box::new(|| Rc::new(World::new(host, seat)))
    }

    fn moment(&self) {
        self.wait(pin!(pending()), Duration::from_micros(10));
    }

    fn process(&self) -> Credentials {
        self.host.credentials()
    }
}

struct Waiting {
    world: World,
    net: RefCell<Net>,
}

impl Door for Waiting {
    fn accept(&self) -> Option<Box<dyn Wire>> {
        match self.net.borrow_mut().poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(accepted) => Some(self.world.wire(accepted.ok()?.0)),
            Poll::Pending => None,
        }
    }
}

/// A socket that lets the world go on until its bytes are there.
struct Blocking {
    world: World,
    socket: Socket,
    patience: Duration,
}

impl Blocking {
    fn wait<T>(
        &mut self,
        mut poll: impl FnMut(&mut Socket, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let Blocking { world, socket, patience } = self;
        world.block_on(poll_fn(|cx| poll(socket, cx)), *patience).ok_or(ErrorKind::TimedOut)?
    }
}

impl Read for Blocking {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait(|socket, cx| socket.poll_read(cx, buf))
    }
}

impl Write for Blocking {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.wait(|socket, cx| socket.poll_write(cx, &[IoSlice::new(buf)]))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Blocking {
    fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    fn wait_for_bytes(&mut self) -> io::Result<()> {
        self.wait(|socket, cx| socket.poll_readable(cx))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.socket.finish();
        Ok(())
    }
}

fn on_sim(scenario: impl FnOnce(Host)) {
    let sim = Sim::new(1);
    let host = sim.host("one.internal");
    let table = Arc::<Table>::default();
    let seat = Seat::at(&table);
    thread::scope(|scope| {
        scope.spawn(|| table.let_time_pass(sim));
        on(Rc::new(World::new(host.clone(), seat)), || scenario(host));
    });
}

fn on_harsh_sim(scenario: impl FnOnce(Harsh<Host>)) {
    on_sim(|host| scenario(Harsh::new(host)));
}

plimsoll_conformance::suite!(on_sim);

mod over_unix_sockets {
    plimsoll_conformance::suite!(super::on_sim, unix);
}

mod over_harsh_sockets {
    plimsoll_conformance::suite!(super::on_harsh_sim, harsh);

    mod and_unix {
        plimsoll_conformance::suite!(super::super::on_harsh_sim, unix);
    }
}

mod ipc {
    plimsoll_conformance::ipc_suite!(super::on_sim);

    mod over_harsh_sockets {
        plimsoll_conformance::ipc_suite!(super::super::on_harsh_sim);
    }
}
