//! `plimsoll` itself: from a configuration to a gateway that serves until it is told to stop.

use std::fmt::Write;
use std::time::Duration;

use plimsoll_core::cluster::EndpointOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backend::Backend;
use crate::certs;
use crate::config::Config;
use crate::edge::{self, Edge};
use crate::figures::quoted;
use crate::front::Front;
use crate::projects;
use crate::recorded;
use crate::routes::Routes;
use crate::tls;

/// How long connections to services may take to close once no request is left that needs them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT, then lets requests finish. A second signal ends the process at once.
pub(crate) async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = Signals::new()?;
    raise_descriptor_limit(config.server.max_connections);
    let tls = if config.tls.enabled {
        Some(tls::server_config(&config.tls)?)
    } else {
        tracing::warn!("TLS is off: everything travels in the clear; use this for tests only");
        None
    };
    let listeners = edge::listen(&config.server).await?;
    let (embedded, endpoints) = if config.project.endpoints.is_empty() {
        let server = projects::serve().await?;
        let address = server.local_addr().to_string();
        (Some(server), vec![(address, EndpointOptions::default())])
    } else {
        (None, config.project.addresses().collect())
    };
    let recording = config.record.file.as_deref().map(|file| recorded::recording(file, config.record.bodies));
    let backend = Backend::start(endpoints, &config.project, recording.transpose()?)?;
    let routes = Routes::new(&config, backend.clone());
    let edge = Edge::new(&config, tls, Front::new(&config.server, routes));
    anstream::print!("{}", welcome(&config, &listeners));
    for listener in listeners {
        edge.accept_from(listener);
    }

    let name = signals.next().await;
    let limit = config.server.drain_timeout.get();
    tracing::info!("{name}: no more requests are taken, {} finish", edge.active_requests());
    let drained = tokio::select! {
        drained = edge.drain(limit) => drained,
        name = signals.next() => {
            tracing::warn!("{name} again: stopped at once, {} requests were cut", edge.active_requests());
            std::process::exit(1);
        }
    };
    if !drained {
        tracing::warn!("{} requests did not finish within {limit:?} and were cut", edge.active_requests());
    }
    backend.shutdown(CLOSE_TIMEOUT).await;
    if let Some(server) = embedded {
        server.shutdown(CLOSE_TIMEOUT).await;
    }
    Ok(())
}

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Most shells allow 1,024 open files, and far more to whoever asks.
pub(crate) fn raise_descriptor_limit(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + 1_024;
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let reachable = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum: limit.maximum });
    if raised.is_err() || reachable < wanted {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(reachable);
        tracing::warn!(
            "the system allows {limit} open files, fewer than {connections} connections (max_connections) need",
        );
    }
}

/// What a newcomer needs to see: where it listens, and a line to paste for each route.
fn welcome(config: &Config, listeners: &[TcpListener]) -> String {
    let port =
        listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
    let host = match config.server.host.as_str() {
        "0.0.0.0" | "::" | "[::]" => "localhost",
        host => host,
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.into() };
    let scheme = if config.tls.enabled { "https" } else { "http" };
    let base = format!("{scheme}://{host}:{port}");
    let curl = match (&config.tls.enabled, &config.tls.files) {
        (false, _) => "curl --http2-prior-knowledge".into(),
        (true, Some(_)) => "curl --http2".into(),
        (true, None) => {
            format!(
                "curl --http2 --cacert {}",
                quoted(&config.tls.cert_dir.join(certs::CA_FILE).display().to_string())
            )
        }
    };
    let json = "-H 'content-type: application/json'";
    let lines = [
        format!("{curl} {base}/health"),
        format!("{curl} {base}/metrics"),
        format!("{curl} -H 'accept: text/plain' {base}/metrics"),
        format!("{curl} {base}/services"),
        format!("{curl} {base}/services/health"),
        format!("{curl} {base}/services/stats"),
        format!("{curl} {base}/services/explain"),
        format!("{curl} {base}/api/projects"),
        format!("{curl} {json} -d '{{\"name\":\"Harbour\"}}' {base}/api/projects"),
        format!("{curl} -X PUT {json} -d '{{\"name\":\"Quay\"}}' {base}/api/projects/1"),
    ];
    let mut text = format!("plimsoll {} serves {base} (HTTP/2)\n\n", env!("CARGO_PKG_VERSION"));
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text + "\n"
}
