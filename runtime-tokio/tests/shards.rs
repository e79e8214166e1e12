//! Several drivers for one service, on both sides.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use plimsoll_core::policy::balance::Strategy;
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
    let [endpoint] = service.endpoints().await.unwrap().try_into().unwrap();
    assert_eq!((endpoint.connections, endpoint.breaker_stats.succeeded), (3, 30), "summed up as well");
    assert_eq!((endpoint.last_failure, endpoint.next_attempt, endpoint.error_per_mille), (None, None, 0));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_about_an_endpoint_holds_for_all_shards() {
    let (old, new) = (serve(methods()).await, serve(methods()).await);
    let client = Client::builder().shards(3).build();
    let config = config(&old).max_connections(3).min_connections(3);
    let service = client.configure_service("test", config).unwrap();
    let address = |server: &plimsoll_tokio::Server| server.local_addr().to_string();
    within("it is added", service.add_endpoint(&address(&new))).await.unwrap();
    within("it is removed", service.remove_endpoint(&address(&old))).await.unwrap();
    for _ in 0..30 {
        assert_eq!(within("an answer", service.request::<u32>("echo", &1)).await.unwrap(), 1);
    }
    assert_eq!((old.metrics().await.metrics.answered, new.metrics().await.metrics.answered), (0, 30));
    within("twice as many", service.scale(2)).await.unwrap();
    assert_eq!(service.snapshot().await.unwrap().status.endpoints, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_about_the_same_thing_go_to_the_same_server_whichever_shard_they_take() {
    let servers = [serve(methods()).await, serve(methods()).await, serve(methods()).await];
    let client = Client::builder().shards(2).build();
    let mut config =
        config(&servers[0]).strategy(Strategy::ConsistentHash).max_connections(2).min_connections(2);
    for server in &servers[1..] {
        config = config.endpoint(server.local_addr().to_string());
    }
    let service = client.configure_service("test", config).unwrap();
    let ready = async || service.snapshot().await.unwrap().status.connections == 6;
    while !ready().await {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let call = service.call("echo").key("user-12345");
        assert_eq!(within("an answer", call.json::<u32>(&1)).await.unwrap(), 1);
    }
    let mut answered = Vec::new();
    for server in &servers {
        answered.push(server.metrics().await.metrics.answered);
    }
    answered.sort_unstable();
    assert_eq!(answered, [0, 0, 20]);
}
