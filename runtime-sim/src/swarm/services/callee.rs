//! A server, and what it makes of requests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

use plimsoll_core::drive::Host;
use plimsoll_core::id::ConnId;
use plimsoll_core::service::server::{Request, Server, Token};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::code;

use super::Manner;
use super::book::Shared;
use crate::swarm::content;
use crate::swarm::dice::Dice;
use crate::swarm::law::Law;

/// The application of one server.
pub(super) struct Callee {
    place: u32,
    name: String,
    book: Shared,
    dice: Dice,
    /// Answers that come later, and when.
    later: BinaryHeap<Reverse<(Instant, Token, u64)>>,
    /// Answers that come when the manner changes.
    withheld: Vec<(Token, u64)>,
    manner: Manner,
    closing: Option<Instant>,
}

impl Callee {
    pub(super) fn new(place: u32, book: Shared, seed: u64) -> Self {
        Callee {
            place,
            name: format!("s{place}"),
            book,
            dice: Dice::new(seed, 8),
            later: BinaryHeap::new(),
            withheld: Vec::new(),
            manner: Manner::Well,
            closing: None,
        }
    }

    fn saw(&self, now: Instant, conn: ConnId, content: &[u8]) -> u64 {
        let number = content::number(content).unwrap_or(u64::MAX);
        self.book.open().seen(now, self.place, conn, number);
        number
    }
}

impl Host<Server> for Callee {
    fn commands(&mut self, now: Instant, server: &mut Server) {
        let (manner, closing) = {
            let book = self.book.open();
            (book.servers[self.place as usize].manner, book.journal.closing)
        };
        if manner != self.manner {
            self.manner = manner;
            for (token, number) in self.withheld.drain(..) {
                self.later.push(Reverse((now, token, number)));
            }
        }
        while let Some(&Reverse((at, token, number))) = self.later.peek()
            && at <= now
        {
            self.later.pop();
            // Its connection may have gone.
            let _ = server.reply(now, token, content::with(number, 0).as_bytes());
        }
        if let Some(until) = closing
            && self.closing.is_none()
        {
            self.closing = closing;
            server.shutdown(now, until);
        }
    }

    fn event(&mut self, now: Instant, request: Request<'_>) {
        let Request { content, responder, .. } = request;
        let number = self.saw(now, responder.conn(), content);
        let failed = format!("{number} has failed");
        let result = match self.manner {
            Manner::Well => responder.reply(content),
            Manner::Mistakes => responder.reply(content::with(number + 1, 0).as_bytes()),
            Manner::Late(delay) => {
                self.later.push(Reverse((now + delay, responder.defer(), number)));
                Ok(())
            }
            Manner::Never => {
                self.withheld.push((responder.defer(), number));
                Ok(())
            }
            Manner::Fails(per_mille) if !self.dice.chance(per_mille) => responder.reply(content),
            Manner::Fails(_) | Manner::FailsFast => responder.fail(code::INTERNAL_ERROR, &failed),
            Manner::Overloaded => responder.fail(code::OVERLOADED, &failed),
            Manner::Drops(per_mille) if !self.dice.chance(per_mille) => responder.reply(content),
            Manner::Drops(_) => {
                drop(responder);
                Ok(())
            }
        };
        if let Err(misuse) = result {
            self.book.open().journal.broken(Law::Delivery, now, self.name.clone(), misuse.to_string());
        }
    }

    fn publish(&mut self, now: Instant, server: &mut Server) {
        let mut book = self.book.open();
        book.journal.turned(now, &self.name);
        let (held, status) = ((self.later.len() + self.withheld.len()) as u64, server.status());
        if u64::from(status.in_flight) > held {
            let what = format!("{} requests are in flight, but only {held} were put off", status.in_flight);
            book.journal.broken(Law::Books, now, self.name.clone(), what);
        }
        book.servers[self.place as usize].in_flight = status.in_flight;
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        let mut book = self.book.open();
        let server = &mut book.servers[self.place as usize];
        server.waker = Some(driver.clone());
        server.manner != self.manner || book.journal.closing != self.closing
    }

    fn deadline(&self) -> Option<Instant> {
        self.later.peek().map(|Reverse((at, ..))| *at)
    }

    fn is_listening(&self) -> bool {
        self.closing.is_none()
    }
}
