//! `plimsoll sim`: the table, the picture, the page, and how it exits.

mod common;

use std::fs;
use std::path::PathBuf;

use common::plimsoll;
use roxmltree::Document;
use serde_json::Value;
use tempfile::TempDir;

/// Three servers, one of which is slow for a while and another away, under two policies.
const SCENARIO: &str = r#"
name = "three servers"
description = "one is slow, <b>another</b> & is away"
length = "6s"

[[servers]]
name = "users"
count = 3
service = { exponential = "2ms" }
workers = 4

[[clients]]
name = "web"
count = 2

[load]
rate = 300

[[fault.slow]]
at = "1s"
for = "2s"
hosts = "users/1"
factor = 50

[[fault.crash]]
at = "2s"
for = "1s"
hosts = "users/2"

[policy.default]

[policy.turns]
strategy = "round_robin"
breaker = false

[[expect.goodput]]
at_least = 0.5
"#;

/// Holds under no policy.
const IMPOSSIBLE: &str = "\n[[expect.latency]]\np50 = \"1us\"\n";

struct Dir(TempDir);

impl Dir {
    fn with(scenario: &str) -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        fs::write(dir.path("fleet.toml"), scenario).unwrap();
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn sim(&self, args: &[&str]) -> Simulated {
        let output = plimsoll(self.0.path()).args(["sim", "fleet.toml"]).args(args).output().unwrap();
        Simulated {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[derive(Debug)]
struct Simulated {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Simulated {
    /// Of one that came to something. Output is piped here, so that a word of progress would be found.
    fn printed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), ""), "{self:?}");
        &self.stdout
    }

    fn failed(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

#[test]
fn policies_stand_side_by_side_with_every_figure() {
    let simulated = Dir::with(SCENARIO).sim(&[]);
    let text = simulated.printed(0);
    assert!(
        text.starts_with("three servers\none is slow, <b>another</b> & is away\nseed 1, 6 s of"),
        "{text}"
    );
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    assert!(row("default").ends_with("turns"), "{text}");
    for name in [
        "calls",
        "goodput",
        "errors",
        "latency p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "requests a call",
        "retries",
        "hedges",
        "ejections",
        "breaker trips",
        "dials",
        "unsent, at most",
    ] {
        let cells = row(name).trim_start().trim_start_matches(name);
        assert!(cells.split("   ").filter(|cell| !cell.trim().is_empty()).count() == 2, "{name} in {text}");
    }
    assert!(text.ends_with("All is as the scenario states: 2 of 2.\n"), "{text}");
}

#[test]
fn the_same_seed_prints_the_same_bytes_and_another_seed_others() {
    let dir = Dir::with(SCENARIO);
    let files = |run: &str| [format!("{run}.svg"), format!("{run}.html")];
    let run = |run: &str, seed: &str| {
        let [svg, html] = files(run);
        let simulated = dir.sim(&["--seed", seed, "--plot", &svg, "--html", &html]);
        [
            simulated.printed(0).to_string(),
            dir.read(&svg),
            dir.read(&html),
            dir.sim(&["--seed", seed, "--json"]).stdout,
        ]
    };
    let (first, again, other) = (run("first", "7"), run("again", "7"), run("other", "8"));
    assert_eq!(first, again);
    assert!(first.iter().zip(&other).all(|(first, other)| first != other));
}

#[test]
fn one_policy_comes_to_the_same_alone_as_beside_others() {
    let dir = Dir::with(SCENARIO);
    let json = |args: &[&str]| -> Value { serde_json::from_str(dir.sim(args).printed(0)).unwrap() };
    let (both, alone) = (json(&["--json"]), json(&["--json", "--policy", "turns"]));
    assert_eq!(both["policies"][1], alone["policies"][0]);
    assert_eq!(alone["policies"].as_array().unwrap().len(), 1);
    let turned = json(&["--json", "--policy", "turns,default"]);
    assert_eq!(turned["policies"][1], both["policies"][0], "they come in the order that was asked for");
}

#[test]
fn programs_get_one_object_whose_figures_agree() {
    let simulated = Dir::with(SCENARIO).sim(&["--json", "--seed", "3"]);
    let line = simulated.printed(0).strip_suffix('\n').unwrap();
    let json: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&json["seed"], &json["seconds"], &json["is_as_stated"]),
        (&3.into(), &6.0.into(), &true.into())
    );
    assert_eq!(json["faults"].as_array().unwrap().len(), 2);
    for policy in json["policies"].as_array().unwrap() {
        let n = |key: &str| policy[key].as_u64().unwrap();
        let errors: u64 = policy["errors"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(n("offered"), n("good") + errors);
        assert!(n("offered") > 1_000 && n("attempts") >= n("good") && n("dials") >= 6, "{policy}");
        let unsent =
            policy["series"].as_array().unwrap().iter().map(|point| point["unsent_bytes"].as_u64().unwrap());
        assert_eq!(Some(n("unsent_bytes")), unsent.max());
        let latencies =
            ["p50", "p90", "p99", "p999", "max"].map(|key| policy["latency_us"][key].as_f64().unwrap());
        assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{latencies:?}");
        let series = policy["series"].as_array().unwrap();
        let each = 6.0 / series.len() as f64;
        let good: f64 = series.iter().map(|point| point["good_per_s"].as_f64().unwrap() * each).sum();
        assert!((good - n("good") as f64).abs() < 0.5, "{good} in the series of {policy}");
    }
}

#[test]
fn the_picture_has_lines_for_each_policy_and_a_mark_for_each_fault() {
    let dir = Dir::with(SCENARIO);
    dir.sim(&["--plot", "fleet.svg"]).printed(0);
    let text = dir.read("fleet.svg");
    let picture = Document::parse(&text).unwrap();
    let of_class = |class: &str| {
        let has = |node: &roxmltree::Node<'_, '_>| {
            node.attribute("class").is_some_and(|classes| classes.split(' ').any(|one| one == class))
        };
        picture.descendants().filter(has).collect::<Vec<_>>()
    };
    for kind in ["p50", "p99", "goodput", "load"] {
        let lines = of_class(kind);
        assert_eq!(lines.len(), 2, "{kind}");
        assert!(lines.iter().all(|line| line.attribute("d").unwrap().matches('L').count() > 50), "{kind}");
        let titles: Vec<_> =
            lines.iter().map(|line| line.first_element_child().unwrap().text().unwrap()).collect();
        assert_eq!(titles, [format!("default: {kind}"), format!("turns: {kind}")]);
    }
    let faults: Vec<_> =
        of_class("fault").iter().map(|fault| fault.first_element_child().unwrap().text().unwrap()).collect();
    assert_eq!(faults, ["slow ×50: users/1", "crash: users/2"]);
    let texts: Vec<_> = picture.descendants().filter_map(|node| node.text()).collect();
    for words in
        ["three servers", "default", "turns", "slow ×50: users/1", "1 s", "6 s", "Latency", "Goodput", "Load"]
    {
        assert!(texts.contains(&words), "{words} is not in {texts:?}");
    }
    let subtitle = format!("plimsoll {}", env!("CARGO_PKG_VERSION"));
    assert!(
        texts.iter().any(|text| text.starts_with("seed 1, 6 s") && text.ends_with(&subtitle)),
        "{texts:?}"
    );
}

#[test]
fn what_servers_cannot_send_is_drawn_where_it_is_much() {
    let of_unsent = |scenario: &str| {
        let dir = Dir::with(scenario);
        let simulated = dir.sim(&["--plot", "fleet.svg"]);
        let row =
            simulated.printed(0).lines().find(|line| line.starts_with("unsent, at most")).unwrap().to_owned();
        let svg = dir.read("fleet.svg");
        (row, svg.matches("<title>default: unsent</title>").count(), svg.contains(">100 kB<"))
    };
    let (row, curves, _) = of_unsent(SCENARIO);
    assert!(!row.contains("kB") && curves == 0, "{row}");
    let slow_reader = SCENARIO.replace("[load]\nrate = 300\n", "[load]\nrate = 300\nanswer_bytes = 8000\n");
    let fault = "[[fault.slow_reader]]\nat = \"1s\"\nhosts = \"web/1\"\nbytes_per_second = 20_000\n\n[policy.default]";
    let (row, curves, scale) = of_unsent(&slow_reader.replace("[policy.default]", fault));
    assert!(row.contains(" kB") && curves == 1 && scale, "{row}");
}

#[test]
fn no_coordinate_leaves_the_picture() {
    let dir = Dir::with(SCENARIO);
    dir.sim(&["--plot", "fleet.svg"]).printed(0);
    let text = dir.read("fleet.svg");
    let picture = Document::parse(&text).unwrap();
    let size: f64 = picture.root_element().attribute("height").unwrap().parse().unwrap();
    for path in picture.descendants().filter(|node| node.has_tag_name("path")) {
        for point in path.attribute("d").unwrap().split(['M', 'L']).filter(|point| point.contains(' ')) {
            let (x, y) = point.split_once(' ').unwrap();
            let y = y.split(['h', 'v', 'H', 'V']).next().unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((0.0..=1_000.0).contains(&x) && (0.0..=size).contains(&y), "{point}");
        }
    }
}

#[test]
fn the_page_needs_nothing_else_and_tells_how_to_make_it_again() {
    let dir = Dir::with(SCENARIO);
    let simulated = dir.sim(&["--html", "fleet.html", "--seed", "5"]);
    let page = dir.read("fleet.html");
    assert!(page.contains("plimsoll sim fleet.toml --seed 5 --policy default,turns"));
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    for words in
        ["<svg xmlns", "latency p50", "requests a call", "All is as the scenario states", "crash: users/2"]
    {
        assert!(page.contains(words), "{words}");
    }
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["policies"][1]["name"], "turns");
    simulated.printed(0);
}

#[test]
fn hostile_text_in_a_scenario_stays_text() {
    let hostile = r#"</script></svg><img src=x onerror=\"alert(1)\">&'\u001b[2J"#;
    let scenario = SCENARIO
        .replace("three servers", hostile)
        .replace("one is slow", hostile)
        .replace("[policy.turns]", &format!("[policy.\"{hostile}\"]"));
    let dir = Dir::with(&scenario);
    let simulated = dir.sim(&["--plot", "fleet.svg", "--html", "fleet.html"]);
    assert!(!simulated.printed(0).contains('\u{1b}'));
    let (svg, page) = (dir.read("fleet.svg"), dir.read("fleet.html"));
    Document::parse(&svg).unwrap();
    assert!(!page.contains("<img") && !svg.contains("<img") && !page.contains('\u{1b}'));
    assert_eq!(page.matches("</script>").count(), 2, "one of data, one of code");
    assert!(page.contains("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;"));
}

#[test]
fn what_is_otherwise_than_the_scenario_states_exits_with_1_and_is_told() {
    let dir = Dir::with(&[SCENARIO, IMPOSSIBLE].concat());
    let simulated = dir.sim(&["--html", "fleet.html", "--plot", "fleet.svg"]);
    let text = simulated.printed(1);
    assert_eq!(text.matches("  FAILS: p50 at most 1 µs").count(), 2, "{text}");
    assert!(text.ends_with("NOT as the scenario states: 2 of 4.\n"), "{text}");
    assert!(dir.read("fleet.html").contains("NOT as the scenario states: 2 of 4."));
    let stated = format!("{IMPOSSIBLE}missed_by = [\"default\", \"turns\"]\n");
    let simulated = Dir::with(&[SCENARIO, &stated].concat()).sim(&[]);
    assert_eq!(simulated.printed(0).matches("  fails, as stated: p50").count(), 2, "{simulated:?}");
}

#[test]
fn a_wrong_scenario_exits_with_2_and_names_its_line() {
    for (was, is, line, words) in [
        ("length = \"6s\"", "length = \"6\"", 4, "is no length of time"),
        ("count = 3", "cuont = 3", 8, "cuont"),
        ("hosts = \"users/2\"", "hosts = \"users/7\"", 28, "users/7"),
        ("rate = 300", "rate = 300 !", 17, ""),
    ] {
        assert!(SCENARIO.contains(was));
        let simulated = Dir::with(&SCENARIO.replace(was, is)).sim(&["--plot", "fleet.svg"]);
        simulated.failed(2, words);
        assert!(simulated.stderr.starts_with(&format!("plimsoll: fleet.toml:{line}: ")), "{simulated:?}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_files_that_cannot_be_written_with_3() {
    let dir = Dir::with(SCENARIO);
    dir.sim(&["--policy", "default,best"]).failed(2, "no policy `best`; it has default, turns");
    dir.sim(&["--policy", "turns,turns"]).failed(2, "names `turns` twice");
    dir.sim(&["--seed", "x"]).failed(2, "--seed");
    dir.sim(&["--plot", "absent/fleet.svg"]).failed(3, "absent/fleet.svg: cannot be written");
    fs::remove_file(dir.path("fleet.toml")).unwrap();
    dir.sim(&[]).failed(2, "fleet.toml: cannot be read");
}
