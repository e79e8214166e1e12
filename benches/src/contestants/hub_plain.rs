//! What a good engineer writes on tokio for a hub of Bro IPC, without a library for it: a task that reads and one that writes
//! for each connection, a map of names, serde for the fields that say where to. No policy at all: no deadlines, no check of
//! who answers what, no limits, no methods.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use plimsoll_core::wire::ipc::{Format, Limits, Step, decode_frame, write_register_ack};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::callers::runtime;
use super::report::ready;
use crate::Result;

/// How much is read at once.
const BLOCK: usize = 256 << 10;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    to: Option<&'a str>,
    #[serde(default, borrow, rename = "serviceName")]
    service_name: Option<&'a str>,
}

/// What waits to be written to a connection.
#[derive(Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    some: Notify,
}

impl Outbox {
    fn push(&self, frame: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(frame);
        self.some.notify_one();
    }
}

type Services = Rc<RefCell<FxHashMap<String, Rc<Outbox>>>>;

pub(super) fn hub(address: &str) -> Result<()> {
    LocalSet::new().block_on(&runtime()?, async {
        let listener = TcpListener::bind(address).await?;
        ready(listener.local_addr()?);
        let services = Services::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let services = services.clone();
            // Who is ended in the middle of its work resets its connection.
            spawn_local(async move { serve(stream, services).await.unwrap_or(()) });
        }
    })
}

async fn serve(stream: TcpStream, services: Services) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let outbox = Rc::new(Outbox::default());
    spawn_local(write(writer, outbox.clone()));
    let mut bytes = BytesMut::with_capacity(BLOCK);
    while reader.read_buf(&mut bytes).await? > 0 {
        let mut taken = 0;
        while let Step::Frame(body) = decode_frame(&bytes[taken..], &Limits::default())? {
            let frame = &bytes[taken..][..body.end];
            taken += body.end;
            let head: Head<'_> = serde_json::from_slice(&frame[body])?;
            if let Some(name) = head.service_name {
                services.borrow_mut().insert(name.to_owned(), outbox.clone());
                let mut acknowledgement = Vec::new();
                write_register_ack(&mut acknowledgement, Format::Json);
                outbox.push(&acknowledgement);
            } else if let Some(to) = head.to.and_then(|to| services.borrow().get(to).cloned()) {
                to.push(frame);
            }
        }
        let _ = bytes.split_to(taken);
        bytes.reserve(BLOCK);
    }
    Ok(())
}

async fn write(mut stream: OwnedWriteHalf, outbox: Rc<Outbox>) -> std::io::Result<()> {
    let mut out = Vec::new();
    loop {
        outbox.some.notified().await;
        std::mem::swap(&mut out, &mut outbox.bytes.borrow_mut());
        stream.write_all(&out).await?;
        out.clear();
    }
}
