//! A server that is written by hand, and lies: it answers twice, to another, under ids that nobody has, in pieces, and now
//! and then in no language at all.

use plimsoll_core::id::ConnId;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{self, Limits, Mode, Step, decode_request, encode_response};

use super::Manner;
use super::book::Shared;
use super::scripted::{LATE, Lines, NO_ANSWER, Role, Words, halves};
use crate::swarm::content;
use crate::swarm::dice::Dice;

/// The bytes of an id that no other request of its client differs in: the salt, and what is high in the slot and in the generation.
/// With another bit, it may be the id of the next request, and nobody could see through that.
const TELLING: [usize; 11] = [0, 1, 4, 5, 6, 7, 11, 12, 13, 14, 15];

/// See the module.
pub(super) struct Rogue {
    place: u32,
    book: Shared,
    dice: Dice,
    /// How many of a thousand answers are lies.
    per_mille: u32,
}

impl Rogue {
    pub(super) fn new(place: u32, per_mille: u32, book: Shared, seed: u64) -> Self {
        Rogue { place, book, dice: Dice::new(seed, 9), per_mille }
    }

    fn answer(&mut self, lines: &mut Lines, conn: ConnId, id: WireId, number: u64) {
        let (manner, lies) = {
            let mut book = self.book.open();
            book.seen(lines.now, self.place, conn, number);
            (
                book.servers[self.place as usize].manner,
                !book.journal.is_recovering && self.dice.chance(self.per_mille),
            )
        };
        let at = match manner {
            Manner::Late(delay) => lines.now + delay,
            Manner::Never => return,
            _ => lines.now,
        };
        let answer = response(id, content::with(number, 0).as_bytes());
        let lie = if lies { self.dice.below(8) } else { u32::MAX };
        match lie {
            0 => {
                lines.say(at, conn, whole(&answer));
                lines.say(at, conn, whole(&answer));
            }
            1 => {
                // As good as right, but for one bit.
                let mut bits = id;
                bits.0[self.dice.of(&TELLING)] ^= 1 << self.dice.below(8);
                lines.say(at, conn, Words::Whole(response(bits, content::with(u64::MAX, 0).as_bytes())));
                lines.say(at, conn, whole(&answer));
            }
            2 => {
                let others = lines.others(conn);
                if !others.is_empty() {
                    let other = self.dice.of(&others);
                    lines.say(at, other, Words::Whole(response(id, content::with(u64::MAX, 0).as_bytes())));
                }
                lines.say(at, conn, whole(&answer));
            }
            3 => lines.say(at, conn, whole(NO_ANSWER)),
            4 => {
                // A length that nobody should believe.
                let mut huge = answer.clone();
                huge[19..23].copy_from_slice(&u32::MAX.to_le_bytes());
                lines.say(at, conn, Words::Whole(huge));
            }
            5 => {
                let (first, rest) = halves(answer, &mut self.dice);
                lines.say(at, conn, Words::Half(first, rest));
            }
            6 => lines.say(at + LATE, conn, whole(&answer)),
            7 => lines.close(conn),
            _ => lines.say(at, conn, whole(&answer)),
        }
    }
}

fn whole(bytes: &[u8]) -> Words {
    Words::Whole(bytes.to_vec())
}

fn response(id: WireId, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = encode_response(&mut bytes, id, content, &Limits::default());
    bytes
}

impl Role for Rogue {
    fn hear(&mut self, lines: &mut Lines, conn: ConnId, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Ok(Step::Frame(head)) = decode_request(&bytes[at..], &Limits::default(), Mode::Strict) {
            let frame = &bytes[at..];
            if &frame[head.method] == uw::PING.as_bytes() {
                let mut pong = Vec::new();
                uw::write_ping_content(&mut pong, 0);
                lines.say(lines.now, conn, Words::Whole(response(head.id, &pong)));
            } else {
                let number = content::number(&frame[head.content.clone()]);
                self.answer(lines, conn, head.id, number.unwrap_or(u64::MAX));
            }
            at += head.content.end;
        }
        at
    }

    fn act(&mut self, _: &mut Lines) {}

    fn left(&mut self, _: ConnId) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn in_flight(&self) -> u32 {
        0
    }
}
