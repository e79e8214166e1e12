//! What a scenario says happens, and shows in the figures.

use std::time::Duration;

use plimsoll_sim::fleet::{self, Progress, Report, RunError, Scenario};

/// Ten servers that are half busy, and two clients that call them in turn and look after nothing.
const CALM: &str = r#"
name = "calm"
description = "Nothing happens."
length = "20s"

[[servers]]
name = "users"
count = 10
workers = 2
service = { exponential = "10ms" }

[[clients]]
name = "web"
count = 2

[load]
rate = 200

[policy.plain]
strategy = "round_robin"
timeout = "1s"
breaker = false
ejection = false
heartbeat = { interval = "1h" }
"#;

fn scenario(more: &str) -> Scenario {
    Scenario::parse(&format!("{CALM}{more}")).unwrap()
}

fn run(more: &str) -> Report {
    fleet::run(&scenario(more), "plain", 1, &mut |_| {}).unwrap()
}

/// Calls, good ones, and the longest 99th percentile, of those that came between two seconds.
fn between(report: &Report, from: u64, to: u64) -> (u64, u64, Duration) {
    let seconds = Duration::from_secs;
    let window = report.series.iter().filter(|bucket| (seconds(from)..seconds(to)).contains(&bucket.at));
    window.fold((0, 0, Duration::ZERO), |(offered, good, p99), bucket| {
        (offered + bucket.offered, good + bucket.good, p99.max(bucket.p99))
    })
}

fn all_good(report: &Report, from: u64, to: u64) -> bool {
    let (offered, good, _) = between(report, from, to);
    offered > 0 && offered == good
}

#[test]
fn a_calm_fleet_answers_everything_at_the_rate_that_is_asked() {
    let report = run("");
    // Five standard deviations of 4,000 are 316; clients begin within the first second.
    assert!((3_584..=4_316).contains(&report.totals.offered), "{}", report.totals.offered);
    assert_eq!(report.totals.good, report.totals.offered);
    assert_eq!(report.totals.attempts, report.totals.offered);
    // A round trip of a millisecond, and half of all exponential times of 10 ms are below 6.93 ms.
    assert!(report.totals.latency.p50 > Duration::from_micros(7_500), "{:?}", report.totals.latency);
    assert!(report.totals.latency.p50 < Duration::from_millis(10), "{:?}", report.totals.latency);
    let of_series = report.series.iter().map(|bucket| bucket.offered).sum::<u64>();
    assert_eq!(of_series, report.totals.offered);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_another() {
    let scenario = scenario(
        "[[fault.grey]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users/1-3\"\nfactor = 3\nshare = 0.2\n",
    );
    let run = |seed| fleet::run(&scenario, "plain", seed, &mut |_| {}).unwrap();
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.totals, run(8).totals);
}

#[test]
fn calls_come_at_the_same_times_whatever_the_policy() {
    let scenario = scenario("[policy.other]\n[[fault.crash]]\nat = \"5s\"\nhosts = \"users/1-3\"\n");
    let offered = |policy| {
        let report = fleet::run(&scenario, policy, 1, &mut |_| {}).unwrap();
        report.series.iter().map(|bucket| bucket.offered).collect::<Vec<_>>()
    };
    assert_eq!(offered("plain"), offered("other"));
}

#[test]
fn progress_is_told_until_the_end() {
    let mut told: Vec<Progress> = Vec::new();
    fleet::run(&scenario(""), "plain", 1, &mut |progress| told.push(progress)).unwrap();
    assert!((120..=300).contains(&told.len()));
    assert!(told.windows(2).all(|pair| pair[0].now < pair[1].now && pair[0].events <= pair[1].events));
    assert_eq!(told.last().map(|last| last.now), Some(Duration::from_secs(20)));
}

#[test]
fn a_policy_that_is_not_there_is_answered_with_those_that_are() {
    let error = fleet::run(&scenario(""), "fast", 1, &mut |_| {}).unwrap_err();
    assert_eq!(error, RunError::UnknownPolicy { asked: "fast".into(), known: vec!["plain".into()] });
    assert_eq!(error.to_string(), r#"the scenario has no policy "fast"; it has plain"#);
}

#[test]
fn a_slow_host_is_seen_in_the_tail_of_those_who_call_in_turn_while_it_is_slow() {
    let report = run("[[fault.slow]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users/3\"\nfactor = 10\n");
    let (before, during) = (between(&report, 1, 5).2, between(&report, 5, 10).2);
    assert!(during > 3 * before, "{before:?}, {during:?}");
    assert!(between(&report, 12, 20).2 < during / 2);
    assert_eq!(report.marks.len(), 1);
    assert_eq!(report.marks[0].label, "slow ×10: users/3");
    assert_eq!(report.marks[0].until, Some(Duration::from_secs(10)));
}

#[test]
fn a_host_that_fails_fast_fails_its_share() {
    let report = run("[[fault.fail_fast]]\nat = \"5s\"\nfor = \"10s\"\nhosts = \"users/3\"\n");
    let (offered, good, _) = between(&report, 5, 15);
    assert!((offered - good).abs_diff(offered / 10) < 20, "{good} of {offered}");
    assert_eq!(report.totals.errors.keys().copied().collect::<Vec<_>>(), ["internal_error"]);
    assert!(all_good(&report, 1, 4) && all_good(&report, 16, 20));
}

#[test]
fn a_share_of_failures_is_that_share() {
    let report = run("[[fault.fail_share]]\nat = \"5s\"\nfor = \"10s\"\nhosts = \"users\"\nshare = 0.3\n");
    let (offered, good, _) = between(&report, 5, 15);
    // Five standard deviations of 600 of 2,000.
    assert!((offered - good).abs_diff(offered * 3 / 10) < 103, "{good} of {offered}");
}

#[test]
fn a_crash_is_silence_a_kill_is_heard_and_a_restart_loses_nothing() {
    let crash = run("[[fault.crash]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users/1-2\"\n");
    let kill = run("[[fault.kill]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users/1-8\"\n");
    let restart = run("[[fault.restart]]\nat = \"5s\"\ndown = \"5s\"\nhosts = \"users/1-2\"\n");
    let (offered, good, _) = between(&crash, 5, 9);
    assert!((offered - good).abs_diff(offered / 5) < 10, "a fifth times out: {good} of {offered}");
    assert_eq!(crash.totals.errors.get("timeout"), Some(&crash.totals.failed()), "{:?}", crash.totals.errors);
    assert_eq!(restart.totals.failed(), 0);
    // They are made again elsewhere, three times at most: four in five of the others are killed in the same instant.
    assert!(kill.totals.failed() <= 1, "{:?}", kill.totals.errors);
    assert!(kill.totals.retries > 0);
    for report in [crash, kill, restart] {
        assert!(all_good(&report, 13, 20));
        assert!(report.totals.dials > 20, "clients dial again");
    }
}

#[test]
fn a_deploy_restarts_one_batch_after_the_other() {
    let report =
        run("[[fault.deploy]]\nat = \"2s\"\nhosts = \"users\"\nbatch = 2\nevery = \"2s\"\ndown = \"1s\"\n");
    assert_eq!(report.totals.failed(), 0);
    assert!(report.totals.dials >= 40, "{}", report.totals.dials);
    assert_eq!(report.marks[0].until, Some(Duration::from_secs(11)));
}

#[test]
fn a_partition_cuts_off_those_who_are_named_and_heals() {
    let report =
        run("[[fault.partition]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users/1-5\"\nfrom = \"web/1\"\n");
    let (offered, good, _) = between(&report, 5, 9);
    assert!(
        (offered - good).abs_diff(offered / 4) < 30,
        "half of the calls of one of two: {good} of {offered}"
    );
    assert!(all_good(&report, 12, 20));
}

#[test]
fn what_is_cut_one_way_arrives_and_is_not_answered() {
    let report = run("[[fault.one_way]]\nat = \"5s\"\nfor = \"5s\"\nfrom = \"users/1-5\"\nto = \"web\"\n");
    let (offered, good, _) = between(&report, 5, 9);
    assert!((offered - good).abs_diff(offered / 2) < 10, "{good} of {offered}");
    assert_eq!(report.totals.attempts, report.totals.offered, "servers have seen all of them");
}

#[test]
fn of_two_partitions_the_one_that_heals_first_leaves_the_other_as_it_is() {
    let one = "[[fault.partition]]\nat = \"5s\"\nfor = \"10s\"\nhosts = \"users/1-2\"\nfrom = \"web\"\n";
    let other = "[[fault.partition]]\nat = \"6s\"\nfor = \"3s\"\nhosts = \"users/2-3\"\nfrom = \"web\"\n";
    let report = run(&format!("{one}{other}"));
    let (offered, good, _) = between(&report, 7, 8);
    assert!((600..=800).contains(&(good * 1_000 / offered)), "three of ten: {good} of {offered}");
    let (offered, good, _) = between(&report, 11, 14);
    assert!((700..=900).contains(&(good * 1_000 / offered)), "two of ten: {good} of {offered}");
    assert!(all_good(&report, 16, 20));
}

#[test]
fn a_client_that_crashes_makes_no_calls_until_it_is_back() {
    for (kind, more) in [("crash", "for = \"5s\""), ("kill", "for = \"5s\""), ("restart", "down = \"5s\"")] {
        let report = run(&format!("[[fault.{kind}]]\nat = \"5s\"\nhosts = \"web/1\"\n{more}\n"));
        let rates = [(1, 5), (6, 10), (11, 15)].map(|(from, to)| between(&report, from, to).0);
        assert!(rates[1] * 100 < rates[0] * 60 && rates[1] * 100 > rates[0] * 40, "{kind}: {rates:?}");
        assert!(rates[2].abs_diff(rates[0]) < 150, "{kind}: {rates:?}");
        assert!(all_good(&report, 6, 20), "{kind}: {:?}", report.totals.errors);
        // About one call is under way with each of them at any time, and nobody is asked twice.
        let gone = report.totals.errors.get("client_gone").copied().unwrap_or(0);
        assert_eq!(report.totals.failed(), gone, "{kind}: {:?}", report.totals.errors);
        assert!(gone < 10 && (kind != "restart" || gone == 0), "{kind}: {gone}");
        let dials = if kind == "crash" { 30..=40 } else { 30..=30 };
        assert!(dials.contains(&report.totals.dials), "{kind}: {} dials", report.totals.dials);
    }
}

#[test]
fn callers_whose_client_is_killed_are_counted_and_those_of_a_restart_are_answered() {
    let busy = CALM.replace("exponential = \"10ms\"", "constant = \"90ms\"");
    let gone = |fault: &str| {
        let scenario = Scenario::parse(&format!("{busy}{fault}")).unwrap();
        let report = fleet::run(&scenario, "plain", 1, &mut |_| {}).unwrap();
        report.totals.errors.get("client_gone").copied().unwrap_or(0)
    };
    // 100 calls a second of 90 ms: nine of them are under way.
    let killed = gone("[[fault.kill]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"web/1\"\n");
    assert!((3..=20).contains(&killed), "{killed}");
    assert_eq!(gone("[[fault.restart]]\nat = \"5s\"\ndown = \"5s\"\nhosts = \"web/1\"\n"), 0);
}

#[test]
fn a_client_that_restarts_checks_its_servers_anew() {
    let scenario = scenario(
        "[[fault.restart]]\nat = \"5s\"\ndown = \"1s\"\nhosts = \"web\"\n\n\
         [[fault.flap]]\nat = \"10s\"\nhosts = \"users/1\"\nshare = 1\n\n\
         [[fault.fail_fast]]\nat = \"10s\"\nhosts = \"users/1\"\n\n\
         [policy.checked]\nbreaker = false\nejection = false\nhealth_checks = { interval = \"500ms\" }\n",
    );
    let run = |policy| fleet::run(&scenario, policy, 1, &mut |_| {}).unwrap();
    assert!(!all_good(&run("plain"), 13, 20), "it fails whom it serves");
    assert!(all_good(&run("checked"), 13, 20));
}

#[test]
fn a_load_that_is_another_for_a_while_is_marked() {
    let steps = "rate = 200\nstep = [{ at = \"5s\", rate = 1200 }, { at = \"8s\", rate = 200 }]\n";
    let scenario = Scenario::parse(&CALM.replace("rate = 200\n", steps)).unwrap();
    let report = fleet::run(&scenario, "plain", 1, &mut |_| {}).unwrap();
    let seconds = Duration::from_secs;
    let marks: Vec<_> =
        report.marks.iter().map(|mark| (mark.from, mark.until, mark.label.as_str())).collect();
    assert_eq!(marks, [(seconds(5), Some(seconds(8)), "load: 1200 calls/s")]);
}

#[test]
fn a_pause_holds_up_what_it_does_not_lose() {
    let report = run("[[fault.pause]]\nat = \"5s\"\nfor = \"500ms\"\nhosts = \"users/1\"\n");
    assert_eq!(report.totals.failed(), 0);
    assert!(report.totals.latency.max > Duration::from_millis(400), "{:?}", report.totals.latency);
    assert!(between(&report, 1, 5).2 < Duration::from_millis(200));
}

#[test]
fn a_link_that_changes_delays_calls_while_it_does() {
    let report = run(
        "[[fault.link]]\nat = \"5s\"\nfor = \"5s\"\nway = { between = [\"a\", \"a\"], latency = \"30ms\" }\n",
    );
    let slowest = |from, to| {
        let of = |bucket: &&fleet::Bucket| {
            (Duration::from_secs(from)..Duration::from_secs(to)).contains(&bucket.at)
        };
        report.series.iter().filter(of).map(|bucket| bucket.p50).max()
    };
    assert!(slowest(6, 10) > Some(Duration::from_millis(60)));
    assert!(slowest(11, 20) < Some(Duration::from_millis(50)));
}

#[test]
fn a_leak_is_felt_more_and_more_until_the_restart() {
    let report = run(
        "[[fault.leak]]\nat = \"1s\"\nhosts = \"users\"\nper_thousand = 20\n[[fault.restart]]\nat = \"12s\"\ndown = \"500ms\"\nhosts = \"users/1-5\"\n",
    );
    let mean = |from: u64, to: u64| {
        let of = |bucket: &&fleet::Bucket| {
            (Duration::from_secs(from)..Duration::from_secs(to)).contains(&bucket.at)
        };
        let (sum, n) =
            report.series.iter().filter(of).fold((Duration::ZERO, 0), |(s, n), b| (s + b.p50, n + 1));
        sum / n
    };
    assert!(mean(10, 12) > 3 * mean(1, 3), "{:?}, {:?}", mean(1, 3), mean(10, 12));
    assert!(mean(13, 15) < mean(10, 12));
}

#[test]
fn checks_that_flap_take_hosts_out_and_checks_that_are_cut_off_too() {
    let checked = |fault: &str| {
        let text = format!(
            "{CALM}health_checks = {{ interval = \"500ms\", timeout = \"200ms\", fall = 1 }}\npanic = false\n{fault}"
        );
        fleet::run(&Scenario::parse(&text).unwrap(), "plain", 1, &mut |_| {}).unwrap().totals
    };
    assert_eq!(checked("").failed(), 0);
    let flap = "[[fault.flap]]\nat = \"5s\"\nhosts = \"users\"\nshare = 1\n";
    assert!(checked(flap).errors.contains_key("unhealthy"), "nobody is left");
    let crash = "[[fault.crash]]\nat = \"5s\"\nhosts = \"users/1-2\"\n";
    let (unchecked, checked) = (run(crash).totals.failed(), checked(crash).failed());
    assert!(checked * 5 < unchecked, "{checked}, {unchecked}");
}

#[test]
fn cold_caches_make_the_first_calls_slow() {
    let cold = CALM.replace("workers = 2", "workers = 2\ncold = { factor = 10, requests = 100 }");
    let restart = "[[fault.restart]]\nat = \"5s\"\ndown = \"200ms\"\nhosts = \"users\"\n";
    let p99 = |text: &str| {
        let scenario = Scenario::parse(&format!("{text}{restart}")).unwrap();
        between(&fleet::run(&scenario, "plain", 1, &mut |_| {}).unwrap(), 7, 9).2
    };
    assert!(p99(&cold) > 2 * p99(CALM), "{:?}, {:?}", p99(&cold), p99(CALM));
}

#[test]
fn spells_slow_the_whole_group() {
    let text =
        CALM.replace("workers = 2", "workers = 2\nspells = { every = \"4s\", lasts = \"1s\", factor = 10 }");
    let spells = fleet::run(&Scenario::parse(&text).unwrap(), "plain", 1, &mut |_| {}).unwrap();
    assert!(spells.totals.latency.p99 > 2 * run("").totals.latency.p99, "{:?}", spells.totals.latency);
}

#[test]
fn a_name_that_means_another_host_takes_its_calls_there() {
    let report = run(
        "[[fault.resolve]]\nat = \"4s\"\nhosts = \"users/1\"\nto = \"users/2\"\n[[fault.kill]]\nat = \"5s\"\nhosts = \"users/1\"\n",
    );
    assert!(all_good(&report, 7, 20), "its connections are to the other");
    assert!(report.totals.dials <= 24, "and nobody dials in vain: {}", report.totals.dials);
}

#[test]
fn wall_clocks_that_jump_disturb_nobody() {
    let report = run("[[fault.skew]]\nat = \"5s\"\nfor = \"5s\"\nhosts = \"users, web\"\nby_ms = -3600000\n");
    assert_eq!(report.totals.failed(), 0);
}

#[test]
fn a_reader_who_is_slow_times_out_alone() {
    let text = CALM.replace("rate = 200", "rate = 200\nanswer_bytes = 8000");
    let fault =
        "[[fault.slow_reader]]\nat = \"5s\"\nfor = \"10s\"\nhosts = \"web/1\"\nbytes_per_second = 20000\n";
    let report =
        fleet::run(&Scenario::parse(&format!("{text}{fault}")).unwrap(), "plain", 1, &mut |_| {}).unwrap();
    let (offered, good, _) = between(&report, 7, 14);
    assert!(good.abs_diff(offered / 2) < offered / 20, "{good} of {offered}");
}

#[test]
fn callers_in_a_closed_loop_wait_for_their_answers() {
    let text = CALM.replace("rate = 200", "callers = { count = 5, think = \"40ms\" }");
    let loops = |more: &str| {
        let scenario = Scenario::parse(&format!("{text}{more}")).unwrap();
        fleet::run(&scenario, "plain", 1, &mut |_| {}).unwrap().totals
    };
    // Ten callers, 51 ms each: 196 calls a second.
    let usual = loops("");
    assert!((3_500..=4_200).contains(&usual.offered), "{}", usual.offered);
    let slow = loops("[[fault.slow]]\nat = \"0s\"\nhosts = \"users\"\nfactor = 10\n");
    assert!(slow.offered < usual.offered / 2, "they slow down with the service: {}", slow.offered);
}

#[test]
fn callers_who_call_again_cost_attempts_and_a_budget_bounds_them() {
    let tried = |retries: &str| {
        let fault = "[[fault.fail_fast]]\nat = \"5s\"\nhosts = \"users\"\n";
        let text = format!("{CALM}caller_retries = {retries}\n{fault}");
        fleet::run(&Scenario::parse(&text).unwrap(), "plain", 1, &mut |_| {}).unwrap().totals
    };
    let (none, all) = (tried("false"), tried("{ times = 3 }"));
    let some = tried("{ times = 3, budget = { ratio = 0.1, per_second = 0 } }");
    assert_eq!(none.attempts, none.offered);
    assert!(all.attempts > 3 * all.offered, "{} of {}", all.attempts, all.offered);
    assert!(some.attempts < some.offered * 12 / 10, "{} of {}", some.attempts, some.offered);
    assert_eq!(all.retries, all.attempts - all.offered);
}

#[test]
fn an_expectation_fails_when_it_should_and_says_what_was_seen() {
    let report = run(r#"
[[fault.fail_fast]]
at = "10s"
hosts = "users"
[[expect.goodput]]
at_least = 0.9
until = "10s"
[[expect.goodput]]
at_least = 0.9
from = "10s"
[[expect.latency]]
p50 = "1ms"
until = "10s"
[[expect.attempts]]
per_call = 0.5
[[expect.recovery]]
after = "10s"
within = "5s"
goodput = 0.5
[[expect.count]]
of = "failed"
at_most = 0
missed_by = ["plain"]
[[expect.count]]
of = "dials"
at_least = 20
at_most = 20
policies = ["plain"]
"#);
    let held: Vec<bool> = report.checks.iter().map(|check| check.held).collect();
    assert_eq!(held, [true, false, false, false, false, false, true], "{:#?}", report.checks);
    assert!(!report.is_as_stated());
    let stated: Vec<bool> = report.checks.iter().map(|check| check.is_as_stated()).collect();
    assert_eq!(stated, [true, false, false, false, false, true, true]);
    let said = |at: usize| (report.checks[at].what.as_str(), report.checks[at].seen.as_str());
    assert_eq!(said(1), ("goodput at least 90 %, from 10 s", "0 %"));
    assert_eq!(said(4).1, "never");
    assert_eq!(said(6), ("dials: at least 20, at most 20", "20"));
}

#[test]
fn an_expectation_of_one_policy_says_nothing_of_another() {
    let scenario =
        scenario("[policy.other]\n[[expect.count]]\nof = \"failed\"\nat_most = 0\npolicies = [\"other\"]\n");
    let checks = |policy| fleet::run(&scenario, policy, 1, &mut |_| {}).unwrap().checks.len();
    assert_eq!((checks("plain"), checks("other")), (0, 1));
}
