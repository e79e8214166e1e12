//! The suite of all adapters, in virtual time: whoever waits lets the world go on, and peers have sockets of that world.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_conformance::{Door, Ground, Wire, on};
use plimsoll_core::drive::{Address, Dialer, ListenOptions, PollIo, Runtime, Timer, Transport};
use plimsoll_core::machine::unix_path;
use plimsoll_sim::{Host, Net, Sim, Socket};

const PATIENCE: Duration = Duration::from_secs(60);

/// One host, on which everything runs.
#[derive(Clone)]
struct World {
    sim: Rc<RefCell<Sim>>,
    host: Host,
}

impl World {
    fn new() -> World {
        let sim = Sim::new(1);
        let host = sim.host("one.internal");
        World { sim: Rc::new(RefCell::new(sim)), host }
    }

    /// `None`: it was not ready in time.
    fn block_on<T>(&self, future: impl Future<Output = T>, at_most: Duration) -> Option<T> {
        let (mut future, mut timer) = (pin!(future), pin!(self.host.sleep(at_most)));
        let either = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        });
        self.sim.borrow_mut().block_on(either)
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
    let world = World::new();
    let host = world.host.clone();
    on(Rc::new(world), || scenario(host));
}

plimsoll_conformance::suite!(on_sim, virtual_time);

mod over_unix_sockets {
    plimsoll_conformance::suite!(super::on_sim, virtual_time unix);
}

mod ipc {
    plimsoll_conformance::ipc_suite!(super::on_sim, virtual_time);
}
