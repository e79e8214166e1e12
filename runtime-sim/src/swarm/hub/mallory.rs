//! Somebody who has a name of her own at the hub, and lies: in the names of others, about their calls, and in no language
//! at all.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Host;
use plimsoll_core::id::{ConnId, Table, kind};
use plimsoll_core::ipc::Context;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{
    Call, Format, Limits, Register, Reply, Value, write_call, write_register, write_success,
};

use super::Lie;
use super::book::{FORGED, Shared};
use crate::swarm::content;
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;

const NAME: &str = "mallory";
/// How long she waits before she dials again.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Mallory {
    book: Shared,
    dice: Dice,
    services: u32,
    conns: Table<kind::Conn, Vec<u8>>,
    /// The one that has her name.
    own: Option<ConnId>,
    dial_at: Option<Instant>,
    actions: VecDeque<Action>,
    /// The names under which others were dialled.
    claims: Vec<(ConnId, String)>,
    inbox: Vec<u8>,
    wall: (Instant, u64),
    now: Instant,
}

impl Mallory {
    pub(super) fn new(services: u32, book: Shared, seed: u64, now: Instant) -> Self {
        Mallory {
            book,
            dice: Dice::new(seed, 12),
            services,
            conns: Table::new(),
            own: None,
            dial_at: Some(now),
            actions: VecDeque::new(),
            claims: Vec::new(),
            inbox: vec![0; 16 * 1_024],
            wall: (now, 0),
            now,
        }
    }

    fn dial(&mut self) -> ConnId {
        let conn = self.conns.insert(Vec::new());
        self.actions.push_back(Action::Connect(conn));
        conn
    }

    fn say(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(outbox) = self.conns.get_mut(conn) {
            outbox.extend_from_slice(bytes);
            self.actions.push_back(Action::Flush(conn));
        }
    }

    fn register(&mut self, conn: ConnId, name: &str) {
        let register =
            Register { service_name: name, methods: ["echo"].into_iter(), version: "1", pool: None };
        let mut bytes = Vec::new();
        let _ = write_register(&mut bytes, Format::Json, &Limits::default(), &register);
        self.say(conn, &bytes);
    }

    fn lie(&mut self, lie: Lie) {
        let Some(own) = self.own else { return };
        match lie {
            Lie::Answers | Lie::AnswersAs => self.answer(own, lie == Lie::AnswersAs),
            Lie::CallsAs => {
                let from = format!("s{}", self.dice.below(self.services));
                self.call(own, &from, FORGED);
            }
            Lie::Calls => self.call(own, NAME, u64::MAX),
            Lie::Claims => {
                let name = format!("s{}", self.dice.below(self.services));
                let conn = self.dial();
                self.claims.push((conn, name));
            }
            Lie::Garbage => self.say(own, b"\0\0\0\x04nope"),
            Lie::Huge => self.say(own, &u32::MAX.to_be_bytes()),
            Lie::Half => self.say(own, b"\0\0\x01\0{\"type\":"),
        }
    }

    /// Answers what another was asked, if anything was asked lately.
    fn answer(&mut self, own: ConnId, as_callee: bool) {
        let passed = self.book.open().passed.clone();
        for (id, caller, callee) in passed.iter().rev().take(8) {
            let from = if as_callee { callee } else { NAME };
            let data = content::answer(FORGED, NAME);
            let data = Value::parse(Format::Json, data.as_bytes()).ok();
            let (id, from, to) = ((&**id).into(), from.into(), (&**caller).into());
            let reply = Reply { id, from, to, context: None };
            let mut bytes = Vec::new();
            let _ = write_success(&mut bytes, Format::Json, &Limits::default(), &reply, data);
            self.say(own, &bytes);
        }
    }

    fn call(&mut self, own: ConnId, from: &str, number: u64) {
        let to = format!("s{}", self.dice.below(self.services));
        let (at, unix_ms) = self.wall;
        let unix_ms = unix_ms + (self.now - at).as_millis() as u64;
        let context = Context::create("root-mallory", from, unix_ms, Duration::from_secs(10));
        let Ok(context) = context.extend(&to) else { return };
        let params = content::with(number, 0);
        let id = format!("req-{}", self.dice.seed());
        let params = Value::parse(Format::Json, params.as_bytes()).ok();
        let call = Call { id: &id, from, to: &to, method: "echo", params, context: &context };
        let mut bytes = Vec::new();
        let _ = write_call(&mut bytes, Format::Json, &Limits::default(), &call);
        self.say(own, &bytes);
    }

    fn lost(&mut self, conn: ConnId) {
        if self.own == Some(conn) {
            self.own = None;
            self.dial_at = Some(self.now + AGAIN);
        }
    }

    fn tick(&mut self) {
        if self.dial_at.is_some_and(|at| at <= self.now) {
            self.dial_at = None;
            self.own = Some(self.dial());
        }
    }
}

impl Machine for Mallory {
    type Event<'a> = ();

    fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Connected(conn) if self.own == Some(conn) => self.register(conn, NAME),
            Input::Connected(conn) => {
                if let Some(at) = self.claims.iter().position(|(claim, _)| *claim == conn) {
                    let (conn, name) = self.claims.swap_remove(at);
                    self.register(conn, &name);
                }
            }
            Input::Sent(conn, n) => {
                if let Some(outbox) = self.conns.get_mut(conn) {
                    outbox.drain(..n);
                }
            }
            Input::ReadClosed(conn) => {
                if self.conns.remove(conn).is_some() {
                    self.actions.push_back(Action::Close(conn));
                }
                self.lost(conn);
            }
            Input::Closed(conn, _) => {
                self.conns.remove(conn);
                self.lost(conn);
            }
            Input::Wall(unix_ms) => self.wall = (now, unix_ms),
            // What she is told does not interest her.
            Input::Received(..) | Input::Tick => {}
        }
        self.tick();
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn event(&mut self) -> Option<()> {
        None
    }

    fn has_event(&self) -> bool {
        false
    }

    fn recv_buf(&mut self, _: ConnId) -> &mut [u8] {
        &mut self.inbox
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        let outbox = self.conns.get(conn).map_or(&[][..], |outbox| outbox);
        if outbox.is_empty() {
            return 0;
        }
        bufs[0] = outbox;
        1
    }

    fn target(&self, _: ConnId) -> Option<&str> {
        Some("hub:4000")
    }

    fn deadline(&self) -> Option<Instant> {
        if self.actions.is_empty() { self.dial_at } else { Some(self.now) }
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.deadline().map(|_| "to dial again")
    }

    fn is_finished(&self) -> bool {
        self.book.open().journal.is_recovering
    }
}

/// Tells her when to lie.
pub(super) struct Whisperer(pub(super) Desk<Lie>);

impl Host<Mallory> for Whisperer {
    fn commands(&mut self, now: Instant, mallory: &mut Mallory) {
        mallory.now = mallory.now.max(now);
        let mut lies = VecDeque::new();
        self.0.take(&mut lies);
        lies.into_iter().for_each(|lie| mallory.lie(lie));
    }

    fn event(&mut self, _: Instant, (): ()) {}

    fn publish(&mut self, now: Instant, mallory: &mut Mallory) {
        mallory.book.open().journal.turned(now, NAME);
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.0.arm(driver)
    }
}
