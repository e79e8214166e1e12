//! What every adapter must do with Bro IPC.

use plimsoll_tokio::Tokio;

fn on_tokio(scenario: impl FnOnce(Tokio)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    scenario(Tokio::default());
}

plimsoll_conformance::ipc_suite!(on_tokio);

mod over_harsh_sockets {
    use plimsoll_conformance::Harsh;

    fn on_tokio(scenario: impl FnOnce(Harsh<super::Tokio>)) {
        super::on_tokio(|runtime| scenario(Harsh::new(runtime)));
    }

    plimsoll_conformance::ipc_suite!(on_tokio);
}
