//! A handle can be asked why its requests went where they went.

mod support;

use std::num::NonZeroU32;

use plimsoll_core::cluster::explain::Decision;
use serde_json::{Value, json};
use support::{config, connect, methods, serve, within};

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
