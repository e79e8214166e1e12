//! The contestants do the work that they are measured by.

use std::process::Command;

#[test]
fn every_pair_answers_every_request_with_what_was_sent() {
    let check = Command::new(env!("CARGO_BIN_EXE_side-by-side")).arg("--check").output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(check.status.success(), "{said}{complaints}");
    assert_eq!(complaints, "");
    for contestant in
        ["raw", "plain-tokio", "plimsoll", "mio-embedded", "tokio-embedded", "smol-embedded", "smol"]
    {
        assert!(said.contains(&format!("{contestant}: 1 x 256, 64 bytes: 1000 answers")), "{said}");
    }
    for contestant in ["raw", "plimsoll", "mio-embedded", "tokio-embedded", "smol-embedded", "smol"] {
        assert!(
            said.contains(&format!("{contestant}: 1 x 256, 64 bytes, Unix socket: 1000 answers")),
            "{said}"
        );
    }
    for contestant in ["mio", "blocking", "blocking-shared"] {
        assert!(said.contains(&format!("{contestant}: 1 x 8, 64 bytes: 1000 answers")), "{said}");
    }
    assert!(said.contains("resp: plimsoll, ping, 1 x 256: 1000 answers"), "{said}");
    let tonic = if cfg!(feature = "peers") { "1 x 256, 64 bytes: 1000 answers" } else { "not compiled in" };
    assert!(said.contains(&format!("tonic: {tonic}")), "{said}");
}
