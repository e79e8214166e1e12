//! NATS: the server as Debian has it, and request and reply by `async-nats`, as its documentation shows them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;

use super::callers::{Echo, call, runtime};
use super::edge;
use super::report::ready;
use super::{Load, METHOD};
use crate::Result;
use crate::process::{Process, SERVER_CORE};

/// Its defaults, on loopback; what it listens at.
pub(super) fn server(dir: &Path) -> Result<(Process, String)> {
    // It says on stderr alone which port the system has chosen for it.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--log").arg(dir.join("nats.log"));
    let server = edge::start("nats-server", "nats-server", SERVER_CORE, command)?;
    edge::until_it_accepts(port)?;
    Ok((server, format!("127.0.0.1:{port}")))
}

pub(super) fn service(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let client = async_nats::connect(address).await?;
        let mut requests = client.subscribe(METHOD).await?;
        // So that nobody calls before the server knows of it.
        client.flush().await?;
        ready("");
        while let Some(request) = requests.next().await {
            let reply = request.reply.ok_or("a request that wants no answer")?;
            client.publish(reply, request.payload).await?;
        }
        Err("the server has closed the connection".into())
    })
}

/// Each connection is a client of its own.
pub(super) fn callers(address: &str, load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..load.connections {
            handles.push(async_nats::connect(address).await?);
        }
        call(handles, load).await
    })
}

impl Echo for Client {
    type Content = Bytes;

    async fn echo(&mut self, content: Bytes) -> Result<Bytes> {
        Ok(self.request(METHOD, content).await?.payload)
    }
}
