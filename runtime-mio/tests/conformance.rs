//! What every adapter must do.

use plimsoll_mio::Mio;

fn on_mio(scenario: impl FnOnce(Mio)) {
    scenario(Mio::start().unwrap());
}

plimsoll_conformance::suite!(on_mio);
