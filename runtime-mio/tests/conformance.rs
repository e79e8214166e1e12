//! What every adapter must do.

use plimsoll_mio::Mio;

fn on_mio(scenario: impl FnOnce(Mio)) {
    scenario(Mio::start().unwrap());
}

plimsoll_conformance::suite!(on_mio);

mod over_unix_sockets {
    plimsoll_conformance::suite!(super::on_mio, unix);
}

mod over_harsh_sockets {
    use plimsoll_conformance::Harsh;

    fn on_mio(scenario: impl FnOnce(Harsh<super::Mio>)) {
        super::on_mio(|runtime| scenario(Harsh::new(runtime)));
    }

    plimsoll_conformance::suite!(on_mio, harsh);

    mod and_unix {
        plimsoll_conformance::suite!(super::on_mio, unix);
    }
}
