//! What is true of Unix sockets alone.
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

pub fn a_unix_socket_is_named_by_its_path_and_removed_at_the_end(runtime: impl Runtime) {
    let (world, path) = (World::unix(runtime), free_path());
    let server = within("the socket", methods(&world, &Gate::default()).bind(&path)).expect("a free path");
    assert_eq!(server.local_addr().to_string(), path);
    for address in [path.clone(), format!("unix:{path}")] {
        let (_client, service) = connect(&world, ServiceConfig::new(address));
        echo(&service, 1);
    }
    drop(server);
    until("the path is free again", || Listener::bind(&path).is_ok());
}
