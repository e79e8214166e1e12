//! 10,000 requests between a client and a server, in memory: no socket, no clock, no thread. CI runs it under
//! WebAssembly, where none of them could hide.

use core::time::Duration;

use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::client::{self, Client, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Request, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;

const REQUESTS: u64 = 10_000;
/// Taken by the client before anything is carried to the server.
const BURST: u64 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut now = Instant::ZERO;
    let mut client = Client::new(Uw::default(), client::Config::default(), 42);
    let mut server = Server::new(server::Config::default());
    client.add_endpoint(now, "users.internal:3001")?;
    let mut pairs: Vec<(ConnId, ConnId)> = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    while answered < REQUESTS {
        for n in asked..REQUESTS.min(asked + BURST) {
            let content = format!("{{\"n\":{n}}}");
            let request = UwRequest { method: "echo", content: content.as_bytes() };
            client.request(now, &request, Options { tag: n, ..Options::default() })?;
        }
        asked = REQUESTS.min(asked + BURST);
        connect(now, &mut client, &mut server, &mut pairs);
        for &(here, there) in &pairs {
            carry(now, (&mut client, here), (&mut server, there));
            while let Some(Request { content, responder, .. }) = server.event() {
                responder.reply(content)?;
            }
            carry(now, (&mut server, there), (&mut client, here));
        }
        while let Some(event) = client.event() {
            let Event::Outcome { tag, outcome, .. } = event else { continue };
            if outcome != Outcome::Answer(format!("{{\"n\":{tag}}}").as_bytes()) {
                return Err(format!("request {tag} ended as {outcome:?}").into());
            }
            answered += 1;
        }
        now = now + Duration::from_millis(1);
    }
    println!("{answered} requests answered");
    Ok(())
}

/// Brings the dials of the client to the server. Both name the connection in their own way.
fn connect(now: Instant, client: &mut Client<Uw>, server: &mut Server, pairs: &mut Vec<(ConnId, ConnId)>) {
    while let Some(action) = client.poll() {
        if let Action::Connect(here) = action
            && let Some(there) = server.accept(now, Peer::UNKNOWN)
        {
            pairs.push((here, there));
            client.handle(now, Input::Connected(here));
        }
    }
}

/// Carries what one machine has to send on a connection to the other.
fn carry(now: Instant, from: (&mut impl Machine, ConnId), to: (&mut impl Machine, ConnId)) {
    let mut bufs = [&[][..]; 16];
    let n = from.0.send_bufs(from.1, &mut bufs);
    let bytes = bufs[..n].concat();
    let taken = to.0.feed(now, to.1, &bytes);
    from.0.handle(now, Input::Sent(from.1, taken));
}
