//! Waiting without a runtime, and peers that are plain sockets.

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Client, Service, ServiceConfig};
use plimsoll_core::drive::server::{Builder, Ctx, HandlerError, Server};
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{
    Limits, Mode, Step, decode_request, decode_response, encode_request, encode_response,
};
use serde_json::Value;

/// Longer than anything here takes: whatever waits for it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread; fails instead of hanging.
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let give_up = Instant::now() + PATIENCE;
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "still waiting after {PATIENCE:?}: {what}");
        thread::park_timeout(left);
    }
}

/// All of them at the same time; their outputs in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Polls once, with a waker that wakes nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls once: the call is on its way then.
pub(crate) fn begin<F: Future + Unpin>(future: &mut F) {
    assert!(poll_once(future).is_pending(), "nobody answers that fast");
}

/// Asks again and again until the answer is yes.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "still waiting after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A flag that is up once this is dropped, be it because a scenario fails.
pub(crate) struct Raised<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keeps handlers waiting until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<(bool, Vec<Waker>)>>,
}

impl Gate {
    pub(crate) fn open(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    pub(crate) async fn passed(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A server to be, with the methods `echo`, `size` (of so many bytes), `fail` and, behind the gate, `wait`.
pub(crate) fn methods<R: Runtime>(runtime: &R, gate: &Gate) -> Builder<R> {
    let gate = gate.clone();
    Server::on(runtime.clone())
        .method("echo", |params: Value, _: Ctx| async move { Ok(params) })
        .method("size", |bytes: usize, _: Ctx| async move { Ok("x".repeat(bytes)) })
        .method("fail", |code: String, _: Ctx| async move {
            Err::<(), _>(HandlerError::new(code, "as it was told"))
        })
        .method("wait", move |params: Value, _: Ctx| {
            let gate = gate.clone();
            async move {
                gate.passed().await;
                Ok(params)
            }
        })
}

pub(crate) fn serve<R: Runtime>(runtime: &R) -> Server<R> {
    serve_behind(runtime, &Gate::default())
}

pub(crate) fn serve_behind<R: Runtime>(runtime: &R, gate: &Gate) -> Server<R> {
    within("a free port", methods(runtime, gate).bind("127.0.0.1:0")).expect("a free port")
}

pub(crate) fn connect<R: Runtime>(runtime: &R, config: ServiceConfig) -> (Client<R>, Service) {
    let client = Client::on(runtime.clone()).seed(7).build();
    let service = client.configure_service("test", config).expect("a good configuration");
    (client, service)
}

pub(crate) fn echo(service: &Service, n: u32) {
    assert_eq!(within("an answer", service.request::<u32>("echo", &n)), Ok(n));
}

/// Who connects next, as a plain socket.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    until("somebody connects", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, _) = accepted.expect("waited for");
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client, or a server of one connection, that is a plain socket.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer::new(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        Peer { stream, unread: Vec::new() }
    }

    pub(crate) fn request(n: u64, method: &str, content: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_request(&mut frame, id(n), method, content.as_bytes(), &Limits::default()).unwrap();
        frame
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The number and the length of the next answer; `None` at the end of the stream.
    pub(crate) fn answer(&mut self) -> Option<(WireId, usize)> {
        self.next(|bytes| {
            let step = decode_response(bytes, &Limits::default(), Mode::Strict).expect("a good frame");
            if let Step::Frame(head) = step { Some((head.id, head.content)) } else { None }
        })
    }

    /// Answers the next request with `content`; `None` at the end of the stream. How long the request was.
    pub(crate) fn answers(&mut self, content: &str) -> Option<usize> {
        let (id, size) = self.next(|bytes| {
            let step = decode_request(bytes, &Limits::default(), Mode::Strict).expect("a good frame");
            if let Step::Frame(head) = step { Some((head.id, head.content)) } else { None }
        })?;
        let mut frame = Vec::new();
        encode_response(&mut frame, id, content.as_bytes(), &Limits::default()).unwrap();
        self.send(&frame);
        Some(size)
    }

    fn next(&mut self, decode: impl Fn(&[u8]) -> Option<(WireId, Range<usize>)>) -> Option<(WireId, usize)> {
        loop {
            if let Some((id, content)) = decode(&self.unread) {
                self.unread.drain(..content.end);
                return Some((id, content.len()));
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes).expect("something in time") {
                0 => return None,
                n => self.unread.extend_from_slice(&bytes[..n]),
            }
        }
    }
}

pub(crate) fn id(n: u64) -> WireId {
    WireId::new(0, 0, n)
}

/// Both ends of every connection are in this process.
pub(crate) fn raise_descriptor_limit(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
            .unwrap_or_else(|_| panic!("raise the hard limit of open files to {needed} (ulimit -Hn)"));
    }
}
