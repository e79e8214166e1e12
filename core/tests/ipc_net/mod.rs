//! A hub and clients in virtual time, with everything between them in memory.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::ipc::Context;
use plimsoll_core::ipc::client::{Client, Config, Event, Incoming, Options, ReplyError, StateEvent, Token};
use plimsoll_core::ipc::hub::{self, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Value, convert};

/// The wall clock at the start, in milliseconds since 1970.
pub const WALL: u64 = 1_699_005_123_456;

/// What an application has seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Tag, and the result as JSON or `CODE: message`.
    Ended(u64, String),
    Called(String),
    State(StateEvent),
    Gateway(String),
}

/// A service: a client, and what it does when it is called.
///
/// `echo` answers with its parameters, `fail` fails, `drop` does not answer, `later` is put off, `chain` calls `echo` of the
/// service that its parameters name and answers with what that says.
pub struct Service {
    pub client: Client,
    pub seen: Vec<Seen>,
    pub contexts: Vec<Context>,
    pub tokens: Vec<Token>,
    pub abandoned: Vec<Token>,
    /// Calls for others: which answer depends on which call.
    chained: Vec<(RequestId, Token)>,
    format: Format,
}

/// A connection.
struct Pipe {
    service: usize,
    client: ConnId,
    hub: ConnId,
}

pub struct Net {
    pub hub: Hub,
    pub services: Vec<Service>,
    pub now: Instant,
    /// Whether somebody listens.
    pub up: bool,
    /// How many bytes move at a time.
    pub piece: usize,
    pipes: Vec<Pipe>,
    pub dials: Vec<Instant>,
}

/// JSON in the given format.
pub fn packed(format: Format, json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    convert(Value::parse(Format::Json, json.as_bytes()).unwrap(), format, &mut out, usize::MAX).unwrap();
    out
}

impl Net {
    pub fn new() -> Self {
        let mut hub = Hub::new(hub::Config::default(), 1);
        let now = Instant::from_millis(77);
        hub.handle(now, Input::Wall(WALL));
        Net {
            hub,
            services: Vec::new(),
            now,
            up: true,
            piece: usize::MAX,
            pipes: Vec::new(),
            dials: Vec::new(),
        }
    }

    /// A service that is connected, and which has which place among the services.
    pub fn join(&mut self, config: Config) -> usize {
        let at = self.add(config);
        let now = self.now;
        self.services[at].client.connect(now);
        self.run();
        at
    }

    pub fn add(&mut self, config: Config) -> usize {
        let format = config.format;
        let mut client = Client::new(config, self.services.len() as u64);
        client.handle(
            self.now,
            Input::Wall(WALL + self.now.since(Instant::from_millis(77)).as_millis() as u64),
        );
        for method in ["echo", "fail", "drop", "later", "chain"] {
            client.register_method(self.now, method).unwrap();
        }
        let (seen, contexts, tokens) = (Vec::new(), Vec::new(), Vec::new());
        self.services.push(Service {
            client,
            seen,
            contexts,
            tokens,
            abandoned: Vec::new(),
            chained: Vec::new(),
            format,
        });
        self.services.len() - 1
    }

    pub fn call(&mut self, from: usize, to: &str, method: &str, json: &str, tag: u64) -> RequestId {
        let service = &mut self.services[from];
        let params = packed(service.format, json);
        let params = Value::parse(service.format, &params).unwrap();
        let options = Options { tag, ..Options::default() };
        service.client.call(self.now, to, method, Some(params), None, options).expect("it can be called")
    }

    /// What a call ended with.
    #[track_caller]
    pub fn ask(&mut self, from: usize, to: &str, method: &str, json: &str) -> String {
        self.call(from, to, method, json, 99);
        self.run();
        self.ended(from, 99).expect("it has ended")
    }

    pub fn ended(&mut self, service: usize, tag: u64) -> Option<String> {
        let seen = &mut self.services[service].seen;
        let at = seen.iter().position(|seen| matches!(seen, Seen::Ended(of, _) if *of == tag))?;
        match seen.remove(at) {
            Seen::Ended(_, what) => Some(what),
            _ => None,
        }
    }

    pub fn sleep(&mut self, millis: u64) {
        let until = Instant::from_nanos(self.now.as_nanos() + millis * 1_000_000);
        loop {
            self.run();
            let deadlines = self.services.iter().filter_map(|service| service.client.deadline());
            let Some(next) = deadlines.chain(self.hub.deadline()).min().filter(|&at| at <= until) else {
                break;
            };
            assert!(next >= self.now, "{next:?} is over");
            self.now = next;
            self.tick();
        }
        self.now = until;
        self.tick();
    }

    /// Everybody is told the time.
    pub fn tick(&mut self) {
        self.hub.handle(self.now, Input::Tick);
        for service in &mut self.services {
            service.client.handle(self.now, Input::Tick);
        }
        self.run();
    }

    /// Goes on until nothing is left to do at this time.
    pub fn run(&mut self) {
        while self.round() {}
    }

    /// Everybody does what there is to do, once. Whether there was anything.
    pub fn round(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.services.len() {
            busy |= self.turn(at);
        }
        while self.hub.event().is_some() {
            busy = true;
        }
        while let Some(action) = self.hub.poll() {
            busy = true;
            if let Action::Close(conn) = action {
                self.close(|pipe| pipe.hub == conn, Fault::Closed);
            }
        }
        busy | self.carry()
    }

    fn turn(&mut self, at: usize) -> bool {
        let (now, service) = (self.now, &mut self.services[at]);
        let mut busy = false;
        while service.event(now) {
            busy = true;
        }
        while let Some(action) = self.services[at].client.poll() {
            busy = true;
            match action {
                Action::Connect(conn) => self.connect(at, conn),
                Action::Close(conn) => {
                    let is_it = |pipe: &Pipe| pipe.service == at && pipe.client == conn;
                    if let Some(found) = self.pipes.iter().position(is_it) {
                        let pipe = self.pipes.remove(found);
                        self.hub.handle(now, Input::ReadClosed(pipe.hub));
                    }
                }
                Action::Read(..) | Action::Flush(_) => {}
            }
        }
        busy
    }

    fn connect(&mut self, at: usize, conn: ConnId) {
        let client = &mut self.services[at].client;
        self.dials.push(self.now);
        match self.up.then(|| self.hub.accept(self.now, Peer::UNKNOWN)).flatten() {
            Some(hub) => {
                self.pipes.push(Pipe { service: at, client: conn, hub });
                client.handle(self.now, Input::Connected(conn));
            }
            None => client.handle(self.now, Input::Closed(conn, Fault::Refused)),
        }
    }

    fn close(&mut self, which: impl Fn(&Pipe) -> bool, fault: Fault) {
        for pipe in self.pipes.extract_if(.., |pipe| which(pipe)) {
            self.services[pipe.service].client.handle(self.now, Input::Closed(pipe.client, fault));
        }
    }

    /// The hub dies, and a new one takes its place when `up` says so.
    pub fn kill_hub(&mut self) {
        self.up = false;
        self.hub = Hub::new(hub::Config::default(), 2);
        let wall = WALL + self.now.since(Instant::from_millis(77)).as_millis() as u64;
        self.hub.handle(self.now, Input::Wall(wall));
        self.close(|_| true, Fault::Reset);
        self.run();
    }

    /// Breaks the connections of one service.
    pub fn cut(&mut self, service: usize) {
        for pipe in self.pipes.iter().filter(|pipe| pipe.service == service) {
            self.hub.handle(self.now, Input::Closed(pipe.hub, Fault::Reset));
        }
        self.close(|pipe| pipe.service == service, Fault::Reset);
    }

    fn carry(&mut self) -> bool {
        let mut busy = false;
        for pipe in &self.pipes {
            let client = &mut self.services[pipe.service].client;
            busy |= carry(self.now, self.piece, (client, pipe.client), (&mut self.hub, pipe.hub));
            busy |= carry(self.now, self.piece, (&mut self.hub, pipe.hub), (client, pipe.client));
        }
        busy
    }
}

fn carry(
    now: Instant,
    piece: usize,
    from: (&mut impl Machine, ConnId),
    to: (&mut impl Machine, ConnId),
) -> bool {
    let mut bufs = [&[][..]; 16];
    let n = from.0.send_bufs(from.1, &mut bufs);
    let mut bytes = bufs[..n].concat();
    bytes.truncate(piece);
    let taken = to.0.feed(now, to.1, &bytes);
    from.0.handle(now, Input::Sent(from.1, taken));
    taken > 0
}

impl Service {
    fn event(&mut self, now: Instant) -> bool {
        let mut calls = None;
        let mut answers = None;
        match self.client.event() {
            None => return false,
            Some(Event::Call(Incoming { method, params, context, responder, .. })) => {
                let context = Context::read(context.whole).unwrap();
                self.seen.push(Seen::Called(method.get().into_owned()));
                match &*method.get() {
                    "echo" => responder.reply(params).unwrap(),
                    "fail" => responder.fail("NO_LUCK", "it failed").unwrap(),
                    "drop" => drop(responder),
                    "chain" => {
                        let to = params.unwrap().text().unwrap().get().into_owned();
                        calls = Some((to, context.clone(), responder.defer()));
                    }
                    _ => self.tokens.push(responder.defer()),
                }
                self.contexts.push(context);
            }
            Some(Event::Outcome { id, tag, outcome }) => {
                use plimsoll_core::ipc::client::Outcome;
                let what = match outcome {
                    Outcome::Success(data) => format!("{:?}", data.unwrap()),
                    Outcome::Failure { code, message } => format!("{code}: {message}"),
                    other => format!("{other:?}"),
                };
                match self.chained.iter().position(|(of, _)| *of == id) {
                    Some(at) => {
                        answers =
                            Some((self.chained.remove(at).1, format!("{:?}", format!("chained {what}"))))
                    }
                    None => self.seen.push(Seen::Ended(tag, what)),
                }
            }
            Some(Event::Abandoned(token)) => self.abandoned.push(token),
            Some(Event::State(event)) => self.seen.push(Seen::State(event)),
            Some(Event::GatewayError { code, .. }) => {
                self.seen.push(Seen::Gateway(code.unwrap().get().into_owned()))
            }
            Some(_) => {}
        }
        if let Some((to, context, token)) = calls {
            // Between being called and calling on, the connection may be lost.
            match self.client.call(now, &to, "echo", None, Some(&context), Options::default()) {
                Ok(id) => self.chained.push((id, token)),
                Err(error) => gone(self.client.fail(now, token, error.code(), "it cannot call on")),
            }
        }
        if let Some((token, json)) = answers {
            gone(self.client.reply(now, token, Some(Value::parse(Format::Json, json.as_bytes()).unwrap())));
        }
        true
    }
}

/// Whoever waited for the answer may not do so any more; nothing else may be wrong with it.
fn gone(result: Result<(), ReplyError>) {
    assert!(matches!(result, Ok(()) | Err(ReplyError::Gone)), "{result:?}");
}
