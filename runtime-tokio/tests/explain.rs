//! A handle can be asked why its requests went where they went.

mod support;

use std::num::NonZeroU32;

use plimsoll_core::cluster::explain::Decision;
use serde_json::{Value, json};
use support::{config, connect, methods, serve, until, within};

#[tokio::test]
async fn the_latest_decisions_are_told_with_their_reasons_until_it_is_turned_off() {
    let (first, second) = (serve(methods()).await, serve(methods()).await);
    let (_client, service) = connect(config(&first).endpoint(second.local_addr().to_string()));
    service.set_explain(NonZeroU32::new(4));
    for n in 0..10 {
        let answer: Value = within("echo", service.request("echo", &json!(n))).await.unwrap();
        assert_eq!(answer, json!(n));
    }
    let told = service.explanations().await.unwrap();
    assert_eq!(told.len(), 4);
    let addresses = [first, second].map(|server| server.local_addr().to_string());
    for why in told {
        let Decision::Pick(pick) = &why.decision else { panic!("{why}") };
        assert!(addresses.contains(&pick.endpoint.address), "{why}");
        assert!(why.to_string().contains(&format!("a request goes to {}", pick.endpoint.address)), "{why}");
    }
    service.set_explain(None);
    assert_eq!(service.explanations().await.unwrap(), []);
}

#[tokio::test]
async fn every_endpoint_says_how_it_stands() {
    let server = serve(methods()).await;
    let dead = dead_address().await;
    let (_client, service) = connect(config(&server).endpoint(dead.clone()));
    let answer: Value = within("echo", service.request("echo", &json!(1))).await.unwrap();
    assert_eq!(answer, json!(1));
    let stands = || async {
        let endpoints = service.endpoints().await.unwrap();
        let reachable = |address: &str| {
            endpoints.iter().find(|endpoint| endpoint.address == address).map(|endpoint| endpoint.reachable)
        };
        let alive = server.local_addr().to_string();
        (reachable(&alive), reachable(&dead)) == (Some(true), Some(false))
    };
    until("the dead one is known to be dead", stands).await;
    assert_eq!(service.endpoints().await.unwrap().len(), 2);
}

/// An address where nobody listens any more.
async fn dead_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}
