//! Several drivers for one service, on both sides.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use plimsoll_tokio::{Client, Ctx};
use support::{config, methods, serve, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_spread_over_shards_and_their_metrics_are_summed() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let conns = seen.clone();
    let whoami = move |_: (), ctx: Ctx| {
        conns.lock().unwrap().insert(ctx.conn);
        async { Ok(()) }
    };
    let server = serve(methods().method("whoami", whoami)).await;
    let client = Client::builder().shards(3).build();
    let service =
        client.configure_service("test", config(&server).max_connections(3).min_connections(3)).unwrap();
    for _ in 0..30 {
        within("an answer", service.request::<()>("whoami", &())).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 3, "each shard has a connection of its own");
    let snapshot = client.metrics("test").await.unwrap();
    assert_eq!((snapshot.metrics.succeeded, snapshot.status.connections), (30, 3));
    assert_eq!(snapshot.status.endpoints, 1);
    client.reset_metrics("test");
    assert_eq!(client.metrics("test").await.unwrap().metrics.succeeded, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shards_of_a_server_share_its_port() {
    let server = serve(methods().shards(2)).await;
    let clients: Vec<_> = (0..8).map(|_| support::connect(config(&server))).collect();
    for (_, service) in &clients {
        assert_eq!(within("an answer", service.request::<u32>("echo", &1)).await.unwrap(), 1);
    }
    let snapshot = server.metrics().await;
    assert_eq!((snapshot.metrics.answered, snapshot.status.connections), (8, 8));
}
