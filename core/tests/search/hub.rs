//! A hub with three services and four calls: said, passed on, answered, forged, answered twice, while services die, hang up
//! and come again, and whoever drives the hub looks after it when it likes.

use std::fmt;
use std::time::Duration;

use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::{Config, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;
use serde_json::{Value as Json, json};

use crate::ipc_support::{WALL, call, frame, messages, register, success};
use crate::{agree, explore};

const NAMES: [&str; 3] = ["order", "user", "bank"];
/// Who calls, who is called, and for what. Nobody has a method that is called `none`.
const CALLS: [(usize, usize, &str); 4] = [(0, 1, "get"), (1, 0, "get"), (0, 2, "get"), (2, 1, "none")];
/// Who reads only now and then.
const SLOW: usize = 1;
/// Longer than a call may take.
const PATIENCE: Duration = Duration::from_secs(31);

#[derive(Clone, Debug, Default)]
struct Call {
    /// Over which connection it was made.
    said: Option<ConnId>,
    /// Over which connection it was passed on.
    arrived: Option<ConnId>,
    answered: u32,
    forged: bool,
    /// How often the caller has heard of its end.
    ended: u32,
}

#[derive(Clone)]
struct Services {
    hub: Hub,
    now: Instant,
    /// Connections that stand, as their services see it.
    conns: [Option<ConnId>; 3],
    calls: [Call; 4],
    /// Who says nothing more, but still reads.
    half_closed: [bool; 3],
    /// What services have said and the hub has not read.
    outboxes: [Vec<u8>; 3],
    deaths: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Register(usize),
    Say(usize),
    Answer(usize),
    /// By a service that was not called.
    Forge(usize),
    TakeEvent,
    Act,
    /// Whoever is slow reads what the hub has for it.
    Send,
    Read(usize),
    Die(usize),
    HangUp(usize),
    Pass,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Move::Register(service) => write!(f, "{} connects and registers", NAMES[service]),
            Move::Say(call) => {
                let (caller, callee, method) = CALLS[call];
                write!(f, "call {call}: {} calls {} of {}", NAMES[caller], method, NAMES[callee])
            }
            Move::Answer(call) => write!(f, "{} answers call {call}", NAMES[CALLS[call].1]),
            Move::Forge(call) => write!(f, "{} answers call {call}, though not called", NAMES[forger(call)]),
            Move::TakeEvent => f.write_str("one event of the hub is taken"),
            Move::Send => write!(f, "{} reads what the hub has for it", NAMES[SLOW]),
            Move::Act => f.write_str("all actions of the hub are taken"),
            Move::Read(service) => write!(f, "the hub reads on what {} has said", NAMES[service]),
            Move::Die(service) => write!(f, "{} dies", NAMES[service]),
            Move::HangUp(service) => write!(f, "{} closes its half of the connection", NAMES[service]),
            Move::Pass => f.write_str("time passes to the deadline"),
        }
    }
}

fn forger(call: usize) -> usize {
    let (caller, callee, _) = CALLS[call];
    3 - caller - callee
}

impl Services {
    fn new() -> Self {
        let config = Config { connections: limit(6), pending_total: limit(8), ..Config::default() };
        let mut world = Services {
            hub: Hub::new(config, 7),
            now: Instant::from_millis(5_000),
            conns: [None; 3],
            calls: Default::default(),
            half_closed: [false; 3],
            outboxes: Default::default(),
            deaths: 0,
        };
        world.hub.handle(world.now, Input::Wall(WALL));
        world
    }

    fn registered() -> Self {
        let mut world = Self::new();
        (0..3).for_each(|service| world.register(service));
        world.settle().expect("nothing is wrong");
        world
    }

    fn speaks(&self, service: usize) -> bool {
        self.conns[service].is_some() && !self.half_closed[service]
    }

    fn register(&mut self, service: usize) {
        self.conns[service] = self.hub.accept(self.now, Peer::UNKNOWN);
        self.say(service, &register(NAMES[service], &["get"]));
    }

    fn say(&mut self, service: usize, message: &Json) {
        self.outboxes[service].extend(frame(message.to_string().as_bytes()));
        self.read(service);
    }

    /// The hub reads what a service has said; whether it was anything.
    fn read(&mut self, service: usize) -> bool {
        let Some(conn) = self.conns[service] else { return false };
        let read = self.hub.feed(self.now, conn, &self.outboxes[service]);
        self.outboxes[service].drain(..read);
        read > 0
    }

    /// Reads what the hub has for a service; whether it was anything.
    fn send(&mut self, service: usize) -> Result<bool, String> {
        let Some(conn) = self.conns[service] else { return Ok(false) };
        let mut bufs = [&[][..]; 16];
        let filled = self.hub.send_bufs(conn, &mut bufs);
        let bytes = bufs[..filled].concat();
        if bytes.is_empty() {
            return Ok(false);
        }
        self.hub.handle(self.now, Input::Sent(conn, bytes.len()));
        messages(&bytes).iter().try_for_each(|message| self.hear(service, conn, message))?;
        Ok(true)
    }

    fn hear(&mut self, service: usize, conn: ConnId, message: &Json) -> Result<(), String> {
        let number = || message["id"].as_str().and_then(|id| id.parse::<usize>().ok());
        match message["type"].as_str() {
            // Of no use to a caller, who looks for the answer to its call.
            Some("REGISTER_ACK" | "ERROR") => Ok(()),
            Some("CALL") => {
                let call = number().ok_or("a call without its id")?;
                agree("who is called", service, CALLS[call].1)?;
                agree("whether it was passed on before", self.calls[call].arrived.replace(conn), None)
            }
            Some("RESPONSE") => {
                let call = number().ok_or("an answer without an id")?;
                let state = &mut self.calls[call];
                state.ended += 1;
                agree("who is told of the end of the call", Some(conn), state.said)?;
                agree("how often it has ended", state.ended, 1)?;
                if message["status"] == "success" {
                    agree("what the answer says", &message["data"], &json!(call))?;
                    agree("whether it was answered", state.answered > 0, true)?;
                }
                Ok(())
            }
            _ => Err(format!("{} is told {message}", NAMES[service])),
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.hub.poll() {
            if let Action::Close(conn) = action {
                self.forget(conn);
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        if let Some(service) = self.conns.iter().position(|other| *other == Some(conn)) {
            self.conns[service] = None;
            self.half_closed[service] = false;
            self.outboxes[service].clear();
        }
    }

    fn die(&mut self, service: usize) {
        if let Some(conn) = self.conns[service] {
            self.deaths += 1;
            self.hub.handle(self.now, Input::Closed(conn, Fault::Reset));
            self.forget(conn);
        }
    }

    /// The driver does all it has to, while the services say nothing.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            let mut busy = self.hub.event().is_some();
            self.act();
            for service in 0..3 {
                busy |= self.send(service)? | self.read(service);
            }
            if !busy {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }
}

impl World for Services {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for service in 0..3 {
            match self.conns[service] {
                None => moves.push(Move::Register(service)),
                // The bank is the one that lives for ever, and lies.
                Some(_) if service < 2 && self.deaths < 2 => {
                    moves.push(Move::Die(service));
                    if !self.half_closed[service] {
                        moves.push(Move::HangUp(service));
                    }
                }
                Some(_) => {}
            }
            if !self.outboxes[service].is_empty() {
                moves.push(Move::Read(service));
            }
        }
        for (number, call) in self.calls.iter().enumerate() {
            let (caller, callee, _) = CALLS[number];
            if call.said.is_none() && self.speaks(caller) {
                moves.push(Move::Say(number));
            }
            let asked = call.arrived.is_some() && call.arrived == self.conns[callee];
            if asked && call.answered < 2 && self.speaks(callee) {
                moves.push(Move::Answer(number));
            }
            if call.said.is_some() && !call.forged && self.speaks(forger(number)) {
                moves.push(Move::Forge(number));
            }
        }
        if self.conns[SLOW].is_some_and(|conn| self.hub.send_bufs(conn, &mut [&[][..]; 1]) > 0) {
            moves.push(Move::Send);
        }
        if self.hub.has_event() {
            moves.push(Move::TakeEvent);
        }
        match self.hub.deadline() {
            Some(at) if at <= self.now => moves.push(Move::Act),
            Some(_) => moves.push(Move::Pass),
            None => {}
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Register(service) => self.register(service),
            Move::Say(number) => {
                let (caller, callee, method) = CALLS[number];
                self.calls[number].said = self.conns[caller];
                let id = number.to_string();
                let message = call(&id, NAMES[caller], NAMES[callee], method, json!([number]));
                self.say(caller, &message);
            }
            Move::Answer(number) => {
                let (caller, callee, _) = CALLS[number];
                self.calls[number].answered += 1;
                let message = success(&number.to_string(), NAMES[callee], NAMES[caller], json!(number));
                self.say(callee, &message);
            }
            Move::Forge(number) => {
                let (by, to) = (forger(number), CALLS[number].0);
                self.calls[number].forged = true;
                let message = success(&number.to_string(), NAMES[by], NAMES[to], json!("forged"));
                self.say(by, &message);
            }
            Move::TakeEvent => _ = self.hub.event(),
            Move::Read(service) => _ = self.read(service),
            Move::Act => self.act(),
            Move::Send => _ = self.send(SLOW)?,
            Move::Die(service) => self.die(service),
            Move::HangUp(service) => {
                self.deaths += 1;
                self.half_closed[service] = true;
                self.outboxes[service].clear();
                self.hub.handle(self.now, Input::ReadClosed(self.conns[service].expect("it stands")));
            }
            Move::Pass => {
                self.now = self.hub.deadline().expect("a deadline");
                self.hub.handle(self.now, Input::Tick);
            }
        }
        // All but one read what they are sent at once.
        (0..3).filter(|service| *service != SLOW).try_for_each(|service| self.send(service).map(drop))
    }

    fn check(&self) -> Result<(), String> {
        let status = self.hub.status();
        let said = self.calls.iter().filter(|call| call.said.is_some() && call.ended == 0).count();
        if status.pending as usize > said {
            return Err(format!("{} calls are pending, of {said} that were made", status.pending));
        }
        Ok(())
    }

    /// Nobody answers any more: every call whose caller is still there ends when its time is over, and when all have gone,
    /// nothing is left.
    fn rest(mut self) -> Result<(), String> {
        self.settle()?;
        let until = self.now + PATIENCE;
        while let Some(at) = self.hub.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.hub.handle(self.now, Input::Tick);
            self.settle()?;
        }
        for (number, call) in self.calls.iter().enumerate() {
            let caller = CALLS[number].0;
            let there = call.said.is_some() && call.said == self.conns[caller] && self.speaks(caller);
            if there && call.ended == 0 {
                return Err(format!("the caller of call {number} waits for ever"));
            }
        }
        let status = self.hub.status();
        agree("what is pending and unsent", (status.pending, status.unsent), (0, 0))?;
        for service in 0..3 {
            self.die(service);
        }
        self.settle()?;
        let status = self.hub.status();
        agree("what is left", (status.connections, status.services, self.hub.deadline()), (0, 0, None))
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&["pool", "rate", "heard"]);
        self.hub.digest(digest);
        digest.add(&(&self.conns, &self.half_closed, &self.calls, &self.outboxes, self.deaths));
    }
}

#[test]
fn every_call_ends_once_and_only_by_whom_was_called_whoever_dies() {
    explore("hub, registered", &Services::registered(), 5);
    explore("hub, from nothing", &Services::new(), 5);
}
