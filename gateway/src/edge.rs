//! The edge: listeners, TLS, HTTP/2, and the life of each connection. Whatever a peer does costs its own
//! connection alone.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder as Http1Builder;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, Verdict};
use crate::config::{Config, Server};
use crate::flood::Metered;
use crate::front::Front;
use crate::http1;
use crate::http2::{self, Http2};
use crate::metrics::ConnEnd;
use crate::preface;

/// How long a connection that was told to go may take.
const GOAWAY_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no file descriptor for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel may hold ready to be accepted (it caps that by its own limit): clients that all come back
/// at once would fill the usual 128 within milliseconds, and then each tries again after a whole second.
const BACKLOG: i32 = 4096;

/// Why the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("the host {host} does not resolve to an address: {error}")]
    Resolve { host: String, error: io::Error },
    #[error("cannot listen on {address}: {error}; choose another with --port or SERVER_PORT")]
    Bind { address: SocketAddr, error: io::Error },
}

/// Opens the port on every address of the host.
pub(crate) async fn listen(server: &Server) -> Result<Vec<TcpListener>, ListenError> {
    if server.host == "localhost" {
        return listen_on_loopback(server.port).await;
    }
    let resolve = |error| ListenError::Resolve { host: server.host.clone(), error };
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = server.port;
    for address in lookup_host((host, server.port)).await.map_err(resolve)? {
        let address = SocketAddr::new(address.ip(), port);
        let listener = bind(address).await.map_err(|error| ListenError::Bind { address, error })?;
        port = listener.local_addr().map_or(port, |local| local.port());
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// 127.0.0.1 and ::1 with the same port; a machine without IPv6 is served on the former alone.
async fn listen_on_loopback(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let mut attempts = if port == 0 { 16 } else { 1 };
    loop {
        attempts -= 1;
        let first = bind(v4).await.map_err(|error| ListenError::Bind { address: v4, error })?;
        let chosen = first.local_addr().map_or(port, |address| address.port());
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), chosen);
        match bind(v6).await {
            Ok(second) => return Ok(vec![first, second]),
            // The port that the system chose for the one may be taken on the other.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(ListenError::Bind { address: v6, error });
            }
            Err(error) => {
                tracing::info!("serving 127.0.0.1 only: {v6} cannot be listened on: {error}");
                return Ok(vec![first]);
            }
        }
    }
}

/// Everything that connections share.
pub(crate) struct Edge {
    front: Front,
    tls: Option<TlsAcceptor>,
    http1: Http1Builder,
    http2: h2::server::Builder,
    places: Arc<Semaphore>,
    handshake_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Edge {
    pub(crate) fn new(config: &Config, tls: Option<Arc<ServerConfig>>, front: Front) -> Arc<Edge> {
        Arc::new(Edge {
            front,
            tls: tls.map(TlsAcceptor::from),
            http1: http1::builder(&config.server),
            http2: http2::builder(&config.server),
            places: Arc::new(Semaphore::new(config.server.max_connections as usize)),
            handshake_timeout: config.tls.handshake_timeout.get(),
            idle_timeout: config.server.idle_timeout.get(),
            write_timeout: config.server.write_timeout.get(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    pub(crate) fn accept_from(self: &Arc<Self>, listener: TcpListener) {
        self.tasks.spawn(Arc::clone(self).accept(listener));
    }

    /// Stops accepting, tells every connection to go, and lets requests finish. Whether all did in time.
    pub(crate) async fn drain(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        timeout(limit, self.tasks.wait()).await.is_ok()
    }

    pub(crate) fn active_requests(&self) -> u64 {
        self.front.routes.metrics.active_requests()
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                // A peer that has left already costs nothing; out of descriptors, waiting is all there is.
                Err(error) if is_of_one_peer(&error) => {}
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.front.routes.metrics.connection_refused();
            tracing::debug!("refused {peer}: as many connections stand as may");
            return;
        };
        let edge = Arc::clone(self);
        self.tasks.spawn(async move {
            let _place = place;
            let metrics = Arc::clone(&edge.front.routes.metrics);
            metrics.connection_began();
            let end = edge.connection(stream, peer).await;
            metrics.connection_ended(end);
        });
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr) -> ConnEnd {
        // Small answers must not wait for the peer's acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.serve(stream, peer).await };
        let handshake = timeout(self.handshake_timeout, tls.accept(stream));
        let result = tokio::select! {
            () = self.stop.cancelled() => return ConnEnd::Closed,
            result = handshake => result,
        };
        match result {
            Ok(Ok(stream)) => self.serve(stream, peer).await,
            Ok(Err(error)) => {
                tracing::debug!("no TLS with {peer}: {error}");
                ConnEnd::Handshake
            }
            Err(_) => {
                tracing::debug!("no TLS with {peer}: it did not finish the handshake in time");
                ConnEnd::Handshake
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: SocketAddr) -> ConnEnd {
        let metrics = Arc::clone(&self.front.routes.metrics);
        let activity = Activity::new(self.idle_timeout, self.write_timeout, metrics);
        let first = timeout(self.idle_timeout, preface::read(Metered::new(stream, &activity)));
        let first = tokio::select! {
            () = self.stop.cancelled() => return ConnEnd::Closed,
            first = first => first,
        };
        match first {
            Ok(Ok((true, stream))) => self.serve_http2(stream, &activity, peer).await,
            Ok(Ok((false, stream))) => self.refuse_http1(stream, &activity, peer).await,
            Ok(Err(error)) => end_of(&error, peer),
            Err(_) => ConnEnd::Idle,
        }
    }

    async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        activity: &Activity,
        peer: SocketAddr,
    ) -> ConnEnd {
        let begin = |request, respond| self.front.serve(request, respond, activity);
        let mut connection = Http2::new(&self.http2, stream, activity, begin);
        let mut look = pin!(sleep_until(Instant::now()));
        let mut idle = false;
        let mut stopping = false;
        loop {
            tokio::select! {
                result = &mut connection => return match result {
                    Ok(()) if idle => ConnEnd::Idle,
                    Ok(()) => ConnEnd::Closed,
                    Err(error) => end_of(&error, peer),
                },
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.stop();
                }
                () = look.as_mut() => match activity.verdict(Instant::now()) {
                    Verdict::LookAgain(at) => match connection.keep_alive(Instant::now()) {
                        Some(alive_until) => look.as_mut().reset(at.min(alive_until)),
                        None => {
                            tracing::debug!("the connection of {peer} ended: nobody is there any more");
                            return ConnEnd::Error;
                        }
                    },
                    Verdict::Stuck => return ConnEnd::Stuck,
                    // It was told to go long enough ago.
                    Verdict::Idle if idle => return ConnEnd::Idle,
                    Verdict::Idle => {
                        idle = true;
                        connection.stop();
                        look.as_mut().reset(Instant::now() + GOAWAY_PATIENCE);
                    }
                },
            }
        }
    }

    async fn refuse_http1<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        activity: &Activity,
        peer: SocketAddr,
    ) -> ConnEnd {
        let refused = timeout(self.idle_timeout, http1::refuse(&self.http1, stream, &self.front, activity));
        let refused = tokio::select! {
            () = self.stop.cancelled() => return ConnEnd::Closed,
            refused = refused => refused,
        };
        match refused {
            Ok(Ok(())) => ConnEnd::Closed,
            Ok(Err(error)) => end_of(&error, peer),
            Err(_) => ConnEnd::Idle,
        }
    }
}

/// What it means that a connection ended in this way.
fn end_of(error: &(dyn Error + 'static), peer: SocketAddr) -> ConnEnd {
    match io_kind(error) {
        // It just closed its socket, as many clients do once they have what they wanted.
        Some(io::ErrorKind::UnexpectedEof) => ConnEnd::Closed,
        Some(io::ErrorKind::QuotaExceeded) => ConnEnd::Flood,
        _ => {
            tracing::debug!("the connection of {peer} ended: {}", in_full(error));
            ConnEnd::Error
        }
    }
}

/// The innermost input/output error that brought a connection down.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    error.source().and_then(io_kind).or_else(|| {
        let io =
            error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io).or_else(|| error.downcast_ref());
        io.map(io::Error::kind)
    })
}

/// An error and its causes: the outermost alone says little.
fn in_full(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", in_full(cause)))
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
