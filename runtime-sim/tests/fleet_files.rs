//! Scenarios that are none: what is wrong, in which line, and what would be right.

use plimsoll_sim::fleet::Scenario;

/// Fourteen lines.
const START: &str = r#"name = "a test"
description = "Nothing."
length = "10s"

[[servers]]
name = "users"
count = 3
service = { constant = "1ms" }

[[clients]]
name = "web"

[load]
rate = 10
"#;

fn error(more: &str) -> String {
    match Scenario::parse(&format!("{START}{more}")) {
        Ok(_) => panic!("this is a scenario:\n{more}"),
        Err(error) => error.to_string(),
    }
}

fn error_with(what: &str, instead: &str) -> String {
    assert!(START.contains(what), "{what}");
    Scenario::parse(&START.replace(what, instead)).unwrap_err().to_string()
}

#[test]
fn a_scenario_without_policies_is_run_with_the_defaults() {
    let scenario = Scenario::parse(START).unwrap();
    assert_eq!(scenario.policies().collect::<Vec<_>>(), ["default"]);
    assert_eq!((scenario.name(), scenario.description()), ("a test", "Nothing."));
}

#[test]
fn policies_come_in_the_order_of_the_file() {
    let scenario = Scenario::parse(&format!("{START}[policy.zeal]\n[policy.care]\n[policy.more]\n")).unwrap();
    assert_eq!(scenario.policies().collect::<Vec<_>>(), ["zeal", "care", "more"]);
}

#[test]
fn an_unknown_key_is_answered_with_its_line_and_the_known_ones() {
    let error = error("[[fault.slow]]\nat = \"1s\"\nhosts = \"users\"\nfaktor = 3\n");
    assert_eq!(error, "line 18: unknown field `faktor`, expected one of `at`, `for`, `hosts`, `factor`");
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(error("[[fault.slow]]\nat = \"1s\"\nhosts = \"users\"\n"), "line 15: missing field `factor`");
}

#[test]
fn a_length_is_written_with_its_unit() {
    let wrong = error_with("\"10s\"", "\"10\"");
    assert!(wrong.starts_with("line 3: \"10\" is no length of time up to 24 hours; write it as"), "{wrong}");
    let number = error_with("\"10s\"", "10");
    assert!(
        number.starts_with("line 3: invalid type: integer `10`, expected a length of time in quotes"),
        "{number}"
    );
}

#[test]
fn a_share_is_at_most_all() {
    let error = error("[[fault.fail_share]]\nat = \"1s\"\nhosts = \"users\"\nshare = 20\n");
    assert_eq!(error, "line 18: 20 is not a share from 0 to 1, such as 0.25");
}

#[test]
fn hosts_that_are_not_there_are_answered_with_those_that_are() {
    for words in ["user", "users/4", "users/0", "zone b", "users, users"] {
        let error = error(&format!("[[fault.crash]]\nat = \"1s\"\nhosts = \"{words}\"\n"));
        assert!(error.starts_with("line 17: "), "{error}");
        assert!(
            error.ends_with("means no host, or none that was not named before; there are users, web"),
            "{error}"
        );
    }
    let error = error("[[fault.crash]]\nat = \"1s\"\nhosts = \"users/one\"\n");
    assert!(error.ends_with(r#"write "users", "users/3", "users/1-5" or "zone b""#), "{error}");
}

#[test]
fn what_happens_to_servers_does_not_happen_to_clients() {
    let fails = error("[[fault.fail_fast]]\nat = \"1s\"\nhosts = \"web\"\n");
    assert_eq!(fails, "line 17: this can only happen to servers, and some of these are clients");
    let reader = error("[[fault.slow_reader]]\nat = \"1s\"\nhosts = \"users\"\nbytes_per_second = 1\n");
    assert_eq!(reader, "line 17: this can only happen to clients, and some of these are servers");
}

#[test]
fn a_strategy_that_is_none_is_answered_with_all() {
    let error = error("[policy.a]\nstrategy = \"fastest\"\n");
    assert!(
        error.starts_with("line 16: \"fastest\" is no load balancing strategy; take one of round_robin,"),
        "{error}"
    );
}

#[test]
fn a_policy_that_an_expectation_names_is_there() {
    let error = error("[policy.a]\n[[expect.goodput]]\nat_least = 1\nmissed_by = [\"b\"]\n");
    assert_eq!(error, "line 18: there is no policy \"b\"; there are a");
}

#[test]
fn clients_that_an_expectation_names_are_there() {
    let error = error("[[expect.goodput]]\nat_least = 1\nclients = \"users\"\n");
    assert_eq!(error, "line 17: there are no clients of the name \"users\"");
}

#[test]
fn a_zone_that_a_link_joins_has_somebody_in_it() {
    let error = error("[[link]]\nbetween = [\"a\", \"c\"]\nlatency = \"1ms\"\n");
    assert_eq!(error, "line 16: nobody is in the zone \"c\"; there are a");
}

#[test]
fn a_load_has_a_rate_or_callers() {
    let both = error_with("rate = 10", "rate = 10\ncallers = { count = 1, think = \"1s\" }");
    assert!(both.ends_with("a load has either a `rate` of calls per second, or `callers`"), "{both}");
    let neither = error_with("rate = 10", "request_bytes = 10");
    assert!(neither.ends_with("a load has either a `rate` of calls per second, or `callers`"), "{neither}");
    let steps = error("step = [{ at = \"5s\", rate = 20, ramp = \"2s\" }, { at = \"6s\", rate = 30 }]\n");
    assert_eq!(steps, "line 15: it begins before the step before it has ended");
}

#[test]
fn worlds_have_limits() {
    assert_eq!(error_with("count = 3", "count = 10001"), "line 7: servers are 1 to 10000 in all");
    assert_eq!(error_with("count = 3", "count = 0"), "line 7: servers are 1 to 10000 in all");
    assert_eq!(error_with("\"web\"", "\"web\"\ncount = 1001"), "line 12: clients are 1 to 1000 in all");
    assert_eq!(error_with("\"10s\"", "\"500ms\""), "line 3: a scenario lasts from 1 s to 24 h");
    assert_eq!(error_with("rate = 10", "rate = 10000001"), "line 14: a rate is at most 10000000");
    assert_eq!(error_with("count = 3", "workers = 0"), "line 7: a server without workers never answers");
    assert_eq!(error_with("count = 3", "priority = 8"), "line 7: a priority is a number from 0 to 7");
    assert!(error_with("\"web\"", "\"users\"").contains("there are two of the name \"users\""));
    assert!(error_with("\"web\"", "\"Web 1\"").contains("a name is up to 40 of a-z, 0-9, - and _"));
}

#[test]
fn a_time_of_service_is_one_of_four() {
    let none = error_with("{ constant = \"1ms\" }", "{ constant = \"1ms\", sigma = 1 }");
    assert!(none.contains("the time of service is one of"), "{none}");
    let table =
        error_with("{ constant = \"1ms\" }", "{ quantiles = [[0, \"1ms\"], [0.5, \"9ms\"], [1, \"5ms\"]] }");
    assert!(table.contains("quantiles begin at 0, end at 1, and rise"), "{table}");
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let error = error("[policy.a\n");
    assert!(error.starts_with("line 15: "), "{error}");
}
