//! What every adapter must do.

use plimsoll_smol::Smol;

fn on_smol(scenario: impl FnOnce(Smol)) {
    scenario(Smol::default());
}

plimsoll_conformance::suite!(on_smol);

mod over_unix_sockets {
    plimsoll_conformance::suite!(super::on_smol, unix);
}

mod over_harsh_sockets {
    use plimsoll_conformance::Harsh;

    fn on_smol(scenario: impl FnOnce(Harsh<super::Smol>)) {
        super::on_smol(|runtime| scenario(Harsh::new(runtime)));
    }

    plimsoll_conformance::suite!(on_smol, harsh);

    mod and_unix {
        plimsoll_conformance::suite!(super::on_smol, unix);
    }
}
