//! Logs in files.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::replay;
use plimsoll_tokio::{Client, Recording, Server, ServiceConfig};

const SECOND: Duration = Duration::from_secs(1);

async fn echo_some(recording: &Recording, times: u32) {
    let server =
        Server::builder().method("echo", |n: u32, _| async move { Ok(n) }).bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder().record(recording).build();
    let service =
        client.configure_service("echo", ServiceConfig::new(server.local_addr().to_string())).unwrap();
    for n in 0..times {
        assert_eq!(service.request::<u32>("echo", &n).await, Ok(n));
    }
    client.shutdown(SECOND).await;
}

#[tokio::test]
async fn a_file_is_whole_when_the_client_has_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.plog");
    let recording = Recording::file(&path);
    echo_some(&recording, 200).await;
    let replayed = replay::replay(&fs::read(&path).unwrap()).unwrap();
    assert!(replayed.damage.is_none() && replayed.calls > 1_000, "{replayed}");
    let status = recording.status();
    assert_eq!((status.logs, status.lost, status.error), (1, 0, None));
}

#[test]
fn a_log_ends_in_order_where_its_runtime_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.plog");
    let recording = Recording::file(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let echo = Server::builder().method("echo", |n: u32, _| async move { Ok(n) }).record(&recording);
        let server = echo.bind("127.0.0.1:0").await.unwrap();
        let client = Client::builder().build();
        let service =
            client.configure_service("echo", ServiceConfig::new(server.local_addr().to_string())).unwrap();
        assert_eq!(service.request::<u32>("echo", &7).await, Ok(7));
        server
    });
    drop(runtime);
    let log = fs::read(&path).unwrap();
    let replayed = replay::replay(&log).unwrap();
    assert!(replayed.ended && replayed.damage.is_none(), "{replayed}");
    assert!(log.windows(4).any(|window| window == b"echo"));
    drop(server);
}

#[tokio::test]
async fn the_segments_of_a_file_go_round_in_a_ring() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.plog");
    let limit = |n| NonZeroU32::new(n).unwrap();
    let recording = Recording::file(&path).segment_bytes(limit(4_000)).segments(limit(4));
    echo_some(&recording, 3_000).await;
    let log = fs::read(&path).unwrap();
    assert!(log.len() < 40_000 && recording.status().bytes > 60_000, "{} bytes", log.len());
    let replayed = replay::replay(&log).unwrap();
    assert!(replayed.damage.is_none() && replayed.segments >= 2, "{replayed}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::file(directory.path().join("nowhere").join("echo.plog"));
    echo_some(&recording, 50).await;
    let status = recording.status();
    assert!(status.lost > 0 && status.error.is_some(), "{status:?}");
}
