//! A client of IPC with a pool of two connections: it calls within the contexts of others and of its own accord, serves,
//! loses connections and registers anew.

use std::fmt;
use std::time::Duration;

use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::ipc::Context;
use plimsoll_core::ipc::client::{CallError, Client, Config, Event, Options, Outcome, Token};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::testing::play::rig::limit;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Value};
use serde_json::{Value as Json, json};

use crate::ipc_support::{WALL, call, frame, messages, success};
use crate::{agree, explore};

const CALLS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(40);

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behalf {
    Own,
    Order,
    Cart,
}

impl Behalf {
    fn context(self) -> Option<Context> {
        let within = |root: &str, caller: &str| {
            Context::create(root, caller, WALL, Duration::from_secs(600)).extend("user").expect("not deep")
        };
        match self {
            Behalf::Own => None,
            Behalf::Order => Some(within("root-order", "order")),
            Behalf::Cart => Some(within("root-cart", "cart")),
        }
    }

    fn check(self, context: &Json) -> Result<(), String> {
        let (chain, root) = match self {
            Behalf::Own => (json!(["user", "role"]), None),
            Behalf::Order => (json!(["order", "user", "role"]), Some("root-order")),
            Behalf::Cart => (json!(["cart", "user", "role"]), Some("root-cart")),
        };
        agree("through whom the call goes", &context["chain"], &chain)?;
        agree("how deep it is", context["depth"].as_u64(), chain.as_array().map(|chain| chain.len() as u64))?;
        let named = context["root"].as_str().filter(|root| ["root-order", "root-cart"].contains(root));
        agree("what has caused it", named, root)
    }
}

#[derive(Clone, Debug)]
struct Call {
    id: RequestId,
    behalf: Behalf,
    /// Over which connection it went, and under which id.
    sent: Option<(ConnId, String)>,
    has_ended: bool,
}

#[derive(Clone, Debug)]
struct Line {
    conn: ConnId,
    stands: bool,
    /// The hub was told who it is for, and has said that it knows.
    registered: Option<bool>,
    /// What the hub has said and the client has not read.
    outbox: Vec<u8>,
}

#[derive(Clone)]
struct Service {
    client: Client,
    now: Instant,
    lines: Vec<Line>,
    calls: Vec<Call>,
    /// Calls by others: put off here, made in all, and answers heard by the hub.
    tokens: Vec<Token>,
    called: u32,
    heard: Vec<String>,
    losses: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Call(Behalf),
    Cancel(usize),
    Connected(ConnId),
    Acknowledge(ConnId),
    Lost(ConnId),
    Answer(usize),
    Ask(ConnId),
    Reply(Token),
    Read(ConnId),
    TakeEvent,
    Act,
    Pass,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Call(behalf) => write!(f, "it calls (on whose behalf: {behalf:?})"),
            Move::Cancel(call) => write!(f, "call {call} is cancelled"),
            Move::Connected(conn) => write!(f, "connection {conn} stands"),
            Move::Acknowledge(conn) => write!(f, "the hub acknowledges the registration over {conn}"),
            Move::Lost(conn) => write!(f, "connection {conn} is lost"),
            Move::Answer(call) => write!(f, "call {call} is answered"),
            Move::Ask(conn) => write!(f, "somebody calls over {conn}"),
            Move::Reply(token) => write!(f, "the call that was put off as {} is answered", token.index()),
            Move::Read(conn) => write!(f, "connection {conn} is read again"),
            Move::TakeEvent => f.write_str("one event is taken"),
            Move::Act => f.write_str("all actions are taken"),
            Move::Pass => f.write_str("time passes to the deadline"),
        }
    }
}

impl Service {
    fn new() -> Self {
        let mut client = Client::new(Config { pool_size: limit(2), ..Config::new("user") }, 7);
        let now = Instant::from_millis(1_000);
        client.handle(now, Input::Wall(WALL));
        client.register_method(now, "get").expect("a name");
        client.connect(now);
        let (lines, calls, tokens, heard) = Default::default();
        Service { client, now, lines, calls, tokens, called: 0, heard, losses: 0 }
    }

    fn connected() -> Self {
        let mut world = Self::new();
        world.settle().expect("nothing is wrong");
        assert!(world.client.is_connected());
        world
    }

    fn line(&mut self, conn: ConnId) -> &mut Line {
        self.lines.iter_mut().find(|line| line.conn == conn).expect("a connection")
    }

    fn say(&mut self, conn: ConnId, message: &Json) {
        let bytes = frame(message.to_string().as_bytes());
        self.line(conn).outbox.extend(bytes);
        self.read(conn);
    }

    fn read(&mut self, conn: ConnId) -> bool {
        let line = self.lines.iter_mut().find(|line| line.conn == conn).expect("a connection");
        let read = self.client.feed(self.now, conn, &line.outbox);
        line.outbox.drain(..read);
        read > 0
    }

    /// The hub takes what there is to send.
    fn write_all(&mut self) -> Result<bool, String> {
        let mut busy = false;
        for conn in self.lines.iter().map(|line| line.conn).collect::<Vec<_>>() {
            let mut bufs = [&[][..]; 8];
            let filled = self.client.send_bufs(conn, &mut bufs);
            let bytes = bufs[..filled].concat();
            if bytes.is_empty() {
                continue;
            }
            busy = true;
            self.client.handle(self.now, Input::Sent(conn, bytes.len()));
            messages(&bytes).iter().try_for_each(|message| self.hear(conn, message))?;
        }
        Ok(busy)
    }

    fn hear(&mut self, conn: ConnId, message: &Json) -> Result<(), String> {
        let id = || message["id"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str() {
            Some("REGISTER") => self.line(conn).registered = Some(false),
            Some("HEARTBEAT") => {}
            Some("CALL") => {
                agree("whether it is registered", self.line(conn).registered, Some(true))?;
                let number = message["params"][0].as_u64().ok_or("a call without its number")? as usize;
                self.calls[number].behalf.check(&message["context"])?;
                let before = self.calls[number].sent.replace((conn, id()));
                agree("whether it was sent before", before, None)?;
            }
            Some("RESPONSE") => {
                let answered = id();
                if self.heard.contains(&answered) {
                    return Err(format!("call {answered} by another service is answered twice"));
                }
                self.heard.push(answered);
            }
            _ => return Err(format!("the hub is told {message}")),
        }
        Ok(())
    }

    fn call(&mut self, behalf: Behalf) -> Result<(), String> {
        let number = self.calls.len();
        let params = format!("[{number}]");
        let params = Value::parse(Format::Json, params.as_bytes()).expect("JSON");
        let options = Options { tag: number as u64, ..Options::default() };
        let within = behalf.context();
        match self.client.call(self.now, "role", "get", Some(params), within.as_ref(), options) {
            Ok(id) => self.calls.push(Call { id, behalf, sent: None, has_ended: false }),
            Err(CallError::NotConnected) => {}
            Err(error) => return Err(format!("a call is refused: {error}")),
        }
        Ok(())
    }

    fn answer(&mut self, number: usize) {
        let (conn, id) = self.calls[number].sent.clone().expect("it was sent");
        self.say(conn, &success(&id, "role", "user", json!(number)));
    }

    fn take_event(&mut self) -> Result<bool, String> {
        match self.client.event() {
            None => return Ok(false),
            Some(Event::Outcome { id, tag, outcome }) => {
                let call = &mut self.calls[tag as usize];
                agree("whose outcome it is", id, call.id)?;
                agree("whether it has ended before", std::mem::replace(&mut call.has_ended, true), false)?;
                if let Outcome::Success(data) = outcome {
                    agree(
                        "the answer",
                        data.map(|data| data.bytes().to_vec()),
                        Some(tag.to_string().into()),
                    )?;
                }
            }
            Some(Event::Call(incoming)) => self.tokens.push(incoming.responder.defer()),
            Some(Event::Abandoned(token)) => self.tokens.retain(|other| *other != token),
            Some(_) => {}
        }
        Ok(true)
    }

    fn act(&mut self) {
        while let Some(action) = self.client.poll() {
            match action {
                Action::Connect(conn) => {
                    self.lines.push(Line { conn, stands: false, registered: None, outbox: Vec::new() });
                }
                Action::Close(conn) => self.lines.retain(|line| line.conn != conn),
                Action::Read(..) | Action::Flush(_) => {}
            }
        }
    }

    /// All that can happen without failure and without time does.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            self.act();
            let mut busy = self.write_all()?;
            while self.take_event()? {
                busy = true;
            }
            for line in self.lines.clone() {
                match line {
                    Line { conn, stands: false, .. } => {
                        self.line(conn).stands = true;
                        self.client.handle(self.now, Input::Connected(conn));
                    }
                    Line { conn, registered: Some(false), .. } => self.acknowledge(conn),
                    Line { conn, .. } => {
                        busy |= self.read(conn);
                        continue;
                    }
                }
                busy = true;
            }
            if !busy && self.client.deadline().is_none_or(|at| at > self.now) {
                return Ok(());
            }
            self.client.handle(self.now, Input::Tick);
        }
        Err(format!("it does not come to rest: {:?}", self.client.deadline_reason()))
    }

    fn acknowledge(&mut self, conn: ConnId) {
        self.line(conn).registered = Some(true);
        self.say(conn, &json!({"type": "REGISTER_ACK"}));
    }

    /// Whatever waits for an answer gets it.
    fn answer_all(&mut self) -> Result<(), String> {
        self.settle()?;
        for number in 0..self.calls.len() {
            let call = &self.calls[number];
            let lines = || self.lines.iter().map(|line| line.conn);
            if !call.has_ended && call.sent.as_ref().is_some_and(|(conn, _)| lines().any(|c| c == *conn)) {
                self.answer(number);
                self.settle()?;
            }
        }
        for token in std::mem::take(&mut self.tokens) {
            let _ = self.client.reply(self.now, token, None);
        }
        self.settle()
    }
}

impl World for Service {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.calls.len() < CALLS && self.client.is_connected() {
            moves.extend([Behalf::Own, Behalf::Order, Behalf::Cart].map(Move::Call));
        }
        for line in &self.lines {
            let conn = line.conn;
            match line {
                Line { stands: false, .. } => moves.push(Move::Connected(conn)),
                Line { registered: Some(false), .. } => moves.push(Move::Acknowledge(conn)),
                Line { registered: Some(true), .. } if self.called < 2 => moves.push(Move::Ask(conn)),
                _ => {}
            }
            if self.losses < 2 {
                moves.push(Move::Lost(conn));
            }
            if !line.outbox.is_empty() {
                moves.push(Move::Read(conn));
            }
        }
        for (number, call) in self.calls.iter().enumerate().filter(|(_, call)| !call.has_ended) {
            moves.push(Move::Cancel(number));
            if let Some((conn, _)) = &call.sent
                && self.lines.iter().any(|line| line.conn == *conn)
            {
                moves.push(Move::Answer(number));
            }
        }
        moves.extend(self.tokens.iter().copied().map(Move::Reply));
        if self.client.has_event() {
            moves.push(Move::TakeEvent);
        }
        match self.client.deadline() {
            Some(at) if at <= self.now => moves.push(Move::Act),
            Some(_) => moves.push(Move::Pass),
            None => {}
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Call(behalf) => self.call(behalf)?,
            Move::Cancel(number) => {
                let id = self.calls[number].id;
                self.client.cancel(self.now, id);
                agree("cancelling twice", self.client.cancel(self.now, id), false)?;
            }
            Move::Connected(conn) => {
                self.line(conn).stands = true;
                self.client.handle(self.now, Input::Connected(conn));
            }
            Move::Acknowledge(conn) => self.acknowledge(conn),
            Move::Lost(conn) => {
                self.losses += 1;
                self.lines.retain(|line| line.conn != conn);
                self.client.handle(self.now, Input::Closed(conn, Fault::Reset));
            }
            Move::Answer(number) => self.answer(number),
            Move::Ask(conn) => {
                let id = format!("call-{}", self.called);
                self.called += 1;
                self.say(conn, &call(&id, "order", "user", "get", json!([])));
            }
            Move::Reply(token) => {
                self.tokens.retain(|other| *other != token);
                let _ = self.client.reply(self.now, token, None);
                agree("answering twice", self.client.reply(self.now, token, None).is_err(), true)?;
            }
            Move::Read(conn) => _ = self.read(conn),
            Move::TakeEvent => _ = self.take_event()?,
            Move::Act => self.act(),
            Move::Pass => {
                self.now = self.client.deadline().expect("a deadline");
                self.client.handle(self.now, Input::Tick);
            }
        }
        self.write_all().map(drop)
    }

    fn check(&self) -> Result<(), String> {
        let pending = self.calls.iter().filter(|call| !call.has_ended).count();
        let status = self.client.status();
        if status.pending as usize > pending {
            return Err(format!("{} calls are pending, of {pending} that were made", status.pending));
        }
        Ok(())
    }

    /// The hub answers, and everything ends: calls, calls by others, and at last the client itself.
    fn rest(mut self) -> Result<(), String> {
        let until = self.now + PATIENCE;
        self.answer_all()?;
        if let Some(number) = self.calls.iter().position(|call| !call.has_ended) {
            return Err(format!("call {number} waits for ever"));
        }
        while !self.client.is_connected() {
            match self.client.deadline() {
                Some(at) if at <= until => {
                    self.now = at;
                    self.client.handle(at, Input::Tick);
                    self.settle()?;
                }
                _ => return Err("it never connects again".into()),
            }
        }
        self.call(Behalf::Own)?;
        self.answer_all()?;
        agree("whether a new call is answered", self.calls.iter().all(|call| call.has_ended), true)?;
        let status = self.client.status();
        agree("what is left in hand", (status.pending, status.serving), (0, 0))?;
        self.client.shutdown(self.now, self.now + PATIENCE);
        self.settle()?;
        agree("whether it has shut down", (self.client.is_finished(), self.client.deadline()), (true, None))
    }

    fn digest(&self, digest: &mut Digest) {
        digest.add_saved(&self.client).add(&(
            &self.lines,
            &self.calls,
            &self.tokens,
            self.called,
            &self.heard,
            self.losses,
        ));
    }
}

#[test]
fn every_call_ends_once_on_behalf_of_whom_it_was_made() {
    explore("ipc client, connected", &Service::connected(), 4);
    explore("ipc client, from nothing", &Service::new(), 6);
}
