//! Who is answered by what where only the order says it: over each connection, the first answer is for the first that was
//! asked, and so on. That holds whatever a server says, so that it can be judged even where one lies.

use std::collections::BTreeMap;

use crate::swarm::law::Law;

/// A connection, to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line(usize);

/// All lines of a world, and all answers.
#[derive(Debug)]
pub(super) struct Turns {
    lines: Vec<Asked>,
    /// By their marks: over which line they are said, and in which turn.
    answers: Vec<(Line, usize)>,
    /// How much may be unanswered over one line.
    most: usize,
}

#[derive(Debug, Default)]
struct Asked {
    /// Requests by their numbers, in the order in which they came; `None`: a question of the client's own.
    asked: Vec<Option<u64>>,
    answers: usize,
    out: usize,
    /// By turn, requests that were told an answer before the server has seen what was asked in that turn.
    early: BTreeMap<usize, u64>,
}

impl Turns {
    /// Clients leave no more than so many requests unanswered over one line.
    pub(super) fn new(in_flight: u32) -> Self {
        // A ping stands in line as well.
        Turns { lines: Vec::new(), answers: Vec::new(), most: in_flight as usize + 1 }
    }

    /// A client has connected.
    pub(super) fn open(&mut self) -> Line {
        self.lines.push(Asked::default());
        Line(self.lines.len() - 1)
    }

    /// A server reads the next question of a line.
    ///
    /// # Errors
    /// Which law that breaks, and how.
    pub(super) fn asked(&mut self, Line(line): Line, number: Option<u64>) -> Result<(), (Law, String)> {
        let Asked { asked, out, early, .. } = &mut self.lines[line];
        let turn = asked.len();
        asked.push(number);
        match early.remove(&turn) {
            Some(told) if number != Some(told) => {
                let whose = number.map_or("a ping".into(), |number| format!("request {number}"));
                let what = format!("request {told} was told answer {turn}, which is for {whose}");
                return Err((Law::Delivery, what));
            }
            _ => {}
        }
        let (open, most) = (asked.len().saturating_sub(*out), self.most);
        if open > most {
            let what = format!("{open} requests are open over a connection, {most} may be");
            return Err((Law::Limits, what));
        }
        Ok(())
    }

    /// The mark of the next answer that will be said over a line.
    pub(super) fn next_answer(&mut self, line: Line) -> u64 {
        let answers = &mut self.lines[line.0].answers;
        self.answers.push((line, *answers));
        *answers += 1;
        self.answers.len() as u64 - 1
    }

    /// The next answer of a line is said.
    pub(super) fn said(&mut self, Line(line): Line) {
        self.lines[line].out += 1;
    }

    /// A request has been told the answer of that mark: whether it is its own, as far as can be told by now.
    pub(super) fn is_told(&mut self, mark: u64, number: u64) -> bool {
        let Some(&(Line(line), turn)) = self.answers.get(mark as usize) else { return false };
        let line = &mut self.lines[line];
        match line.asked.get(turn) {
            Some(asked) => *asked == Some(number),
            // An answer too many, to what is still on its way; which nobody else has been told.
            None => line.early.insert(turn, number).is_none(),
        }
    }
}
