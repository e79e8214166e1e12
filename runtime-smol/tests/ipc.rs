//! What every adapter must do with Bro IPC.

use plimsoll_smol::Smol;

fn on_smol(scenario: impl FnOnce(Smol)) {
    scenario(Smol::default());
}

plimsoll_conformance::ipc_suite!(on_smol);
