//! A request in the hands of the application.

use core::fmt;

use super::api::Token;
use super::state::{Addressee, State};
use crate::error::Misuse;
use crate::id::ConnId;
use crate::record::kinds::Kind;
use crate::record::pair;

/// A request, lent out of the receive buffer.
#[derive(Debug)]
pub struct Request<'a> {
    /// The name of what is called; at most 255 bytes.
    pub method: &'a str,
    /// What it is called with: JSON, if the peer keeps to its wire; not looked at here.
    pub content: &'a [u8],
    /// Takes the answer. Apart from the rest, so that an answer may borrow from the content.
    pub responder: Responder<'a>,
}

/// Takes the answer to one request, or puts it off. Dropped without either, it answers `EXECUTION_FAILED`.
#[must_use = "a request that is dropped is answered with EXECUTION_FAILED"]
pub struct Responder<'a> {
    state: &'a mut State,
    to: Addressee,
    done: bool,
}

impl<'a> Responder<'a> {
    pub(super) fn new(state: &'a mut State, to: Addressee) -> Self {
        Responder { state, to, done: false }
    }

    /// Answers with a result.
    ///
    /// # Errors
    /// Content above the limit; the peer is answered with `INTERNAL_ERROR` then.
    pub fn reply(mut self, content: &[u8]) -> Result<(), Misuse> {
        self.done = true;
        let result = self.state.answer(self.to, content);
        self.state.note_reply(content, result.is_ok());
        result
    }

    /// Answers that the request failed: a word for machines (see [`code`](crate::wire::uw::code)), and a sentence for
    /// people.
    ///
    /// # Errors
    /// Both together above the limit on content; the peer is answered with `INTERNAL_ERROR` then.
    pub fn fail(mut self, code: &str, message: &str) -> Result<(), Misuse> {
        self.done = true;
        let result = self.state.answer_error(self.to, code, message);
        self.state.note_failure(None, Some(self.to), [code, message], result.is_ok());
        result
    }

    /// Leaves the answer for later: [`Server::reply`](super::Server::reply) and
    /// [`Server::fail`](super::Server::fail) take it. The request counts as in flight until then; its content must
    /// be copied to be kept.
    pub fn defer(mut self) -> Token {
        self.done = true;
        let token = self.state.defer(self.to);
        self.state.note_end(Kind::Defer, pair(token.0));
        token
    }

    /// The connection that the request came over.
    pub fn conn(&self) -> ConnId {
        self.to.conn
    }
}

impl Drop for Responder<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.state.answer_dropped(self.to);
            self.state.note_end(Kind::Unanswered, []);
        }
    }
}

impl fmt::Debug for Responder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("conn", &self.to.conn).field("id", &self.to.wire).finish()
    }
}
