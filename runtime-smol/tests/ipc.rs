//! What every adapter must do with Bro IPC.

use plimsoll_smol::Smol;

fn on_smol(scenario: impl FnOnce(Smol)) {
    scenario(Smol::default());
}

plimsoll_conformance::ipc_suite!(on_smol);

mod over_harsh_sockets {
    use plimsoll_conformance::Harsh;

    fn on_smol(scenario: impl FnOnce(Harsh<super::Smol>)) {
        super::on_smol(|runtime| scenario(Harsh::new(runtime)));
    }

    plimsoll_conformance::ipc_suite!(on_smol);
}
