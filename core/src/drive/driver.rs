//! The loop of [`machine`](crate::machine), once for all runtimes and machines.

use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind};

use super::clock::{WallWatch, sleep_for};
use super::connections::{ACCEPT, Connections, DIALS, Received, Sent, TIMER};
use super::{Host, Transport, fault_of};
use crate::error::Fault;
use crate::id::ConnId;
use crate::machine::{Action, Input, Machine};
use crate::time::Instant;

/// What one turn does at most, so that nothing starves anything else: reads and writes of one socket, sockets read
/// from, connections accepted, dials that have ended, starved sockets tried again.
const READS: usize = 4;
const WRITES: usize = 16;
const SOCKETS: usize = 128;
const ACCEPTS: usize = 32;
const DIALED: usize = 32;
const STARVED: usize = 8;

/// Reads of one socket that can be written to no more: what the system has received for it is all that there will be.
const LAST_READS: usize = 256;

/// How long no connection is accepted after the system refused to give one (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Brings a machine, its application and a runtime together. A future that is ready when the machine has shut down.
pub struct Driver<M: Machine, H: Host<M>, T: Transport> {
    machine: M,
    host: H,
    transport: T,
    connections: Connections<T::Io>,
    wakers: Wakers,
    now: Instant,
    wall: WallWatch,
    /// When the timer will run out.
    timer: Option<Instant>,
    /// When to accept again after an error.
    accept_at: Option<Instant>,
    dials: Due,
    accepts: Due,
    listening: bool,
    /// Whether something happened since starved sockets were last tried, so that there may be room for them.
    progress: bool,
    /// Whether the host has been handed events since it was last asked for commands.
    heard: bool,
    /// Whether a turn has begun and not ended: so it is left by a panic.
    in_turn: bool,
}

/// Of what is no connection.
struct Wakers {
    dials: Waker,
    accept: Waker,
    timer: Waker,
}

/// Whether something is to be polled, or its waker is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Poll,
    Registered,
}

impl<M, H, T> Driver<M, H, T>
where
    M: Machine,
    H: Host<M>,
    T: Transport,
{
    /// Nothing happens until it is polled.
    pub fn new(machine: M, host: H, transport: T) -> Self {
        let mut connections = Connections::new();
        let wakers = Wakers {
            dials: connections.waker(DIALS),
            accept: connections.waker(ACCEPT),
            timer: connections.waker(TIMER),
        };
        Driver {
            machine,
            host,
            transport,
            connections,
            wakers,
            now: Instant::ZERO,
            wall: WallWatch::default(),
            timer: None,
            accept_at: None,
            dials: Due::Registered,
            accepts: Due::Poll,
            listening: true,
            progress: false,
            heard: false,
            in_turn: false,
        }
    }

    fn turn(&mut self, driver: &Waker) -> Poll<()> {
        self.now = self.transport.now();
        if let Some(wall) = self.wall.check(self.now, || self.transport.unix_ms()) {
            self.machine.handle(self.now, Input::Wall(wall));
        }
        self.heard = false;
        self.host.commands(self.now, &mut self.machine);
        self.settle();
        self.tick();
        self.take_woken();
        self.take_dialed();
        self.take_accepted();
        self.read_sockets();
        self.follow_up();
        self.write_sockets();
        self.settle();
        self.host.publish(self.now, &mut self.machine);
        if self.machine.is_finished() {
            return Poll::Ready(());
        }
        if !self.may_sleep(driver) {
            driver.wake_by_ref();
        }
        Poll::Pending
    }

    /// Hands all events to the host, and does all actions but writing.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.machine.event() {
                self.host.event(self.now, event);
                self.progress = true;
                self.heard = true;
            }
            while let Some(action) = self.machine.poll() {
                self.act(action);
            }
            if !self.machine.has_event() {
                return;
            }
        }
    }

    /// What the host makes of the events of this turn leaves in this turn, too.
    fn follow_up(&mut self) {
        if mem::take(&mut self.heard) {
            self.host.commands(self.now, &mut self.machine);
            self.settle();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(conn) => match self.machine.target(conn) {
                Some(target) => {
                    self.connections.insert(conn, None);
                    self.transport.dial(conn, target);
                    self.dials = Due::Poll;
                }
                None => self.machine.handle(self.now, Input::Closed(conn, Fault::Unresolved)),
            },
            Action::Close(conn) => {
                self.progress = true;
                if self.connections.remove(conn) == Some(true) {
                    self.transport.cancel_dial(conn);
                }
            }
            Action::Read(conn, reading) => self.connections.set_reading(conn, reading),
            Action::Flush(conn) => self.connections.flush(conn),
        }
    }

    fn tick(&mut self) {
        if self.machine.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.machine.handle(self.now, Input::Tick);
            self.settle();
        }
    }

    fn take_woken(&mut self) {
        let Driver { connections, dials, accepts, timer, transport, wakers, .. } = self;
        connections.take_woken(|special| match special {
            DIALS => *dials = Due::Poll,
            ACCEPT => *accepts = Due::Poll,
            _ => {
                let cx = &mut Context::from_waker(&wakers.timer);
                if timer.is_some() && transport.poll_timer(cx).is_ready() {
                    *timer = None;
                }
            }
        });
    }

    fn take_dialed(&mut self) {
        for _ in 0..DIALED {
            if self.dials == Due::Registered {
                return;
            }
            match self.transport.poll_dialed(&mut Context::from_waker(&self.wakers.dials)) {
                Poll::Pending => self.dials = Due::Registered,
                Poll::Ready((conn, result)) => self.dialed(conn, result),
            }
        }
    }

    fn dialed(&mut self, conn: ConnId, result: io::Result<T::Io>) {
        match result {
            Ok(io) => {
                if !self.connections.connected(conn, io) {
                    return;
                }
                self.machine.handle(self.now, Input::Connected(conn));
            }
            Err(error) => {
                if self.connections.remove(conn).is_none() {
                    return;
                }
                self.machine.handle(self.now, Input::Closed(conn, fault_of(&error)));
            }
        }
        self.settle();
    }

    fn take_accepted(&mut self) {
        if !self.host.is_listening() && mem::take(&mut self.listening) {
            self.transport.stop_listening();
            self.accept_at = None;
        }
        if !self.listening {
            return;
        }
        if self.accept_at.is_some_and(|at| at <= self.now) {
            self.accept_at = None;
        }
        for _ in 0..ACCEPTS {
            if self.accepts == Due::Registered || self.accept_at.is_some() {
                return;
            }
            match self.transport.poll_accept(&mut Context::from_waker(&self.wakers.accept)) {
                Poll::Pending => self.accepts = Due::Registered,
                Poll::Ready(Ok((io, peer))) => {
                    if let Some(conn) = self.machine.accept(self.now, peer) {
                        self.connections.insert(conn, Some(io));
                    }
                    self.settle();
                }
                Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                Poll::Ready(Err(_)) => self.accept_at = Some(self.now + ACCEPT_PAUSE),
            }
        }
    }

    fn read_sockets(&mut self) {
        if mem::take(&mut self.progress) {
            self.connections.retry_starved(STARVED);
        }
        for _ in 0..SOCKETS.min(self.connections.queued()) {
            let Some(slot) = self.connections.next_read() else { return };
            self.read(slot, READS);
        }
    }

    /// Reads until the socket is drained, the machine has no room, or others are to have their turn.
    fn read(&mut self, slot: u32, at_most: usize) {
        for _ in 0..at_most {
            match self.connections.receive(slot, &mut self.machine) {
                Received::Idle => return,
                // All events have been drained: what has room to give is another connection.
                Received::NoRoom => return self.connections.list_starved(slot),
                Received::Bytes(conn, n) => {
                    self.machine.handle(self.now, Input::Received(conn, n));
                    self.progress = true;
                }
                Received::End(conn) => {
                    self.connections.ended(conn);
                    self.machine.handle(self.now, Input::ReadClosed(conn));
                }
                Received::Failed(conn, error) => self.lost(conn, &error),
            }
            self.settle();
        }
        self.connections.list_read(slot);
    }

    fn write_sockets(&mut self) {
        let slots = self.connections.take_flush();
        for &slot in &slots {
            self.write(slot);
        }
        self.connections.flushed(slots);
    }

    fn write(&mut self, slot: u32) {
        for _ in 0..WRITES {
            match self.connections.send(slot, &self.machine) {
                Sent::Idle => return,
                Sent::Bytes(conn, n) => {
                    self.machine.handle(self.now, Input::Sent(conn, n));
                    self.progress = true;
                }
                Sent::Failed(conn, error) => {
                    // What the peer said before it went is still there to be read.
                    self.read(slot, LAST_READS);
                    return self.lost(conn, &error);
                }
            }
        }
        self.connections.list_flush(slot);
    }

    fn lost(&mut self, conn: ConnId, error: &io::Error) {
        if self.connections.remove(conn).is_some() {
            self.progress = true;
            self.machine.handle(self.now, Input::Closed(conn, fault_of(error)));
        }
    }

    /// Arms everything that could wake the driver. `false`: there is work left.
    fn may_sleep(&mut self, driver: &Waker) -> bool {
        let more_accepts = self.listening && self.accepts == Due::Poll && self.accept_at.is_none();
        let more_dials = self.dials == Due::Poll;
        let more_room = self.progress && self.connections.has_starved();
        if more_accepts || more_dials || more_room || !self.set_timer() {
            return false;
        }
        !self.connections.arm(driver) && !self.host.arm(driver)
    }

    /// Sets the timer only if it would run out too late; one that runs out early costs a turn. `false`: it is time.
    fn set_timer(&mut self) -> bool {
        let deadlines = [self.machine.deadline(), self.host.deadline(), self.accept_at];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return true };
        if deadline <= self.now {
            return false;
        }
        if self.timer.is_none_or(|at| deadline < at) {
            let after = sleep_for(self.now, deadline);
            self.transport.set_timer(after);
            self.timer = Some(self.now + after);
            if self.transport.poll_timer(&mut Context::from_waker(&self.wakers.timer)).is_ready() {
                self.timer = None;
                return false;
            }
        }
        true
    }
}

/// Whether the error concerns the connection that was to be accepted, and the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

impl<M: Machine, H: Host<M>, T: Transport> Drop for Driver<M, H, T> {
    fn drop(&mut self) {
        // A machine that has panicked is in no state to be asked, and a panic on the way out would end the process.
        if self.in_turn || !self.machine.is_finished() {
            self.host.abandoned(&mut self.machine);
        }
    }
}

/// Nothing in it is ever pinned.
impl<M: Machine, H: Host<M>, T: Transport> Unpin for Driver<M, H, T> {}

impl<M, H, T> Future for Driver<M, H, T>
where
    M: Machine,
    H: Host<M>,
    T: Transport,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        driver.in_turn = true;
        let polled = driver.turn(cx.waker());
        driver.in_turn = false;
        polled
    }
}
