//! What every adapter must do with Bro IPC.

use plimsoll_mio::Mio;

fn on_mio(scenario: impl FnOnce(Mio)) {
    scenario(Mio::start().unwrap());
}

plimsoll_conformance::ipc_suite!(on_mio);

mod over_harsh_sockets {
    use plimsoll_conformance::Harsh;

    fn on_mio(scenario: impl FnOnce(Harsh<super::Mio>)) {
        super::on_mio(|runtime| scenario(Harsh::new(runtime)));
    }

    plimsoll_conformance::ipc_suite!(on_mio);
}
