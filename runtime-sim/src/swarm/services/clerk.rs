//! A server of RESP that is written by hand: it answers in order, in its manner, and in whatever kind of value. If it lies, it
//! answers once too often or not at all, to another, in pieces, in no language, lets nobody in, or dies in the middle of a
//! word.

use std::collections::{BTreeMap, VecDeque};

use plimsoll_core::drive::client::Callable;
use plimsoll_core::id::ConnId;
use plimsoll_core::service::{Decoded, Protocol};
use plimsoll_core::time::Instant;
use plimsoll_resp::{Resp, Value};

use super::Manner;
use super::book::Shared;
use super::scripted::{LATE, Lines, NO_ANSWER, Role, Words, halves};
use super::turns::Line;
use crate::swarm::content;
use crate::swarm::dice::Dice;

/// See the module.
pub(super) struct Clerk {
    place: u32,
    book: Shared,
    dice: Dice,
    /// How many of a thousand answers are lies.
    per_mille: u32,
    manner: Manner,
    queues: BTreeMap<ConnId, Queue>,
}

/// What will be said over a connection, in this order.
struct Queue {
    line: Line,
    due: VecDeque<Due>,
    /// There is an answer too many, or one is missing: whoever is served here from now on is told what is not meant for him.
    is_crooked: bool,
}

struct Due {
    /// Not before then; `None`: not before the manner changes.
    at: Option<Instant>,
    words: Words,
}

impl Clerk {
    /// One that lies in so many of a thousand answers.
    pub(super) fn new(place: u32, per_mille: u32, book: Shared, seed: u64) -> Self {
        let (dice, queues) = (Dice::new(seed, 11), BTreeMap::new());
        Clerk { place, book, dice, per_mille, manner: Manner::Well, queues }
    }

    /// A command has come, of that name.
    fn serve(&mut self, lines: &mut Lines, conn: ConnId, name: &[u8], content: &[u8]) {
        let number = match name {
            b"HELLO" | b"PING" => None,
            _ => Some(content::number(content).unwrap_or(u64::MAX)),
        };
        let line = self.queue(conn).line;
        let is_lie = {
            let mut book = self.book.open();
            if let Err((law, what)) = book.turns.asked(line, number) {
                book.journal.broken(law, lines.now, format!("s{}", self.place), what);
            }
            if let Some(number) = number {
                book.seen(lines.now, self.place, conn, number);
            }
            !book.journal.is_recovering && self.dice.chance(self.per_mille)
        };
        let at = match self.manner {
            Manner::Late(delay) if number.is_some() => Some(lines.now + delay),
            Manner::Never if number.is_some() => None,
            _ => Some(lines.now),
        };
        if is_lie {
            self.lie(lines, conn, at, name, content.len());
        } else {
            let answer = self.answer(conn, name, content.len());
            self.put(conn, at, Words::Whole(answer));
        }
    }

    fn lie(&mut self, lines: &mut Lines, conn: ConnId, at: Option<Instant>, name: &[u8], size: usize) {
        match self.dice.below(11) {
            0 => {
                for _ in 0..2 {
                    let answer = self.answer(conn, name, size);
                    self.put(conn, at, Words::Whole(answer));
                }
                self.queue(conn).is_crooked = true;
            }
            1 => self.queue(conn).is_crooked = true,
            2 => {
                self.queue(conn).is_crooked = true;
                let others = lines.others(conn);
                if !others.is_empty() {
                    let other = self.dice.of(&others);
                    let answer = self.answer(other, name, size);
                    self.put(other, at, Words::Whole(answer));
                    self.queue(other).is_crooked = true;
                }
            }
            3 => self.put(conn, at, Words::Whole(NO_ANSWER.to_vec())),
            4 => {
                // A length that nobody should believe, and arrays that have no end.
                let long = self.dice.of(&[&b"$4294967295\r\n"[..], b"*4294967295\r\n"]).to_vec();
                self.put(conn, at, Words::Whole(long));
            }
            5 => self.put(conn, at, Words::Whole(b"*1\r\n".repeat(20))),
            6 => {
                let (first, rest) = self.halves(conn, name, size);
                self.put(conn, at, Words::Half(first, rest));
            }
            7 => {
                let (first, _) = self.halves(conn, name, size);
                self.put(conn, at, Words::Last(first));
            }
            8 => {
                let answer = self.answer(conn, name, size);
                self.put(conn, at.map(|at| at + LATE), Words::Whole(answer));
            }
            9 => {
                // To the hello as well, which then was the last word.
                let line = self.queue(conn).line;
                let mark = self.book.open().turns.next_answer(line);
                self.put(conn, at, Words::Whole(format!("-NOAUTH {mark} is not let in\r\n").into()));
            }
            _ => lines.close(conn),
        }
    }

    /// What it answers to a command of that name, with a mark that no other answer has.
    fn answer(&mut self, conn: ConnId, name: &[u8], size: usize) -> Vec<u8> {
        let line = self.queue(conn).line;
        let mark = self.book.open().turns.next_answer(line);
        let failure = match self.manner {
            _ if name == b"HELLO" => return format!("*2\r\n+server\r\n:{mark}\r\n").into(),
            _ if name == b"PING" => return format!("+PONG {mark}\r\n").into(),
            Manner::Mistakes => return value(&mut self.dice, mark + 1, size),
            Manner::FailsFast => "LOADING",
            Manner::Fails(per_mille) if self.dice.chance(per_mille) => "LOADING",
            Manner::Overloaded => "BUSY",
            Manner::Drops(per_mille) if self.dice.chance(per_mille) => "ERR",
            _ => return value(&mut self.dice, mark, size),
        };
        format!("-{failure} {mark} has failed\r\n").into()
    }

    fn halves(&mut self, conn: ConnId, name: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
        let answer = self.answer(conn, name, size);
        halves(answer, &mut self.dice)
    }

    fn put(&mut self, conn: ConnId, at: Option<Instant>, words: Words) {
        self.queue(conn).due.push_back(Due { at, words });
    }

    fn queue(&mut self, conn: ConnId) -> &mut Queue {
        let book = &self.book;
        self.queues.entry(conn).or_insert_with(|| Queue {
            line: book.open().turns.open(),
            due: VecDeque::new(),
            is_crooked: false,
        })
    }

    /// Whose lies must come to an end: a connection that is crooked stays so.
    fn repent(&mut self, lines: &mut Lines) {
        self.queues.iter().filter(|(_, queue)| queue.is_crooked).for_each(|(&conn, _)| lines.close(conn));
    }
}

/// A value of some kind. A bulk string has about so many bytes.
fn value(dice: &mut Dice, mark: u64, size: usize) -> Vec<u8> {
    match dice.below(5) {
        0 => format!("+{mark} is well\r\n").into(),
        1 => format!(":{mark}\r\n").into(),
        2 => format!("*3\r\n$-1\r\n*1\r\n$2\r\nok\r\n:{mark}\r\n").into(),
        _ => {
            let content = content::with(mark, size);
            format!("${}\r\n{content}\r\n", content.len()).into()
        }
    }
}

impl Role for Clerk {
    fn hear(&mut self, lines: &mut Lines, conn: ConnId, bytes: &[u8]) -> usize {
        // A command is a value like any other.
        let wire = Resp::default();
        let mut at = 0;
        while let Ok(Decoded::Response { len, .. }) = wire.decode(&mut Default::default(), &bytes[at..]) {
            let command = Resp::answer(bytes[at..at + len].to_vec());
            let Value::Array(mut words) = command.value() else { break };
            let mut word = || match words.next() {
                Some(Value::Bulk(word)) => word,
                _ => &[],
            };
            let (name, content) = (word(), word());
            self.serve(lines, conn, name, content);
            at += len;
        }
        at
    }

    fn act(&mut self, lines: &mut Lines) {
        let (manner, is_recovering) = {
            let book = self.book.open();
            (book.servers[self.place as usize].manner, book.journal.is_recovering)
        };
        if manner != self.manner {
            self.manner = manner;
            let withheld = self.queues.values_mut().flat_map(|queue| &mut queue.due);
            withheld.for_each(|due| due.at = due.at.or(Some(lines.now)));
        }
        if is_recovering {
            self.repent(lines);
        }
        let mut book = self.book.open();
        for (&conn, queue) in &mut self.queues {
            while queue.due.front().is_some_and(|due| due.at.is_some_and(|at| at <= lines.now))
                && let Some(due) = queue.due.pop_front()
            {
                book.turns.said(queue.line);
                lines.say(lines.now, conn, due.words);
            }
        }
    }

    fn left(&mut self, conn: ConnId) {
        self.queues.remove(&conn);
    }

    fn deadline(&self) -> Option<Instant> {
        self.queues.values().filter_map(|queue| queue.due.front()?.at).min()
    }

    fn in_flight(&self) -> u32 {
        self.queues.values().map(|queue| queue.due.len() as u32).sum()
    }
}
