//! The least that can be done: read what is there, look at every frame, write all answers at once. One thread, no
//! deadline, no queue, no policy; the wire is parsed by hand, and checked.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

use super::report::{answered, done, ready};
use super::{Load, METHOD, NOT_WHAT_WAS_SENT, is_path};
use crate::Result;

/// How much is read at once, and the largest frame.
const BLOCK: usize = 256 << 10;
const EVENTS: usize = 1_024;
const PREFIX: [u8; 3] = [0x55, 0x57, 1];
/// Of a request without its method, and of a response.
const RESPONSE_HEADER: usize = 23;
const LISTENER: Token = Token(usize::MAX);

/// What is done with the bytes of one connection.
trait Side {
    /// Takes all whole frames that there are, writes to `out` what follows from them, and says how many bytes it took.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize>;
}

/// A stream of TCP, or of a Unix socket.
trait Socket: Read + Write + Source + Sized {
    type Listener: Source;

    /// And where it listens.
    fn bind(address: &str) -> Result<(Self::Listener, String)>;
    fn accept(listener: &Self::Listener) -> io::Result<Self>;
    fn connect(address: &str) -> Result<Self>;
}

impl Socket for TcpStream {
    type Listener = TcpListener;

    fn bind(address: &str) -> Result<(TcpListener, String)> {
        let listener = TcpListener::bind(address.parse()?)?;
        let address = listener.local_addr()?.to_string();
        Ok((listener, address))
    }

    fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn connect(address: &str) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream))
    }
}

impl Socket for UnixStream {
    type Listener = UnixListener;

    fn bind(address: &str) -> Result<(UnixListener, String)> {
        Ok((UnixListener::bind(address)?, address.into()))
    }

    fn accept(listener: &UnixListener) -> io::Result<Self> {
        Ok(listener.accept()?.0)
    }

    fn connect(address: &str) -> Result<Self> {
        Ok(UnixStream::connect(address)?)
    }
}

struct Conn<St, S> {
    stream: St,
    side: S,
    /// The beginning of a frame of which the rest has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    /// How much of `out` is on its way.
    sent: usize,
}

impl<St: Socket, S: Side> Conn<St, S> {
    fn new(stream: St, side: S) -> Self {
        Conn { stream, side, partial: Vec::new(), out: Vec::new(), sent: 0 }
    }

    /// Does what can be done. `false`: the peer has closed.
    fn turn(&mut self, event: &Event, block: &mut [u8]) -> Result<bool> {
        if event.is_writable() {
            self.write()?;
        }
        if event.is_readable() { self.read(block) } else { Ok(true) }
    }

    /// Reads until nothing is left, and answers each time. `false`: the peer has closed.
    fn read(&mut self, block: &mut [u8]) -> Result<bool> {
        loop {
            let kept = self.partial.len();
            block[..kept].copy_from_slice(&self.partial);
            let filled = match self.stream.read(&mut block[kept..]) {
                Ok(0) => return Ok(false),
                Ok(n) => kept + n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            let taken = self.side.take(&block[..filled], &mut self.out)?;
            self.partial.clear();
            self.partial.extend_from_slice(&block[taken..filled]);
            self.write()?;
            // A short read means drained.
            if filled < block.len() {
                return Ok(true);
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

/// Where the frame ends whose content has its length at `at`; `None` as long as that is not there.
fn end(bytes: &[u8], at: usize) -> Result<Option<usize>> {
    if bytes.len() < at + 4 {
        return Ok(None);
    }
    let end = at + 4 + u32_at(bytes, at);
    if end > BLOCK {
        return Err("a frame is too large".into());
    }
    Ok(if end <= bytes.len() { Some(end) } else { None })
}

/// Answers a request with its content.
struct Echo;

impl Side for Echo {
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = bytes;
        while rest.len() >= 24 {
            if rest[..3] != PREFIX {
                return Err("these bytes begin no request".into());
            }
            let method = 20 + usize::from(rest[19]);
            let Some(end) = end(rest, method)? else { break };
            if &rest[20..method] != METHOD.as_bytes() {
                return Err("the method is unknown".into());
            }
            out.extend_from_slice(&rest[..19]);
            out.extend_from_slice(&rest[method..end]);
            rest = &rest[end..];
        }
        Ok(bytes.len() - rest.len())
    }
}

pub(super) fn server(listen: &str) -> Result<()> {
    if is_path(listen) { serve::<UnixStream>(listen) } else { serve::<TcpStream>(listen) }
}

fn serve<St: Socket>(listen: &str) -> Result<()> {
    let mut poll = Poll::new()?;
    let (mut listener, address) = St::bind(listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready(address);
    let mut conns: Vec<Option<Conn<St, Echo>>> = Vec::new();
    let mut block = vec![0; BLOCK];
    let mut events = Events::with_capacity(EVENTS);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut conns)?;
                continue;
            }
            let place = &mut conns[event.token().0];
            let Some(conn) = place else { continue };
            // A client that is ended in the middle of its work resets its connections.
            let stands = match conn.turn(event, &mut block) {
                Err(error) if !error.is::<io::Error>() => return Err(error),
                turn => turn.unwrap_or(false),
            };
            if !stands {
                *place = None;
            }
        }
    }
}

fn accept<St: Socket>(
    listener: &St::Listener,
    poll: &Poll,
    conns: &mut Vec<Option<Conn<St, Echo>>>,
) -> Result<()> {
    loop {
        match St::accept(listener) {
            Ok(mut stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(conns.len()), interest)?;
                conns.push(Some(Conn::new(stream, Echo)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps a number of requests in flight, and knows which.
struct Window<'a> {
    content: &'a [u8],
    /// The id of every request that is in flight, in the place that its low half names; the high half counts.
    ids: Vec<u128>,
    /// Places of requests that have not been made yet.
    free: VecDeque<usize>,
    /// Requests that may still be made.
    left: u64,
    in_flight: usize,
}

impl<'a> Window<'a> {
    fn new(content: &'a [u8], in_flight: u32, left: u64) -> Self {
        let places = in_flight as usize;
        Window { content, ids: vec![0; places], free: (0..places).collect(), left, in_flight: 0 }
    }

    fn fill(&mut self, out: &mut Vec<u8>) {
        while let Some(place) = self.free.pop_front() {
            self.request(place, out);
        }
    }

    fn request(&mut self, place: usize, out: &mut Vec<u8>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.in_flight += 1;
        let id = (((self.ids[place] >> 64) + 1) << 64) | place as u128;
        self.ids[place] = id;
        let mut head = [0; 24 + METHOD.len()];
        head[..3].copy_from_slice(&PREFIX);
        head[3..19].copy_from_slice(&id.to_le_bytes());
        head[19] = METHOD.len() as u8;
        head[20..20 + METHOD.len()].copy_from_slice(METHOD.as_bytes());
        head[20 + METHOD.len()..].copy_from_slice(&(self.content.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(self.content);
    }
}

impl Side for Window<'_> {
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = bytes;
        let mut count = 0;
        while rest.len() >= RESPONSE_HEADER {
            if rest[..3] != PREFIX {
                return Err("these bytes begin no response".into());
            }
            let Some(end) = end(rest, 19)? else { break };
            let id = u128::from_le_bytes(rest[3..19].try_into()?);
            let place = id as u64 as usize;
            if self.ids.get(place) != Some(&id) {
                return Err("an answer to nothing".into());
            }
            if end - RESPONSE_HEADER != self.content.len() {
                return Err(NOT_WHAT_WAS_SENT.into());
            }
            rest = &rest[end..];
            count += 1;
            self.in_flight -= 1;
            self.request(place, out);
        }
        answered(count);
        Ok(bytes.len() - rest.len())
    }
}

pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    if is_path(address) { ask::<UnixStream>(address, load) } else { ask::<TcpStream>(address, load) }
}

fn ask<St: Socket>(address: &str, load: &Load) -> Result<()> {
    let content = load.content();
    let mut poll = Poll::new()?;
    let mut conns = Vec::new();
    let connections = u64::from(load.connections);
    for at in 0..connections {
        let mut stream = St::connect(address)?;
        poll.registry().register(&mut stream, Token(at as usize), Interest::READABLE | Interest::WRITABLE)?;
        let window = Window::new(&content, load.in_flight, load.share(at, connections));
        conns.push(Conn::new(stream, window));
    }
    let _idle: Vec<St> = (0..load.idle).map(|_| St::connect(address)).collect::<Result<_>>()?;
    ready("");
    for conn in &mut conns {
        conn.side.fill(&mut conn.out);
        conn.write()?;
    }
    let mut block = vec![0; BLOCK];
    let mut events = Events::with_capacity(EVENTS);
    while conns.iter().any(|conn| conn.side.left + conn.side.in_flight as u64 > 0) {
        poll.poll(&mut events, None)?;
        for event in &events {
            let conn = &mut conns[event.token().0];
            if !conn.turn(event, &mut block)? {
                return Err("the server has closed a connection".into());
            }
        }
    }
    done(load.requests());
    Ok(())
}
