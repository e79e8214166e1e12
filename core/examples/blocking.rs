//! The core in a plain blocking loop: one socket of the standard library, a service client, and nothing else. Pools,
//! heartbeats, reconnecting, deadlines and breakers are there all the same: the machine asks for what they need.
//!
//! It calls `echo` of the server at the address it is given, or of one that it starts on a thread: the same loop with the
//! other machine.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use plimsoll_core::drive::{Clock, fault_of};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::client::{self, Client, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::service::{Uw, UwRequest};

type Link = Option<(ConnId, TcpStream)>;

/// Does what the machine wants, then waits for bytes or for its deadline.
#[expect(clippy::disallowed_methods, reason = "machines never block, but this loop may")]
fn turn(machine: &mut impl Machine, link: &mut Link, clock: &Clock) {
    while let Some(action) = machine.poll() {
        act(machine, link, clock, action);
    }
    let wait = machine.deadline().map(|at| at.since(clock.now()).max(Duration::from_millis(1)));
    match link {
        Some((conn, stream)) => {
            let conn = *conn;
            // There is room: all events have been taken.
            let read = stream.set_read_timeout(wait).and_then(|()| stream.read(machine.recv_buf(conn)));
            let input = match read {
                Ok(0) => Input::ReadClosed(conn),
                Ok(n) => Input::Received(conn, n),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Input::Tick,
                    _ => lost(link, conn, &error),
                },
            };
            machine.handle(clock.now(), input);
        }
        None => thread::sleep(wait.unwrap_or_default()),
    }
    // One that is early does no harm.
    machine.handle(clock.now(), Input::Tick);
}

/// The machine has done with the connection once it is told.
fn lost(link: &mut Link, conn: ConnId, error: &io::Error) -> Input {
    *link = None;
    Input::Closed(conn, fault_of(error))
}

fn act(machine: &mut impl Machine, link: &mut Link, clock: &Clock, action: Action) {
    let input = match action {
        Action::Connect(conn) => match TcpStream::connect(machine.target(conn).unwrap_or_default()) {
            Ok(stream) => {
                *link = Some((conn, stream));
                Input::Connected(conn)
            }
            Err(error) => lost(link, conn, &error),
        },
        Action::Flush(_) => return flush(machine, link, clock),
        Action::Close(_) => return *link = None,
        // Whoever takes all events at once, as here, is never asked to read no more.
        Action::Read(..) => return,
    };
    machine.handle(clock.now(), input);
}

/// Writes all there is: it is not said again.
fn flush(machine: &mut impl Machine, link: &mut Link, clock: &Clock) {
    while let Some((conn, stream)) = link {
        let conn = *conn;
        let mut bufs = [&[][..]];
        machine.send_bufs(conn, &mut bufs);
        let input = match stream.write(bufs[0]) {
            Ok(0) => return,
            Ok(n) => Input::Sent(conn, n),
            Err(error) => lost(link, conn, &error),
        };
        machine.handle(clock.now(), input);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (clock, mut link) = (Clock::start(), None);
    let address = env::args().skip(1).find(|arg| arg.contains(':')).map_or_else(serve, Ok)?;
    let mut config = client::Config::default();
    config.cluster.max_connections = NonZeroU32::MIN;
    let mut client = Client::new(Uw::default(), config, 42);
    client.add_endpoint(clock.now(), &address)?;
    for n in 0..3 {
        let content = format!("[{n}]");
        let request = UwRequest { method: "echo", content: content.as_bytes() };
        client.request(clock.now(), &request, Options::default())?;
    }
    let mut ended = 0;
    while ended < 3 {
        turn(&mut client, &mut link, &clock);
        while let Some(event) = client.event() {
            let Event::Outcome { outcome, .. } = event else { continue };
            let Outcome::Answer(content) = outcome else { return Err(format!("{outcome:?}").into()) };
            println!("{}", String::from_utf8_lossy(content));
            ended += 1;
        }
    }
    Ok(())
}

/// Serves the first who connects; its address.
fn serve() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody connects");
        let (clock, mut server) = (Clock::start(), Server::new(server::Config::default()));
        let conn = server.accept(clock.now(), Peer::UNKNOWN).expect("the first");
        let mut link = Some((conn, stream));
        while link.is_some() {
            turn(&mut server, &mut link, &clock);
            while let Some(request) = server.event() {
                request.responder.reply(request.content).expect("as short as what it came with");
            }
        }
    });
    Ok(address)
}

#[test]
fn it_is_answered() {
    main().unwrap();
}
