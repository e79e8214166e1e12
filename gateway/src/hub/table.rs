//! The services of a hub and how busy they are, as a table for people.

use std::fmt::Write;

use plimsoll_core::ipc::hub::Metrics;
use plimsoll_tokio::ipc::{HubStatus, ServiceInfo};

use crate::figures::{micros, thousands, time};

/// Methods and names are cut at so many characters.
const MAX_NAME: usize = 40;
const MAX_METHODS: usize = 60;

pub(super) fn table(hub: &HubStatus, services: &[ServiceInfo], metrics: &Metrics) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = heading(&mut text, hub, metrics);
    let names: Vec<_> = services.iter().map(|service| cut(&service.name, MAX_NAME)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("service".len());
    let _ = writeln!(
        text,
        "{:width$}  {:>7}  {:>11}  {:>9}  {:>7}  {:>7}  methods",
        "service", "process", "connections", "calls/s", "serving", "calling"
    );
    for (name, service) in names.iter().zip(services) {
        let _ = writeln!(
            text,
            "{name:width$}  {:>7}  {:>11}  {:>9}  {:>7}  {:>7}  {}",
            service.peer.pid.map_or("-".into(), |pid| pid.to_string()),
            thousands(service.connections.into()),
            thousands(service.calls_per_second),
            thousands(service.serving_calls.into()),
            thousands(service.pending_calls.into()),
            cut(&service.methods.join(", "), MAX_METHODS)
        );
    }
    text
}

fn heading(text: &mut String, hub: &HubStatus, metrics: &Metrics) -> std::fmt::Result {
    writeln!(
        text,
        "{}: {}, {}, {} a second, {} pending",
        hub.socket_path,
        count(hub.connected_services.into(), "service"),
        count(hub.connections.into(), "connection"),
        count(hub.calls_per_second, "call"),
        thousands(hub.pending_calls.into())
    )?;
    writeln!(
        text,
        "calls: {} passed on, {} refused, {} timed out, {} lost",
        thousands(hub.routed),
        thousands(hub.refused),
        thousands(hub.timed_out),
        thousands(hub.lost)
    )?;
    let quantile = |per_mille| metrics.latency.quantile(per_mille).map(micros).map_or("-".into(), time);
    writeln!(text, "answers: {} after p50, {} after p99\n", quantile(500), quantile(990))
}

/// `1 service`, `2 services`.
fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Names come from services: they must not speak to the terminal.
fn cut(text: &str, most: usize) -> String {
    let escaped: String = text.escape_debug().collect();
    match escaped.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_tokio::ipc::PeerInfo;

    fn service(name: &str, methods: &[&str]) -> ServiceInfo {
        ServiceInfo {
            name: name.into(),
            methods: methods.iter().map(|&method| method.into()).collect(),
            connected_at: 0,
            last_heartbeat: 0,
            version: None,
            metadata: None,
            peer: PeerInfo { pid: Some(77), ..PeerInfo::default() },
            connections: 1,
            pending_calls: 2,
            serving_calls: 3,
            calls_per_second: 1_234,
        }
    }

    #[test]
    fn each_service_has_a_line_whose_columns_stand_below_their_heads() {
        let hub =
            HubStatus { socket_path: "/run/hub.sock".into(), connected_services: 2, ..HubStatus::default() };
        let services = [service("orders", &["create", "list"]), service("a-name-of-some-length", &[])];
        let text = table(&hub, &services, &Metrics::default());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("/run/hub.sock: 2 services, "), "{text}");
        let end = |line: &str, of: &str| line.find(of).map(|at| at + of.len()).unwrap();
        let (head, orders) = (lines[4], lines[5]);
        assert!(orders.starts_with("orders  ") && orders.ends_with("  create, list"), "{text}");
        for (head_of, figure) in [
            ("process", "77"),
            ("connections", " 1"),
            ("calls/s", "1,234"),
            ("serving", " 3"),
            ("calling", " 2"),
        ] {
            assert_eq!(end(head, head_of), end(orders, &format!("{figure}  ")) - 2, "{text}");
        }
        assert_eq!(head.find("methods"), orders.find("create"), "{text}");
    }

    #[test]
    fn what_a_service_says_is_cut_and_does_not_speak_to_the_terminal() {
        let services = [service("\u{1b}[2J", &["\n", &"m".repeat(1_000)])];
        let text = table(&HubStatus::default(), &services, &Metrics::default());
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J"), "{text}");
        assert!(text.lines().count() == 6 && text.lines().all(|line| line.chars().count() < 140), "{text}");
    }
}
