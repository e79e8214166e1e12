//! The same over a Unix socket.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::sync::atomic::{AtomicU32, Ordering};

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::ServiceConfig;

use crate::support::*;

/// Where nothing is yet.
pub(crate) fn free_path() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("plimsoll-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name).to_str().expect("a path that can be written").to_owned()
}

pub fn requests_are_answered_over_a_unix_socket(runtime: impl Runtime) {
    let path = free_path();
    let server = within("the socket", methods(&runtime, &Gate::default()).bind(&path)).expect("a free path");
    assert_eq!(server.local_addr().to_string(), path);
    for address in [path.clone(), format!("unix:{path}")] {
        let (_client, service) = connect(&runtime, ServiceConfig::new(address));
        (0..100).for_each(|n| echo(&service, n));
        let text = "0123456789abcdef".repeat(65_536);
        let calls = (0..5).map(|n| {
            let (service, sent) = (&service, format!("{n}{text}"));
            async move { assert!(service.request::<String>("echo", &sent).await.unwrap() == sent) }
        });
        within("the answers", all(calls));
    }
    drop(server);
    until("the file is removed", || !std::fs::exists(&path).unwrap());
}
