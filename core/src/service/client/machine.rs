//! The client as a runtime sees it.

use super::ending::{How, outcome_of};
use super::{Client, Event, Outcome};
use crate::error::Fault;
use crate::id::ConnId;
use crate::machine::{Action, Input, Machine};
use crate::record::kinds::Kind;
use crate::service::Protocol;
use crate::time::Instant;

impl<P: Protocol> Machine for Client<P> {
    type Event<'a>
        = Event<'a>
    where
        Self: 'a;

    fn handle(&mut self, now: Instant, input: Input) {
        let now = self.begin(now);
        match input {
            Input::Connected(conn) => self.connected(now, conn),
            Input::Received(conn, n) => self.received(now, conn, n),
            Input::Sent(conn, n) => {
                self.note_sent(conn, n);
                self.sent(conn, n);
            }
            // A client that can get no more answers has lost the connection.
            Input::ReadClosed(conn) if self.cluster.has_conn(conn) => {
                self.cluster.closed(now, conn, Fault::Closed);
            }
            Input::Closed(conn, fault) if self.cluster.has_conn(conn) => {
                self.links[conn.index()].gone = true;
                self.cluster.closed(now, conn, fault);
            }
            Input::ReadClosed(_) | Input::Closed(..) => {}
            Input::Tick => self.tick(now),
            Input::Wall(unix_ms) => self.wall = (now, unix_ms),
        }
        self.catch_up();
        if self.log.is_some() {
            self.note_input(input);
        }
    }

    fn poll(&mut self) -> Option<Action> {
        self.catch_up();
        let action = self.actions.pop_front();
        if let Some(log) = &mut self.log {
            log.action(action);
        }
        action
    }

    fn event(&mut self) -> Option<Event<'_>> {
        self.catch_up();
        if let Some(ended) = self.outcomes.pop_front() {
            let outcome = match ended.how {
                How::Answered(content) => {
                    self.lent = content;
                    outcome_of(&self.protocol, &self.lent, &mut self.log)
                }
                How::Timeout { sent } => Outcome::Timeout { sent },
                How::Lost { sent } => Outcome::Lost { sent },
                How::Protocol(error) => Outcome::Protocol(error),
                How::Cancelled => Outcome::Cancelled,
            };
            if let Some(log) = &mut self.log {
                log.outcome(ended.id, outcome);
            }
            return Some(Event::Outcome { id: ended.id, tag: ended.tag, outcome });
        }
        if let Some((next, lent)) = self.take_next() {
            let content = self.receiver.lent(&lent, next.content);
            let outcome = if next.success {
                if let Some(log) = &mut self.log {
                    log.answer(next.id, content);
                }
                Outcome::Answer(content)
            } else {
                let outcome = outcome_of(&self.protocol, content, &mut self.log);
                if let Some(log) = &mut self.log {
                    log.outcome(next.id, outcome);
                }
                outcome
            };
            return Some(Event::Outcome { id: next.id, tag: next.tag, outcome });
        }
        let event = self.cluster.state_event();
        if let Some(log) = &mut self.log {
            log.state(event);
        }
        event.map(Event::State)
    }

    fn has_event(&self) -> bool {
        !self.outcomes.is_empty()
            || self.next.is_some()
            || self.doomed.is_some()
            || self.cluster.has_state_event()
    }

    fn recv_buf(&mut self, conn: ConnId) -> &mut [u8] {
        self.catch_up();
        if !self.cluster.has_conn(conn) {
            if let Some(log) = &mut self.log {
                log.gave_room(conn, false);
            }
            return &mut [];
        }
        let slot = conn.slot();
        let no_room = self.receiver.buf(slot).is_empty();
        let starved = no_room && self.receiver.is_starved(slot);
        let link = &mut self.links[slot as usize];
        // Only the application can make room for a connection that is full. One that is starved may be what starves
        // the others: it has to end if that lasts, so its silence counts.
        let full = no_room && !starved;
        if core::mem::replace(&mut link.full, full) != full {
            self.cluster.listen(self.now, conn, !full);
        }
        if starved && core::mem::take(&mut link.reading) {
            self.actions.push_back(Action::Read(conn, false));
        }
        if let Some(log) = &mut self.log {
            log.gave_room(conn, !no_room);
        }
        if no_room { &mut [] } else { self.receiver.buf(slot) }
    }

    fn send_bufs<'a>(&'a self, conn: ConnId, bufs: &mut [&'a [u8]]) -> usize {
        if !self.cluster.has_conn(conn) {
            return 0;
        }
        self.links[conn.index()].send.slices(bufs)
    }

    fn target(&self, conn: ConnId) -> Option<&str> {
        self.cluster.target(conn)
    }

    fn deadline(&self) -> Option<Instant> {
        self.due().map(|(at, _)| at)
    }

    fn deadline_reason(&self) -> Option<&'static str> {
        self.due().map(|(_, reason)| reason)
    }

    fn is_finished(&self) -> bool {
        self.draining.is_some()
            && self.cluster.is_empty()
            && self.requests.len() == 0
            && self.actions.is_empty()
            && !self.cluster.has_actions()
    }
}

impl<P: Protocol> Client<P> {
    fn due(&self) -> Option<(Instant, &'static str)> {
        if self.is_finished() {
            return None;
        }
        if !self.actions.is_empty() || self.cluster.has_actions() || self.doomed.is_some() {
            return Some((self.now, "actions wait"));
        }
        let request = self.requests.deadlines.next().map(|at| (at, "a request's timeout"));
        let drain = self.draining.map(|at| (at, "the end of the drain"));
        let slow = self.requests.slow_at.next().map(|at| (at, "a second copy of a slow request"));
        [request, slow, drain, self.cluster.deadline()].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn tick(&mut self, now: Instant) {
        self.time_out(now);
        self.cluster.tick(now);
        self.hedge_slow(now);
        if self.draining.is_some_and(|deadline| deadline <= now) && !self.is_finished() {
            self.catch_up();
            self.cut_short();
        }
    }

    fn connected(&mut self, now: Instant, conn: ConnId) {
        if !self.cluster.has_conn(conn) || self.links[conn.index()].unwelcomed.is_some() {
            return;
        }
        let (protocol, link) = (&self.protocol, &mut self.links[conn.index()]);
        let mut answers = 0;
        let greeted = link.send.push_with(&mut self.send_pool, |out| {
            answers = protocol.greet(out);
            Ok::<(), core::convert::Infallible>(())
        });
        link.unwelcomed = Some(answers);
        if let Some(log) = &mut self.log {
            log.find(Kind::Greeting, [link.send.len() as u64, answers.into()]);
        }
        if greeted.is_ok() && !link.send.is_empty() {
            self.flush(conn.slot());
        }
        if answers == 0 {
            self.cluster.connected(now, conn);
        }
    }

    fn received(&mut self, now: Instant, conn: ConnId, n: usize) {
        if !self.cluster.has_conn(conn) || n == 0 {
            return;
        }
        self.metrics.bytes_in += n as u64;
        self.cluster.received(now, conn);
        self.receiver.filled(conn.slot(), n);
        if let Some(log) = &mut self.log {
            log.keep_received(self.receiver.bytes(conn.slot()), n);
        }
        if self.receiver.is_due(conn.slot()) {
            self.ready.push(conn.slot());
        }
    }

    fn sent(&mut self, conn: ConnId, n: usize) {
        if !self.cluster.has_conn(conn) {
            return;
        }
        let link = &mut self.links[conn.index()];
        let before = link.send.sent();
        link.send.advance(&mut self.send_pool, n);
        self.metrics.bytes_out += link.send.sent() - before;
        if link.send.is_empty() {
            link.flushing = false;
            self.cluster.flushed(conn);
        }
    }
}
