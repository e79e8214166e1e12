//! The smallest client: one service, one call.
//!
//! ```text
//! $ cargo run -p plimsoll-gateway -- serve uw://127.0.0.1:3001 &
//! $ cargo run -p plimsoll-smol --example smallest
//! ```

use std::error::Error;

use plimsoll_smol::{Client, ServiceConfig};

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", smol::block_on(ask("127.0.0.1:3001"))?);
    Ok(())
}

async fn ask(address: &str) -> Result<String, Box<dyn Error>> {
    let client = Client::builder().build();
    client.configure_service("test", ServiceConfig::new(address))?;
    Ok(client.request("test", "echo", "hello").await?)
}

#[test]
fn it_is_answered() {
    smol::block_on(async {
        let echo = |text: String, _: plimsoll_smol::Ctx| async move { Ok(text) };
        let server = plimsoll_smol::Server::builder().method("echo", echo).bind("127.0.0.1:0").await.unwrap();
        assert_eq!(ask(&server.local_addr().to_string()).await.unwrap(), "hello");
    });
}
