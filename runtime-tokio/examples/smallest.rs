//! The smallest client: one service, one call.
//!
//! ```text
//! $ cargo run -p plimsoll-gateway -- serve uw://127.0.0.1:3001 &
//! $ cargo run -p plimsoll-tokio --example smallest
//! ```

use std::error::Error;

use plimsoll_tokio::{Client, ServiceConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", ask("127.0.0.1:3001").await?);
    Ok(())
}

async fn ask(address: &str) -> Result<String, Box<dyn Error>> {
    let client = Client::builder().build();
    client.configure_service("test", ServiceConfig::new(address))?;
    Ok(client.request("test", "echo", "hello").await?)
}

#[tokio::test]
async fn it_is_answered() {
    let echo = |text: String, _: plimsoll_tokio::Ctx| async move { Ok(text) };
    let server = plimsoll_tokio::Server::builder().method("echo", echo).bind("127.0.0.1:0").await.unwrap();
    assert_eq!(ask(&server.local_addr().to_string()).await.unwrap(), "hello");
}
