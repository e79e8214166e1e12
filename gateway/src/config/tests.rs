use clap::CommandFactory;

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
    assert_eq!(crossed, "p.toml:3:19: min_connections = 3: is above max_connections (2)");
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    let error = wrong(&[("SERVER_PORT", "http")], "");
    assert!(error.starts_with("environment SERVER_PORT=http: "), "{error}");
    let crossed = wrong(&[("TLS_CERT_FILE", "a.pem")], "");
    assert_eq!(crossed, "environment TLS_CERT_FILE: cert_file = \"a.pem\": needs key_file beside it");
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
    for good in ["uw:/run/a.sock", "uw://localhost:1", "uw://[::1]:65535", "uw://127.0.0.1:0/"] {
        assert!(good.parse::<UwAddress>().is_ok(), "{good}");
    }
    for bad in [
        "localhost:1",
        "uw://:1",
        "uw://a",
        "uw:/",
        "uw:a.sock",
        "uw:///run/a.sock",
        "uw://a:b",
        "uw://a:70000",
        "uw://::1:2",
        "uw://a/b:1",
        "http://a:1",
    ] {
        assert!(bad.parse::<UwAddress>().is_err(), "{bad}");
    }
}

const EVERYTHING: &str = r#"
[services.project]
strategy = "random"
in_flight = 7
grow_at = 3
burst = 4
idle_close = "1m"
max_age = "10m"
subset = 5
dial_stagger = "6ms"
reconnect_delay = "200ms"
max_reconnect_delay = "2s"
health_check_interval = "11s"
health_check_timeout = "3s"
waiting_requests = 9
waiting_bytes = "1MB"
[[services.project.endpoints]]
address = "uw://a.internal:1"
weight = 3
[[services.project.endpoints]]
address = "uw://b.internal:1"
priority = 1
[services.project.breaker]
mode = "count"
failure_threshold = 8
monitoring_period = "2m"
recovery_timeout = "7s"
recovery_multiplier = 1.5
recovery_cap = "70s"
success_threshold = 2
[services.project.outliers]
consecutive = 6
deviations = 2.5
most = "33.3%"
[services.project.panic]
threshold = "25%"
mode = "none"
[services.project.priorities]
overprovision = 1.2
hold = "4s"
[services.project.slow_start]
window = "9s"
floor = "20%"
aggression = 2
[services.project.latency]
decay = "5s"
[services.project.throttle]
factor = 1.5
most = "70%"
window = "30s"
[services.project.adaptive_concurrency]
minimum = 4
maximum = 44
samples = 20
window = "50ms"
remeasure = "40s"
tolerance = "50%"
[services.project.rate_limit]
requests = 100
period = "10s"
burst = 20
[services.project.hedging]
percentile = "99%"
volume = 30
least = "5ms"
hedges = 2
period = "20s"
"#;

#[test]
fn every_option_of_the_cluster_can_be_said_in_the_file() {
    let cluster = resolve(Flags::default(), &[], EVERYTHING).unwrap().project.cluster;
    let text = format!("{cluster:?}");
    for part in [
        "strategy: Random",
        "in_flight: 7",
        "grow_at: 3",
        "burst: 4",
        "idle_close: 60s",
        "max_age: Some(600s)",
        "subset: Some(5)",
        "dial_stagger: 6ms",
        "base: 200ms",
        "cap: 2s",
        "interval: 11s, timeout: 3s",
        "waiters: 9",
        "waiting_bytes: 1048576",
        "Count { failures: 8 }, period: 120s, recovery: 7s, multiplier: Ratio(1500), recovery_cap: 70s, \
         success_threshold: 2",
        "consecutive: 6",
        "deviations: Ratio(2500)",
        "most: Ratio(333)",
        "panic: Config { threshold: Ratio(250), mode: None }",
        "overprovision: Ratio(1200), hold: 4s",
        "window: 9s, aggression: Ratio(2000), floor: Ratio(200)",
        "decay: 5s",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let off =
        "[services.project.outliers]\nenabled = false\n[services.project.slow_start]\nenabled = false\n";
    let cluster = resolve(Flags::default(), &[], off).unwrap().project.cluster;
    assert!(cluster.outliers.is_none() && cluster.slow_start.window.is_zero());
}

#[test]
fn guards_are_on_if_their_table_is_there() {
    let guards = |file: &str| resolve(Flags::default(), &[], file).unwrap().project.guards;
    assert_eq!(guards(""), Guards::default(), "all off");
    let text = format!("{:?}", guards(EVERYTHING));
    for part in [
        "throttle: Some(Config { factor: Ratio(1500), most: Ratio(700), window: 30s })",
        "minimum: 4, maximum: 44, samples: 20, window: 50ms, remeasure: 40s, tolerance: Ratio(500)",
        "rate_limit: Some(Quota { interval: 100000000, burst: 20 })",
        "hedging: Some(Config { percentile: Ratio(990), volume: 30, least: 5ms, hedges: 2, period: 20s })",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let throttled = guards("[services.project.throttle]\n");
    assert!(throttled.throttle.is_some() && throttled.hedging.is_none(), "{throttled:?}");
    let off = guards("[services.project.hedging]\nenabled = false\nvolume = 3\n");
    assert_eq!(off, Guards::default());
    let quota = guards("[services.project.rate_limit]\nrequests = 5\n").rate_limit.unwrap();
    assert_eq!((quota.burst(), quota.interval().as_millis()), (5, 200), "a second, and all at once");
}

#[test]
fn several_endpoints_come_from_the_file_or_from_one_variable() {
    let addresses = |env: &[(&str, &str)]| {
        let config = resolve(Flags::default(), env, EVERYTHING).unwrap();
        let all = config.project.addresses().map(|(address, o)| (address, o.weight, o.priority));
        (all.collect::<Vec<_>>(), config.to_string())
    };
    let (from_file, _) = addresses(&[]);
    assert_eq!(from_file, [("a.internal:1".into(), 3, 0), ("b.internal:1".into(), 1, 1)]);
    let (from_env, shown) = addresses(&[("PROJECT_SERVICE_UW", "uw://c.internal:1, uw://d.internal:2")]);
    assert_eq!(from_env, [("c.internal:1".into(), 1, 0), ("d.internal:2".into(), 1, 0)]);
    assert!(shown.contains("# services.project.endpoints in the file is not used"), "{shown}");
}

#[test]
fn the_inherited_variables_are_obeyed() {
    let env = [
        ("LOAD_BALANCING_STRATEGY", "least_connections"),
        ("HEALTH_CHECK_INTERVAL", "1500"),
        ("CIRCUIT_BREAKER_THRESHOLD", "9"),
    ];
    let cluster = resolve(Flags::default(), &env, "").unwrap().project.cluster;
    assert_eq!(cluster.strategy.name(), "least_connections");
    assert_eq!(cluster.heartbeat.interval.as_millis(), 1_500);
    assert!(format!("{:?}", cluster.breaker.mode).contains("consecutive: 9"), "{:?}", cluster.breaker.mode);
}

#[test]
fn discovery_changes_the_defaults_and_says_so() {
    let plain = resolve(Flags::default(), &[], "").unwrap();
    assert_eq!(plain.project.cluster.strategy.name(), "p2c_ewma");
    let on = resolve(Flags::default(), &[("SERVICE_DISCOVERY_ENABLED", "true")], "").unwrap();
    assert_eq!(on.project.cluster.strategy.name(), "health_based");
    assert_eq!(format!("{:?}", on.project.cluster.breaker.mode), "Count { failures: 5 }");
    assert_eq!(on.to_string().matches("# default with discovery.enabled").count(), 2, "{on}");
    let both = [("SERVICE_DISCOVERY_ENABLED", "true"), ("LOAD_BALANCING_STRATEGY", "random")];
    assert_eq!(resolve(Flags::default(), &both, "").unwrap().project.cluster.strategy.name(), "random");
}

#[test]
fn an_error_names_the_key_the_value_and_what_is_allowed() {
    let all = "round_robin, least_connections, weighted_round_robin, random, weighted_random, health_based, \
               p2c_ewma, consistent_hash, prequal";
    let strategy = wrong(&[("LOAD_BALANCING_STRATEGY", "fastest")], "");
    assert!(strategy.starts_with("environment LOAD_BALANCING_STRATEGY=fastest: "), "{strategy}");
    assert!(strategy.contains(all), "{strategy}");
    let strategy = wrong(&[], "[services.project]\nstrategy = \"fastest\"\n");
    assert!(
        strategy.starts_with("p.toml:2:12: strategy: \"fastest\"") && strategy.contains(all),
        "{strategy}"
    );
    for (env, value, allowed) in [
        ("HEALTH_CHECK_INTERVAL", "0", "30000"),
        ("CIRCUIT_BREAKER_THRESHOLD", "0", "from 1 to"),
        ("SERVICE_DISCOVERY_ENABLED", "yes", "true or false"),
        ("METRICS_PREFIX", "9x_", "plimsoll_"),
    ] {
        let error = wrong(&[(env, value)], "");
        assert!(
            error.starts_with(&format!("environment {env}={value}: ")) && error.contains(allowed),
            "{error}"
        );
    }
    for (file, message) in [
        ("[services.project.priorities]\noverprovision = 0.9\n", "overprovision = 0.9: must be at least 1"),
        ("[services.project.breaker]\nmode = \"count\"\nvolume = 3\n", "p.toml:3:10: volume: means nothing"),
        ("[services.project.panic]\nthreshold = \"50\"\n", "threshold: `50` is not a share"),
        ("[[services.project.endpoints]]\naddress = \"uw://a:1\"\npriority = 8\n", "priority = 8: "),
        (
            "[services.project]\nexplain = 1001\n",
            "p.toml:2:11: explain = 1001: at most 1000 decisions are kept",
        ),
        ("[log]\n[services.project.rate_limit]\nburst = 3\n", "p.toml:2:1: a rate limit needs `requests`"),
        ("[services.project.throttle]\nfactor = 0.5\n", "p.toml:2:10: factor = 0.5: must be at least 1"),
        (
            "[services.project.adaptive_concurrency]\nmaximum = 2\n",
            "p.toml:2:11: maximum = 2: is below minimum",
        ),
        (
            "[services.project]\naddress = \"uw://a:1\"\n[[services.project.endpoints]]\naddress = \"uw://b:1\"\n",
            "p.toml:4:11: name addresses by `address` or by `endpoints`",
        ),
    ] {
        let error = wrong(&[], file);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn the_whole_file_reads_back_as_it_is_shown() {
    let bare = |config: &Config| {
        let lines = config.to_string();
        lines.lines().map(|l| l.split("  #").next().unwrap().trim().to_string()).collect::<Vec<_>>()
    };
    let first = resolve(Flags::default(), &[("METRICS_PREFIX", "ellie_")], EVERYTHING).unwrap();
    let second = resolve(Flags::default(), &[], &first.to_string()).unwrap();
    assert_eq!(bare(&first), bare(&second));
    assert_eq!(format!("{:?}", first.project.cluster), format!("{:?}", second.project.cluster));
    assert_eq!(first.project.guards, second.project.guards);
    assert_eq!((first.project.endpoints, second.metrics_prefix.stem()), (second.project.endpoints, "ellie"));
}

#[test]
fn help_names_every_variable_of_the_environment_with_its_default() {
    let asked = std::cell::RefCell::new(Vec::new());
    let env = |name: &str| {
        asked.borrow_mut().push(name.to_string());
        None
    };
    let shown = Config::resolve(Flags::default(), env, &Source::default()).unwrap().to_string();
    let mut command = crate::cli::Cli::command();
    let check = command.find_subcommand_mut("check").unwrap().render_long_help().to_string();
    for help in [command.render_long_help().to_string(), check] {
        let (flags, others) = help.split_once("Environment variables without a flag").unwrap();
        for name in asked.borrow().iter() {
            let by_flag = flags.contains(&format!("[env: {name}]"));
            assert_ne!(by_flag, others.contains(&format!(" {name} ")), "{name} in\n{help}");
        }
        // Each default in brackets is one that is shown to be in force.
        for line in others.lines().filter(|line| line.starts_with("    ")) {
            let (_, default) = line.rsplit_once('(').unwrap();
            let value = default.trim_end_matches(')');
            let is_shown = |text: String| shown.lines().any(|line| line.contains(&text));
            assert!(is_shown(format!(" = {value} ")) || is_shown(format!(" = \"{value}\"")), "{line}");
        }
    }
}

#[test]
fn every_seed_of_the_fuzz_target_keeps_its_promises() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/config");
    let seeds = std::fs::read_dir(seeds).expect("the target has seeds");
    let replayed = seeds.map(|seed| fuzzing::any_file(&std::fs::read(seed.unwrap().path()).unwrap())).count();
    assert!(replayed > 0, "no seeds");
}
