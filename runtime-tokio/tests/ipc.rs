//! What every adapter must do with Bro IPC.

use plimsoll_tokio::Tokio;

fn on_tokio(scenario: impl FnOnce(Tokio)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    scenario(Tokio::default());
}

plimsoll_conformance::ipc_suite!(on_tokio);
