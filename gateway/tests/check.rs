//! `plimsoll check`: what is wrong, and where; or what is in force, and by whom.

mod common;

use std::fs;

use common::{Gateway, plimsoll};

fn check(file: Option<&str>, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        fs::write(dir.path().join("plimsoll.toml"), text).unwrap();
    }
    let output = plimsoll(dir.path()).arg("check").args(args).envs(env.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn mistakes_are_told_with_file_line_and_column() {
    for (file, place, word) in [
        ("[server]\nprot = 1\n", "plimsoll.toml:2:1:", "prot"),
        ("[sever]\n", "plimsoll.toml:1:2:", "sever"),
        ("[server]\nport = 70000\n", "plimsoll.toml:2:8:", "70000"),
        ("[server]\nport = \"x\n", "plimsoll.toml:2:", ""),
        ("[server]\nidle_timeout = \"60\"\n", "plimsoll.toml:2:16:", "30s"),
        ("[tls]\ncert_file = \"a.pem\"\n", "plimsoll.toml:2:13:", "key_file"),
    ] {
        let (code, stdout, stderr) = check(Some(file), &[], &[]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{file}");
        assert!(
            stderr.starts_with(&format!("plimsoll: {place}")) && stderr.contains(word),
            "{file}: {stderr}"
        );
    }
}

#[test]
fn the_effective_configuration_is_printed_with_the_origin_of_each_value() {
    let file = "[server]\nport = 3\nhost = \"0.0.0.0\"\nmax_body_size = \"1MB\"\n";
    let env = [("SERVER_PORT", "2"), ("SERVER_HOST", "::")];
    let (code, shown, _) = check(Some(file), &["--port", "1"], &env);
    assert_eq!(code, 0);
    let line = |key: &str| {
        let found =
            shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {shown}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("port"), "port = 1 # command line");
    assert_eq!(line("host"), "host = \"::\" # environment SERVER_HOST");
    assert_eq!(line("max_body_size"), "max_body_size = \"1MB\" # plimsoll.toml:4:17");
    assert_eq!(line("idle_timeout"), "idle_timeout = \"1m\" # default");
    let (code, again, stderr) = check(Some(&shown), &[], &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(again.contains("port = 1 "), "{again}");
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_the_default_one_is_not() {
    let (code, _, stderr) = check(None, &["absent.toml"], &[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("absent.toml: cannot be read"), "{stderr}");
    assert_eq!(check(None, &[], &[]).0, 0);
}

#[test]
fn usage_errors_exit_with_2() {
    assert_eq!(check(None, &["--port", "x"], &[]).0, 2);
    assert_eq!(check(None, &["--no-such-flag"], &[]).0, 2);
}

#[test]
fn the_gateway_obeys_the_file_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("plimsoll.toml"),
        "[server]\nport = 1\nmax_body_size = 10\n[tls]\nenabled = false\n",
    )
    .unwrap();
    let gateway = Gateway::start_in(dir, &[], &[]);
    assert!(gateway.base.starts_with("http://"), "{}", gateway.base);
    assert_eq!(gateway.json("POST", "/api/projects", r#"{"name":"x"}"#).status, 413);
}
