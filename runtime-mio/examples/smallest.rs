//! The smallest client: one service, one call, no async.
//!
//! ```text
//! $ cargo run -p plimsoll-gateway -- serve uw://127.0.0.1:3001 &
//! $ cargo run -p plimsoll-mio --example smallest
//! ```

use std::error::Error;

use plimsoll_mio::{Client, ServiceConfig};

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", ask("127.0.0.1:3001")?);
    Ok(())
}

fn ask(address: &str) -> Result<String, Box<dyn Error>> {
    let client = Client::builder().build()?;
    client.configure_service("test", ServiceConfig::new(address))?;
    Ok(client.request("test", "echo", "hello")?)
}

#[test]
fn it_is_answered() {
    let echo = |text: String, _: plimsoll_mio::Ctx| Ok(text);
    let server = plimsoll_mio::Server::builder().method("echo", echo).bind("127.0.0.1:0").unwrap();
    assert_eq!(ask(&server.local_addr().to_string()).unwrap(), "hello");
}
