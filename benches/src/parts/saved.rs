//! Machines in the middle of their work, to be saved.

use plimsoll_core::machine::{Action, Input, Machine, Peer};
pub use plimsoll_core::save::Snapshot;
use plimsoll_core::service::client::{self, Client, Options};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;

/// A client whose endpoints have a connection each, with requests of 64 bytes that are sent and not answered.
///
/// # Panics
/// If there is no room for them.
pub fn client(endpoints: u32, in_flight: u32) -> Client<Uw> {
    let now = Instant::from_millis(1_000);
    let mut client = Client::new(Uw::default(), client::Config::default(), 42);
    for n in 0..endpoints {
        client.add_endpoint(now, &format!("users-{n}.internal:3001")).expect("a good address");
    }
    work(&mut client, now);
    for _ in 0..in_flight {
        let request = UwRequest { method: "echo", content: &[b'x'; 64] };
        client.request(now, &request, Options::default()).expect("room for it");
    }
    work(&mut client, now);
    client
}

/// A server whose connections have said nothing yet.
///
/// # Panics
/// If there are more than it takes.
pub fn server(connections: u32) -> Server {
    let mut server = Server::new(server::Config::default());
    for _ in 0..connections {
        server.accept(Instant::from_millis(1_000), Peer::UNKNOWN).expect("room for it");
    }
    server
}

/// All dials succeed, and the network takes everything.
fn work(client: &mut Client<Uw>, now: Instant) {
    while client.event().is_some() {}
    while let Some(action) = client.poll() {
        match action {
            Action::Connect(conn) => client.handle(now, Input::Connected(conn)),
            Action::Flush(conn) => {
                let mut bufs = [&[][..]; 16];
                let n = client.send_bufs(conn, &mut bufs);
                let len = bufs[..n].iter().map(|buf| buf.len()).sum();
                client.handle(now, Input::Sent(conn, len));
            }
            Action::Close(_) | Action::Read(..) => {}
        }
        while client.event().is_some() {}
    }
}
