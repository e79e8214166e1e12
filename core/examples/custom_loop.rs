//! The core in a loop of your own: one thread, one `poll(2)`, two machines. A server takes requests, and a client passes them
//! on to the service that answers them.
//!
//! The machines do not know of each other, nor of the loop. What a request of the one has to do with a request of the other,
//! the application remembers: [`Server`] gives it a token for an answer that comes later, and [`Client`] brings back whatever
//! number it was given.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plimsoll_core::drive::{Clock, fault_of};
use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::client::{self, Client, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Server, Token};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, code, decode_request, decode_response, encode_request, encode_response,
};

/// Passes on what `listener` takes to the service at `upstream`, for ever.
fn pass_on(listener: TcpListener, upstream: &str) -> io::Result<()> {
    let clock = Clock::start();
    let mut server = Node::new(Server::new(server::Config::default()));
    let mut client = Node::new(Client::new(Uw::default(), client::Config::default(), 42));
    client.machine.add_endpoint(clock.now(), upstream).map_err(io::Error::other)?;
    listener.set_nonblocking(true)?;
    // Bounded by the server, which reads no further when too many answers are due.
    let mut due: Vec<Option<Token>> = Vec::new();
    loop {
        let now = clock.now();
        requests(now, &mut server.machine, &mut client.machine, &mut due);
        answers(now, &mut client.machine, &mut server.machine, &mut due);
        server.act(now);
        client.act(now);

        let deadlines = [server.machine.deadline(), client.machine.deadline()];
        let wait = deadlines.into_iter().flatten().min().map(|at| at.since(clock.now()));
        // Rounded up: who wakes early sleeps twice.
        let wait = wait.map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        fds.extend(server.interest().chain(client.interest()));
        poll(&mut fds, wait)?;
        let ready: Vec<_> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();

        let now = clock.now();
        server.machine.handle(now, Input::Tick);
        client.machine.handle(now, Input::Tick);
        let (of_server, of_client) = ready[1..].split_at(server.links.len());
        server.transfer(now, of_server);
        client.transfer(now, of_client);
        if let Ok((stream, address)) = listener.accept()
            && let Some(conn) = server.machine.accept(now, Peer { address: Some(address), ..Peer::UNKNOWN })
        {
            server.open(conn, stream)?;
        }
    }
}

/// From those who ask to the one who knows.
fn requests(now: Instant, server: &mut Server, client: &mut Client<Uw>, due: &mut Vec<Option<Token>>) {
    while let Some(request) = server.event() {
        let tag = due.iter().position(Option::is_none).unwrap_or(due.len());
        let asked = UwRequest { method: request.method, content: request.content };
        match client.request(now, &asked, Options { tag: tag as u64, ..Options::default() }) {
            Ok(_) => {
                due.resize_with(due.len().max(tag + 1), || None);
                due[tag] = Some(request.responder.defer());
            }
            // Too much at once: the sooner they hear of it, the better.
            Err(error) => _ = request.responder.fail(code::OVERLOADED, &error.to_string()),
        }
    }
}

/// And back.
fn answers(now: Instant, client: &mut Client<Uw>, server: &mut Server, due: &mut [Option<Token>]) {
    while let Some(event) = client.event() {
        let Event::Outcome { tag, outcome, .. } = event else { continue };
        let Some(token) = due[tag as usize].take() else { continue };
        // Whoever asked may be gone by now, and nobody is told then.
        let _ = match outcome {
            Outcome::Answer(content) => server.reply(now, token, content),
            Outcome::Remote { code, message } => server.fail(now, token, code, message),
            failure => server.fail(now, token, code::EXECUTION_FAILED, &format!("{failure:?}")),
        };
    }
}

/// A machine and its sockets.
struct Node<M> {
    machine: M,
    links: Vec<Link>,
}

struct Link {
    conn: ConnId,
    stream: TcpStream,
    reading: bool,
}

impl<M: Machine> Node<M> {
    fn new(machine: M) -> Self {
        Node { machine, links: Vec::new() }
    }

    fn open(&mut self, conn: ConnId, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.links.push(Link { conn, stream, reading: true });
        Ok(())
    }

    /// Does what the machine wants.
    fn act(&mut self, now: Instant) {
        while let Some(action) = self.machine.poll() {
            match action {
                // Dialling takes its time: a loop that has none to lose hands it to another thread.
                Action::Connect(conn) => {
                    let stream = TcpStream::connect(self.machine.target(conn).unwrap_or_default());
                    let input = match stream.and_then(|stream| self.open(conn, stream)) {
                        Ok(()) => Input::Connected(conn),
                        Err(error) => Input::Closed(conn, fault_of(&error)),
                    };
                    self.machine.handle(now, input);
                }
                Action::Close(conn) => self.links.retain(|link| link.conn != conn),
                Action::Read(conn, on) => {
                    for link in self.links.iter_mut().filter(|link| link.conn == conn) {
                        link.reading = on;
                    }
                }
                // `interest` finds out whether there is something to send.
                Action::Flush(_) => {}
            }
        }
    }

    fn interest(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.links.iter().map(|link| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, link.reading);
            flags.set(PollFlags::POLLOUT, self.machine.send_bufs(link.conn, &mut [&[]]) > 0);
            PollFd::new(link.stream.as_fd(), flags)
        })
    }

    /// Reads and writes once where `poll` says so, in the order of `interest`. What has failed is dropped.
    fn transfer(&mut self, now: Instant, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        self.links.retain_mut(|link| {
            let Some(&ready) = ready.next() else { return true };
            let mut input = link.read(&mut self.machine, ready);
            if !matches!(input, Some(Input::Closed(..))) {
                input.into_iter().for_each(|input| self.machine.handle(now, input));
                input = link.write(&self.machine, ready);
            }
            input.into_iter().for_each(|input| self.machine.handle(now, input));
            !matches!(input, Some(Input::Closed(..)))
        });
    }
}

impl Link {
    fn read(&mut self, machine: &mut impl Machine, ready: PollFlags) -> Option<Input> {
        let ended = ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        if !self.reading {
            return ended.then_some(Input::Closed(self.conn, Fault::Closed));
        }
        if !ended && !ready.contains(PollFlags::POLLIN) {
            return None;
        }
        // Asked for only now: room that is lent to a silent connection is lost to the others.
        let buf = machine.recv_buf(self.conn);
        // No room: 0 bytes would look like the end.
        if buf.is_empty() {
            return None;
        }
        match self.stream.read(buf) {
            Ok(0) => {
                self.reading = false;
                Some(Input::ReadClosed(self.conn))
            }
            Ok(n) => Some(Input::Received(self.conn, n)),
            Err(error) => failed(self.conn, &error),
        }
    }

    fn write(&mut self, machine: &impl Machine, ready: PollFlags) -> Option<Input> {
        let mut bufs = [&[][..]];
        if !ready.contains(PollFlags::POLLOUT) || machine.send_bufs(self.conn, &mut bufs) == 0 {
            return None;
        }
        match self.stream.write(bufs[0]) {
            Ok(n) => Some(Input::Sent(self.conn, n)),
            Err(error) => failed(self.conn, &error),
        }
    }
}

fn failed(conn: ConnId, error: &io::Error) -> Option<Input> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => None,
        _ => Some(Input::Closed(conn, fault_of(error))),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (asked, knows) = (front.local_addr()?, back.local_addr()?.to_string());
    thread::spawn(move || pass_on(front, &knows));
    thread::spawn(move || echo(back));
    let mut stream = TcpStream::connect(asked)?;
    for n in 0..3 {
        let mut bytes = Vec::new();
        let content = format!("[{n}]");
        encode_request(&mut bytes, WireId::new(0, 0, n), "echo", content.as_bytes(), &Limits::default())?;
        stream.write_all(&bytes)?;
        bytes.clear();
        let content = loop {
            match decode_response(&bytes, &Limits::default(), Mode::Strict)? {
                Step::Frame(head) => break &bytes[head.content],
                _ => read_more(&mut stream, &mut bytes)?,
            }
        };
        println!("{}", String::from_utf8_lossy(content));
    }
    Ok(())
}

/// The service that answers: one connection, and no policy at all.
fn echo(listener: TcpListener) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut stream, _) = listener.accept()?;
    let mut bytes = Vec::new();
    loop {
        let Step::Frame(head) = decode_request(&bytes, &Limits::default(), Mode::Strict)? else {
            read_more(&mut stream, &mut bytes)?;
            continue;
        };
        let mut answer = Vec::new();
        encode_response(&mut answer, head.id, &bytes[head.content.clone()], &Limits::default())?;
        stream.write_all(&answer)?;
        bytes.drain(..head.content.end);
    }
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut more = [0; 4096];
    match stream.read(&mut more)? {
        0 => return Err(ErrorKind::UnexpectedEof.into()),
        n => bytes.extend_from_slice(&more[..n]),
    }
    Ok(())
}

#[test]
fn what_is_passed_on_is_answered() {
    main().unwrap();
}
