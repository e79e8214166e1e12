//! A machine that sends back what it receives, with so little room that every limit is met.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use plimsoll_core::id::{ConnId, Table, kind};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;

/// Receive buffer of a connection, in bytes, unless a test says otherwise.
pub const ROOM: usize = 16;

#[derive(Default)]
struct Conn {
    target: String,
    inbox: Vec<u8>,
    used: usize,
    outbox: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
pub struct Echo {
    conns: Table<kind::Conn, Conn>,
    actions: VecDeque<Action>,
    /// Nothing is received on any connection while so much waits to be sent on all.
    outbox_limit: usize,
    /// Receive buffer of a connection, in bytes.
    room: usize,
    pub deadline: Option<Instant>,
    pub inputs: Rc<RefCell<Vec<Input>>>,
    pub last: Instant,
    pub finished: bool,
    /// As after a panic: it answers nothing any more.
    pub broken: bool,
}

impl Echo {
    pub fn new() -> Self {
        Echo::with_room(usize::MAX)
    }

    pub fn with_room(outbox_limit: usize) -> Self {
        Echo { outbox_limit, room: ROOM, ..Echo::default() }
    }

    pub fn with_inbox(room: usize) -> Self {
        Echo { room, ..Echo::new() }
    }

    pub fn dial(&mut self, target: &str) -> ConnId {
        let conn =
            self.conns.insert(Conn { target: target.into(), inbox: vec![0; self.room], ..Conn::default() });
        self.actions.push_back(Action::Connect(conn));
        conn
    }

    pub fn say(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(tenant) = self.conns.get_mut(conn) {
            tenant.outbox.extend_from_slice(bytes);
            self.actions.push_back(Action::Flush(conn));
        }
    }

    pub fn read(&mut self, conn: ConnId, on: bool) {
        self.actions.push_back(Action::Read(conn, on));
    }

    pub fn close(&mut self, conn: ConnId) {
        if self.conns.remove(conn).is_some() {
            self.actions.push_back(Action::Close(conn));
        }
    }

    fn close_if_done(&mut self, conn: ConnId) {
        let done = |tenant: &Conn| tenant.ended && tenant.used == 0 && tenant.outbox.is_empty();
        if self.conns.get(conn).is_some_and(done) {
            self.close(conn);
        }
    }
}

impl Machine for Echo {
    type Event<'a> = (ConnId, &'a [u8]);

    fn handle(&mut self, now: Instant, input: Input) {
        self.last = self.last.max(now);
        self.inputs.borrow_mut().push(input);
        match input {
            Input::Received(conn, n) => self.conns.get_mut(conn).unwrap().used += n,
            Input::Sent(conn, n) => {
                self.conns.get_mut(conn).unwrap().outbox.drain(..n);
                self.close_if_done(conn);
            }
            Input::ReadClosed(conn) => {
                self.conns.get_mut(conn).unwrap().ended = true;
                self.close_if_done(conn);
            }
            Input::Closed(conn, _) => drop(self.conns.remove(conn)),
            Input::Tick if self.deadline.is_some_and(|deadline| deadline <= now) => self.deadline = None,
            Input::Connected(_) | Input::Tick | Input::Wall(_) => {}
        }
    }

    fn accept(&mut self, _: Instant, _: Peer) -> Option<ConnId> {
        Some(self.conns.insert(Conn { inbox: vec![0; self.room], ..Conn::default() }))
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn event(&mut self) -> Option<(ConnId, &[u8])> {
        let conn = self.conns.iter().find(|(_, tenant)| tenant.used > 0)?.0;
        let tenant = self.conns.get_mut(conn).unwrap();
        if tenant.outbox.is_empty() {
            self.actions.push_back(Action::Flush(conn));
        }
        let used = std::mem::take(&mut tenant.used);
        tenant.outbox.extend_from_slice(&tenant.inbox[..used]);
        Some((conn, &tenant.inbox[..used]))
    }

    fn has_event(&self) -> bool {
        self.conns.iter().any(|(_, tenant)| tenant.used > 0)
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        let waiting: usize = self.conns.iter().map(|(_, tenant)| tenant.outbox.len()).sum();
        let tenant = self.conns.get_mut(conn).unwrap();
        assert!(!tenant.ended, "read after the end");
        let room = if waiting >= self.outbox_limit { 0 } else { self.room - tenant.used };
        &mut tenant.inbox[tenant.used..][..room]
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        let Some(Conn { outbox, .. }) = self.conns.get(conn) else { return 0 };
        let (front, back) = outbox.split_at(outbox.len() / 2);
        let mut filled = 0;
        for piece in [front, back].into_iter().filter(|piece| !piece.is_empty()) {
            bufs[filled] = piece;
            filled += 1;
        }
        filled
    }

    fn target(&self, conn: ConnId) -> Option<&str> {
        Some(&self.conns.get(conn)?.target).filter(|target| !target.is_empty()).map(String::as_str)
    }

    fn deadline(&self) -> Option<Instant> {
        if self.actions.is_empty() { self.deadline } else { Some(self.last) }
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        None
    }

    fn is_finished(&self) -> bool {
        assert!(!self.broken, "asked after it has panicked");
        self.finished
    }
}
