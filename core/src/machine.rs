//! The contract between a machine and a runtime.
//!
//! **Call anything in any order; drain; sleep until [`deadline`](Machine::deadline).** That is all there is.
//!
//! 1. Tell the machine what happened: [`handle`](Machine::handle) (and [`accept`](Machine::accept) for a
//!    connection that somebody else opened).
//! 2. Drain what it decoded: [`event`](Machine::event) until `None`.
//! 3. Drain what it wants: [`poll`](Machine::poll) until `None`, doing each [`Action`].
//! 4. Write what connections that were flushed have to send: [`send_bufs`](Machine::send_bufs), then
//!    `Input::Sent`, until nothing is left or the socket takes no more.
//! 5. Sleep until [`deadline`](Machine::deadline), a socket that is ready, or a command of the application.
//! 6. At the deadline: `Input::Tick`.
//!
//! # The laws
//!
//! Every machine keeps these. The first seven and the last are a test kit (`testing::laws`, feature `testing`); the others
//! have tests of their own:
//!
//! 1. A tick at `deadline()` makes progress, and the deadline then moves or clears.
//! 2. An early or repeated tick changes nothing.
//! 3. An undrained action implies `deadline() <= now`; undrained events do not (a slow application must not
//!    spin).
//! 4. Time that runs backwards is clamped.
//! 5. However the bytes are cut into pieces, the events of each connection are the same.
//! 6. Same seed, same inputs: same actions, same bytes.
//! 7. A late completion for a recycled slot is ignored, never misrouted.
//! 8. Every queue, table and buffer has a limit, and what happens at it is said in the type that is returned.
//! 9. Once warm, the steady state allocates nothing.
//! 10. A machine that is saved and loaded ([`save`](crate::save)) behaves as the one that was saved.

use core::fmt;
use core::net::SocketAddr;

use crate::error::Fault;
use crate::id::ConnId;
use crate::time::Instant;

/// What a runtime tells a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The dial that [`Action::Connect`] asked for has succeeded.
    Connected(ConnId),
    /// So many bytes were written to the front of the last [`recv_buf`](Machine::recv_buf).
    Received(ConnId, usize),
    /// The transport took so many bytes of [`send_bufs`](Machine::send_bufs). Comes before `Closed`.
    Sent(ConnId, usize),
    /// The peer will send nothing more. A client counts the connection as lost; a server still answers what it
    /// took.
    ReadClosed(ConnId),
    /// The connection is gone, or its dial has failed.
    Closed(ConnId, Fault),
    /// Nothing but the time has changed.
    Tick,
    /// The wall clock, in milliseconds since 1970: at start, and whenever it has moved against the monotonic
    /// clock by over 100 ms. Only wires read it.
    Wall(u64),
}

/// What a machine wants of its runtime. No payload: whom to dial is [`Machine::target`], what to send is
/// [`Machine::send_bufs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial [`target`](Machine::target), then say `Connected` or `Closed`.
    Connect(ConnId),
    /// Drop the socket, or stop the dial. Nothing needs to be said back: the id names nothing any more.
    Close(ConnId),
    /// Whether to read from the connection. A new connection is read.
    Read(ConnId, bool),
    /// There are bytes to send. Not said again before all are sent: the runtime goes on when the socket takes
    /// more. Best done once at the end of a turn, for all connections together.
    Flush(ConnId),
}
crate::saved!(enum Action {
    0 = Connect(value), 1 = Close(value), 2 = Read(first, second), 3 = Flush(value)
});

impl Action {
    /// The connection that it is about.
    pub const fn conn(self) -> ConnId {
        let (Action::Connect(conn) | Action::Close(conn) | Action::Read(conn, _) | Action::Flush(conn)) =
            self;
        conn
    }
}

/// Who has connected, as far as the runtime knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Of a TCP connection.
    pub address: Option<SocketAddr>,
    /// Of a Unix socket: what the operating system says of the process at the other end.
    pub credentials: Option<Credentials>,
}
crate::saved!(struct Peer { address, credentials });

impl Peer {
    /// Somebody.
    pub const UNKNOWN: Peer = Peer { address: None, credentials: None };
}

/// A process as the kernel knew it when it connected or, for who listens, began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its id, which another may have by now; `None` where the system tells none, or has none for it here (another
    /// namespace).
    pub pid: Option<u32>,
}
crate::saved!(struct Credentials { uid, gid, pid });

/// `process 7 of user 1000`
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} of user {}", self.uid),
            None => write!(f, "a process of user {}", self.uid),
        }
    }
}

/// The path, if `target` is that of a Unix socket: it begins with `/`, or with `unix:`, which is no part of it.
pub fn unix_path(target: &str) -> Option<&str> {
    let path = target.strip_prefix("unix:").or_else(|| target.starts_with('/').then_some(target))?;
    (!path.is_empty()).then_some(path)
}

/// A pure state machine: everything a runtime sees of the service client, the service server, or a user's own.
pub trait Machine {
    /// One decoded item, lent straight out of the receive buffer.
    type Event<'a>
    where
        Self: 'a;

    /// Something happened, or time passed. Inputs for ids that name nothing any more are ignored.
    fn handle(&mut self, now: Instant, input: Input);

    /// `peer` has connected to us: the id that the connection will have. `None` if this machine takes no
    /// (more) connections; the runtime drops the socket, and the machine has counted it.
    fn accept(&mut self, now: Instant, peer: Peer) -> Option<ConnId> {
        let _ = (now, peer);
        None
    }

    /// The next thing to do.
    fn poll(&mut self) -> Option<Action>;

    /// The next decoded item. Not calling this *is* backpressure: buffers fill, and the peer's window closes.
    fn event(&mut self) -> Option<Self::Event<'_>>;

    /// Whether [`event`](Self::event) would lend something.
    fn has_event(&self) -> bool;

    /// Where to read into; holds until the next `&mut` call, which is `Received`. Ask only when there is
    /// something to read. Empty while undrained events fill the buffer: drain them, then ask again.
    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8];

    /// For drivers that own their buffers: copies in what fits, in as many pieces as the machine makes room for, and says
    /// how much that was.
    fn feed(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> usize {
        let mut fed = 0;
        while fed < bytes.len() {
            let buf = self.recv_buf(conn);
            let n = buf.len().min(bytes.len() - fed);
            if n == 0 {
                break;
            }
            buf[..n].copy_from_slice(&bytes[fed..fed + n]);
            self.handle(now, Input::Received(conn, n));
            fed += n;
        }
        fed
    }

    /// What is to be sent, in order, as up to `bufs.len()` slices; how many were filled in.
    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize;

    /// Whom [`Action::Connect`] means: `host:port`, with brackets around an IPv6 address; or a Unix socket, by its
    /// [`unix_path`].
    fn target(&self, conn: ConnId) -> Option<&str> {
        let _ = conn;
        None
    }

    /// When to tick next: the last `now` seen while actions wait; `None` if only the outside can change
    /// anything.
    fn deadline(&self) -> Option<Instant>;

    /// What the deadline is for, for people.
    fn deadline_reason(&self) -> Option<&'static str>;

    /// Whether the machine has shut down: no connection is left, and none will come.
    fn is_finished(&self) -> bool;
}
