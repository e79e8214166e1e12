//! Edges: HTTP/2 over TLS towards `h2load`, and whatever stands behind them. All answer with the same body and the
//! same headers, under a certificate of the same kind (ECDSA, P-256).

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
#[cfg(feature = "peers")]
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use tempfile::TempDir;

use super::ours_tokio;
#[cfg(feature = "peers")]
use super::{haproxy, hyper_edge};
use crate::Result;
use crate::process::{CLIENT_CORE, Process, SERVER_CORE};

/// What `h2load` asks for.
pub(super) const PATH: &str = "/api/projects";
/// What everybody answers: a page of the gateway's embedded service.
pub(super) const BODY: &str = r#"{"projects":[{"id":"1","name":"Example","description":"Change me with PUT.","createdAt":"2026-11-21T08:00:00.000Z","updatedAt":"2026-11-21T08:00:00.000Z"}]}"#;

/// What a browser sends, and some more.
const HEADERS: [&str; 4] = [
    "accept: application/json",
    "accept-encoding: gzip, br",
    "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2ln",
    "origin: https://app.internal",
];
const CONNECTIONS: u32 = 16;
const STREAMS: u32 = 32;
/// Requests after which pools and tables have grown.
const WARM_UP: u64 = 20_000;
/// Requests that every edge is to answer when nothing is measured.
#[cfg(feature = "peers")]
const CHECKED: u32 = 2_000;
/// How long an edge may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(10);
/// `h2load` ends when it is done; no line of its own comes before.
const LONGEST: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Hyper, answering by itself.
    Hyper,
    /// The gateway, and a service over UW.
    Plimsoll,
    Haproxy(Haproxy),
}

/// What stands behind haproxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haproxy {
    Http1,
    Http2,
    /// HTTP/2, and what the gateway does besides: a number for each request, a rate limit, a breaker.
    Guarded,
}

/// A process beside the edges; see [`run`].
#[derive(Subcommand)]
pub(crate) enum Role {
    /// A service over UW
    Service,
    /// Hyper over HTTP/1.1 in the clear
    #[cfg(feature = "peers")]
    Http1,
    /// Hyper over HTTP/2 in the clear
    #[cfg(feature = "peers")]
    Http2,
    /// Hyper over HTTP/2 and TLS
    #[cfg(feature = "peers")]
    Edge { cert: PathBuf, key: PathBuf },
}

/// One of these processes; returns only to say what went wrong.
pub(crate) fn run(role: &Role) -> Result<()> {
    match role {
        Role::Service => ours_tokio::service("listProjects", BODY),
        #[cfg(feature = "peers")]
        Role::Http1 => hyper_edge::http1(),
        #[cfg(feature = "peers")]
        Role::Http2 => hyper_edge::http2(),
        #[cfg(feature = "peers")]
        Role::Edge { cert, key } => hyper_edge::edge(cert, key),
    }
}

/// Lets every edge answer some requests, and sees that it answers all of them.
#[cfg(feature = "peers")]
pub(crate) fn check(only: &str) -> Result<()> {
    let edges = [
        ("edge: plimsoll", Edge::Plimsoll),
        ("edge: hyper", Edge::Hyper),
        ("edge: haproxy, h1 behind", Edge::Haproxy(Haproxy::Http1)),
        ("edge: haproxy, h2 behind", Edge::Haproxy(Haproxy::Http2)),
        ("edge: haproxy, h2 behind, guarded", Edge::Haproxy(Haproxy::Guarded)),
    ];
    for (name, edge) in edges.into_iter().filter(|(name, _)| name.contains(only)) {
        let loaded = Standing::start(edge).and_then(|edge| edge.load(&[format!("-n{CHECKED}")]));
        let loaded = loaded.and_then(|loaded| loaded.must_be_clean().map(|()| loaded));
        let loaded = loaded.map_err(|error| format!("{name}: {error}"))?;
        println!("{name}: {} answers", loaded.succeeded);
    }
    Ok(())
}

#[cfg(not(feature = "peers"))]
const NOT_COMPILED_IN: &str = "hyper is not compiled in: add --features peers";

/// An edge that serves, and what stands behind it.
pub(crate) struct Standing {
    edge: Process,
    port: u16,
    _behind: Option<Process>,
    _dir: TempDir,
}

impl Standing {
    pub(crate) fn start(kind: Edge) -> Result<Standing> {
        let dir = tempfile::tempdir()?;
        let (edge, port, behind) = match kind {
            Edge::Plimsoll => {
                let (service, address) = role("the service", CLIENT_CORE, &["service".as_ref()])?;
                let (edge, port) = plimsoll(dir.path(), address)?;
                (edge, port, Some(service))
            }
            #[cfg(feature = "peers")]
            Edge::Hyper => {
                let (cert, key) = hyper_edge::certificate(dir.path())?;
                let args = ["edge".as_ref(), cert.as_os_str(), key.as_os_str()];
                let (edge, address) = role("the hyper edge", SERVER_CORE, &args)?;
                (edge, address.port(), None)
            }
            #[cfg(feature = "peers")]
            Edge::Haproxy(kind) => {
                let (upstream, address) = role("the upstream", CLIENT_CORE, &[kind.upstream().as_ref()])?;
                let (cert, key) = hyper_edge::certificate(dir.path())?;
                let (edge, port) = haproxy::start(kind, dir.path(), [&cert, &key], address)?;
                (edge, port, Some(upstream))
            }
            #[cfg(not(feature = "peers"))]
            _ => return Err(NOT_COMPILED_IN.into()),
        };
        until_it_accepts(port)?;
        Ok(Standing { edge, port, _behind: behind, _dir: dir })
    }

    /// Microseconds of CPU that the edge spends on a request, over about so much time. The handshakes of 16
    /// connections are in it.
    pub(crate) fn measure(&self, time: Duration) -> Result<f64> {
        let warm = self.load(&[format!("-n{WARM_UP}")])?;
        let requests = ((warm.per_second * time.as_secs_f64()) as u64).max(WARM_UP);
        let before = self.edge.cpu()?;
        let load = self.load(&[format!("-n{requests}")])?;
        let spent = self.edge.cpu()? - before;
        load.must_be_clean()?;
        Ok(spent.as_secs_f64() * 1e6 / requests as f64)
    }

    /// Runs `h2load` to its end.
    pub(crate) fn load(&self, args: &[String]) -> Result<Loaded> {
        self.start_load(args)?.finish()
    }

    /// Begins to run `h2load`.
    pub(crate) fn start_load(&self, args: &[String]) -> Result<Loading> {
        let mut command = Command::new("h2load");
        command.args([format!("-c{CONNECTIONS}"), format!("-m{STREAMS}")]).args(args);
        command.args(HEADERS.map(|header| format!("--header={header}")));
        command.arg(format!("https://127.0.0.1:{}{PATH}", self.port));
        Ok(Loading(start("h2load", "nghttp2-client", CLIENT_CORE, command)?))
    }

    /// Of the edge, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.edge.resident()
    }

    /// Of the edge.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.edge.cpu()
    }
}

/// A run of `h2load`.
pub(crate) struct Loading(Process);

/// What it came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) per_second: f64,
    pub(crate) succeeded: u64,
    /// Failed, errored and timed out, and answers that were no success.
    pub(crate) failed: u64,
}

impl Loading {
    pub(crate) fn finish(mut self) -> Result<Loaded> {
        let mut said = String::new();
        while let Ok(line) = self.0.line_within(LONGEST) {
            said = said + &line + "\n";
        }
        self.0.end()?;
        Loaded::parse(&said).ok_or_else(|| format!("h2load has not said how it went:\n{said}").into())
    }
}

impl Loaded {
    fn parse(said: &str) -> Option<Loaded> {
        let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
        let numbers = |line: &str| -> Vec<u64> {
            let words = line.split([' ', ',']).filter(|word| !word.is_empty());
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let per_second = line("finished in ")?.split(", ").nth(1)?.strip_suffix(" req/s")?.parse().ok()?;
        let [_, _, _, succeeded, failed, errored, timeout] = numbers(line("requests: ")?)[..] else {
            return None;
        };
        let [successes, ..] = numbers(line("status codes: ")?)[..] else { return None };
        let failed = failed.max(errored).max(timeout) + succeeded.abs_diff(successes);
        Some(Loaded { per_second, succeeded, failed })
    }

    pub(crate) fn must_be_clean(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(format!("{failed} requests failed, and {} did not", self.succeeded).into()),
        }
    }
}

/// The gateway with development defaults but for the rate limit, which is off then; here it is on and never reached.
fn plimsoll(dir: &Path, service: SocketAddr) -> Result<(Process, u16)> {
    let program = env::current_exe()?.with_file_name("plimsoll");
    if !program.exists() {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        return Err(
            format!("there is no {}: cargo build{release} -p plimsoll-gateway", program.display()).into()
        );
    }
    let config = dir.join("plimsoll.toml");
    fs::write(&config, "[services.project.rate_limit]\nrequests = 10000000\n")?;
    let mut command = Command::new(program);
    command.current_dir(dir).env_clear().args(["--host=127.0.0.1", "--port=0", "--log-level=error"]);
    command.arg(format!("--project-service=uw://{service}"));
    let mut gateway = Process::start("the gateway", SERVER_CORE, command)?;
    let said = gateway.line()?;
    // plimsoll 0.1.0 serves https://127.0.0.1:8000 (HTTP/2)
    let port = said.split([':', ' ']).find_map(|word| word.parse().ok());
    Ok((gateway, port.ok_or_else(|| format!("no port in {said:?}"))?))
}

/// Another process of this program.
fn role(name: &str, core: usize, args: &[&OsStr]) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("edge").args(args);
    let mut process = Process::start(name, core, command)?;
    let ready = process.line()?;
    let address =
        ready.strip_prefix("ready ").ok_or_else(|| format!("{name} says where it listens"))?.parse()?;
    Ok((process, address))
}

/// A program that may not be installed.
pub(super) fn start(name: &str, package: &str, core: usize, command: Command) -> Result<Process> {
    let is_there = |dir: &Path| dir.join(name).exists();
    if !env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| is_there(&dir)) {
        return Err(format!("{name} is not installed (Debian: {package})").into());
    }
    Process::start(name, core, command)
}

pub(super) fn until_it_accepts(port: u16) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        if Instant::now() > until {
            return Err(format!("nobody listens on port {port}: {error}").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_says_is_understood() {
        let said = "finished in 3.24s, 61699.64 req/s, 10.59MB/s\n\
            requests: 200000 total, 200000 started, 200000 done, 199992 succeeded, 8 failed, 8 errored, 0 timeout\n\
            status codes: 199990 2xx, 0 3xx, 0 4xx, 2 5xx\n";
        let loaded = Loaded::parse(said).unwrap();
        assert_eq!(loaded, Loaded { per_second: 61_699.64, succeeded: 199_992, failed: 10 });
        assert_eq!(Loaded::parse("finished in 3s"), None);
    }
}
