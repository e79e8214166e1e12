//! What every adapter must do.

use plimsoll_smol::Smol;

fn on_smol(scenario: impl FnOnce(Smol)) {
    scenario(Smol::default());
}

plimsoll_conformance::suite!(on_smol);
