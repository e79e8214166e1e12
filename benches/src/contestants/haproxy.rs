//! haproxy, as Debian has it: one thread, TLS and HTTP/2 in front, connections behind that are used again.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::edge::{self, Haproxy};
use crate::Result;
use crate::process::{Process, SERVER_CORE};

impl Haproxy {
    pub(super) fn upstream(self) -> &'static str {
        match self {
            Haproxy::Http1 => "http1",
            Haproxy::Http2 | Haproxy::Guarded => "http2",
        }
    }
}

/// With a certificate and its key; says on which port it will listen.
pub(super) fn start(
    kind: Haproxy,
    dir: &Path,
    certificate: [&Path; 2],
    upstream: SocketAddr,
) -> Result<(Process, u16)> {
    let (cert, config, port) = (dir.join("both.pem"), dir.join("haproxy.cfg"), free_port()?);
    fs::write(&cert, certificate.map(fs::read).into_iter().collect::<io::Result<Vec<_>>>()?.concat())?;
    fs::write(&config, text(kind, &cert, port, upstream))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-q").arg("-f").arg(config);
    Ok((edge::start("haproxy", "haproxy", SERVER_CORE, command)?, port))
}

/// It cannot say which one the system has chosen for it.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn text(kind: Haproxy, cert: &Path, port: u16, upstream: SocketAddr) -> String {
    let cert = cert.display();
    let (proto, check) = match kind {
        Haproxy::Http1 => ("", ""),
        Haproxy::Http2 => (" proto h2", ""),
        Haproxy::Guarded => (" proto h2", " check observe layer7 error-limit 5 on-error mark-down"),
    };
    let guards = match kind {
        Haproxy::Http1 | Haproxy::Http2 => "",
        Haproxy::Guarded => {
            "
    unique-id-format %[uuid()]
    http-response set-header x-request-id %[unique-id]
    stick-table type ip size 100k expire 60s store http_req_rate(1s)
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 10000000 }"
        }
    };
    format!(
        "global
    nbthread 1
    maxconn 4000
    ssl-default-bind-options ssl-min-ver TLSv1.3
    tune.h2.max-concurrent-streams 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    http-reuse always
frontend edge
    bind 127.0.0.1:{port} ssl crt {cert} alpn h2{guards}
    default_backend upstream
backend upstream
    server one {upstream}{proto} pool-max-conn -1 max-reuse -1{check}
"
    )
}
