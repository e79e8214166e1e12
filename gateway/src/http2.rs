//! A connection that speaks HTTP/2, and its requests, in one task.
//!
//! Were each request a task, a scheduler that runs first what was woken last would let the connection write every
//! answer by itself: a TLS record and a system call for each. Here the connection reads what has come, all its
//! requests go on, and the answers that they have by then go out together. So do their calls to services.

use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use plimsoll_core::drive::ReadyList;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::activity::Activity;
use crate::config::Server;

/// What a client may have in flight towards us before we read it: per stream and per connection. Half of the
/// latter is also what `h2` lets the overhead of tiny DATA frames amount to: about 2,000 of them at once.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What a stream's answer may hold in the send buffer.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a client opened and reset before they were looked at (rapid reset), and streams that we had to
/// reset for its errors (MadeYouReset); beyond that the connection ends.
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 100;
/// When a peer is silent for so long it is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection's place on the list of what can go on; requests have those behind it.
const CONNECTION: u32 = 0;
/// How often in one turn it is looked at what can go on meanwhile: others are to have their turn too.
const ROUNDS: usize = 8;
/// Places for requests that a connection keeps while it has none.
const KEPT_PLACES: usize = 32;

/// The limits of a connection.
pub(crate) fn builder(server: &Server) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(server.max_concurrent_streams)
        .max_header_list_size(u32::try_from(server.max_header_list_size.get()).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// A connection and its requests. Ready when the connection has ended; requests that it leaves behind end with this.
pub(crate) struct Http2<'a, S, B, F> {
    state: State<S>,
    is_due: bool,
    waker: Waker,
    activity: &'a Activity,
    begin: B,
    places: Places<F>,
    /// To be begun.
    accepted: Vec<u32>,
    list: ReadyList,
    ready: Vec<u32>,
    keep_alive: KeepAlive,
    stopping: bool,
}

enum State<S> {
    Handshake(Handshake<S, Bytes>),
    Serving(Connection<S, Bytes>),
}

/// By their index on the list of what can go on, less one.
struct Places<F> {
    all: Vec<Place<F>>,
    free: Vec<u32>,
}

/// For requests, one after another.
struct Place<F> {
    request: Pin<Box<Option<F>>>,
    waker: Waker,
}

impl<'a, S, B, F> Http2<'a, S, B, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    /// `begin` makes a future of each request.
    pub(crate) fn new(builder: &Builder, stream: S, activity: &'a Activity, begin: B) -> Self {
        let mut list = ReadyList::new();
        Http2 {
            state: State::Handshake(builder.handshake(stream)),
            is_due: true,
            waker: list.waker(CONNECTION),
            activity,
            begin,
            places: Places { all: Vec::new(), free: Vec::new() },
            accepted: Vec::new(),
            list,
            ready: Vec::new(),
            keep_alive: KeepAlive::default(),
            stopping: false,
        }
    }

    /// Takes no more requests, and ends when those that it has are answered.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.is_due = true;
        if let State::Serving(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Asks a peer that has been silent for long whether it lives. When to look again; `None`: it does not.
    pub(crate) fn keep_alive(&mut self, now: Instant) -> Option<Instant> {
        self.keep_alive.look(now, self.activity.last_read())
    }

    /// Lets all requests that were woken go on.
    fn resume(&mut self) {
        let mut ready = mem::take(&mut self.ready);
        self.list.take(&mut ready);
        for &index in &ready {
            if index == CONNECTION {
                self.is_due = true;
            } else {
                self.places.poll(index);
            }
        }
        self.ready = ready;
    }

    /// Lets the connection read and write, and then the requests that have come run until they wait. Not one after the
    /// other: whatever is answered by then is written when the connection is asked for the next one.
    fn poll_connection(&mut self) -> Poll<Result<(), h2::Error>> {
        let end = self.accept();
        let mut accepted = mem::take(&mut self.accepted);
        for index in accepted.drain(..) {
            self.places.poll(index);
        }
        self.accepted = accepted;
        end
    }

    fn accept(&mut self) -> Poll<Result<(), h2::Error>> {
        loop {
            let cx = &mut Context::from_waker(&self.waker);
            match &mut self.state {
                State::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if self.stopping {
                        connection.graceful_shutdown();
                    }
                    self.keep_alive.pings = connection.ping_pong();
                    self.state = State::Serving(connection);
                }
                State::Serving(connection) => match ready!(connection.poll_accept(cx)) {
                    None => return Poll::Ready(Ok(())),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    Some(Ok((request, respond))) => {
                        let request = (self.begin)(request, respond);
                        self.accepted.push(self.places.put(request, &mut self.list));
                    }
                },
            }
        }
    }
}

impl<F: Future<Output = ()>> Places<F> {
    /// Takes a request in; its index.
    fn put(&mut self, request: F, list: &mut ReadyList) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.all.len() as u32 + 1;
            self.all.push(Place { request: Box::pin(None), waker: list.waker(index) });
            index
        });
        self.all[index as usize - 1].request.set(Some(request));
        index
    }

    /// Woken for a request that has ended, a place may be gone, or empty, or that of another.
    fn poll(&mut self, index: u32) {
        let Some(Place { request: place, waker }) = self.all.get_mut(index as usize - 1) else { return };
        let Some(request) = place.as_mut().as_pin_mut() else { return };
        let cx = &mut Context::from_waker(waker);
        // What panics costs itself: its stream is reset as it is dropped, and the others go on.
        if catch_unwind(AssertUnwindSafe(|| request.poll(cx).is_ready())).unwrap_or(true) {
            place.set(None);
            self.free.push(index);
        }
    }

    /// Gives back the memory of many requests once none is left.
    fn shrink(&mut self) {
        if self.all.len() > KEPT_PLACES && self.free.len() == self.all.len() {
            self.all.truncate(KEPT_PLACES);
            self.free.retain(|&index| index as usize <= KEPT_PLACES);
        }
    }
}

impl<S, B, F> Future for Http2<'_, S, B, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.activity.turn();
        for _ in 0..ROUNDS {
            this.resume();
            if mem::take(&mut this.is_due)
                && let Poll::Ready(end) = this.poll_connection()
            {
                return Poll::Ready(end);
            }
            this.places.shrink();
            if !this.list.arm(cx.waker()) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether a peer that says nothing is still there.
#[derive(Default)]
struct KeepAlive {
    pings: Option<PingPong>,
    asked: Option<Instant>,
}

impl KeepAlive {
    fn look(&mut self, now: Instant, last_read: Instant) -> Option<Instant> {
        let silent_at = last_read + KEEP_ALIVE_INTERVAL;
        if now < silent_at {
            self.asked = None;
            return Some(silent_at);
        }
        if let Some(asked) = self.asked {
            return Some(asked + KEEP_ALIVE_TIMEOUT).filter(|&at| now < at);
        }
        if let Some(pings) = &mut self.pings {
            // The answer to the last one has come, or else it still stands as a question.
            let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
            let _ = pings.send_ping(Ping::opaque());
        }
        self.asked = Some(now);
        Some(now + KEEP_ALIVE_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use h2::client::SendRequest;
    use http::{Response, StatusCode};
    use tokio::io::{DuplexStream, ReadBuf, duplex};

    /// Counts what would be system calls.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn activity() -> Activity {
        Activity::new(Duration::from_secs(60), Duration::from_secs(10), Arc::default())
    }

    async fn client(stream: DuplexStream) -> SendRequest<Bytes> {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn ask(client: &mut SendRequest<Bytes>, times: usize) {
        let ask = |_| client.send_request(Request::new(()), true).unwrap().0;
        for answer in (0..times).map(ask).collect::<Vec<_>>() {
            assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn requests_that_come_together_are_answered_together() {
        let (near, far) = duplex(1 << 20);
        let (writes, activity) = (Arc::new(AtomicUsize::new(0)), activity());
        // Each waits once, as for a service.
        let begin = async |_, mut respond: SendResponse<Bytes>| {
            tokio::task::yield_now().await;
            respond.send_response(Response::new(()), true).unwrap();
        };
        let begin = |request, respond| Box::pin(begin(request, respond));
        let mut http2 = Http2::new(&Builder::new(), Counted(near, writes.clone()), &activity, begin);
        let requests = async {
            let mut client = client(far).await;
            ask(&mut client, 1).await;
            let before = writes.load(Ordering::Relaxed);
            ask(&mut client, 30).await;
            writes.load(Ordering::Relaxed) - before
        };
        let writes = tokio::select! {
            end = &mut http2 => panic!("{end:?}"),
            writes = requests => writes,
        };
        assert!(writes <= 3, "{writes} writes");
    }

    #[tokio::test]
    async fn places_are_used_again_and_given_back() {
        let (near, far) = duplex(1 << 20);
        let activity = activity();
        let begin = |_, mut respond: SendResponse<Bytes>| {
            respond.send_response(Response::new(()), true).unwrap();
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            })
        };
        let mut http2 = Http2::new(&Builder::new(), near, &activity, begin);
        let requests = async {
            let mut client = client(far).await;
            for _ in 0..40 {
                ask(&mut client, 1).await;
            }
            client
        };
        let mut client = tokio::select! {
            end = &mut http2 => panic!("{end:?}"),
            client = requests => client,
        };
        assert_eq!(http2.places.all.len(), 1);
        tokio::select! {
            end = &mut http2 => panic!("{end:?}"),
            () = ask(&mut client, 100) => {}
        }
        assert!((2..=KEPT_PLACES).contains(&http2.places.all.len()), "{}", http2.places.all.len());
    }

    #[tokio::test]
    async fn a_request_that_panics_costs_its_own_stream() {
        let (near, far) = duplex(1 << 20);
        let activity = activity();
        let mut begun = 0;
        let begin = |_, mut respond: SendResponse<Bytes>| {
            begun += 1;
            let panics = begun == 2;
            Box::pin(async move {
                assert!(!panics, "on purpose");
                respond.send_response(Response::new(()), true).unwrap();
            })
        };
        let mut http2 = Http2::new(&Builder::new(), near, &activity, begin);
        let requests = async {
            let mut client = client(far).await;
            ask(&mut client, 1).await;
            let reset = client.send_request(Request::new(()), true).unwrap().0.await.unwrap_err();
            assert!(reset.is_reset(), "{reset}");
            ask(&mut client, 2).await;
        };
        tokio::select! {
            end = &mut http2 => panic!("{end:?}"),
            () = requests => {}
        }
    }

    #[test]
    fn a_silent_peer_is_asked_and_then_given_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::default();
        assert_eq!(keep_alive.look(at(19), at(0)), Some(at(20)));
        assert_eq!(keep_alive.look(at(20), at(0)), Some(at(30)), "it is asked");
        assert_eq!(keep_alive.look(at(29), at(0)), Some(at(30)));
        assert_eq!(keep_alive.look(at(29), at(28)), Some(at(48)), "it has said something");
        assert_eq!(keep_alive.look(at(48), at(28)), Some(at(58)));
        assert_eq!(keep_alive.look(at(58), at(28)), None);
    }
}
