//! Connections that say nothing.

mod support;

use support::{config, connect, methods, serve, until, within};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_thousand_silent_connections_cost_only_themselves() {
    let server = serve(methods()).await;
    let mut silent = Vec::new();
    for _ in 0..1_200 {
        silent.push(within("a connection", TcpStream::connect(server.local_addr())).await.unwrap());
    }
    let (_client, service) = connect(config(&server));
    for n in 0..200u32 {
        assert_eq!(within("an answer", service.request::<u32>("echo", &n)).await.unwrap(), n);
    }
    assert_eq!(server.metrics().await.status.connections, 1_201);
    drop(silent);
    until("they are gone", || async { server.metrics().await.status.connections == 1 }).await;
    assert_eq!(server.metrics().await.metrics.closed.peer, 1_200);
    assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1);
}
