//! A herd of clients may come at once.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use support::{methods, serve};

/// While the only thread is busy with dialling, nobody accepts: whoever connects is held by the kernel.
#[tokio::test]
async fn hundreds_may_connect_before_the_first_is_accepted() {
    let server = serve(methods()).await;
    let address = server.local_addr().tcp().unwrap();
    let herd: Vec<_> = (0..400)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok())
        .collect();
    assert_eq!(herd.len(), 400);
}
