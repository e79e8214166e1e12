use super::*;

fn resolve(flags: Flags, env: &[(&str, &str)], file: &str) -> Result<Config, String> {
    let env: BTreeMap<_, _> = env.iter().map(|&(k, v)| (k.to_string(), v.to_string())).collect();
    let source = Source::of("p.toml", file);
    Config::resolve(flags, |name| env.get(name).cloned(), &source).map_err(|error| error.to_string())
}

fn wrong(env: &[(&str, &str)], file: &str) -> String {
    resolve(Flags::default(), env, file).unwrap_err()
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    let file = "[server]\nport = 3\n";
    let env = [("SERVER_PORT", "2")];
    let flags = Flags { port: Some(1), ..Flags::default() };
    assert_eq!(resolve(flags, &env, file).unwrap().server.port, 1);
    assert_eq!(resolve(Flags::default(), &env, file).unwrap().server.port, 2);
    assert_eq!(resolve(Flags::default(), &[], file).unwrap().server.port, 3);
    assert_eq!(resolve(Flags::default(), &[], "").unwrap().server.port, 8000);
}

#[test]
fn an_error_in_the_file_names_its_line_and_column() {
    let unknown = wrong(&[], "[server]\nport = 1\nprot = 2\n");
    assert!(unknown.starts_with("p.toml:3:1: ") && unknown.contains("prot"), "{unknown}");
    let size = wrong(&[], "[server]\nmax_body_size = \"10XB\"\n");
    assert!(size.starts_with("p.toml:2:17: ") && size.contains("10XB"), "{size}");
    let zero = wrong(&[], "[server]\n  max_connections = 0\n");
    assert!(zero.starts_with("p.toml:2:21: "), "{zero}");
    let syntax = wrong(&[], "[server\n");
    assert!(syntax.starts_with("p.toml:1:"), "{syntax}");
    let crossed = wrong(&[], "[services.project]\nmax_connections = 2\nmin_connections = 3\n");
    assert_eq!(crossed, "p.toml:3:19: min_connections: is above max_connections (2)");
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    let error = wrong(&[("SERVER_PORT", "http")], "");
    assert!(error.starts_with("environment SERVER_PORT=http: "), "{error}");
    let crossed = wrong(&[("TLS_CERT_FILE", "a.pem")], "");
    assert_eq!(crossed, "environment TLS_CERT_FILE: cert_file: needs key_file beside it");
    assert!(wrong(&[("HTTP2_ENABLED", "false")], "").contains("nothing but HTTP/2"));
}

#[test]
fn an_empty_variable_counts_as_absent() {
    assert_eq!(resolve(Flags::default(), &[("SERVER_PORT", "")], "").unwrap().server.port, 8000);
}

#[test]
fn what_is_shown_is_a_file_that_means_the_same() {
    let env = [("PROJECT_SERVICE_UW", "uw://projects.internal:10000"), ("TLS_CERT_DIR", "a \"quoted\" dir")];
    let first = resolve(Flags::default(), &env, "[log]\nlevel = \"debug\"\n").unwrap();
    assert!(first.to_string().contains("# p.toml:2:9"), "{first}");
    assert!(first.to_string().contains("# environment PROJECT_SERVICE_UW"), "{first}");
    let second = resolve(Flags::default(), &[], &first.to_string()).unwrap();
    let bare = |config: &Config| {
        config
            .to_string()
            .lines()
            .map(|l| l.split("  #").next().unwrap().trim().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(bare(&first), bare(&second));
    assert_eq!(second.tls.cert_dir, Path::new("a \"quoted\" dir"));
}

#[test]
fn addresses_of_services_are_read_strictly() {
    for good in ["uw://localhost:1", "uw://[::1]:65535", "uw://127.0.0.1:0/"] {
        assert!(good.parse::<UwAddress>().is_ok(), "{good}");
    }
    for bad in [
        "localhost:1",
        "uw://:1",
        "uw://a",
        "uw://a:b",
        "uw://a:70000",
        "uw://::1:2",
        "uw://a/b:1",
        "http://a:1",
    ] {
        assert!(bad.parse::<UwAddress>().is_err(), "{bad}");
    }
}
