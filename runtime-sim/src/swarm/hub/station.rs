//! A service at a hub: what it calls, and what it makes of calls. It gives up, and calls, between any two steps of its
//! machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::task::Waker;

use plimsoll_core::drive::Host;
use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::ipc::Context;
use plimsoll_core::ipc::client::{Client, Event, Incoming, Options as CallOptions, Outcome, Token};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Value};

use super::book::{End, FORGED, Made, Shared};
use super::options::Options;
use super::{Call, Method};
use crate::swarm::content;
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::law::Law;

/// What a service is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Makes one call.
    Call(Call),
    /// Gives up the call that has waited longest.
    Cancel,
    Connect,
    Disconnect,
    Learn(Method),
    Unlearn(Method),
    /// Gives up nothing more by itself.
    Calm,
    Shutdown(Instant),
}

/// A call that was put off.
#[derive(Clone, Debug)]
struct Deferred {
    token: Token,
    number: u64,
    /// To call on, within it.
    within: Option<Context>,
}

/// See the module.
pub(super) struct Station {
    client: Client,
    place: u32,
    services: u32,
    name: String,
    fickle: u32,
    book: Shared,
    todo: VecDeque<Command>,
    /// By number: what it is to the client, whom it calls, when it must have ended, and which call waits for it.
    open: BTreeMap<u64, Open>,
    /// Answers that come later, and when.
    later: BinaryHeap<Reverse<(Instant, Token, u64)>>,
    /// Calls within others that have ended, and so the others may.
    through: Vec<(Token, u64)>,
    dice: Dice,
    config: (std::time::Duration, u32, u32),
    now: Instant,
}

#[derive(Clone, Debug)]
struct Open {
    id: RequestId,
    to: String,
    until: Instant,
    waits: Option<(Token, u64)>,
}

/// What every service can be called for.
const METHODS: [Method; 5] = [Method::Echo, Method::Late(0), Method::Never, Method::Fail, Method::Drop];

impl Station {
    pub(super) fn new(
        place: u32,
        services: u32,
        options: &Options,
        seed: u64,
        book: Shared,
        now: Instant,
    ) -> Self {
        let mut dice = Dice::new(seed, 11);
        let config = options.client(place);
        let limits = (config.timeout, config.pending.get(), config.serving.get());
        let mut client = Client::new(config, dice.seed());
        for method in METHODS {
            let _ = client.register_method(now, method.name());
        }
        client.connect(now);
        Station {
            client,
            place,
            services,
            name: format!("s{place}"),
            fickle: options.fickle,
            book,
            todo: VecDeque::new(),
            open: BTreeMap::new(),
            later: BinaryHeap::new(),
            through: Vec::new(),
            dice,
            config: limits,
            now,
        }
    }

    fn perform(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::Call(call) => self.call(&call, None),
            Command::Cancel => {
                if let Some(id) = self.open.values().next().map(|open| open.id) {
                    self.client.cancel(now, id);
                }
            }
            Command::Connect => self.client.connect(now),
            Command::Disconnect => self.client.disconnect(now),
            Command::Learn(method) => _ = self.client.register_method(now, method.name()),
            Command::Unlearn(method) => _ = self.client.unregister_method(now, method.name()),
            Command::Calm => self.fickle = 0,
            Command::Shutdown(until) => {
                self.rest();
                self.client.shutdown(now, until);
            }
        }
    }

    /// Makes a call of its own accord, or for one that was put off.
    fn call(&mut self, call: &Call, within: Option<&Deferred>) {
        let to = if call.to < self.services { format!("s{}", call.to) } else { "nobody".into() };
        let (method, depth, of) = (call.method, call.depth, within.map(|deferred| deferred.number));
        let made = Made { caller: self.place, callee: call.to, method, depth, within: of };
        let number = self.book.open().next_number();
        let params = content::with(number, call.size as usize);
        let params = Value::parse(Format::Json, params.as_bytes()).ok();
        let options = CallOptions { timeout: call.timeout, tag: number };
        let context = within.and_then(|deferred| deferred.within.as_ref());
        let taken = self.client.call(self.now, &to, method.name(), params, context, options);
        self.book.open().asked(self.now, made, &to, taken.err());
        let waits = within.map(|deferred| (deferred.token, deferred.number));
        match taken {
            Ok(id) => {
                let until = self.now + call.timeout.unwrap_or(self.config.0);
                self.open.insert(number, Open { id, to, until, waits });
            }
            Err(_) => self.through.extend(waits),
        }
    }

    /// Between two steps of the driver.
    fn interject(&mut self) {
        if let Some(command) = self.todo.pop_front() {
            self.perform(command);
        }
        if self.fickle > 0 && self.dice.chance(self.fickle) {
            let at = self.dice.below(self.open.len() as u32) as usize;
            if let Some(id) = self.open.values().nth(at).map(|open| open.id) {
                self.client.cancel(self.now, id);
            }
        }
    }

    /// Answers what is due, and calls on.
    fn serve(&mut self, arrived: &mut Vec<Deferred>) {
        for deferred in arrived.drain(..) {
            let Some(made) = self.book.open().made(deferred.number) else { continue };
            match made.method {
                Method::Late(ms) => {
                    let at = self.now + std::time::Duration::from_millis(ms.into());
                    self.later.push(Reverse((at, deferred.token, deferred.number)));
                }
                Method::Echo => {
                    let call = Call {
                        from: self.place,
                        to: (self.place + 1 + (deferred.number % 2) as u32) % self.services,
                        method: Method::Echo,
                        count: 1,
                        gap: std::time::Duration::ZERO,
                        size: 0,
                        timeout: None,
                        depth: made.depth - 1,
                    };
                    self.call(&call, Some(&deferred));
                }
                // It is put off for good, and freed when its time is over.
                _ => {}
            }
        }
        while let Some(&Reverse((at, token, number))) = self.later.peek()
            && at <= self.now
        {
            self.later.pop();
            self.through.push((token, number));
        }
        for (token, number) in std::mem::take(&mut self.through) {
            let answer = content::answer(number, &self.name);
            // Nobody may wait for it any more.
            let _ = self.client.reply(self.now, token, Value::parse(Format::Json, answer.as_bytes()).ok());
        }
    }

    /// At the end of a turn: what must hold now.
    fn look(&mut self) {
        let mut book = self.book.open();
        let journal = &mut book.journal;
        journal.turned(self.now, &self.name);
        let status = self.client.status();
        let (_, pending, serving) = self.config;
        let mut broken = |law, what: String| journal.broken(law, self.now, self.name.clone(), what);
        if status.pending > pending || status.serving > serving {
            broken(Law::Limits, format!("{} calls wait and {} are served", status.pending, status.serving));
        }
        if u64::from(status.pending) > self.open.len() as u64 {
            broken(Law::Books, format!("{} calls wait, and {} were made", status.pending, self.open.len()));
        }
        let metrics = self.client.metrics();
        // Those that have ended and were not told count as ended.
        if metrics.calls != metrics.succeeded + metrics.failed + u64::from(status.pending) {
            broken(Law::Books, format!("calls in and out differ: {metrics:?}, and {} wait", status.pending));
        }
        if let Some((number, open)) = self.open.iter().find(|(_, open)| open.until < self.now) {
            broken(Law::EndsOnce, format!("call {number} was to end by {:?} and has not", open.until));
        }
    }

    fn rest(&self) {
        let mut book = self.book.open();
        let status = self.client.status();
        if (status.pending, status.serving) != (0, 0) {
            let what = format!("{} calls wait and {} are served, at rest", status.pending, status.serving);
            book.journal.broken(Law::Rest, self.now, self.name.clone(), what);
        }
    }
}

impl Machine for Station {
    type Event<'a> = Event<'a>;

    fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        // These must follow what they are about at once.
        if !matches!(input, Input::Received(..) | Input::Sent(..)) {
            self.interject();
        }
        self.client.handle(now, input);
    }

    fn poll(&mut self) -> Option<Action> {
        self.interject();
        self.client.poll()
    }

    fn event(&mut self) -> Option<Event<'_>> {
        self.interject();
        let event = self.client.event()?;
        if let Event::Outcome { id, tag, outcome } = &event {
            let open = self.open.remove(tag);
            let is_by = |data: &[u8]| open.as_ref().is_some_and(|open| content::is_by(data, &open.to));
            let end = match outcome {
                Outcome::Success(data) => {
                    let bytes = data.map_or(&[][..], Value::bytes);
                    End::Answered(content::number(bytes), is_by(bytes))
                }
                Outcome::Failure { .. } => End::Failed,
                Outcome::Timeout { sent } | Outcome::DeadlineExceeded { sent } => End::Late { unsent: !sent },
                Outcome::Lost { sent } => End::Lost { unsent: !sent },
                Outcome::Disconnected | Outcome::Cancelled => End::GivenUp,
            };
            let mut book = self.book.open();
            book.ended(self.now, self.place, *tag, end);
            if open.as_ref().is_none_or(|open| open.id != *id) {
                let what = format!("call {tag} ends under the id {id}, which is not its own");
                book.journal.broken(Law::Delivery, self.now, self.name.clone(), what);
            }
            self.through.extend(open.and_then(|open| open.waits));
        }
        Some(event)
    }

    fn has_event(&self) -> bool {
        self.client.has_event()
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        self.client.recv_buf(conn)
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        self.client.send_bufs(conn, bufs)
    }

    fn target(&self, conn: ConnId) -> Option<&str> {
        self.client.target(conn)
    }

    fn deadline(&self) -> Option<Instant> {
        let later = self.later.peek().map(|Reverse((at, ..))| *at);
        self.client.deadline().into_iter().chain(later).min()
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.client.deadline_reason()
    }

    fn is_finished(&self) -> bool {
        self.client.is_finished()
    }
}

/// The application's side of the driver.
pub(super) struct Application {
    place: u32,
    name: String,
    book: Shared,
    desk: Desk<Command>,
    arrived: Vec<Deferred>,
    /// Whether commands are left that found no step to come between.
    has_left: bool,
}

impl Application {
    pub(super) fn new(place: u32, book: Shared, desk: Desk<Command>) -> Self {
        Application { place, name: format!("s{place}"), book, desk, arrived: Vec::new(), has_left: false }
    }
}

impl Host<Station> for Application {
    fn commands(&mut self, now: Instant, station: &mut Station) {
        station.now = station.now.max(now);
        self.desk.take(&mut station.todo);
        station.serve(&mut self.arrived);
        // Some come between the steps of this turn; what does not is done in the next.
        if !std::mem::take(&mut self.has_left) && station.dice.chance(300) {
            return;
        }
        while let Some(command) = station.todo.pop_front() {
            station.perform(command);
        }
    }

    fn event(&mut self, now: Instant, event: Event<'_>) {
        let Event::Call(Incoming { params, from, context, responder, .. }) = event else { return };
        let number = params.and_then(|params| content::number(params.bytes())).unwrap_or(u64::MAX);
        if from.is("mallory") {
            let _ = responder.reply(None);
            return;
        }
        let mut book = self.book.open();
        if number == FORGED {
            let what = format!("it is called by mallory in the name of {}", from.get());
            return book.journal.broken(Law::Delivery, now, self.name.clone(), what);
        }
        let context = match Context::read(context.whole) {
            Ok(context) => context,
            Err(error) => {
                return book.journal.broken(Law::Context, now, self.name.clone(), error.to_string());
            }
        };
        book.seen(now, self.place, number, &context);
        let Some(made) = book.made(number) else { return };
        let answer = content::answer(number, &self.name);
        let _ = match made.method {
            Method::Fail => responder.fail("EXECUTION_FAILED", "as it was asked to"),
            Method::Drop | Method::Unknown => {
                drop(responder);
                Ok(())
            }
            Method::Echo if made.depth == 0 => {
                responder.reply(Value::parse(Format::Json, answer.as_bytes()).ok())
            }
            Method::Echo | Method::Late(_) | Method::Never => {
                self.arrived.push(Deferred { token: responder.defer(), number, within: Some(context) });
                Ok(())
            }
        };
    }

    fn publish(&mut self, now: Instant, station: &mut Station) {
        station.now = station.now.max(now);
        station.look();
        self.has_left = !station.todo.is_empty();
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.desk.arm(driver) || self.has_left
    }
}
