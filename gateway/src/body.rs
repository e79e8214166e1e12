//! Bodies: requests read within limits of size, time and memory; answers handed out in pieces, so that a client
//! that stops reading is noticed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::activity::Exchange;
use crate::config::Server;
use crate::reply::Problem;

const KIB: usize = 1_024;
/// What a client may still send after its answer: far more than is on its way when it gets to read that.
const LINGER: usize = 16 * KIB * KIB;

/// How much of bodies may be in memory, for one request and for all together.
pub(crate) struct Limits {
    max_body: usize,
    read_timeout: Duration,
    /// Memory for all bodies together, in KiB.
    budget: Arc<Semaphore>,
}

/// A request's body, and its share of the memory for bodies.
pub(crate) struct Buffered {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Limits {
    pub(crate) fn new(server: &Server) -> Limits {
        let budget = usize::try_from(server.max_buffered_bodies.get()).unwrap_or(usize::MAX) / KIB;
        Limits {
            max_body: usize::try_from(server.max_body_size.get()).unwrap_or(usize::MAX),
            read_timeout: server.read_timeout.get(),
            budget: Arc::new(Semaphore::new(budget.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Reads a body to its end. Memory is taken as bytes arrive, never by what a header claims.
    pub(crate) async fn read(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        deadline: Instant,
    ) -> Result<Buffered, Problem> {
        if declared_length(head).is_some_and(|length| length > self.max_body as u64) {
            return Err(self.too_large());
        }
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = self.next(body, deadline).await? {
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.max_body {
                return Err(self.too_large());
            }
            self.grow(&mut share, bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Buffered { bytes: bytes.freeze(), _share: share })
    }

    async fn next(&self, body: &mut RequestBody, deadline: Instant) -> Result<Option<Frame<Bytes>>, Problem> {
        let patience = deadline.min(Instant::now() + self.read_timeout);
        match timeout_at(patience, body.frame()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(error))) => {
                let message = format!("the body broke off: {error}");
                Err(Problem::new(StatusCode::BAD_REQUEST, "INCOMPLETE_BODY", message))
            }
            Err(_) => {
                let message = "the body did not arrive in time; send it faster";
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message))
            }
        }
    }

    fn grow(&self, share: &mut Option<OwnedSemaphorePermit>, size: usize) -> Result<(), Problem> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(size.div_ceil(KIB).saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.budget).try_acquire_many_owned(missing).map_err(|_| {
            let message = "the memory for request bodies is full; try again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message).worth_retrying()
        })?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }

    /// Takes and forgets what a client still sends after its answer. Cutting it off would be allowed, but there are
    /// clients (curl among them) that then report a broken stream in place of the answer.
    pub(crate) fn linger(&self, mut body: impl Body<Data = Bytes> + Send + Unpin + 'static) {
        if body.is_end_stream() {
            return;
        }
        let (patience, mut left) = (Instant::now() + self.read_timeout, LINGER);
        tokio::spawn(timeout_at(patience, async move {
            while let Some(Ok(frame)) = body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    break;
                }
            }
        }));
    }

    fn too_large(&self) -> Problem {
        let message = format!("the body is larger than {} bytes, the limit here", self.max_body);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", message)
    }
}

fn declared_length(head: &Parts) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body of a request over HTTP/2. What is taken out makes room for more.
pub(crate) struct RequestBody(pub(crate) RecvStream);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let data = ready!(self.0.poll_data(cx)).transpose()?;
        if let Some(data) = &data {
            // It fails if the stream has ended, and then there is no room to be made.
            let _ = self.0.flow_control().release_capacity(data.len());
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// Bytes handed to HTTP/2 at a time.
const PIECE: usize = 16 * KIB;

/// Sends an answer. Its exchange stays open until the client's window has taken the last piece.
pub(crate) async fn send(
    mut respond: SendResponse<Bytes>,
    response: Response<()>,
    mut body: Bytes,
    exchange: Exchange<'_>,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(response, body.is_empty())?;
    while !body.is_empty() {
        stream.reserve_capacity(body.len().min(PIECE));
        let Some(room) = poll_fn(|cx| poll_room(&mut stream, cx)).await else { return Ok(()) };
        let piece = body.split_to(room.min(body.len()));
        if !body.is_empty() {
            exchange.progress();
        }
        stream.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

/// How many bytes may be sent; `None`: the stream has ended.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    match stream.capacity() {
        0 => stream.poll_capacity(cx).map(|room| room?.ok()),
        room => Poll::Ready(Some(room)),
    }
}
