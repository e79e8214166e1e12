//! Connections that say nothing.

mod support;

use support::{config, connect, methods, serve, until, within};
use tokio::net::TcpStream;

const SILENT: u32 = 5_000;

/// Both ends of every connection are in this process.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(SILENT) * 2 + 200;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
            .expect("this test needs 10,200 open files: raise the hard limit (ulimit -Hn)");
    }
}

#[tokio::test]
async fn five_thousand_silent_connections_cost_only_themselves() {
    raise_descriptor_limit();
    let server = serve(methods()).await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(
            within("a connection", TcpStream::connect(server.local_addr().tcp().unwrap())).await.unwrap(),
        );
    }
    let (_client, service) = connect(config(&server));
    for n in 0..200u32 {
        assert_eq!(within("an answer", service.request::<u32>("echo", &n)).await.unwrap(), n);
    }
    assert_eq!(server.metrics().await.status.connections, SILENT + 1);
    drop(silent);
    until("they are gone", || async { server.metrics().await.status.connections == 1 }).await;
    assert_eq!(server.metrics().await.metrics.closed.peer, u64::from(SILENT));
    assert_eq!(service.request::<u32>("echo", &1).await.unwrap(), 1);
}
