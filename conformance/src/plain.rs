//! Peers that are plain blocking sockets, of either family.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;

use plimsoll_core::machine::unix_path;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{PATIENCE, until};

/// An unbound socket for `address`, and what the operating system calls that.
fn socket_for(address: &str) -> (Socket, SockAddr) {
    let (domain, address) = match unix_path(address) {
        Some(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
        None => {
            let address: SocketAddr = address.parse().expect("an address");
            (Domain::for_address(address), address.into())
        }
    };
    (Socket::new(domain, Type::STREAM, None).expect("a socket"), address)
}

/// Whether nobody listens at `address`.
pub(crate) fn is_refused(address: &str) -> bool {
    let (socket, address) = socket_for(address);
    socket.connect(&address).is_err()
}

/// Listens, and says nothing by itself.
pub(crate) struct Listener {
    socket: Socket,
    pub(crate) address: String,
}

impl Listener {
    pub(crate) fn bind(address: &str) -> io::Result<Listener> {
        let (socket, bound) = socket_for(address);
        // So that the address can be had again at once.
        socket.set_reuse_address(true)?;
        socket.bind(&bound)?;
        socket.listen(16)?;
        socket.set_nonblocking(true)?;
        let address = match socket.local_addr()?.as_socket() {
            Some(address) => address.to_string(),
            None => address.to_owned(),
        };
        Ok(Listener { socket, address })
    }

    /// Who connects next.
    pub(crate) fn accept(&self) -> Peer {
        let mut accepted = None;
        until("somebody connects", || {
            accepted = self.socket.accept().ok();
            accepted.is_some()
        });
        let (socket, _) = accepted.expect("waited for");
        socket.set_nonblocking(false).unwrap();
        Peer::new(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = unix_path(&self.address) {
            // If it is not there, that is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A client, or a server of one connection.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: &str) -> Peer {
        let (socket, address) = socket_for(address);
        socket.connect(&address).expect("somebody listens");
        Peer::new(socket)
    }

    fn new(socket: Socket) -> Peer {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        if socket.local_addr().is_ok_and(|address| !address.is_unix()) {
            socket.set_tcp_nodelay(true).unwrap();
        }
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
    pub(crate) fn has_unread(&self) {
        let n = self.socket.peek(&mut [MaybeUninit::uninit()]).expect("something in time");
        assert_ne!(n, 0, "the end of the stream");
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
