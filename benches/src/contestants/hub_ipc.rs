//! Bro IPC: our hub, with all that it does by default, and beside it what a good engineer writes on tokio for the wire, so
//! that the callers are what those of the other hub are. JSON, the default.

use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use plimsoll_core::ipc::Context;
use plimsoll_core::machine::unix_path;
use plimsoll_core::wire::ipc::{
    Call, Envelope, Format, Kind, Limits, Register, Reply, Status, Step, Value, decode_frame, write_call,
    write_register, write_success,
};
use plimsoll_tokio::ipc::Hub;
use rustc_hash::FxHashMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::callers::{Echo, call, runtime};
use super::report::ready;
use super::{Load, METHOD};
use crate::Result;

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// Calls that wait to be written, at most, and how many are written at once.
const QUEUE: usize = 1_024;
/// The service that is called.
const SERVICE: &str = "echo";
/// Longer than any measurement.
const TIMEOUT: Duration = Duration::from_secs(3_600);

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

pub(super) fn hub(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let hub = Hub::builder().bind(address).await?;
        ready(hub.local_addr());
        future::pending().await
    })
}

/// Connects, and registers.
async fn connect(address: &str, name: &str, method: Option<&str>) -> Result<(Reader, Writer)> {
    let (mut reader, mut writer): (Reader, Writer) = match unix_path(address) {
        Some(path) => {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            (Box::new(reader), Box::new(writer))
        }
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            (Box::new(reader), Box::new(writer))
        }
    };
    let mut out = Vec::new();
    let methods = method.as_slice().iter().copied();
    let register = Register { service_name: name, methods, version: "1.0.0", pool: None };
    write_register(&mut out, Format::Json, &Limits::default(), &register)?;
    writer.write_all(&out).await?;
    let mut bytes = BytesMut::new();
    loop {
        match decode_frame(&bytes, &Limits::default())? {
            Step::Frame(body)
                if Envelope::parse(Format::Json, &bytes[body.clone()])?.kind() == Kind::RegisterAck =>
            {
                return Ok((reader, writer));
            }
            Step::Frame(body) => return Err(String::from_utf8_lossy(&bytes[body]).into()),
            Step::Need(_) if read(&mut reader, &mut bytes).await? => {}
            Step::Need(_) => return Err("the hub has closed a connection".into()),
        }
    }
}

/// `false`: nothing more will come.
async fn read(stream: &mut Reader, bytes: &mut BytesMut) -> Result<bool> {
    bytes.reserve(BLOCK);
    Ok(stream.read_buf(bytes).await? > 0)
}

/// Reads what is there, answers all of it with what it came with, and writes the answers at once.
pub(super) fn service(address: &str) -> Result<()> {
    runtime()?.block_on(async {
        let (mut reader, mut writer) = connect(address, SERVICE, Some(METHOD)).await?;
        ready("");
        let (limits, mut bytes, mut out) = (Limits::default(), BytesMut::with_capacity(BLOCK), Vec::new());
        while read(&mut reader, &mut bytes).await? {
            let mut taken = 0;
            while let Step::Frame(body) = decode_frame(&bytes[taken..], &limits)? {
                let end = taken + body.end;
                let call = Envelope::parse(Format::Json, &bytes[taken..][body])?;
                let reply =
                    Reply { id: call.id()?, from: call.to()?, to: call.from()?, context: call.raw_context() };
                write_success(&mut out, Format::Json, &limits, &reply, call.params())?;
                taken = end;
            }
            let _ = bytes.split_to(taken);
            writer.write_all(&out).await?;
            out.clear();
        }
        Err("the hub has closed the connection".into())
    })
}

/// Of one connection.
#[derive(Clone)]
struct Handle {
    calls: mpsc::Sender<(u64, Bytes)>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<FxHashMap<u64, oneshot::Sender<Bytes>>>,
    ids: AtomicU64,
}

pub(super) fn callers(address: &str, load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let mut handles = Vec::new();
        for n in 0..load.connections {
            let name = format!("caller-{n}");
            let (reader, writer) = connect(address, &name, None).await?;
            let (sender, calls) = mpsc::channel(QUEUE);
            let shared = Arc::new(Shared::default());
            tokio::spawn(ends(write(writer, name, calls)));
            tokio::spawn(ends(take_answers(reader, shared.clone())));
            handles.push(Handle { calls: sender, shared });
        }
        call(handles, load).await
    })
}

/// A connection that is lost leaves its callers without an answer: there is nothing to measure any more.
async fn ends(task: impl Future<Output = Result<()>>) {
    if let Err(error) = task.await {
        eprintln!("callers: {error}");
        std::process::exit(1);
    }
}

async fn write(mut stream: Writer, from: String, mut calls: mpsc::Receiver<(u64, Bytes)>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let context = Context::create("root", &from, now, TIMEOUT).extend(SERVICE)?;
    let (limits, mut batch, mut out) = (Limits::default(), Vec::with_capacity(QUEUE), Vec::new());
    while calls.recv_many(&mut batch, QUEUE).await > 0 {
        for (id, content) in batch.drain(..) {
            let params = Some(Value::parse(Format::Json, &content)?);
            let call = Call {
                id: &id.to_string(),
                from: &from,
                to: SERVICE,
                method: METHOD,
                params,
                context: &context,
            };
            write_call(&mut out, Format::Json, &limits, &call)?;
        }
        stream.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

async fn take_answers(mut stream: Reader, shared: Arc<Shared>) -> Result<()> {
    let mut bytes = BytesMut::with_capacity(BLOCK);
    while read(&mut stream, &mut bytes).await? {
        while let Step::Frame(body) = decode_frame(&bytes, &Limits::default())? {
            let frame = bytes.split_to(body.end);
            let answer = Envelope::parse(Format::Json, &frame[body])?;
            if answer.kind() != Kind::Response || answer.status()? != Status::Success {
                return Err(String::from_utf8_lossy(&frame).into());
            }
            let id = answer.id()?.get().parse()?;
            let data = answer.data().ok_or("an answer without data")?.bytes();
            let caller = shared.waiting.lock().unwrap().remove(&id);
            // Whoever gave up is gone from the map, or about to be.
            let _ = caller.ok_or("an answer to nothing")?.send(Bytes::copy_from_slice(data));
        }
    }
    Err("the hub has closed a connection".into())
}

impl Echo for Handle {
    type Content = Bytes;

    async fn echo(&mut self, content: Bytes) -> Result<Bytes> {
        let id = self.shared.ids.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(id, sender);
        self.calls.send((id, content)).await?;
        Ok(answer.await?)
    }
}
