//! What every adapter must do with Bro IPC.

use plimsoll_mio::Mio;

fn on_mio(scenario: impl FnOnce(Mio)) {
    scenario(Mio::start().unwrap());
}

plimsoll_conformance::ipc_suite!(on_mio);
