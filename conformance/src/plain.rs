//! Peers that are not ours: they block, and say what they are told to say.

use std::io;
use std::ops::Range;

use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};

use crate::ground::{Door, Wire, ground};
use crate::support::until;

/// Whether nobody listens at `address`.
pub(crate) fn is_refused(address: &str) -> bool {
    ground().connect(address).is_err()
}

/// Listens, and says nothing by itself.
pub(crate) struct Listener {
    door: Box<dyn Door>,
    pub(crate) address: String,
}

impl Listener {
    pub(crate) fn bind(address: &str) -> io::Result<Listener> {
        let (door, address) = ground().listen(address)?;
        Ok(Listener { door, address })
    }

    /// Who connects next.
    pub(crate) fn accept(&self) -> Peer {
        let mut accepted = None;
        until("somebody connects", || {
            accepted = self.door.accept();
            accepted.is_some()
        });
        Peer::new(accepted.expect("waited for"))
    }
}

/// A client, or a server of one connection.
pub(crate) struct Peer {
    pub(crate) socket: Box<dyn Wire>,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: &str) -> Peer {
        Peer::new(ground().connect(address).expect("somebody listens"))
    }

    fn new(socket: Box<dyn Wire>) -> Peer {
        Peer { socket, unread: Vec::new() }
    }

    pub(crate) fn request(n: u64, method: &str, content: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_request(&mut frame, id(n), method, content.as_bytes(), &Limits::default()).unwrap();
        frame
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the other side reads");
    }

    /// Waits for something to read, and leaves it there.
    pub(crate) fn has_unread(&mut self) {
        self.socket.wait_for_bytes().expect("something in time");
    }

    /// The number and the length of the next answer; `None` at the end of the stream.
    pub(crate) fn answer(&mut self) -> Option<(WireId, usize)> {
        self.next(|bytes| {
            let step = decode_response(bytes, &Limits::default(), Mode::Strict).expect("a good frame");
            if let Step::Frame(head) = step { Some((head.id, head.content)) } else { None }
        })
    }

    /// Answers the next request with `content`; `None` at the end of the stream. How long the request was.
    pub(crate) fn answers(&mut self, content: &str) -> Option<usize> {
        let (id, size) = self.next(|bytes| {
            let step = decode_request(bytes, &Limits::default(), Mode::Strict).expect("a good frame");
            if let Step::Frame(head) = step { Some((head.id, head.content)) } else { None }
        })?;
        let mut frame = Vec::new();
        encode_response(&mut frame, id, content.as_bytes(), &Limits::default()).unwrap();
        self.send(&frame);
        Some(size)
    }

    fn next(&mut self, decode: impl Fn(&[u8]) -> Option<(WireId, Range<usize>)>) -> Option<(WireId, usize)> {
        loop {
            if let Some((id, content)) = decode(&self.unread) {
                self.unread.drain(..content.end);
                return Some((id, content.len()));
            }
            let mut bytes = [0; 65_536];
            match self.socket.read(&mut bytes).expect("something in time") {
                0 => return None,
                n => self.unread.extend_from_slice(&bytes[..n]),
            }
        }
    }
}

pub(crate) fn id(n: u64) -> WireId {
    WireId::new(0, 0, n)
}
