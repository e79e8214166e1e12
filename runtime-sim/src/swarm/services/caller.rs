//! A client, and an application that is as unruly as the contract allows: it asks and gives up between any two steps of
//! the machine, ticks it for nothing, and repeats what it was told of connections that are long gone.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::cluster::EndpointOptions;
use plimsoll_core::drive::Host;
use plimsoll_core::error::Fault;
use plimsoll_core::id::{ConnId, EndpointId, RequestId};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::service::client::{self, Client, Event, Outcome};
use plimsoll_core::time::Instant;

use super::book::{End, Shared};
use super::options::Options;
use super::watch::Watch;
use super::wire::Wire;
use super::{Ask, News};
use crate::swarm::content;
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::law::Law;

/// Connections that are gone and are spoken of again, at most.
const REMEMBERED: usize = 8;

/// What an application is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Makes one request, the last of these.
    Ask(Ask),
    /// Gives up the request that has waited longest.
    Cancel,
    Tell(u32, News),
    /// Gives up nothing more by itself.
    Calm,
    Shutdown,
}

/// See the module.
pub(super) struct Caller<W: Wire> {
    client: Client<W>,
    place: u32,
    name: String,
    options: Options,
    book: Shared,
    todo: VecDeque<Command>,
    /// By number: what it is to the client, and when it must have ended.
    open: BTreeMap<u64, (RequestId, Instant)>,
    endpoints: BTreeMap<u32, EndpointId>,
    gone: VecDeque<ConnId>,
    dice: Dice,
    watch: Watch,
    now: Instant,
}

impl<W: Wire> Caller<W> {
    /// A client of all servers.
    pub(super) fn new(
        place: u32,
        servers: u32,
        options: &Options,
        seed: u64,
        book: Shared,
        now: Instant,
    ) -> Self {
        let mut dice = Dice::new(seed, 7);
        let mut client = Client::new(W::default(), options.client, dice.seed());
        if options.explains {
            client.set_explain(std::num::NonZeroU32::new(16));
        }
        let watch = Watch::new(place, &options.client, now);
        let mut caller = Caller {
            client,
            place,
            name: format!("c{place}"),
            options: options.clone(),
            book,
            todo: VecDeque::new(),
            open: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            gone: VecDeque::new(),
            dice,
            watch,
            now,
        };
        (0..servers).for_each(|server| caller.tell(server, News::Add));
        caller
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Ask(ask) => self.ask(&ask),
            Command::Cancel => {
                if let Some((&number, &(id, _))) = self.open.first_key_value() {
                    self.cancel(number, id);
                }
            }
            Command::Tell(server, news) => self.tell(server, news),
            Command::Calm => self.options.fickle = 0,
            Command::Shutdown => {
                self.watch.rest(self.now, &self.client, &mut self.book.open());
                self.client.shutdown(self.now, self.now + Duration::from_secs(30));
            }
        }
        self.watch.look(self.now, &self.client, &mut self.book.open());
    }

    fn ask(&mut self, ask: &Ask) {
        let is_free = self.watch.is_free(&self.client);
        let number = self.book.open().next_number();
        let content = content::with(number, ask.size as usize);
        let options =
            client::Options { timeout: ask.timeout, idempotent: ask.idempotent, key: ask.key, tag: number };
        let taken = W::ask(&content, |request| self.client.request(self.now, request, options));
        self.book.open().asked(self.now, self.place, ask.idempotent, is_free, taken.err());
        if let Ok(id) = taken {
            let timeout = ask.timeout.unwrap_or(self.options.client.timeout);
            self.watch.asks(timeout);
            self.open.insert(number, (id, self.now + timeout));
        }
    }

    fn cancel(&mut self, number: u64, id: RequestId) {
        if !self.client.cancel(self.now, id) {
            // Its answer is about to be told.
            self.book.open().journal.note(self.now, 8, number);
        }
    }

    fn tell(&mut self, server: u32, news: News) {
        let (now, client) = (self.now, &mut self.client);
        let endpoint = self.endpoints.get(&server).copied();
        let mut dismissed = None;
        match (news, endpoint) {
            (News::Add, None) => {
                let priority = (server % self.options.levels) as u8;
                let options = EndpointOptions { priority, ..EndpointOptions::default() };
                if let Ok(id) = client.add_endpoint_with(now, &format!("s{server}:3001"), options) {
                    self.endpoints.insert(server, id);
                    dismissed = Some(false);
                }
            }
            (News::Remove, Some(id)) => {
                client.remove_endpoint(now, id);
                self.endpoints.remove(&server);
                dismissed = Some(true);
            }
            (News::Drain, Some(id)) => dismissed = client.drain_endpoint(now, id).then_some(true),
            (News::Resume, Some(id)) => dismissed = client.resume_endpoint(now, id).then_some(false),
            (News::Unhealthy, Some(id)) => _ = client.set_health(now, id, Level::Unhealthy),
            (News::Healthy, Some(id)) => _ = client.set_health(now, id, Level::Healthy),
            (News::Scale(connections), _) => client.scale(now, connections),
            _ => {}
        }
        let mut book = self.book.open();
        match dismissed {
            Some(true) => _ = book.dismissed.insert((self.place, server), now),
            Some(false) => _ = book.dismissed.remove(&(self.place, server)),
            None => {}
        }
    }

    /// Between two steps of the driver.
    fn interject(&mut self) {
        if let Some(command) = self.todo.pop_front() {
            self.perform(command);
        }
        if self.options.fickle > 0 && self.dice.chance(self.options.fickle) {
            let at = self.dice.below(self.open.len() as u32) as usize;
            if let Some((&number, &(id, _))) = self.open.iter().nth(at) {
                self.cancel(number, id);
            }
        }
        if self.options.echoes > 0 && self.dice.chance(self.options.echoes) {
            self.echo();
        }
    }

    /// Says what must change nothing.
    fn echo(&mut self) {
        let at = self.dice.below(self.gone.len() as u32) as usize;
        let input = match (self.gone.get(at), self.dice.below(5)) {
            (Some(&conn), 0) => Input::Connected(conn),
            (Some(&conn), 1) => Input::Received(conn, 64),
            (Some(&conn), 2) => Input::Sent(conn, 64),
            (Some(&conn), 3) => Input::Closed(conn, Fault::Reset),
            _ => Input::Tick,
        };
        self.client.handle(self.now, input);
    }

    fn remember(&mut self, conn: ConnId) {
        if self.options.echoes > 0 {
            self.gone.push_back(conn);
            self.gone.truncate(REMEMBERED);
        }
    }

    /// At the end of a turn: what must hold now.
    fn look(&mut self) {
        let metrics = self.client.metrics();
        let mut book = self.book.open();
        if metrics.retries + metrics.hedges > 0 {
            book.repeating.insert(self.place);
        }
        book.journal.turned(self.now, &self.name);
        self.watch.look(self.now, &self.client, &mut book);
        let late = self.open.iter().find(|(_, (_, until))| *until < self.now);
        if let Some((number, (_, until))) = late {
            let what = format!("request {number} was to end by {until:?} and has not");
            book.journal.broken(Law::EndsOnce, self.now, self.name.clone(), what);
        }
        self.client.audit();
    }
}

impl<W: Wire> Machine for Caller<W> {
    type Event<'a> = Event<'a>;

    fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            // These must follow what they are about at once.
            Input::Received(..) | Input::Sent(..) => {}
            Input::Closed(conn, _) => {
                self.interject();
                self.remember(conn);
            }
            _ => self.interject(),
        }
        self.client.handle(now, input);
    }

    fn poll(&mut self) -> Option<Action> {
        self.interject();
        let action = self.client.poll()?;
        if let Action::Close(conn) = action {
            self.remember(conn);
        }
        Some(action)
    }

    fn event(&mut self) -> Option<Event<'_>> {
        self.interject();
        let event = self.client.event()?;
        match &event {
            Event::Outcome { id, tag, outcome } => {
                let end = match outcome {
                    Outcome::Answer(content) => End::Answered(W::mark(content)),
                    Outcome::Remote { message, .. } => End::Failed(W::mark(message.as_bytes())),
                    Outcome::Timeout { sent: false } | Outcome::Lost { sent: false } => End::Unsent,
                    Outcome::Timeout { .. } | Outcome::Lost { .. } => End::Unknown,
                    Outcome::Protocol(_) | Outcome::Cancelled => End::Unknown,
                };
                let mut book = self.book.open();
                book.ended(self.now, self.place, *tag, end);
                let open = self.open.remove(tag);
                if open.is_none_or(|(open, _)| open != *id) {
                    let what = format!("request {tag} ends under the id {id}, which is not its own");
                    book.journal.broken(Law::Delivery, self.now, self.name.clone(), what);
                }
            }
            Event::State(state) => self.watch.told(self.now, *state, &mut self.book.open().journal),
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
        self.client.deadline()
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
    desk: Desk<Command>,
    /// Whether commands are left that found no step to come between.
    has_left: bool,
}

impl Application {
    pub(super) fn new(desk: Desk<Command>) -> Self {
        Application { desk, has_left: false }
    }
}

impl<W: Wire> Host<Caller<W>> for Application {
    fn commands(&mut self, now: Instant, caller: &mut Caller<W>) {
        caller.now = caller.now.max(now);
        self.desk.take(&mut caller.todo);
        // Some come between the steps of this turn; what does not is done in the next.
        if !std::mem::take(&mut self.has_left) && caller.dice.chance(300) {
            return;
        }
        while let Some(command) = caller.todo.pop_front() {
            caller.perform(command);
        }
    }

    fn event(&mut self, _: Instant, _: Event<'_>) {}

    fn publish(&mut self, now: Instant, caller: &mut Caller<W>) {
        caller.now = caller.now.max(now);
        caller.look();
        self.has_left = !caller.todo.is_empty();
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.desk.arm(driver) || self.has_left
    }
}
