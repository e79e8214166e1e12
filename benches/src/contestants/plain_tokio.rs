//! What a good engineer writes on tokio for one service, without a library for it: a task that reads and one that writes
//! for each connection, a map of who waits, a channel to the writer. No policy at all.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, RESPONSE_HEADER, Step, decode_request, decode_response};
use plimsoll_core::wire::uw::{encode_request, encode_response};
use rustc_hash::FxHashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::callers::{Echo, call, runtime};
use super::report::ready;
use super::{Load, METHOD};
use crate::Result;

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// Requests that wait to be written, at most, and how many are written at once.
const QUEUE: usize = 1_024;

pub(super) fn server() -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        ready(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            // A client that is ended in the middle of its work resets its connections.
            tokio::spawn(async move { serve(stream).await.unwrap_or(()) });
        }
    })
}

/// Reads what is there, answers all of it, and writes the answers at once.
async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let limits = Limits::default();
    let (mut bytes, mut out) = (BytesMut::with_capacity(BLOCK), Vec::new());
    while read(&mut stream, &mut bytes).await? {
        let mut taken = 0;
        while let Step::Frame(head) = decode_request(&bytes[taken..], &limits, Mode::Strict)? {
            let frame = &bytes[taken..];
            if &frame[head.method] != METHOD.as_bytes() {
                return Err("the method is unknown".into());
            }
            taken += head.content.end;
            encode_response(&mut out, head.id, &frame[head.content], &limits)?;
        }
        let _ = bytes.split_to(taken);
        stream.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

/// `false`: nothing more will come.
async fn read(stream: &mut (impl AsyncReadExt + Unpin), bytes: &mut BytesMut) -> Result<bool> {
    bytes.reserve(BLOCK);
    Ok(stream.read_buf(bytes).await? > 0)
}

/// Of one connection.
#[derive(Clone)]
struct Handle {
    requests: mpsc::Sender<(WireId, Bytes)>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<FxHashMap<WireId, oneshot::Sender<Bytes>>>,
    ids: AtomicU64,
}

pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..load.connections {
            handles.push(connect(address).await?);
        }
        call(handles, load).await
    })
}

async fn connect(address: &str) -> Result<Handle> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (sender, requests) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared::default());
    tokio::spawn(ends(write(writer, requests)));
    tokio::spawn(ends(take_answers(reader, shared.clone())));
    Ok(Handle { requests: sender, shared })
}

/// A connection that is lost leaves its callers without an answer: there is nothing to measure any more.
async fn ends(task: impl Future<Output = Result<()>>) {
    if let Err(error) = task.await {
        eprintln!("plain-tokio: {error}");
        std::process::exit(1);
    }
}

async fn write(mut stream: OwnedWriteHalf, mut requests: mpsc::Receiver<(WireId, Bytes)>) -> Result<()> {
    let limits = Limits::default();
    let (mut batch, mut out) = (Vec::with_capacity(QUEUE), Vec::new());
    while requests.recv_many(&mut batch, QUEUE).await > 0 {
        for (id, content) in batch.drain(..) {
            encode_request(&mut out, id, METHOD, &content, &limits)?;
        }
        stream.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

async fn take_answers(mut stream: OwnedReadHalf, shared: Arc<Shared>) -> Result<()> {
    let limits = Limits::default();
    let mut bytes = BytesMut::with_capacity(BLOCK);
    while read(&mut stream, &mut bytes).await? {
        while let Step::Frame(head) = decode_response(&bytes, &limits, Mode::Strict)? {
            let mut frame = bytes.split_to(head.content.end);
            let content = frame.split_off(RESPONSE_HEADER).freeze();
            let caller = shared.waiting.lock().unwrap().remove(&head.id);
            // Whoever gave up is gone from the map, or about to be.
            let _ = caller.ok_or("an answer to nothing")?.send(content);
        }
    }
    // The server follows a client that is done.
    if shared.waiting.lock().unwrap().is_empty() {
        return Ok(());
    }
    Err("the server has closed a connection".into())
}

impl Echo for Handle {
    type Content = Bytes;

    async fn echo(&mut self, content: Bytes) -> Result<Bytes> {
        let id = WireId(u128::from(self.shared.ids.fetch_add(1, Ordering::Relaxed)).to_le_bytes());
        let (sender, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(id, sender);
        self.requests.send((id, content)).await?;
        Ok(answer.await?)
    }
}
