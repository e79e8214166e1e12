//! Logs of machines that a driver drives: kept in memory, or written to files by a thread of their own.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Host;
use crate::machine::Machine;
use crate::record::{Options, Piece, Record};
use crate::time::Instant;

/// What was written last is finished, so that it can be taken, at least so often while anything happens.
const SEAL: Duration = Duration::from_secs(1);
/// So many pieces wait for the disk; those beyond are lost, and counted.
const WAITING: usize = 256;

/// Where logs go, and what is in them. One log per machine: a service, server or hub has one for each of its shards. The
/// first has the file's own name, the others `.1`, `.2`, … behind it.
///
/// ```no_run
/// # #[cfg(unix)] {
/// use plimsoll_core::drive::Recording;
///
/// let recording = Recording::file("users.plog").content(false);
/// // … hand it to a builder: `Client::builder().record(&recording)`
/// assert_eq!(recording.status().lost, 0);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    options: Options,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: Option<PathBuf>,
    /// Logs that were begun.
    logs: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
    error: Mutex<Option<String>>,
    /// In memory, by log.
    kept: Mutex<Vec<VecDeque<Piece>>>,
}

/// How a recording fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingStatus {
    /// Logs that were begun.
    pub logs: u64,
    /// Bytes that were kept or written.
    pub bytes: u64,
    /// Pieces that were lost, since the disk was too slow or refused them.
    pub lost: u64,
    /// What the disk said last when it refused.
    pub error: Option<String>,
}

impl Recording {
    /// To a file, whose segments go round in a ring. One that is there is overwritten.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::to(Some(path.as_ref().into()))
    }

    /// To memory: see [`log`](Self::log).
    pub fn memory() -> Self {
        Self::to(None)
    }

    fn to(path: Option<PathBuf>) -> Self {
        let shared = Shared {
            path,
            logs: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            error: Mutex::default(),
            kept: Mutex::default(),
        };
        Recording { options: Options::default(), shared: Arc::new(shared) }
    }

    /// A segment of the ring has about so many bytes; 1 MiB by default.
    pub fn segment_bytes(mut self, bytes: NonZeroU32) -> Self {
        self.options.segment = bytes;
        self
    }

    /// How many segments are kept; 16 by default.
    pub fn segments(mut self, segments: NonZeroU32) -> Self {
        self.options.segments = segments;
        self
    }

    /// Whether bodies are kept; no by default.
    pub fn content(mut self, kept: bool) -> Self {
        self.options.content = kept;
        self
    }

    /// How it fares.
    pub fn status(&self) -> RecordingStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { logs, lost, bytes, error, .. } = &*self.shared;
        RecordingStatus {
            logs: count(logs),
            bytes: count(bytes),
            lost: count(lost),
            error: lock(error).clone(),
        }
    }

    /// What is in memory of the log number `at`, from 0; what happened within the last second may still be missing while the
    /// machine lives.
    pub fn log(&self, at: usize) -> Vec<u8> {
        let kept = lock(&self.shared.kept);
        kept.get(at).into_iter().flatten().flat_map(|piece| piece.bytes.iter().copied()).collect()
    }

    /// Records `machine` from now on, for the host that takes this.
    pub(super) fn begin<M: Record>(&self, machine: &mut M) -> Tape {
        machine.record(self.options);
        let at = self.shared.logs.fetch_add(1, Ordering::Relaxed);
        let sink = match &self.shared.path {
            None => {
                let mut kept = lock(&self.shared.kept);
                let len = kept.len().max(at as usize + 1);
                kept.resize_with(len, VecDeque::new);
                Sink::Memory(at as usize)
            }
            Some(path) => {
                let mut name = path.clone().into_os_string();
                if at > 0 {
                    name.push(alloc::format!(".{at}"));
                }
                let (sender, receiver) = sync_channel(WAITING);
                let (shared, options) = (self.shared.clone(), self.options);
                let ring = u64::from(options.segment.get()) * u64::from(options.segments.get());
                let writer = move || write_all(&shared, PathBuf::from(name), ring, &receiver);
                match thread::Builder::new().name("plimsoll-record".into()).spawn(writer) {
                    Ok(writer) => Sink::File(Some(sender), Some(writer)),
                    Err(error) => {
                        self.shared.failed(&error);
                        Sink::File(None, None)
                    }
                }
            }
        };
        Tape { shared: self.shared.clone(), segments: self.options.segments, sink, sealed: Instant::ZERO }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn failed(&self, error: &io::Error) {
        *lock(&self.error) = Some(error.to_string());
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes pieces where they belong: segments one behind the other, and from the start again when the ring is full.
fn write_all(shared: &Shared, path: PathBuf, ring: u64, pieces: &Receiver<Piece>) {
    let mut file = File::create(path).inspect_err(|error| shared.failed(error)).ok();
    let (mut segment, mut begins, mut ends) = (0, 0, 0);
    while let Ok(piece) = pieces.recv() {
        let Some(file) = &mut file else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if piece.segment != segment {
            segment = piece.segment;
            begins = if ends >= ring { 0 } else { ends };
        }
        let at = begins + piece.at;
        ends = at + piece.bytes.len() as u64;
        // Whoever reads the ring sees by these zeros that an older round begins.
        let mut bytes = piece.bytes;
        bytes.extend_from_slice(&[0; 32]);
        match file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)) {
            Ok(()) => drop(shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed)),
            Err(error) => shared.failed(&error),
        }
    }
}

/// Where the log of one machine goes.
pub(super) struct Tape {
    shared: Arc<Shared>,
    segments: NonZeroU32,
    sink: Sink,
    sealed: Instant,
}

enum Sink {
    Memory(usize),
    File(Option<SyncSender<Piece>>, Option<thread::JoinHandle<()>>),
}

impl Tape {
    /// Takes what is finished. Once a turn, so that nothing of it is on the path of a request.
    fn flush<M: Record>(&mut self, now: Instant, machine: &mut M, last: bool) {
        let seal = last || now.since(self.sealed) >= SEAL;
        if seal {
            self.sealed = now;
        }
        while let Some(piece) = machine.take_recorded(seal) {
            self.put(piece);
        }
    }

    fn put(&mut self, piece: Piece) {
        match &mut self.sink {
            Sink::Memory(at) => {
                self.shared.bytes.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
                let kept = &mut lock(&self.shared.kept)[*at];
                let oldest = (piece.segment + 1).saturating_sub(self.segments.get().into());
                kept.push_back(piece);
                while kept.pop_front_if(|piece| piece.segment < oldest).is_some() {}
            }
            Sink::File(Some(sender), _) => {
                if sender.try_send(piece).is_err() {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Sink::File(None, _) => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// The file is whole when the driver is gone.
impl Drop for Tape {
    fn drop(&mut self) {
        if let Sink::File(sender, writer) = &mut self.sink {
            drop(sender.take());
            drop(writer.take().map(thread::JoinHandle::join));
        }
    }
}

/// A host whose machine may be recorded.
pub(super) struct Taped<H> {
    host: H,
    tape: Option<Tape>,
}

impl<H> Taped<H> {
    pub(super) fn new<M: Record>(host: H, machine: &mut M, recording: Option<&Recording>) -> Self {
        Taped { host, tape: recording.map(|recording| recording.begin(machine)) }
    }
}

impl<M: Machine + Record, H: Host<M>> Host<M> for Taped<H> {
    fn commands(&mut self, now: Instant, machine: &mut M) {
        self.host.commands(now, machine);
    }

    fn event(&mut self, now: Instant, event: M::Event<'_>) {
        self.host.event(now, event);
    }

    fn publish(&mut self, now: Instant, machine: &mut M) {
        // Before anybody hears that the machine has shut down.
        if let Some(tape) = &mut self.tape {
            tape.flush(now, machine, machine.is_finished());
        }
        if machine.is_finished() {
            self.tape = None;
        }
        self.host.publish(now, machine);
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.host.arm(driver)
    }

    fn deadline(&self) -> Option<Instant> {
        self.host.deadline()
    }

    fn is_listening(&self) -> bool {
        self.host.is_listening()
    }
}
