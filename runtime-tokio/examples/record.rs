//! Records every kind of machine while it is at work: `cargo run -p plimsoll-tokio --example record -- DIRECTORY` writes a log
//! of each there, which replays anywhere.

use std::path::Path;
use std::time::Duration;

use plimsoll_tokio::{Client, Recording, Server, ServiceConfig, ipc};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("where to?")?;
    let file = |name: &str| Recording::file(Path::new(&directory).join(name));

    let server = Server::builder()
        .method("double", |n: u32, _| async move { Ok(2 * n) })
        .record(&file("server.plog"))
        .bind("127.0.0.1:0")
        .await?;
    let client = Client::builder().record(&file("client.plog")).build();
    let numbers = client.configure_service("numbers", ServiceConfig::new(server.local_addr().to_string()))?;
    for n in 0..500 {
        assert_eq!(numbers.request::<u32>("double", &n).await?, 2 * n);
    }
    client.shutdown(Duration::from_secs(1)).await;
    server.shutdown(Duration::from_secs(1)).await;

    let socket = Path::new(&directory).join("hub.sock");
    let socket = socket.to_str().ok_or("a path that is no text")?;
    let hub = ipc::Hub::builder().record(&file("hub.plog")).bind(socket).await?;
    let orders = ipc::Client::builder("orders").path(socket).record(&file("orders.plog")).build()?;
    let users = ipc::Client::builder("users")
        .path(socket)
        .method("double", |n: u32, _| async move { Ok(2 * n) })
        .record(&file("users.plog"))
        .build()?;
    users.connect().await?;
    orders.connect().await?;
    for n in 0..100 {
        assert_eq!(orders.call::<u32>("users", "double", &n).await?, 2 * n);
    }
    orders.shutdown(Duration::from_secs(1)).await;
    users.shutdown(Duration::from_secs(1)).await;
    hub.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
