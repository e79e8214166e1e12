//! Names, and addresses of both families.

mod support;

use plimsoll_tokio::ServiceConfig;
use support::{connect, methods, serve, within};

#[tokio::test]
async fn an_ipv6_address_stands_in_brackets() {
    let Ok(server) = methods().bind("[::1]:0").await else {
        panic!("this test needs IPv6 on loopback");
    };
    let (_client, service) = connect(ServiceConfig::new(server.local_addr().to_string()));
    assert_eq!(within("an answer", service.request::<u32>("echo", &6)).await.unwrap(), 6);
}

#[tokio::test]
async fn a_name_is_tried_at_all_its_addresses() {
    let server = serve(methods()).await;
    let port = server.local_addr().tcp().unwrap().port();
    let (_client, service) = connect(ServiceConfig::new(format!("localhost:{port}")));
    assert_eq!(within("an answer", service.request::<u32>("echo", &4)).await.unwrap(), 4);
}

#[tokio::test]
async fn requests_go_to_all_endpoints_of_a_service() {
    let (one, two) = (serve(methods()).await, serve(methods()).await);
    let both = support::config(&one).endpoint(two.local_addr().to_string());
    let (_client, service) = connect(both);
    support::until("both have answered", || async {
        service.request::<u32>("echo", &1).await.unwrap();
        one.metrics().await.metrics.answered > 0 && two.metrics().await.metrics.answered > 0
    })
    .await;
}
