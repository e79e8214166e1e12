//! HTTP/1.1, understood just enough to be refused with a reason.

use std::convert::Infallible;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::activity::Activity;
use crate::config::Server;
use crate::front::Front;

/// The limits of a connection.
pub(crate) fn builder(server: &Server) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(server.read_timeout.get()).keep_alive(false);
    builder
}

/// Answers one request.
pub(crate) async fn refuse<S>(
    builder: &http1::Builder,
    stream: S,
    front: &Front,
    activity: &Activity,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(async |request| Ok::<_, Infallible>(front.refuse_version(request, activity)));
    builder.serve_connection(TokioIo::new(stream), service).await
}
