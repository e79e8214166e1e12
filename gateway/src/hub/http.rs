//! What a hub says about itself, over HTTP/1.1: `/health` and `/services`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use plimsoll_tokio::ipc::{Hub, HubStatus};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::reply::{Problem, Reply};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// For a request and its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Out of descriptors, for one: trying again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One request on each connection.
pub(super) struct Http {
    listener: TcpListener,
    address: SocketAddr,
    hub: Arc<Hub>,
    connections: JoinSet<()>,
}

impl Http {
    pub(super) async fn bind(address: &str, hub: Arc<Hub>) -> Result<Http, String> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bound.await.map_err(|error: io::Error| format!("{address}: {error}"))?;
        Ok(Http { listener, address, hub, connections: JoinSet::new() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes a connection, or sees one end. May be dropped and called again.
    pub(super) async fn step(&mut self) {
        tokio::select! {
            Some(_) = self.connections.join_next() => {}
            accepted = self.listener.accept(), if self.connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, self.hub.clone());
                    self.connections.spawn(async { drop(timeout(CONNECTION_TIMEOUT, connection).await) });
                }
                Err(error) => {
                    tracing::warn!("no connection to {} can be taken: {error}", self.address);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Cuts all connections.
    pub(super) async fn stop(mut self) {
        self.connections.shutdown().await;
    }
}

async fn serve(stream: TcpStream, hub: Arc<Hub>) {
    let answer = service_fn(async |request| Ok::<_, Infallible>(answer(&request, &hub).await));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!("a request for the hub's status failed: {error}");
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(flatten)]
    hub: HubStatus,
}

async fn answer(request: &Request<Incoming>, hub: &Hub) -> Response<Full<Bytes>> {
    let reply = match (request.uri().path(), request.method()) {
        ("/services", &Method::GET) => Reply::of(StatusCode::OK, &hub.services().await),
        ("/health", &Method::GET) => health(hub.status().await),
        ("/health" | "/services", _) => {
            let message = "only GET is understood here";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
                .allowing("GET")
                .into_reply("")
        }
        _ => {
            let message = "there are /health and /services";
            Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", message).into_reply("")
        }
    };
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

fn health(hub: HubStatus) -> Reply {
    let (code, status) = match hub.running {
        true => (StatusCode::OK, "healthy"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    Reply::of(code, &Health { status, hub })
}
